"""Marks of the beginning, twice or missing; prompts that end in an opening quote; answers that may go on. No network is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from causal_dsl import api
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.tools.cli import main

NAMED = ["Ann", "Bob", "Cy", "Di", "Ed", "Flo"]
WORDS = ["<unk>", "<s>", "</s>", "<|turn|>", *NAMED, "saw", "and", "was", '"', "(", "said", ":", "it"]
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "vocab_size": len(WORDS),
    "intermediate_size": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write(folder: Path, adds: bool, config: dict[str, object] | None, more: dict[str, object] | None = None) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>", "</s>", "<|turn|>"])
    if adds:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(more or {})}))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


def said(folder: Path, prompt: str, read: str = "next_token", via: str = "") -> list[Diagnostic]:
    (folder / "spec.causal").write_text(f"""
causal who {{
  a, b ~ {{{", ".join(f'"{name}"' for name in NAMED)}}}
  output answer := a
}}
network net = hf(".")
align at : who -> net {{
  prompt "{prompt}"
  a      @ layer[1].resid_post[a]{via}
  answer @ {read}
}}
test swap on at {{
  base, source ~ who(n=4, seed=0)
  do(a <- source)
  report iia
}}
""")
    found = api.check(api.load(folder / "spec.causal")).diagnostics
    return [
        d for d in found if d.code not in ("W628", "W335")
    ]  # of the design and the model: not what these tests are about


NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
#: Whether the tokenizer adds the mark, what its config says, the prompt, the code.
BEGINNINGS = {
    "added": (True, NAMES, "{a} saw {b} and", ""),
    "added and written": (True, NAMES, "<s> {a} saw {b} and", "W515"),
    "added and written, nothing said": (True, None, "<s>{a} saw {b} and", "W515"),
    "written twice": (False, NAMES, "<s> <s> {a} saw {b} and", "W515"),
    "written once": (False, NAMES, "<s> {a} saw {b} and", ""),
    "written within": (True, NAMES, "{a} saw <s> {b} and", ""),
    "missing": (False, NAMES, "{a} saw {b} and", "W516"),
    "missing, named as an object": (False, {**NAMES, "bos_token": {"content": "<s>"}}, "{a} saw {b} and", "W516"),
    "missing, by config.json": (False, None, "{a} saw {b} and", "W516"),
    "missing, and said to be added": (False, {**NAMES, "add_bos_token": True}, "{a} saw {b} and", "W516"),
    "said to be left out": (False, {**NAMES, "add_bos_token": False}, "{a} saw {b} and", ""),
    "one token for both ends": (False, {"bos_token": "<s>", "eos_token": "<s>"}, "{a} saw {b} and", ""),
    "no mark": (False, {"bos_token": None, "eos_token": "</s>"}, "{a} saw {b} and", ""),
    "a mark that is not a token": (False, {"bos_token": "<none>", "eos_token": "</s>"}, "{a} saw {b} and", ""),
    "the mark of every turn": (
        False,
        {
            "bos_token": "<|turn|>",
            "eos_token": "</s>",
            "chat_template": "{% for m in messages %}<|turn|>{{ m }}{% endfor %}",
        },
        "{a} saw {b} and",
        "",
    ),
    "a chat template that begins with it": (
        False,
        {**NAMES, "chat_template": "{{ bos_token }}{% for m in messages %}{{ m }}{% endfor %}"},
        "{a} saw {b} and",
        "W516",
    ),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_mark_of_the_beginning(name: str, tmp_path: Path) -> None:
    adds, config, prompt, code = BEGINNINGS[name]
    write(tmp_path, adds, config)
    found = said(tmp_path, prompt)
    assert [d.code for d in found] == ([code] if code else [])
    for told in found:
        assert told.span.text == f'"{prompt}"' or told.span.text.endswith(f'"{prompt}"')
        assert "<s>" in told.help and "the network reads" in told.notes[0]


@pytest.mark.parametrize("drawn", [True, False])
def test_the_example_is_a_prompt_that_the_test_draws(
    drawn: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, False, NAMES)
    said(tmp_path, "{a} saw {b} and")
    spec = tmp_path / "spec.causal"
    text = spec.read_text().replace("\n  output", "\n    where a != b\n  output")
    if not drawn:
        text = text.replace('{b} and"', '{b} and" where a != "Ann"\n  prompt "{b} and {a} saw" where a == "Ann"')
        text = text.replace("seed=0)", 'seed=0) where base.a != "Ann" and source.a != "Ann"')
    spec.write_text(text)
    assert main(["check", "--json", str(spec)]) == 0
    found = json.loads(capsys.readouterr().out)["specs"][0]["diagnostics"]
    notes = ["".join(one["notes"]) for one in found if one["code"] == "W516"]
    examples = [re.findall(r"the network reads \[(\w+)\] \[saw\] \[(\w+)\] \[and\]", note) for note in notes]
    (first,) = examples[0]
    assert first[0] != first[1] and set(first) <= set(NAMED)
    assert len(notes) == 1 and (drawn or first[0] != "Ann")


@pytest.mark.parametrize("adds", [False, True])
def test_what_the_help_says_mends_it(adds: bool, tmp_path: Path) -> None:
    write(tmp_path, adds, NAMES)
    wrong, right = ("<s>{a} saw", "{a} saw") if adds else ("{a} saw", "<s>{a} saw")
    assert len(said(tmp_path, wrong)) == 1
    assert said(tmp_path, right) == []


def test_a_template_beside_the_config_is_read(tmp_path: Path) -> None:
    write(tmp_path, False, {"bos_token": "<|turn|>", "eos_token": "</s>"})
    assert [d.code for d in said(tmp_path, "{a} saw")] == ["W516"]
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}<|turn|>{{ m }}{% endfor %}")
    assert said(tmp_path, "{a} saw") == []


@pytest.mark.parametrize("begins", [True, False, None])
def test_an_autoencoder_made_with_the_mark(begins: bool | None, tmp_path: Path) -> None:
    write(tmp_path, False, {"bos_token": None})
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps({"metadata": {"prepend_bos": begins}}))
    via = ' via sae("sae", latents=[0, 1], controls=none)'
    found = said(tmp_path, "{a} saw", via=via)
    assert [d.code for d in found] == (["W516"] if begins else [])
    assert said(tmp_path, "<s> {a} saw", via=via) == []
    assert not found or "sae(" in found[0].span.text


#: The end of a prompt, and whether the default read-out, with its space, is warned of.
ENDINGS = [
    ('{a} and {b} . it was \\"', True),
    ('\\"{a}\\" and \\"{b}\\"', False),
    ("{a} and {b} (", True),
    ("{a} ({b})", False),
    ("{a} and {b} [", True),
    ("{a} and {b} '", True),
    ("{a} and {b}'", False),
    ("{a} and {b} said:", False),
    ("it was `{a}` and `", True),
    ("it was {b} and {a}", False),
    ("{a} and {b} \u201c", True),
]


@pytest.mark.parametrize(("end", "warned"), ENDINGS)
def test_what_a_prompt_ends_in(end: str, warned: bool, tmp_path: Path) -> None:
    write(tmp_path, True, NAMES)
    assert ("W519" in {d.code for d in said(tmp_path, end)}) == warned
    assert "W519" not in {d.code for d in said(tmp_path, end, read='next_token(prefix="")')}


# ── answers ─────────────────────────────────────────────────────────────────────────────────────

#: How digits are written, the answers, and whether one may go on.
NUMBERS = [
    (True, "0..9", True),
    (True, "{12, 123, 7}", True),
    (False, "0..9", False),
    (True, '{"Ann", "Bob"}', False),
    (True, "{true, false}", False),
]


@pytest.mark.parametrize(("apart", "domain", "warned"), NUMBERS)
def test_numbers_that_may_go_on(apart: bool, domain: str, warned: bool, tmp_path: Path) -> None:
    words = [*WORDS, *"0123456789", *map(str, range(10, 130)), "true", "false"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    digits = [pre_tokenizers.Digits(individual_digits=True)] if apart else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), *digits])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": len(words)}))
    (tmp_path / "spec.causal").write_text(f"""
causal number {{
  x ~ {domain}
  output y := x
}}
network net = hf(".")
align at : number -> net {{
  prompt "it was {{x}} :"
  y @ next_token
}}
test said on at {{
  base ~ number(n=8, seed=0)
  report accuracy
}}
""")
    found = api.check(api.load(tmp_path / "spec.causal")).diagnostics
    assert [d.code for d in found] == (["W668"] if warned else [])
    assert all("next_token" in d.span.text and "[1]" in d.notes[0] for d in found), [d.render() for d in found]


SOME = """
table texts = csv("texts.csv", key=id)
causal who {{
  id ~ texts
  said := texts[id].said
  output answer : {{"Ann", "Bob"}} := texts[id].name
}}
network net = hf(".")
align at : who -> net {{
  prompt "{prompt}"
  answer @ next_token
}}
test t on at {{
  base ~ who(n=40, seed=0){where}
  report accuracy
}}
"""
#: Whether the tokenizer adds the mark, the texts, the prompt, a condition, the code and what is said of how many.
MIXED = {
    "some": (True, ["<s> Ann", "Bob", "<s> Cy"], "{said} saw", "", "W515", "some prompts begin"),
    "some, behind a mark": (False, ["<s> Ann", "Bob", "Cy"], "<s>{said} saw", "", "W515", "some prompts begin"),
    "all": (True, ["<s> Ann", "<s> Bob", "<s> Cy"], "{said} saw", "", "W515", "the prompt begins"),
    "some, not drawn": (True, ["<s> Ann", "Bob", "Cy"], "{said} saw", " where base.id != 0", "", ""),
    "some, within": (True, ["<s> Ann", "Bob", "Cy"], "it {said} saw", "", "", ""),
    "missing in some": (False, ["<s> Ann", "Bob", "Cy"], "{said} saw", "", "W516", "some prompts do not begin"),
    "missing in all": (False, ["Ann", "Bob", "Cy"], "{said} saw", "", "W516", "the prompt does not begin"),
    "missing in none": (False, ["<s> Ann", "<s> Bob", "<s> Cy"], "{said} saw", "", "", ""),
    "empty": (False, ["", "Bob", "Cy"], "{said}<s> saw", " where base.id == 0", "", ""),
}


@pytest.mark.parametrize("name", MIXED)
def test_marks_in_some_values(name: str, tmp_path: Path) -> None:
    """The prompts that are drawn are what the network reads: a mark may come from a value, and from some values alone."""
    adds, texts, prompt, where, code, title = MIXED[name]
    write(tmp_path, adds, NAMES)
    rows = [
        f"{number},{text},{answer}"
        for number, (text, answer) in enumerate(zip(texts, ["Ann", "Bob", "Ann"], strict=True))
    ]
    (tmp_path / "texts.csv").write_text("\n".join(["id,said,name", *rows, ""]))
    (tmp_path / "spec.causal").write_text(SOME.format(prompt=prompt, where=where))
    found = api.check(api.load(tmp_path / "spec.causal")).diagnostics
    told = [d for d in found if d.code.startswith("W51") or d.is_error]
    assert [d.code for d in told] == ([code] if code else []), told
    for one in told:
        assert title in one.title
        counted = [re.findall(r"(\d+) of the (\d+) drawn prompts", note) for note in one.notes]
        marked = [int(number) for ones in counted for pair in ones for number in pair]
        assert bool(marked) == ("some" in title)
        if code == "W515":
            assert "[<s>] [<s>]" in one.notes[0] and "out of the values of {said}" in one.help
        elif marked:
            assert 'prompt "<s>' not in one.help and "in a value" in one.help


def test_a_line_that_no_test_draws_is_not_warned_of(tmp_path: Path) -> None:
    """Each test on an alignment may draw other lines of it: what any draws is told of once."""
    write(tmp_path, True, NAMES)
    assert said(tmp_path, "{a} saw") == []
    spec = tmp_path / "spec.causal"
    two = 'prompt "<s> {a} saw" where b == "Ann"\n  prompt "{b} and {a} saw" where b != "Ann"'
    text = spec.read_text().replace('prompt "{a} saw"', two)

    def codes(*wheres: str) -> list[str]:
        head, test = text.split("test swap")
        tests = [
            f"test swap{number}" + test.replace("seed=0)", f"seed=0) where base.b {how} and source.b {how}")
            for number, how in enumerate(wheres)
        ]
        spec.write_text(head + "\n".join(tests))
        found = api.check(api.load(spec)).diagnostics
        assert not any(d.is_error for d in found), found
        return [d.code for d in found if d.code.startswith("W51")]

    assert codes('!= "Ann"', '== "Bob"') == []
    assert codes('!= "Ann"', '== "Ann"', '== "Ann"') == ["W515"]
