"""Every code has a page whose examples have the fault and its mend; and faults as text."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from shutil import copytree

import pytest

from causal_dsl import api
from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Source, Span, SpecError, did_you_mean, render_all
from causal_dsl.syntax import tree

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in Path(resource("docs", "diagnostics.d")).glob("*.md")}


# ── codes and pages ─────────────────────────────────────────────────────────────────────────────


def codes() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "causal_dsl").rglob("*.py")]
    return {code for text in texts for code in re.findall(r'"([EWF]\d{3})"', text)}


def test_every_code_has_a_page() -> None:
    assert sorted(codes() - PAGES.keys()) == []


def test_every_page_has_a_code() -> None:
    assert sorted(PAGES.keys() - codes()) == []


def test_pages_are_of_one_form() -> None:
    wrong = [
        code
        for code, text in sorted(PAGES.items())
        if not re.match(rf"# {code}: \S.*\n\n\S", text) or text.count("```") % 2 or not text.endswith("\n")
    ]
    assert wrong == []
    assert [code for code, text in PAGES.items() if "Mended" in text] == [], "write Fixed:"


#: What the examples of the pages leave out: declarations are used where a block does not declare the name itself.
PRELUDE = """
domain Shape = 0..3

causal equality {
  a, b, c, d ~ 0..3
  left  := a == b
  right := c == d
  output same := left == right
}

causal numbers {
  x ~ 0..999
  output y := x == 17
}

causal agreement {
  a, b ~ {"red", "blue"}
  same := a == b
  output said : {"yes", "no"} := if same then "yes" else "no"
}

network mlp = zoo("equality-relu")

network enc = hf("bert")

network gpt = zoo("equality-gpt2")

align halves : equality -> mlp {
  a @ input[0:4]   via onehot()
  b @ input[4:8]   via onehot()
  c @ input[8:12]  via onehot()
  d @ input[12:16] via onehot()
  left  @ layer[1].out[0:2]
  right @ layer[1].out[2:4]
  same  @ logits
}

align tau(l in 0:3) : equality -> gpt {
  prompt "{a} {b} {c} {d} ="
  left @ layer[l].resid_post[b]
  same @ next_token
}

align counted : numbers -> gpt {
  prompt "{x} ="
  y @ next_token
}
"""
FILES = {
    "shapes.causal": 'domain Colours = 0..3\n\nnetwork mlp = zoo("equality-relu")\n\n'
    "causal colours {\n  a ~ Colours\n  output b := a\n}\n\n"
    "align one : colours -> mlp {\n}\n\ntest colour_test on one {\n  base ~ colours(n=8)\n  report accuracy\n}\n",
    "two.causal": 'from "page.causal" import Ring\n\ndomain Back = 0..3\n',
    "names.txt": "Mary\nJohn\n",
    "nodes.json": '{"nodes": ["layer[1].head[0]"]}',
    "noted.json": '{"nodes": ["layer[1].head[0]"], "kept": 3}',
    "elsewhere.json": '{"nodes": ["layer[1].head[0]"], "network": {"name": "hf(\\"gpt2\\")", "layers": 12}}',
    "cities.csv": "city,country,continent\nRome,Italy,Europe\nParis,France,Europe\n",
    "ragged.csv": "city,country\nRome\n",
    "tasks.py": "from typing import Literal\n\n\ndef double(x: int) -> int:\n    return 2 * x\n\n\ndef bare(x):\n    return x\n",
}
#: Pages whose examples are tested with what they are about (syntax, metrics), or speak of networks that are not at hand here, of
#: options, of a run, or of files. The examples of every other page are tested here: a new page is by itself.
ELSEWHERE = {
    *(code for code in PAGES if code[:2] == "E1"),
    *("E600", "E601", "E602", "E603", "E604", "E605", "E606", "E607", "E608", "E609", "E610", "E612", "W600"),
    *("W620", "W621", "W622", "F701", "F702"),
    *("E346", "E347", "E348", "E420", "E421", "E422", "E423", "E424", "E425", "E426"),
    *("E500", "E501", "E502", "E503", "E504", "E505", "E506", "E507", "E508", "E509", "E510", "E511", "E513"),
    *("E514", "E515", "E516", "W512", "W514", "W515", "W516", "W517", "W518", "W519"),
    *(
        "E226",
        "W231",
        "E818",
        "E577",
        "E229",
        "W671",
        "E227",
        "E630",
        "E637",
        "E638",
        "E640",
        "E642",
        "E645",
        "E647",
        "E648",
        "E651",
        "E652",
        "E653",
        "E654",
        "W633",
        "W655",
    ),
    *("E665", "E666", "E667", "W663", "W664", "W668", "W669", "E760", "E762", "E763", "E764", "E766", "E774", "E777"),
    "E852",
    *("E701", "E702", "E703", "E720", "E727", "E728", "E736", "E737", "E738", "E739"),
    *("E750", "E751", "E752", "E753", "E770", "E840", "E845", "E846", "E847", "E848", "E849", "E897", "E894"),
    *("E950", "E951", "E952", "E953"),
    *("E778", "E779", "W780", "W781", "E782", "E783", "E784"),
    *("E941", "E942", "E945"),
    *("E793", "E794", "E795", "E796", "E797", "E798"),
}
CHECKED = [code for code, page in sorted(PAGES.items()) if "```causal" in page and code not in ELSEWHERE]
#: Of a depth that no page shows.
NOT_BY_CHECK = {"E307"}


@cache
def prelude() -> dict[str, tuple[str, frozenset[str]]]:
    """The text of each declaration of the prelude, and the words in it."""
    spans = {one.name.name: one.span.text for one in api.parse(PRELUDE).tree.declarations}  # type: ignore[union-attr]
    return {name: (text, frozenset(re.findall(r"\w+", text))) for name, text in spans.items()}


def needed(block: str, declared: set[str]) -> list[str]:
    """The declarations of the prelude that a block speaks of and does not have, with those that they speak of."""
    left = {name: one for name, one in prelude().items() if name not in declared}
    if "equality" in declared:  # the alignments of the prelude are of its own model
        left = {name: one for name, one in left.items() if name not in ("halves", "tau")}
    words, open = set(), set(re.findall(r"\w+", block))
    while open - words:
        words |= open
        open = {word for name in words & left.keys() for word in left[name][1]}
    return [text for name, (text, _) in left.items() if name in words]


def found(folder: Path, block: str) -> set[str]:
    """The codes that ``check`` reports of a block, with what it leaves out added."""
    own = api.parse(block)
    declared = {d.name.name for d in own.tree.declarations if not isinstance(d, tree.Import)}
    text = block + "\n" + "\n\n".join(needed(block, declared)) + "\n"
    if "via" in block:  # what is fitted must be of words that the tokenizer of `tau` tells apart
        text = text.replace("a, b, c, d ~ 0..3", 'a, b, c, d ~ {"circle", "square", "star", "heart"}')
    (folder / "page.causal").write_text(text, encoding="utf-8")
    try:
        checked = api.check(api.load(folder / "page.causal"))
    except SpecError as error:
        return {d.code for d in error.diagnostics}
    found = {d.code for d in checked.diagnostics}
    return found if "hexagon" in block else found - {"W520"}  # the tokenizer of the prelude's network knows no numbers


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the examples, with the files that they name."""
    folder = tmp_path_factory.mktemp("pages")
    errors = ROOT / "tests" / "program" / "errors"
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("bert", "maskless"):
        copytree(errors / "lib" / name, folder / name)
    (folder / "directions.safetensors").write_bytes((errors / "lib" / "directions.safetensors").read_bytes())
    return folder


@pytest.mark.thinned(always=50)
@pytest.mark.parametrize("code", CHECKED)
def test_the_examples_have_the_fault_and_the_mend(code: str, beside: Path) -> None:
    blocks = re.findall(r"^```causal\n(.*?)^```", PAGES[code], re.MULTILINE | re.DOTALL)
    faulty = found(beside, blocks[0])
    assert faulty == (set() if code in NOT_BY_CHECK else {code})
    if len(blocks) > 1:
        assert found(beside, blocks[1]) == set()


# ── faults as text ──────────────────────────────────────────────────────────────────────────────


def rendered(text: str, start: int, end: int, **more: object) -> list[str]:
    return Diagnostic("E999", "a fault", Span(Source("a.causal", text), start, end), **more).render().split("\n")  # type: ignore[arg-type]


def test_one_place() -> None:
    assert rendered("one\ntwo three\n", 8, 13, label="here", notes=("why",), help="write 3") == [
        "error[E999]: a fault",
        " --> a.causal:2:5",
        "  |",
        "2 | two three",
        "  |     ^^^^^ here",
        "  = note: why",
        "  = help: write 3",
    ]


def test_two_places_in_the_order_of_the_text() -> None:
    source = Source("a.causal", "\n" * 8 + "first\nsecond\n")
    first, second = Span(source, 8, 13), Span(source, 14, 20)
    assert Diagnostic("E999", "twice", second, others=((first, "before"),)).render().split("\n") == [
        "error[E999]: twice",
        "  --> a.causal:10:1",
        "   |",
        " 9 | first",
        "   | ----- before",
        "10 | second",
        "   | ^^^^^^",
    ]


def test_two_places_on_one_line() -> None:
    source = Source("a.causal", "left, right")
    lines = Diagnostic("E999", "both", Span(source, 6, 11), others=((Span(source, 0, 4), "this"),)).render().split("\n")
    assert lines[3:] == ["1 | left, right", "  | ---- this", "  |       ^^^^^"]


def test_a_place_in_another_file() -> None:
    other = Span(Source("b.causal", "domain X = 0..3\n"), 7, 8)
    lines = rendered("domain X = 1..2\n", 7, 8, others=((other, "declared here"),))
    assert lines[-1] == "  ::: b.causal:1:8 declared here"


def test_tabs_are_as_wide_below_as_above() -> None:
    lines = rendered("\tx\ty", 3, 4)
    assert lines[3] == "1 |     x    y"
    assert lines[4].index("^") == lines[3].index("y")


def test_the_end_of_the_file() -> None:
    assert rendered("one", 3, 3)[3:] == ["1 | one", "  |    ^"]
    assert [line.rstrip() for line in rendered("one\n", 4, 4)[1:]] == [" --> a.causal:2:1", "  |", "2 |", "  | ^"]


def test_a_place_over_several_lines_is_marked_on_its_first() -> None:
    assert rendered("ab cd\nef", 3, 8)[4] == "  |    ^^"


@pytest.mark.parametrize("start", [0, 500, 9_990])
def test_very_long_lines_are_cut_around_the_place(start: int) -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(10_000))
    lines = rendered(text, start, start + 5)
    assert max(map(len, lines)) < 200
    mark = lines[4].index("^")
    assert lines[3][mark : mark + 5] == text[start : start + 5]


def test_letters_of_all_scripts_and_none() -> None:
    lines = rendered('x = "héllo" + "мир"', 14, 19)
    assert lines[3] == '1 | x = "héllo" + "мир"'
    assert lines[4].index("^") == lines[3].index('"мир"')
    assert "\x1b" not in "".join(rendered("a \x1b[31m b", 0, 1)), "a spec cannot colour the terminal"


def test_a_fault_without_a_place_says_its_file() -> None:
    assert rendered("", 0, 0) == ["error[E999]: a fault", " --> a.causal"]


def test_json_has_places_as_numbers() -> None:
    said = Diagnostic("W999", "odd", Span(Source("a.causal", "one\ntwo"), 4, 7), notes=("n",), help="h").to_json()
    assert (said["line"], said["column"], said["end_line"], said["end_column"]) == (2, 1, 2, 4)
    assert (said["code"], said["path"], said["notes"], said["help"]) == ("W999", "a.causal", ["n"], "h")


def test_collected_faults_are_sorted_and_told_once() -> None:
    source = Source("a.causal", "one two")
    collected = Diagnostics()
    for start in (4, 0, 4):
        collected.report("E999", "a fault", Span(source, start, start + 3))
    collected.report("W999", "odd", Span(source, 0, 3))
    assert [d.span.start for d in collected] == [0, 0, 4]
    assert len(collected.errors) == 2
    assert render_all(collected).count("a fault") == 2
    with pytest.raises(SpecError):
        collected.raise_errors()


def test_what_was_meant() -> None:
    assert did_you_mean("lefd", ["left", "right"]) == "did you mean `left`?"
    assert did_you_mean("LEFT", ["left", "right"]) == "did you mean `left`?"
    assert did_you_mean("zzz", ["left", "right"]) == "there is `left`, `right`"
    assert did_you_mean("zzz", ["right", "left"]) == "there is `right`, `left`"
    assert did_you_mean("zzz", {"right", "left", "middle"}) == "there is `left`, `middle`, `right`"
    assert did_you_mean("zzz", [], "nothing") == "nothing"
    assert did_you_mean("zzz", [f"name{i}" for i in range(40)], "nothing") == "nothing"
