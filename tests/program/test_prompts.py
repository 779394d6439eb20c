"""Prompts: placeholders, their characters, and the tokens that a position names, with tokenizers of several kinds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from causal_dsl.diagnostics import NOWHERE, Diagnostics, Source, Span, SpecError
from causal_dsl.program.endings import check_end
from causal_dsl.program.locate import check_position, locate
from causal_dsl.program.program import PromptLine, Readout
from causal_dsl.program.prompt_tokens import answer_tokens, check_length, check_tokenizer, mask_position, mask_tokens
from causal_dsl.program.templates import (
    Template,
    check_mask,
    check_placeholders,
    parse_template,
    render,
    show_value,
)
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from tests.program.test_tokens import byte_level, masked, metaspace, words

IOI = "When {first} and {second} went to the store, {subject} gave a drink to"


def template(text: str) -> Template:
    found = Diagnostics()
    made = parse_template(text, NOWHERE, found)
    assert not list(found)
    assert made is not None
    return made


def codes(found: Diagnostics) -> list[str]:
    return [diagnostic.code for diagnostic in found]


def at(tokens: Tokens, text: str, values: dict[str, str], position: Position) -> list[str]:
    """The pieces of text that the tokens of a position cover."""
    rendered = render(template(text), values)
    encoded = tokens.encode(rendered.text)
    places = locate(position, rendered, encoded)
    return [rendered.text[slice(*encoded.offsets[place])].strip() for place in places]


# ── templates ───────────────────────────────────────────────────────────────────────────────────


def test_holes_and_braces() -> None:
    made = template("{{x}} {a}-{ b }{a}}}")
    assert made.placeholders == ("a", "b", "a")
    assert str(made) == "{{x}} {a}-{b}{a}}}"
    rendered = render(made, {"a": "1", "b": "two"})
    assert rendered.text == "{x} 1-two1}"
    assert {key: rendered.text[slice(*span)] for key, span in rendered.spans.items()} == {
        ("a", 1): "1",
        ("b", 1): "two",
        ("a", 2): "1",
    }
    assert [rendered.text[slice(*span)] for span in rendered.literals] == ["{x} ", "-", "}"]


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.text(max_size=6)), max_size=6))
def test_print_and_parse_of_templates(parts: list[tuple[bool, str]]) -> None:
    text = "".join(
        "{name}" if placeholder else part.replace("{", "{{").replace("}", "}}") for placeholder, part in parts
    )
    found = Diagnostics()
    made = parse_template(text, NOWHERE, found)
    if text:
        assert made is not None
        assert parse_template(str(made), NOWHERE, found) == made
        expected = "".join("V" if placeholder else part for placeholder, part in parts)
        assert render(made, {"name": "V"}).text == expected
        assert not list(found)


@pytest.mark.parametrize("text", ["{", "}", "a {b", "a b}", "{}", "{a b}", "{1}", "{a.b}", "{a{b}}", ""])
def test_broken_templates(text: str) -> None:
    found = Diagnostics()
    assert parse_template(text, NOWHERE, found) is None
    assert set(codes(found)) == {"E501"}


def test_the_place_of_a_fault_is_in_the_string() -> None:
    source = Source("x.causal", 'prompt "go {nme} and }"')
    span = Span(source, 7, len(source.text))
    found = Diagnostics()
    parse_template("go {nme} and }", span, found)
    assert [d.span.text for d in found] == ["}"]
    found = Diagnostics()
    check_placeholders(template("go {nme} and"), ["name", "place"], span, found)
    assert [(d.code, d.span.text, d.help) for d in found] == [("E500", "nme", "did you mean `name`?")]


def test_values() -> None:
    assert [show_value(value) for value in (True, False, 7, -2, 0.5, 3.0, "Mary")] == [
        "true",
        "false",
        "7",
        "-2",
        "0.5",
        "3",
        "Mary",
    ]


# ── positions ───────────────────────────────────────────────────────────────────────────────────

NAMES = {"first": "Mary", "second": "John", "subject": "John"}
TOKENIZERS = {
    "bytes": byte_level,
    "bytes with bos": lambda: byte_level(bos=True),
    "metaspace": metaspace,
    "words": words,
}


@pytest.fixture(params=list(TOKENIZERS))
def tokens(request: pytest.FixtureRequest) -> Tokens:
    return Tokens(TOKENIZERS[request.param]())


def test_the_tokens_of_a_value(tokens: Tokens) -> None:
    for placeholder, value in NAMES.items():
        for part in ("first", "last", "all"):
            found = at(tokens, IOI.replace(",", " ,"), NAMES, Position("placeholder", placeholder, part=part))
            assert found == [value]


def test_a_value_of_several_tokens(tokens: Tokens) -> None:
    values = {**NAMES, "first": "Mary and John"}
    parts = {
        part: at(tokens, IOI, values, Position("placeholder", "first", part=part)) for part in ("first", "last", "all")
    }
    assert parts == {"first": ["Mary"], "last": ["John"], "all": ["Mary", "and", "John"]}


def test_letters_of_a_value_that_is_no_word() -> None:
    tokens = Tokens(byte_level())
    values = {**NAMES, "first": "Zoë"}
    rendered = render(template(IOI), values)
    encoded = tokens.encode(rendered.text)
    places = locate(Position("placeholder", "first", part="all"), rendered, encoded)
    assert tokens.decode(tuple(encoded.ids[place] for place in places)).strip() == "Zoë"


def test_indices(tokens: Tokens) -> None:
    rendered = render(template("When {a} went"), {"a": "Mary"})
    encoded = tokens.encode(rendered.text)
    count = len(encoded)
    assert locate(Position("index", index=0), rendered, encoded) == (0,)
    assert locate(Position("index", index=-1), rendered, encoded) == (count - 1,)
    assert locate(Position("index", index=-count), rendered, encoded) == (0,)
    assert locate(Position("all"), rendered, encoded) == tuple(range(count))
    for index in (count, -count - 1):
        with pytest.raises(SpecError) as caught:
            locate(Position("index", index=index), rendered, encoded)
        assert caught.value.diagnostics[0].code == "E506"


def test_literals(tokens: Tokens) -> None:
    assert at(tokens, IOI, NAMES, Position("text", "gave")) == ["gave"]
    assert at(tokens, IOI, NAMES, Position("text", "to", occurrence=2)) == ["to"]
    assert at(tokens, IOI, NAMES, Position("text", "a drink", part="all")) == ["a", "drink"]
    # a value that reads the same is not the literal
    assert at(tokens, IOI, {**NAMES, "first": "gave"}, Position("text", "gave")) == ["gave"]
    rendered = render(template(IOI), {**NAMES, "first": "gave"})
    encoded = tokens.encode(rendered.text)
    place = locate(Position("text", "gave"), rendered, encoded)[0]
    assert encoded.offsets[place][0] > rendered.text.index("store")


def test_special_tokens_come_first() -> None:
    tokens = Tokens(byte_level(bos=True))
    rendered = render(template("{a} and John"), {"a": "Mary"})
    encoded = tokens.encode(rendered.text)
    assert encoded.ids[0] == 0
    assert locate(Position("index", index=0), rendered, encoded) == (0,)
    found = locate(Position("placeholder", "a", part="all"), rendered, encoded)
    assert found
    assert 0 not in found


@pytest.mark.parametrize(
    ("position", "text", "code"),
    [
        (Position("placeholder", "subjet"), IOI, "E502"),
        (Position("placeholder", "a"), "{a} and {a}", "E503"),
        (Position("placeholder", "a", occurrence=3), "{a} and {a}", "E503"),
        (Position("placeholder", "a", occurrence=2), "only {a}", "E503"),
        (Position("text", "took"), IOI, "E504"),
        (Position("text", "giv"), IOI, "E504"),
        (Position("text", "tor"), IOI, "E504"),
        (Position("text", ""), IOI, "E504"),
        (Position("text", "to"), IOI, "E505"),
        (Position("text", "to", occurrence=3), IOI, "E505"),
        (Position("text", "gave", occurrence=2), IOI, "E505"),
    ],
)
def test_positions_that_name_no_place(position: Position, text: str, code: str) -> None:
    found = Diagnostics()
    assert not check_position(position, template(text), NOWHERE, found)
    assert codes(found) == [code]
    rendered = render(template(text), dict.fromkeys(template(text).placeholders, "Mary"))
    with pytest.raises(SpecError) as caught:
        locate(position, rendered, Tokens(words()).encode(rendered.text))
    assert caught.value.diagnostics[0].code == code


def test_the_words_of_a_prompt_are_offered_in_their_order() -> None:
    """Those of a tokenizer's own are whole, and each that is offered is found."""
    text = "<s> {a} said<|end|>: [SEP] it's said"
    offered = ["<s>", "said", "<|end|>", ":", "[SEP]", "it", "'", "s"]
    found = Diagnostics()
    assert not check_position(Position("text", "nowhere"), template(text), NOWHERE, found)
    assert found.errors[0].help == "there is " + ", ".join(f"`{word}`" for word in offered)
    for word in offered:
        told = Diagnostics()
        check_position(Position("text", word), template(text), NOWHERE, told)
        assert codes(told) in ([], ["E505"]), word


@pytest.mark.parametrize(
    "position",
    [Position("placeholder", "a", occurrence=2), Position("text", "and"), Position("all"), Position("index", index=-1)],
)
def test_positions_that_do(position: Position) -> None:
    found = Diagnostics()
    assert check_position(position, template("{a} and {a}"), NOWHERE, found)
    assert not list(found)


def test_a_hole_used_twice(tokens: Tokens) -> None:
    text = "When {a} and {a} went"
    rendered = render(template(text), {"a": "John"})
    encoded = tokens.encode(rendered.text)
    one, two = (locate(Position("placeholder", "a", occurrence=n), rendered, encoded)[0] for n in (1, 2))
    assert one < two
    assert [rendered.text[slice(*encoded.offsets[place])].strip() for place in (one, two)] == ["John", "John"]


def test_values_without_a_token_of_their_own() -> None:
    tokens = Tokens(words())
    rendered = render(template("{a}{b} and"), {"a": "Ma", "b": "ry"})
    with pytest.raises(SpecError) as caught:
        locate(Position("placeholder", "a"), rendered, tokens.encode(rendered.text))
    assert caught.value.diagnostics[0].code == "E513"
    empty = render(template("When {a} and"), {"a": ""})
    with pytest.raises(SpecError) as caught:
        locate(Position("placeholder", "a"), empty, tokens.encode(empty.text))
    assert caught.value.diagnostics[0].code == "E507"


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


def test_answers() -> None:
    tokens = Tokens(byte_level(bos=True))
    prompt = "When Mary and John went to the store, John gave a drink to"
    assert tokens.decode(answer_tokens(tokens, prompt, "Mary")) == " Mary"
    assert len(answer_tokens(tokens, prompt, "Mary and John")) == 3
    for before, answer in [("When Joh", "n"), (prompt + " ", "Mary")]:
        with pytest.raises(SpecError) as caught:
            answer_tokens(tokens, before, answer, prefix="")
        assert caught.value.diagnostics[0].code == "E509"
    with pytest.raises(SpecError) as caught:
        answer_tokens(tokens, prompt, "", prefix="")
    assert caught.value.diagnostics[0].code == "E507"


def test_a_prompt_that_ends_in_a_space() -> None:
    for text, prefix, expected in [
        ("go to ", " ", ["W514"]),
        ("go to", " ", []),
        ("go to ", "", []),
        ("go to {a}", " ", []),
        ("go to\n", " ", ["W514"]),
    ]:
        found = Diagnostics()
        check_end(PromptLine(template(text), None, NOWHERE), Readout("next_token", "o", ("yes",), prefix=prefix), found)
        assert all(("newline" in d.title) == text.endswith("\n") for d in found)
        assert codes(found) == expected


def test_lengths() -> None:
    tokens = Tokens(words())
    found = Diagnostics()
    assert check_length(tokens.encode("When Mary"), "When Mary", Facts("language", context=2), NOWHERE, found)
    assert not check_length(tokens.encode("When Mary and"), "…", Facts("language", context=2), NOWHERE, found)
    assert not check_length(tokens.encode(""), "", Facts("language", context=2), NOWHERE, found)
    assert sorted(codes(found)) == ["E508", "E511"]


def test_a_tokenizer_that_ends_every_text() -> None:
    found = Diagnostics()
    check_tokenizer(Tokens(byte_level(bos=True)), NOWHERE, found)
    assert not list(found)
    check_tokenizer(Tokens(byte_level(eos=True)), NOWHERE, found)
    assert codes(found) == ["W512"]


# ── masks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("{a} [MASK]", True),
        ("{a}", False),
        ("[MASK] {a} [MASK]", False),
        ("[mask]", False),
        ("<mask>", False),
        ("[MASK]", True),
    ],
)
def test_a_prompt_whose_mask_is_read_has_one(text: str, good: bool) -> None:
    found = Diagnostics()
    assert check_mask(template(text), NOWHERE, found) == good
    assert codes(found) == ([] if good else ["E742"])


def test_where_the_mask_is() -> None:
    tokens = Tokens(masked())
    for text, place in [("When [MASK] and Mary", 1), ("[MASK]", 0), ("When Mary [MASK]", 2)]:
        assert mask_position(tokens, tokens.encode(text), text, NOWHERE) == place
    for text in ("When Mary", "[MASK] and [MASK]", "[MASK] and <mask>"):
        with pytest.raises(SpecError) as caught:
            mask_position(tokens, tokens.encode(text), text, NOWHERE)
        assert caught.value.diagnostics[0].code == "E742"
    with pytest.raises(SpecError) as caught:
        mask_position(Tokens(words()), tokens.encode("[MASK]"), "[MASK]", NOWHERE)
    assert caught.value.diagnostics[0].code == "E744"


def test_the_mask_is_a_position_too() -> None:
    tokens = Tokens(masked())
    rendered = render(template("When {a} gave [MASK] a drink"), {"a": "Mary"})
    assert locate(Position("text", "[MASK]"), rendered, tokens.encode(rendered.text)) == (3,)


def test_what_stands_in_the_place_of_a_mask() -> None:
    for make in (masked(), masked("[MASK]", lstrip=True)):
        tokens = Tokens(make)
        for prompt in ("When [MASK] and John went", "[MASK] went", "When [MASK]"):
            assert mask_tokens(tokens, prompt, "Mary") == tokens.encode("Mary").ids
        assert mask_tokens(tokens, "When [MASK] and", "Mary and John") == tokens.encode("Mary and John").ids
    for prompt, value in [("When [MASK]y and", "Mar"), ("When John [MASK]", "")]:
        with pytest.raises(SpecError) as caught:
            mask_tokens(Tokens(masked()), prompt, value)
        assert caught.value.diagnostics[0].code == "E743"


def test_a_word_in_the_place_of_a_mask_brings_its_space() -> None:
    """roberta's mask takes the space before it, and its words have theirs: nothing needs to be said about it."""
    made = byte_level()
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokens = Tokens(made)
    (answer,) = mask_tokens(tokens, "When [MASK] and John went", "Mary")
    assert tokens.decode((answer,)) == " Mary"
    (first,) = mask_tokens(tokens, "[MASK] and John went", "When")
    assert tokens.decode((first,)) == "When"
    (glued,) = mask_tokens(tokens, "When[MASK] and John went", "Mary", prefix=" ")
    assert glued == answer
