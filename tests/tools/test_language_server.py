"""The language server by a real client: what an editor asks, and what it is told."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.program.networks import NETWORKS
from causal_dsl.program.readouts import READOUTS
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.hints import DECLARATIONS
from causal_dsl.tools.lsp.keyword_pages import KEYWORDS
from causal_dsl.vocabulary.called_words import CALLED
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.measures import MEASURES
from tests.tools.editing import ROOT, SERVER, Checks, Editor, edit, offset, position

pytestmark = pytest.mark.tools

EQUALITY = (ROOT / "specs" / "equality.causal").read_text(encoding="utf-8")
MODEL = """\
# The sum.
causal parity {
  a, b ~ 0..1

  output odd := (a + b) mod 2 == 1
}
"""
USER = """\
from "model.causal" import parity

network net = zoo("logic-or-of-ands")

align places : parity -> net {
  a   @ input[0:1] via scalar()
  b   @ input[1:2] via scalar()
  odd @ logits
}

test solves on places {
  base ~ parity(n=4, seed=0)
  expect accuracy >= 10%
}
"""


def labels(found: types.CompletionList | None) -> list[str]:
    assert found is not None
    return [item.label for item in found.items]


async def completed(one: Editor, uri: str, before: str, written: str = "") -> list[str]:
    """What is offered behind a place at which something is being written; the text is as before then."""
    at = one.texts[uri].index(before) + len(before)
    one.replace(uri, at, at, written)
    place = types.TextDocumentIdentifier(uri), position(one.texts[uri], at + len(written))
    found = await one.client.text_document_completion_async(types.CompletionParams(*place))
    one.replace(uri, at, at + len(written), "")
    assert isinstance(found, types.CompletionList)
    return labels(found)


async def hovered(one: Editor, uri: str, word: str, inside: int = 0, nth: int = 0) -> str:
    found = await one.client.text_document_hover_async(types.HoverParams(**one.place(uri, word, inside, nth)))
    assert found is not None and isinstance(found.contents, types.MarkupContent), word
    return found.contents.value


def of_check(path: Path) -> list[tuple[str, str]]:
    """The codes and titles that the package gives without any server."""
    try:
        found = cd.check(path).diagnostics
    except SpecError as error:
        found = list(error.diagnostics)
    return sorted((one.code, one.title) for one in found if one.span.source.path.endswith(path.name))


def of_editor(found: list[types.Diagnostic]) -> list[tuple[str, str]]:
    return sorted((str(one.code), one.message.split("\n")[0]) for one in found)


# ── diagnostics ─────────────────────────────────────────────────────────────────────────────────


def test_what_check_says_is_told_and_faults_of_syntax_beside_it(tmp_path: Path) -> None:
    (tmp_path / "s.causal").write_text(EQUALITY, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "s.causal")
        assert await one.checked(uri) == []
        at = EQUALITY.index("report iia")
        one.replace(uri, at, at + len("report iia"), "report ia")
        (told,) = await one.checked(uri)
        assert (told.code, one.part(uri, told.range)) == ("E601", "ia") and "did you mean `iia`?" in told.message
        at = one.texts[uri].index("~ Shape")
        one.replace(uri, at, at + 1, "= ")
        codes = {found.code for found in await one.until(uri, lambda found: len(found) > 1)}
        assert "E107" in codes  # at once, and what was found of other declarations stays
        one.replace(uri, at, at + 2, "~")
        one.write(uri, "report ia\n", "report iia\n")
        assert await one.checked(uri) == []

    edit(tmp_path, work)


def readable(path: Path) -> bool:
    """Whether an editor can open it as UTF-8."""
    try:
        return bool(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        return False


GOLDEN = sorted((ROOT / "tests" / "program" / "errors").rglob("*.causal")) + sorted(
    (ROOT / "tests" / "syntax" / "errors").rglob("*.causal")
)


def test_faulty_specs_have_the_diagnostics_of_check(tmp_path: Path) -> None:
    """Those of the golden pairs, a part of them: as `check` has them, in the same places."""
    some = random.Random(0).sample([path for path in GOLDEN if readable(path)], 25)

    async def work(one: Editor) -> None:
        for path in some:
            uri = one.file(path)
            found = await one.checked(uri)
            expected = of_check(path)
            told = of_editor(found)
            assert set(expected) <= set(told), path
            if not any(code.startswith("E1") for code, _ in expected):
                assert told == expected, path

    edit(ROOT, work)


def test_a_fault_of_syntax_hides_no_other_and_makes_none(tmp_path: Path) -> None:
    """Every spec with a token left out has faults of syntax alone: what needs the faulty declaration is silent."""
    drawn = random.Random(1)
    specs = [path for path in sorted((ROOT / "specs").rglob("*.causal")) if "tracr" not in path.parts]

    async def work(one: Editor) -> None:
        for path in drawn.sample(specs, 8):
            uri = one.file(path)
            before = of_editor(await one.checked(uri))
            text = one.texts[uri]
            at = drawn.choice([i for i, letter in enumerate(text) if letter in "{}():=~@"])
            one.replace(uri, at, at + 1, "")
            found = of_editor(await one.checked(uri))
            assert [each for each in found if not each[0].startswith("E1") and each not in before] == [], (path, at)

    edit(ROOT, work)


def test_positions_are_code_units_of_utf_16(tmp_path: Path) -> None:
    text = '# 𝔘𝔫𝔦 🙂\ndomain Shape = {"🙂", "𝔘"}\ncausal m { a ~ Shape  output b := a == "🙂" and c }\n'

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "u.causal").as_uri(), text)
        (told,) = [each for each in await one.checked(uri) if each.code == "E305"]
        assert one.part(uri, told.range) == "c"
        one.write(uri, '"🙂", "𝔘"', '"🙂🙂", "𝔘"')  # an edit behind such characters lands where it should
        assert (await one.command("causal-dsl.text", uri))["text"] == one.texts[uri]
        assert "declared" not in await hovered(one, uri, "Shape", nth=1)

    edit(tmp_path, work)


@pytest.mark.parametrize(
    "units",
    [pytest.param("utf-8", marks=pytest.mark.nightly), pytest.param("utf-16", marks=pytest.mark.nightly), "utf-32"],
)
def test_a_client_may_count_otherwise(units: str, tmp_path: Path) -> None:
    text = 'domain A = {"🙂"}\ncausal m { a ~ {"🙂","𝔘"}  output b := c }\n'

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "u.causal").as_uri(), text)
        (told,) = [each for each in await one.checked(uri) if each.code == "E305"]
        line = text.split("\n")[1]
        before = line[: line.index("c }")]
        size = {"utf-8": len(before.encode()), "utf-16": len(before.encode("utf-16-le")) // 2, "utf-32": len(before)}
        assert told.range.start == types.Position(1, size[units])

    edit(tmp_path, work, units=units)


def test_texts_that_were_never_saved(tmp_path: Path) -> None:
    folder = tmp_path / "with spaces; and %20#1"
    folder.mkdir()
    (folder / "names.causal").write_text('domain Name = {"a", "b"}\n', encoding="utf-8")

    async def work(one: Editor) -> None:
        for number, uri in enumerate(
            ["untitled:Untitled-1", "inmemory://model/1", "vscode-vfs://github/a/b.causal", "file://[odd"]
        ):
            one.open(uri, 'from "names.causal" import Name\ncausal m {\n  a ~ Name\n\n  output b := a == c\n}\n')
            found = await one.until(uri, bool)
            assert [each.code for each in found] == ["E305"], uri
            assert "m" in [each.name for each in await outlined(one, uri)], uri
            assert await one.command("causal-dsl.run", uri, "") is None
            assert len(one.client.messages) == number + 1 and "save" in one.client.messages[-1].message, uri

    edit(folder, work)


async def outlined(one: Editor, uri: str) -> list[types.DocumentSymbol]:
    place = types.TextDocumentIdentifier(uri)
    found = await one.client.text_document_document_symbol_async(types.DocumentSymbolParams(place))
    return [each for each in found or [] if isinstance(each, types.DocumentSymbol)]


def test_a_file_in_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b;c#d%41 🙂"
    folder.mkdir()
    (folder / "model.causal").write_text(MODEL, encoding="utf-8")
    (folder / "user.causal").write_text(USER.replace("odd @", "even @"), encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(folder / "user.causal")
        assert "E201" in [each.code for each in await one.checked(uri)]
        found = await one.client.text_document_definition_async(types.DefinitionParams(**one.place(uri, "parity ->")))
        assert [each.uri for each in found] == [(folder / "model.causal").as_uri()]

    edit(folder, work)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    """Opening a text reads it: neither the functions that it imports nor its networks are run."""
    mark = tmp_path / "ran"
    (tmp_path / "code.py").write_text(
        f"open({str(mark)!r}, 'w')\ndef plural(x):\n    return x\ndef make():\n    pass\n"
    )
    text = (
        'from "code.py" import plural\ncausal m {\n  a ~ {"x", "y"}\n\n  output b : {"x", "y"} := plural(a)\n}\n'
        'network n = torch("code.py:make")\nalign t : m -> n {\n  prompt "{a}"\n\n  b @ next_token\n}\n'
        "test q on t {\n  base ~ m(n=2, seed=0)\n  expect accuracy >= 0%\n}\n"
    )

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), text)
        await one.checked(uri)
        await hovered(one, uri, "plural(")
        await hovered(one, uri, "q on")
        found = await one.client.text_document_definition_async(types.DefinitionParams(**one.place(uri, "plural(")))
        assert [each.uri for each in found] == [(tmp_path / "code.py").as_uri()] and found[0].range.start.line == 1
        await completed(one, uri, "plural(", "a, ")
        assert not mark.exists()

    edit(tmp_path, work)


def test_what_is_not_saved_is_what_others_import(tmp_path: Path) -> None:
    (tmp_path / "model.causal").write_text(MODEL, encoding="utf-8")
    (tmp_path / "user.causal").write_text(USER, encoding="utf-8")

    async def work(one: Editor) -> None:
        user, model = one.file(tmp_path / "user.causal"), one.file(tmp_path / "model.causal")
        before = of_editor(await one.checked(user))
        one.write(model, "output odd", "output even")
        await one.until(user, lambda found: any(each.code == "E201" for each in found))
        one.write(model, "output even", "output odd")
        await one.until(user, lambda found: of_editor(found) == before)

    edit(tmp_path, work)


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def test_definitions_and_references_go_across_files(tmp_path: Path) -> None:
    (tmp_path / "model.causal").write_text(MODEL, encoding="utf-8")
    (tmp_path / "user.causal").write_text(USER, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "user.causal")
        model = (tmp_path / "model.causal").as_uri()
        for word in ("parity(n", "parity ->", "parity\n"):
            found = await one.client.text_document_definition_async(types.DefinitionParams(**one.place(uri, word)))
            assert [(each.uri, each.range.start.line) for each in found] == [(model, 1)]
        found = await one.client.text_document_definition_async(types.DefinitionParams(**one.place(uri, "odd @")))
        assert [(each.uri, each.range.start) for each in found] == [(model, types.Position(4, 9))]
        found = await one.client.text_document_definition_async(types.DefinitionParams(**one.place(uri, "model.ca")))
        assert [each.uri for each in found] == [model]
        asked = types.ReferenceParams(types.ReferenceContext(True), **one.place(uri, "odd @"))
        places = await one.client.text_document_references_async(asked)
        assert sorted(each.uri for each in places or []) == sorted([model, uri])
        marks = await one.client.text_document_document_highlight_async(
            types.DocumentHighlightParams(**one.place(uri, "places :"))
        )
        assert [one.part(uri, each.range) for each in marks or []] == ["places"] * 2

    edit(tmp_path, work)


async def renamed(one: Editor, uri: str, word: str, new: str, nth: int = 0) -> dict[str, str]:
    """The texts after a rename, by their addresses."""
    edits = await one.client.text_document_rename_async(
        types.RenameParams(new_name=new, **one.place(uri, word, nth=nth))
    )
    assert edits is not None and edits.document_changes is not None
    texts = {}
    for change in edits.document_changes:
        assert isinstance(change, types.TextDocumentEdit)
        address = change.text_document.uri
        text = one.texts.get(address) or Path(address.removeprefix("file://")).read_text(encoding="utf-8")
        for part in sorted(change.edits, key=lambda each: each.range.start, reverse=True):
            assert isinstance(part, types.TextEdit)
            text = text[: offset(text, part.range.start)] + part.new_text + text[offset(text, part.range.end) :]
        texts[address] = text
    return texts


def test_a_name_is_another_in_every_file(tmp_path: Path) -> None:
    (tmp_path / "model.causal").write_text(MODEL, encoding="utf-8")
    (tmp_path / "user.causal").write_text(USER, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri, model = one.file(tmp_path / "user.causal"), (tmp_path / "model.causal").as_uri()
        await one.checked(uri)
        assert await renamed(one, uri, "parity(n", "xor") == {
            uri: USER.replace("parity", "xor"),
            model: MODEL.replace("parity", "xor"),
        }
        assert await renamed(one, uri, "odd @", "answer") == {
            uri: USER.replace("odd @", "answer @"),
            model: MODEL.replace("output odd", "output answer"),
        }
        for word, new, why in [
            ("odd @", "a", "already a variable"),
            ("odd @", "test", "keyword"),
            ("odd @", "1st", "not a name"),
            ("parity(n", "net", "already has a network"),
            ("places :", "solves", "already has a test"),
            ("accuracy", "iia", "word of the language"),
        ]:
            with pytest.raises(JsonRpcException, match=why):
                await renamed(one, uri, word, new)

    edit(tmp_path, work)


def test_a_placeholder_is_renamed_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "s.causal").write_text(EQUALITY, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "s.causal")
        await one.checked(uri)
        (text,) = (await renamed(one, uri, "a, b, c, d ~", "one")).values()
        told = one.client.messages[-1].message  # names decide what is drawn
        assert "where `a` is drawn, other inputs are drawn for `one`" in told
        assert 'prompt "{one} {b} {c} {d} ="' in text and "left  := one == b" in text and "p in [one, b" in text
        one.open((tmp_path / "t.causal").as_uri(), text)
        assert await one.checked((tmp_path / "t.causal").as_uri()) == []

    edit(tmp_path, work)


# ── words ───────────────────────────────────────────────────────────────────────────────────────


def test_hovers(tmp_path: Path) -> None:
    (tmp_path / "s.causal").write_text(EQUALITY, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "s.causal")
        await one.checked(uri)
        assert MEASURES["iia"].says in await hovered(one, uri, "iia", nth=EQUALITY.count("iia") - 1)
        site = await hovered(one, uri, "resid_post")
        assert COMPONENTS["resid_post"].meaning in site and "[tokens, 64]" in site and "3 layers" in site
        test = await hovered(one, uri, "where_is_left")
        assert "noop 0.500" in test and "to run it: " in test and "GFLOP" in test and "15 cells" in test
        assert "left  := a == b" in await hovered(one, uri, "left  @")
        assert "at least 1" in await hovered(one, uri, "n=256")
        assert "layers 3" in await hovered(one, uri, "net =")
        for word in ("expect", "do(", "via" if "via" in EQUALITY else "prompt", "align"):
            for inside in range(len(word.rstrip("(")) + 1):
                assert KEYWORDS[word.rstrip("(")][0] in await hovered(one, uri, word, inside)
        for inside in (5, 9, 18):
            zoo = await hovered(one, uri, 'zoo("equality-gpt2")', inside)
            assert catalogue()["equality-gpt2"].task in zoo and "accuracy" in zoo
        for word, meaning in ((name, CALLED[name].says) for name in READOUTS):
            if word in EQUALITY:
                assert meaning in await hovered(one, uri, word)

    edit(tmp_path, work)


def test_completion(tmp_path: Path) -> None:
    (tmp_path / "s.causal").write_text(EQUALITY, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "s.causal")
        await one.checked(uri)
        assert {"causal", "align", "test", "network"} <= set(await completed(one, uri, "left == right\n}\n\n", "a"))
        inside = await completed(one, uri, "left  @ layer[l].", "")
        language = {name for name, c in COMPONENTS.items() if c.layer and "language" in c.kinds}
        assert {"resid_post", "mlp_out", "head"} <= set(inside) <= language | {"head", "expert", "out"}
        assert "router" not in inside  # this network has no experts
        assert {"a", "b", "c", "d", "last", "first", "all", "l", "p"} <= set(
            await completed(one, uri, "left  @ layer[l].resid_post[", "")
        )
        via = await completed(one, uri, "left  @ layer[l].resid_post[p]", " via ")
        assert set(FEATURES) <= set(via)
        settings = await completed(one, uri, "left  @ layer[l].resid_post[p]", " via rotation(")
        assert set(FEATURES["rotation"].settings) <= set(settings) and "epochs" in settings
        assert {"n", "seed", "balance", "split"} <= set(await completed(one, uri, "base, source ~ equality(", ""))
        assert await completed(one, uri, "base, source ~ equality(", "split=") == ["fit", "validation", "test"]
        assert {"left", "right", "same", "a"} <= set(await completed(one, uri, "do(", ""))
        assert await completed(one, uri, "do(left <- ", "") == ["base", "source"]
        assert set(MEASURES) <= set(await completed(one, uri, "report ", ""))
        assert "equality-gpt2" in await completed(one, uri, 'zoo("', "")
        assert set(await completed(one, uri, "balance=[base.", "")) == {"a", "b", "c", "d", "left", "right", "same"}
        assert await completed(one, uri, "test where_is_left on ", "") == ["halves", "both"]
        assert await completed(one, uri, "left_is_at_the_second_word on halves(", "") == ["l", "p"]
        assert await completed(one, uri, "on halves(l=0, p=", "") == ["a", "b", "c", "d", "last"]
        assert (await completed(one, uri, "report iia", "\n  expect kl <= 0.1 "))[:2] == ["nats", "bits"]
        percent = await completed(one, uri, "report iia", "\n  expect max(iia) >= 95")
        assert percent[0] == "%" and "nats" not in percent
        assert await completed(one, uri, 'zoo("equality-gpt2"', ", dtype=") == list(NETWORKS["zoo"]["dtype"].choices)
        trained = 'zoo("equality-gpt2")\n\nnetwork other = train(net, '
        assert await completed(
            one, uri, 'network net = zoo("equality-gpt2")', f"\nnetwork more = {trained.split(' = ')[1]}steps="
        ) == ["2000"]

    edit(tmp_path, work)


#: Declarations without a block, and beginnings of such that are not whole.
WHOLE = [
    'from "model.causal" import parity',
    "domain D = {1, 2}",
    'table T = csv("t.csv", key=a)',
    'network n = zoo("equality-gpt2")',
    "metric x = logit(answer) - 2",
    "metric x = iia >= 95%",
    "circuit c : net = a - b",
]
OPEN = [
    "metric x =",
    "metric x = logit(answer) -",
    "domain D = {1,",
    "network n",
    "circuit c : net",
    'from "m.causal" import',
]


def test_a_declaration_begins_on_the_line_below_one_that_is_whole(tmp_path: Path) -> None:
    declarations = {text for text, kind in load_grammar().keywords.items() if kind in DECLARATIONS}

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), "# nothing yet\n")
        for begun in WHOLE:
            for written in (f"{begun}\n", f"{begun}\n\n", f"{begun}  # why\n", f"{begun}\nte"):
                assert set(await completed(one, uri, "yet\n", written)) == declarations, written
            assert not declarations & set(await completed(one, uri, "yet\n", f"{begun} ")), begun
        for begun in OPEN:
            assert not declarations & set(await completed(one, uri, "yet\n", f"{begun}\n")), begun
        assert {"logit", "iia"} <= set(await completed(one, uri, "yet\n", "metric x =\n"))

    edit(tmp_path, work)


def test_the_numbers_of_layers_and_heads_are_offered(tmp_path: Path) -> None:
    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), EQUALITY)
        await one.checked(uri)
        header = "align halves("
        assert header + "l in 0:3" in EQUALITY
        assert await completed(one, uri, header, "h ") == ["in"]
        assert (await completed(one, uri, header, "h in "))[:2] == ["0:layers", "0:heads"]
        assert {"layers", "heads"} == set(await completed(one, uri, header, "h in 0:"))
        listed = await completed(one, uri, header, "h in [")
        assert {"layers", "heads", "a", "last", "resid_post"} <= set(listed) and "router" not in listed
        assert "layers" in await completed(one, uri, "left  @ ", "layer[")
        assert "heads" in await completed(one, uri, "left  @ ", "layer[l].head[")
        one.replace(uri, EQUALITY.index("0:3"), EQUALITY.index("0:3") + 3, "0:layers")
        assert await one.checked(uri) == []
        assert "the number of layers of the network: 3 in `net`" in await hovered(one, uri, "layers")

    edit(tmp_path, work)


#: Ways in which a client leaves: what it sends at once, and whether it closes standard input or reads no more.
ENDINGS = [
    (("hover", "shutdown", "exit"), "", 0),
    (("hover", "exit"), "", 1),
    (("hover",), "stdin", 0),
    (("hover",), "stdout", 0),
]


@pytest.mark.slow
def test_a_client_that_leaves_gets_no_traceback(tmp_path: Path) -> None:
    """While a text is checked and a request is in hand; `shutdown` is answered even where `exit` follows at once."""
    uri = (tmp_path / "s.causal").as_uri()
    at = {"textDocument": {"uri": uri}, "position": {"line": 20, "character": 8}}
    document = {"uri": uri, "languageId": "causal", "version": 1, "text": EQUALITY.replace("n=256", "n=40000")}
    requests = {
        "hover": {"id": 7, "method": "textDocument/hover", "params": at},
        "shutdown": {"id": 9, "method": "shutdown"},
        "exit": {"method": "exit"},
    }

    def packed(**message: Any) -> bytes:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        return b"Content-Length: %d\r\n\r\n" % len(body) + body

    checks = Checks(tmp_path)
    environment = {**os.environ, **checks.environment}
    for number, (sent, closed, code) in enumerate(ENDINGS, 1):
        pipe = subprocess.PIPE
        with subprocess.Popen(SERVER, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=environment) as server:
            assert server.stdin is not None and server.stdout is not None and server.stderr is not None
            server.stdin.write(packed(id=1, method="initialize", params={"processId": None, "capabilities": {}}))
            server.stdin.write(packed(method="textDocument/didOpen", params={"textDocument": document}))
            server.stdin.flush()
            assert b"capabilities" in server.stdout.readline() + server.stdout.read1()
            asyncio.run(checks.begun(number))
            for one in sent:
                server.stdin.write(packed(**requests[one]))
            server.stdin.flush()
            if closed == "stdout":
                server.stdout.close()
            if closed:
                server.stdin.close()
            assert server.wait(30) == code, sent
            assert server.stderr.read() == b"", sent
            if "shutdown" in sent:
                assert b'"id": 9' in server.stdout.read()


def test_networks_of_this_machine_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("models--gpt2", "models--EleutherAI--pythia-70m", "datasets--x"):
        (tmp_path / "hub" / name).mkdir(parents=True)
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "s.causal").write_text(EQUALITY, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "s.causal")
        offered = await completed(one, uri, "network net = ", 'hf("')
        assert offered[:2] == ["EleutherAI/pythia-70m", "gpt2"] and "checkpoint/" in offered
        assert "datasets/x" not in offered

    edit(tmp_path, work)


def test_every_keyword_has_its_hover() -> None:
    assert set(KEYWORDS) == set(load_grammar().keywords)
    assert all(CALLED[name].says for name in READOUTS)


def test_a_command_with_other_arguments_is_a_clean_error(tmp_path: Path) -> None:
    (tmp_path / "s.causal").write_text(EQUALITY, encoding="utf-8")

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "s.causal")
        for given in ((), (1,), (uri, "t", "more"), (None, None), ({"uri": uri},), ([uri],)):
            for name in ("causal-dsl.run", "causal-dsl.result", "causal-dsl.checked"):
                if name == "causal-dsl.checked" and given == (uri,):
                    continue
                with pytest.raises(JsonRpcException) as told:
                    await one.command(name, *given)
                assert told.value.code == -32602 and f"`{name}` takes `uri`" in told.value.message
                assert told.value.data is None
        assert await one.command("causal-dsl.checked", uri) in (True, False)

    edit(tmp_path, work)


def on_wire(message: dict[str, object]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def test_malformed_requests_are_answered_with_their_ids(tmp_path: Path) -> None:
    """No client that has types can send these, so bytes are sent."""
    uri = (tmp_path / "s.causal").as_uri()
    place = {"textDocument": {"uri": uri}}
    start = {"processId": None, "rootUri": None, "capabilities": {}}
    malformed: list[tuple[str, object]] = [
        ("textDocument/hover", {**place, "position": {"line": -1, "character": -1}}),
        ("textDocument/hover", {}),
        ("textDocument/hover", None),
        ("textDocument/hover", 5),
        ("textDocument/hover", [1]),
        ("textDocument/completion", {"textDocument": {"uri": 42}, "position": "x"}),
        ("textDocument/rename", {**place, "position": {"line": 0, "character": 0}}),
        ("textDocument/rename", {**place, "position": {"line": 2**40, "character": 0}, "newName": "x"}),
        ("textDocument/formatting", {**place, "options": 3}),
        ("workspace/executeCommand", {}),
    ]
    sent: list[dict[str, object]] = [
        {"id": 0, "method": "initialize", "params": start},
        {"method": "initialized", "params": {}},
    ]
    sent += [{"id": id, "method": name, "params": given} for id, (name, given) in enumerate(malformed, 1)]
    sent += [
        {"id": 900, "method": "workspace/executeCommand", "params": {"command": "causal-dsl.run", "arguments": [1]}}
    ]
    sent += [{"method": "textDocument/didOpen", "params": {}}, {"method": "textDocument/didChange", "params": None}]
    bodies = [json.dumps({"jsonrpc": "2.0", **one}).encode() for one in sent]
    bodies += [b"{{{{{", b"5", b"[]", b"\xff", b'[{"jsonrpc": "2.0", "id": 555, "method": "shutdown"}]', b'{"id": 901}']
    words = [sys.executable, "-m", "causal_dsl.tools.cli", "lsp"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=tmp_path, **pipes) as server:
        for body in bodies:
            server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        server.stdin.write(on_wire({"id": 999, "method": "shutdown"}))
        server.stdin.flush()
        answers: list[dict[str, Any]] = []
        while not answers or answers[-1].get("id") != 999:
            header = server.stdout.readline()
            assert header, server.stderr.read().decode()
            if header.startswith(b"Content-Length:"):
                length = int(header.split(b":")[1])
            elif not header.strip():
                answers.append(json.loads(server.stdout.read(length)))
        _, told = server.communicate(on_wire({"method": "exit"}), timeout=60)
    by_id = {one["id"]: one for one in answers if "id" in one}
    for id, (name, given) in enumerate(malformed, 1):
        error = by_id[id]["error"]
        assert error["code"] == -32602 and error["message"].startswith(f"`{name}` is malformed: "), (name, given, error)
    assert by_id[1]["error"]["message"].count("position") and by_id[900]["error"]["code"] == -32602
    assert by_id[901]["error"]["code"] == -32600 and "result" in by_id[999] and 555 not in by_id
    assert server.returncode == 0 and b"Traceback" not in told, told.decode()
    assert b"`textDocument/didOpen` is malformed" in told and b"a message is no JSON" in told


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for command in ("lsp", "mcp", "check"):
        words = [sys.executable, "-m", "causal_dsl.tools.cli", command, *(["."] if command == "check" else [])]
        found = subprocess.run([*words, "--allow", "nosuch"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert found.returncode == 2 and "there is no folder 'nosuch'" in found.stderr, command


# ── whole texts ─────────────────────────────────────────────────────────────────────────────────


def test_layout_outline_folds_and_colours(tmp_path: Path) -> None:
    messy = EQUALITY.replace("  left  := a == b", "left:=a==b").replace("\n", "\r\n")

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), messy)
        place = types.TextDocumentIdentifier(uri)
        edits = await one.client.text_document_formatting_async(
            types.DocumentFormattingParams(place, types.FormattingOptions(2, True))
        )
        text = messy
        for part in sorted(edits or [], key=lambda each: each.range.start, reverse=True):
            text = text[: offset(text, part.range.start)] + part.new_text + text[offset(text, part.range.end) :]
        assert text == EQUALITY.replace("\n", "\r\n") and len(edits or []) == 1
        outline = await outlined(one, uri)
        assert [each.name for each in outline][:4] == ["Shape", "equality", "net", "halves"]
        assert [each.name for each in outline[1].children or []] == ["a", "b", "c", "d", "left", "right", "same"]
        folds = await one.client.text_document_folding_range_async(types.FoldingRangeParams(place))
        assert len(folds or []) >= 4
        colours = await one.client.text_document_semantic_tokens_full_async(types.SemanticTokensParams(place))
        assert colours is not None and len(colours.data) % 5 == 0 and len(colours.data) > 100
        symbols = await one.client.workspace_symbol_async(types.WorkspaceSymbolParams("whleft"))
        assert [each.name for each in symbols or []] == ["where_is_left"]

    edit(tmp_path, work)


#: A part of the spec, a fault in its place, and the part after the help of the fault was applied: None where nothing is to be applied.
HELPS = [
    ("report iia", "report ia", "report iia"),
    ("a == b", "a === b", "a == b"),
    ("a == b", "a == b;", "a == b"),
    ("left  := a", "left  = a", "left  := a"),
    (", p in [a, b, c, d, last]", ", p in [a, b, c, d, last]", None),
    ("resid_post[p]", "resid_pos[p]", "resid_post[p]"),
    ("resid_post[p]", "resid_post", "resid_post[last]"),
    ('"equality-gpt2"', '"equality-gpt"', '"equality-gpt2"'),
    ('"equality-gpt2"', "'equality-gpt2'", '"equality-gpt2"'),
    ("halves {\n  base", "halve {\n  base", "halves {\n  base"),
    ("report iia", "report iia // more", "report iia # more"),
    ("report iia", "/* more\n   * of it */\n  report iia", "# more\n# of it\n  report iia"),
    ("report iia", "expect max(kl) <= 0.5", "expect max(kl) <= 0.5 nats"),
    ("report iia", "expect max(kl) <= 0.5", "expect max(kl) <= 0.5 bits"),
    ("report iia", "expect max(iia) >= 95", "expect max(iia) >= 95%"),
]


def test_the_help_of_a_diagnostic_is_applied(tmp_path: Path) -> None:
    async def applied(one: Editor, number: int, before: str, after: str, fixed: str | None) -> None:
        at = EQUALITY.index(before)
        text = EQUALITY[:at] + after + EQUALITY[at + len(before) :]
        uri = one.open((tmp_path / f"s{number}.causal").as_uri(), text)
        found = await one.checked(uri)
        every = types.Range(types.Position(0, 0), position(text, len(text)))
        asked = types.CodeActionParams(types.TextDocumentIdentifier(uri), every, types.CodeActionContext(found))
        actions = await one.client.text_document_code_action_async(asked)
        if fixed is None:
            assert not actions, after
            return
        assert actions, (after, found)
        texts = []
        for action in actions:
            assert isinstance(action, types.CodeAction) and action.edit is not None
            (change,) = action.edit.document_changes or ()
            assert isinstance(change, types.TextDocumentEdit)
            (part,) = change.edits
            assert isinstance(part, types.TextEdit)
            texts.append(text[: offset(text, part.range.start)] + part.new_text + text[offset(text, part.range.end) :])
        assert EQUALITY[:at] + fixed + EQUALITY[at + len(before) :] in texts, after

    async def work(one: Editor) -> None:
        for number, case in enumerate(HELPS):
            await applied(one, number, *case)

    edit(tmp_path, work)


# ── runs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_lens_runs_a_test_and_shows_what_it_said(tmp_path: Path) -> None:
    for name in ("train.causal", "equality.causal"):
        (tmp_path / name).write_text((ROOT / "specs" / name).read_text(encoding="utf-8"), encoding="utf-8")

    async def titles(one: Editor, uri: str) -> list[str]:
        found = await one.client.text_document_code_lens_async(types.CodeLensParams(types.TextDocumentIdentifier(uri)))
        return [each.command.title for each in found or [] if each.command is not None]

    async def work(one: Editor) -> None:
        uri = one.file(tmp_path / "equality.causal")
        await one.checked(uri)
        before = await titles(one, uri)
        assert before.count("▶ run") == EQUALITY.count("\ntest ")
        said = await one.command("causal-dsl.run", uri, "where_is_left")
        assert said["verdict"] == "mixed" and said["said"].startswith("Of 15 cells, supported in 1")
        reports = next(iter(one.client.progress_reports.values()))
        assert isinstance(reports[0], types.WorkDoneProgressBegin) and len(reports) > 2
        after = await titles(one, uri)
        assert [title for title in after if title not in before] == ["✓ mixed (just now)"]
        one.replace(uri, len(EQUALITY), len(EQUALITY), "\ndomain Other = 0..1\n")
        await one.checked(uri)
        assert "✓ mixed (just now, before the spec was changed)" in await titles(one, uri)
        assert await one.command("causal-dsl.run", uri, "where_is_left") is None  # it was not saved
        assert "save it first" in one.client.messages[-1].message

    edit(tmp_path, work, seconds=300)


# ── many edits ──────────────────────────────────────────────────────────────────────────────────

LETTERS = list("abcxyz  \n\n\t{}()[]@~:=<->.,\"'#0189") + [
    "\r\n",
    "\r",
    "🙂",
    "𝔘",
    "\u2028",
    "\x0c",
    "é",
    "layer[",
    "iia",
    "via ",
]


async def scribble(one: Editor, uri: str, seed: int, edits: int) -> None:
    """Random edits of a text; after each some the server has it as the client does, and answers what it is asked."""
    drawn = random.Random(seed)
    place = types.TextDocumentIdentifier(uri)
    for number in range(edits):
        text = one.texts[uri]
        start = drawn.randrange(len(text) + 1)
        end = min(len(text), start + drawn.choice([0, 0, 0, 1, 2, 5, 40]))
        while start < len(text) and text[start - 1 : start + 1] == "\r\n":
            start += 1  # within an end of line there is no position
        while start < end < len(text) and text[end - 1 : end + 1] == "\r\n":
            end += 1
        new = "".join(drawn.choices(LETTERS, k=drawn.choice([0, 1, 1, 2, 8])))
        if len(text) > 6000:
            start, end, new = 0, len(text), EQUALITY
        one.replace_anywhere(uri, start, max(start, end), new)
        if number % 10 == 0:
            at = one.position(uri, drawn.randrange(len(one.texts[uri]) + 1))
            client = one.client
            ask, asked = drawn.choice(
                [
                    (client.text_document_hover_async, types.HoverParams(place, at)),
                    (client.text_document_completion_async, types.CompletionParams(place, at)),
                    (client.text_document_definition_async, types.DefinitionParams(place, at)),
                    (client.text_document_document_symbol_async, types.DocumentSymbolParams(place)),
                    (client.text_document_semantic_tokens_full_async, types.SemanticTokensParams(place)),
                    (client.text_document_folding_range_async, types.FoldingRangeParams(place)),
                    (client.text_document_code_lens_async, types.CodeLensParams(place)),
                    (
                        client.text_document_code_action_async,
                        types.CodeActionParams(place, types.Range(at, at), types.CodeActionContext([])),
                    ),
                ]
            )
            await ask(asked)
        if number % 25 == 0 or number == edits - 1:
            assert (await one.command("causal-dsl.text", uri))["text"] == one.texts[uri], number


@pytest.mark.parametrize(
    "edits",
    [400, pytest.param(10_000, marks=pytest.mark.nightly)],
)
def test_random_edits(edits: int, tmp_path: Path) -> None:
    """Nothing fails, the texts are equal, and at the end the diagnostics are those of `check`."""

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), EQUALITY)
        await scribble(one, uri, edits, edits)
        assert not [each for each in one.client.messages if each.type == types.MessageType.Error]
        one.replace_anywhere(uri, 0, len(one.texts[uri]), EQUALITY)
        assert await one.checked(uri) == []

    edit(tmp_path, work, seconds=1200)


def test_the_check_of_an_older_text_is_given_up(tmp_path: Path) -> None:
    """Typing is answered while a long check goes on, and the last text is the one that is told of."""
    slow, checks = EQUALITY.replace("n=256", "n=40000"), Checks(tmp_path)

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), slow)
        for number in range(1, 6):
            await checks.begun(number)  # it goes on for seconds
            one.replace(uri, 0, 0, "#\n")
            await outlined(one, uri)
        one.write(uri, "domain Shape", "domain Shap")
        found = await one.until(uri, lambda found: any(each.code == "E313" for each in found))
        assert found

    edit(tmp_path, work, environment=checks.environment)


def test_without_its_packages_the_command_says_which_to_install(tmp_path: Path) -> None:
    script = "import sys\nsys.modules['pygls'] = None\nfrom causal_dsl.tools.cli import main\nsys.exit(main(['lsp']))\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2 and "error[E881]" in done.stderr and "pip install 'causal-dsl[lsp]'" in done.stderr


def test_a_checking_process_that_ends_is_told_and_started_again(tmp_path: Path) -> None:
    """As where the machine has no memory left: its process is killed."""
    import psutil

    checks = Checks(tmp_path)

    async def work(one: Editor) -> None:
        uri = one.open((tmp_path / "s.causal").as_uri(), EQUALITY.replace("n=256", "n=40000"))
        await checks.begun(1)
        server = one.client._server
        assert server is not None
        (checker,) = psutil.Process(server.pid).children()
        checker.kill()
        found = await one.until(uri, lambda found: any(each.code == "E880" for each in found))
        assert found
        one.replace_anywhere(uri, 0, len(one.texts[uri]), EQUALITY)
        assert await one.checked(uri) == []

    edit(tmp_path, work, environment=checks.environment)
