"""The parser: what it reads, where nodes stand, how it recovers, and that no text makes it raise."""

from __future__ import annotations

import logging
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import lark
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import Diagnostics, Source, render_all
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_tree
from causal_dsl.syntax.grammar import STARTS, load_grammar
from causal_dsl.syntax.lex import scan
from causal_dsl.syntax.parse import find_faults, parse
from tests.strategies import trees
from tests.thinning import law

SPECS = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "specs").glob("*.causal"))
}


def attempt(text: str) -> tuple[tree.Tree, Diagnostics]:
    diagnostics = Diagnostics()
    return parse(Source("test.causal", text), diagnostics), diagnostics


def read(text: str) -> tree.Tree:
    parsed, diagnostics = attempt(text)
    diagnostics.raise_errors()
    return parsed


def expression(text: str) -> tree.Expr:
    (declaration,) = read(f"metric m = {text}").declarations
    assert isinstance(declaration, tree.MetricDecl)
    return declaration.value


# ── the grammar ──


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    lark.logger.addHandler(caplog.handler)
    lark.logger.setLevel(logging.DEBUG)
    try:
        text = resource("grammar", "causal.lark").read_text(encoding="utf-8")
        lark.Lark(text, parser="lalr", lexer="basic", start=list(STARTS), debug=True)
    finally:
        lark.logger.removeHandler(caplog.handler)
        lark.logger.setLevel(logging.CRITICAL)
    assert not [record for record in caplog.records if "onflict" in record.getMessage()]


@pytest.mark.parametrize("name", SPECS)
def test_tokens_are_those_of_the_basic_lexer(name: str) -> None:
    text = SPECS[name]
    expected = [(token.type, str(token), token.start_pos) for token in load_grammar().tables.lex(text)]
    found = scan(Source(name, text), Diagnostics()).tokens
    assert [(token.type, token.text, token.span.start) for token in found] == expected


@pytest.mark.parametrize("name", SPECS)
def test_declarations_parsed_one_by_one_are_the_whole_parsed_at_once(name: str) -> None:
    parsed = read(SPECS[name])
    interactive = load_grammar().tables.parse_interactive(None, start="start")  # type: ignore[arg-type]
    tokens = scan(Source(name, SPECS[name]), Diagnostics()).tokens
    for token in tokens:
        interactive.feed_token(token)  # type: ignore[arg-type]
    whole = interactive.feed_eof(lark.Token("NAME", ""))  # type: ignore[func-returns-value]
    assert parsed.declarations and len(parsed.declarations) == len(whole)
    circuitless = [d for d in parsed.declarations if not isinstance(d, tree.CircuitDecl)]
    assert circuitless == [d for d in whole if not isinstance(d, tree.CircuitDecl)]


@pytest.mark.parametrize("name", SPECS)
def test_specs_are_printed_as_they_are_written(name: str) -> None:
    assert format_tree(read(SPECS[name])) == SPECS[name]


# ── what is read ──


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a or b and not c == d + e * -f", "a or (b and (not (c == (d + (e * (-f))))))"),
        ("a - b - c", "(a - b) - c"),
        ("a / b * c mod d div e", "(((a / b) * c) mod d) div e"),
        ("not a == b", "not (a == b)"),
        ("not a in D and b", "(not (a in D)) and b"),
        ("if a then b else if c then d else e + 1", "if a then b else (if c then d else (e + 1))"),
        ("a in 0..n + 1 or b", "(a in 0..(n + 1)) or b"),
        ("-a.b[c](d)", "-(a.b[c](d))"),
        ('"a" "b\\n\\t\\"\\\\"', '"ab\\n\\t\\"\\\\"'),
        ("f(a, b=c,)", "f(a, b=c)"),
        ("x[1, :, a:, :b,]", "x[1, :, a:, :b]"),
    ],
)
def test_how_operators_bind(text: str, same: str) -> None:
    assert expression(text) == expression(same)


def test_the_one_keyword_that_is_a_value() -> None:
    found = expression("m(n=8, split=test, seed=0)")
    assert isinstance(found, tree.Call) and found.arguments[1].value == tree.Name("test")
    assert found.arguments[1].value.span.text == "test"
    assert expression("m(split=  # held out\n test)") == expression("m(split=test)")
    for text in ("m(test)", "m(split=test + 1)", "test", "m(split=causal)"):
        assert attempt(f"metric m = {text}")[1].errors
    parsed, diagnostics = attempt("metric m = f(a=\ntest t on x { report accuracy }")
    assert diagnostics.errors and [type(d) for d in parsed.declarations] == [tree.TestDecl]


def test_numbers_and_units() -> None:
    assert expression("95%") == tree.Number(95, "%")
    assert expression("0.05 nats") == tree.Number(0.05, "nats")
    assert expression("1e-3bits") == tree.Number(0.001, "bits")
    assert expression("x in 0..3") == tree.Member(tree.Name("x"), tree.Range(tree.Number(0), tree.Number(3)))
    assert isinstance(expression("3").value, int)  # type: ignore[union-attr]
    assert isinstance(expression("3.0").value, float)  # type: ignore[union-attr]


def test_actions() -> None:
    (test,) = read(
        "test t on tau(l=8) { do(site += 4 * (mean(source) - mean(base)), left <- one, outside(wang) = mean)\n"
        "do(layer[8].resid_post[last] <- source.layer[5].resid_post[last], wang.inhibit -> wang.mover.q <- source) }"
    ).declarations
    assert isinstance(test, tree.TestDecl)
    kinds = [type(action) for do in test.members if isinstance(do, tree.Do) for action in do.actions]
    assert kinds == [tree.AddTo, tree.Interchange, tree.SetTo, tree.Interchange, tree.PatchPath]


def test_every_node_stands_where_its_text_is() -> None:
    for text in SPECS.values():
        parsed = read(text)
        for node in parsed.walk():
            assert 0 <= node.span.start < node.span.end <= len(text)
            for child in node.children():
                if not isinstance(child, tree.Comment):
                    assert node.span.start <= child.span.start <= child.span.end <= node.span.end
            if isinstance(node, tree.Ident):
                assert node.span.text == node.name


def test_comments_and_documentation() -> None:
    parsed = read(
        "# of nobody\n\n# of A\n#  indented\n\tdomain A = bool # behind\n"
        "# of m\ncausal m { # brace\n  # of x\n  x ~ A\n  y := x\n  # last\n}\ndomain B = A  domain C = A\n# end"
    )
    docs = [declaration.doc for declaration in parsed.declarations]
    assert docs == ["of A\n indented", "of m", "", ""]
    model = parsed.declarations[1]
    assert isinstance(model, tree.CausalDecl)
    assert [member.doc for member in model.members] == ["of x", ""]
    assert [comment.text for comment in parsed.comments if not comment.alone] == [" behind", " brace"]
    assert len(parsed.comments) == 9


def test_windows_line_ends_and_byte_order_mark() -> None:
    text = SPECS["equality"]
    assert read("\N{ZERO WIDTH NO-BREAK SPACE}" + text.replace("\n", "\r\n")) == read(text)


# ── recovery ──


def test_independent_faults_are_told_at_once_and_the_rest_is_kept() -> None:
    parsed, diagnostics = attempt(
        "domain A = \ncausal m {\n  a ~ A\n  b = a\n  output c := a\n}\nalign x m -> n { a @ logits }\n"
        "tset t on x {\n  base ~ m(n=3)\n  expct iia\n  do(b <- base)\n}\nmetric z = kl\n"
    )
    assert [(d.code, d.span.line) for d in diagnostics] == [
        ("E101", 1),
        ("E107", 4),
        ("E101", 7),
        ("E105", 8),
        ("E105", 10),
    ]
    kept = [(type(d).__name__, getattr(d, "name", None) and d.name.name) for d in parsed.declarations]  # type: ignore[union-attr]
    assert kept == [("CausalDecl", "m"), ("TestDecl", "t"), ("MetricDecl", "z")]
    assert set(parsed.broken) >= {"A", "b", "x"}
    assert [len(d.members) for d in parsed.declarations[:2]] == [2, 2]  # type: ignore[union-attr]


ABSURD = {
    "empty": "",
    "spaces": " \n\t\r\n",
    "one quote": '"',
    "one apostrophe": "'",
    "one brace": "{",
    "nul": "domain A = bool\0",
    "deep parentheses": "metric x = " + "(" * 10_000 + "1" + ")" * 10_000,
    "deep lists": "metric x = " + "[" * 10_000,
    "deep indices": "metric x = " + "a[" * 10_000 + "]" * 10_000,
    "many minuses": "metric x = " + "-" * 10_000 + "1",
    "many sums": "metric x = " + "1 + " * 10_000 + "1",
    "many conditions": "metric x = " + "if a then b else " * 5_000 + "c",
    "long path": "metric x = a" + ".b" * 5_000,
    "5 MB line": "domain A = {" + "1, " * 1_700_000 + "1}",
    "many openings": "causal x {" * 5_000,
    "many closings": "}" * 5_000,
    "junk": "\u2603$`\\" * 3_000,
    "unclosed everywhere": 'domain A = {"a\n' * 500,
    "surrogate": "domain A = \ud800",
    "bytes": bytes(range(256)).decode("latin-1"),
}


@pytest.mark.thinned(always=5)
@pytest.mark.parametrize("name", ABSURD)
def test_absurd_texts_are_refused_soon(name: str) -> None:
    started = time.perf_counter()
    parsed, diagnostics = attempt(ABSURD[name])
    assert diagnostics.errors
    assert all(d.code.startswith("E1") for d in diagnostics)
    assert len(diagnostics) < 120
    render_all(diagnostics)
    assert parsed == parsed
    assert time.perf_counter() - started < 5


_SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def _damage(text: str, chance: random.Random) -> str:
    kind = chance.randrange(6)
    start, stop = sorted((chance.randrange(len(text) + 1), chance.randrange(len(text) + 1)))
    if kind == 0:
        return text[:start]
    if kind == 1:
        return text[:start] + text[min(stop, start + 40) :]
    if kind == 2:
        words = re.split(r"(\s+)", text)
        chance.shuffle(words)
        return "".join(words)
    if kind == 3:
        lines = text.split("\n")
        chance.shuffle(lines)
        return "\n".join(lines)
    if kind == 4:
        raw = bytearray(text.encode())
        for _ in range(1 + len(raw) // 100):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        return raw.decode("utf-8", errors="replace")
    return text[:start] + chance.choice("{}()[]\"'#:=<->~@.,%;!&|\\\0") + text[start:]


@law(st.integers(0, 2**32), st.sampled_from(sorted(SPECS)), few=50, many=150)
def test_damaged_specs_never_raise_and_never_lose_anything_silently(seed: int, name: str) -> None:
    text = _damage(SPECS[name], random.Random(seed))
    parsed, diagnostics = attempt(text)
    render_all(diagnostics)
    if diagnostics.errors:
        return
    # Nothing was reported: then the tree holds all that was written.
    again = read(format_tree(parsed))
    assert again == parsed
    names = [token.text for token in scan(Source(name, text), Diagnostics()).tokens if token.type == "NAME"]
    printed = scan(Source(name, format_tree(parsed)), Diagnostics()).tokens
    assert names == [token.text for token in printed if token.type == "NAME"]


@law(st.text(max_size=200), few=50, many=150)
def test_any_text_is_survived(text: str) -> None:
    parsed, diagnostics = attempt(text)
    render_all(diagnostics)
    assert parsed.declarations or diagnostics.errors


@_SETTINGS
@given(st.lists(st.sampled_from([*load_grammar().keywords, *load_grammar().symbols, "a", "b", "1", '"s"', "==", "\n"])))
def test_any_tokens_are_survived(words: list[str]) -> None:
    parsed, diagnostics = attempt(" ".join(words))
    render_all(diagnostics)
    assert parsed.declarations or diagnostics.errors


@pytest.mark.slow
@_SETTINGS
@given(trees(2), st.randoms(use_true_random=False))
def test_cut_random_programs_are_survived(made: tree.Tree, chance: random.Random) -> None:
    text = format_tree(made)
    _, diagnostics = attempt(text[: chance.randrange(len(text))])
    render_all(diagnostics)


# ── imports ──


def test_parsing_loads_nothing_heavy() -> None:
    program = (
        "import sys; from causal_dsl.diagnostics import Source, Diagnostics; from causal_dsl.syntax.parse import parse;"
        "parse(Source('x', 'domain A = 0..3'), Diagnostics());"
        "print([m for m in ('torch', 'numpy', 'sympy', 'networkx', 'transformers', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_faults_are_found_without_the_declarations_that_have_none() -> None:
    """What an editor does at each key: declarations whose texts are known to be sound are left out, and no fault with them."""
    drawn, sound, told = random.Random(3), set[str](), 0
    for _ in range(150):
        text = drawn.choice(list(SPECS.values()))
        for _ in range(drawn.choice([0, 1, 2])):
            at = drawn.randrange(len(text) + 1)
            new = "".join(drawn.choices("{}()[]=:~@ab \n", k=drawn.choice([0, 1, 2])))
            text = text[:at] + new + text[at + drawn.choice([0, 1, 3]) :]
        expected, found = Diagnostics(), Diagnostics()
        parse(Source("t", text), expected)
        find_faults(Source("t", text), found, sound)
        assert list(found) == list(expected)
        told += len(found)
    assert told > 50 and sound
