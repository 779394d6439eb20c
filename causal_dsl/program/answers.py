"""The answers that a network can give, as token ids (or class numbers): from values of the causal model to the logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, fail
from causal_dsl.measures.quantities import NO_ANSWER, NO_NUMBER, NOT_FINITE, TIED, TWO_LARGEST, UNENDED
from causal_dsl.program.program import Alignment, Readout
from causal_dsl.program.prompt_tokens import answer_tokens, answered_prompt, mask_tokens
from causal_dsl.program.stated_ends import StatedEnd
from causal_dsl.program.templates import show_value
from causal_dsl.program.tokens import MASK, Tokens
from causal_dsl.program.unknown_tokens import refuse_beyond


@dataclass(frozen=True)
class Answers:
    """The answers of one read-out.

    ``ids[value]`` are the tokens that say a value (one class number for vector networks); ``codes[value]`` is its code
    in the causal model. ``among`` are the ids that the argmax is taken over, None for all.
    """

    ids: dict[Any, tuple[int, ...]]
    codes: dict[Any, int]
    among: tuple[int, ...] | None
    #: whether the causal model says what is right: if not, the code of an answer is the id of its first token, or its class
    stated: bool = True
    #: what must follow an answer
    ending: StatedEnd | None = None
    #: the answers after each prompt line, where the same tokens do not say them after all of them; lines alike have one object
    lines: tuple[Answers, ...] = ()

    @property
    def longest(self) -> int:
        """How many tokens the greedy continuation needs: those of the longest answer, and those that tell whether it ends."""
        after = 0 if self.ending is None else self.ending.end.tokens
        return max((len(ids) for own in self.spellings for ids in own.ids.values()), default=1) + after

    @property
    def spellings(self) -> tuple[Answers, ...]:
        """The answers of each kind of prompt line; of which kind a line is, :meth:`spelling` says."""
        return tuple({id(own): own for own in self.lines}.values()) or (self,)

    def spelling(self, lines: np.ndarray) -> np.ndarray:
        """Which of the :attr:`spellings` are the answers after the prompts of these lines [n]."""
        if not self.lines:
            return np.zeros(len(lines), dtype=np.int64)
        kinds = [id(own) for own in self.spellings]
        return np.array([kinds.index(id(own)) for own in self.lines], dtype=np.int64)[lines]

    def by_spelling(self, lines: np.ndarray | None, n: int) -> Iterator[tuple[int, Answers, np.ndarray]]:
        """Each of the :attr:`spellings` with its number, and the rows of ``n`` that have it; ``lines`` [n] are their prompt lines."""
        kinds = np.zeros(n, dtype=np.int64) if lines is None else self.spelling(lines)
        for number, own in enumerate(self.spellings):
            yield number, own, np.flatnonzero(kinds == number)

    def at(self, line: int) -> Answers:
        """The answers after the prompts of a line."""
        return self.lines[line] if self.lines else self

    def codes_of(self, said: np.ndarray, lines: np.ndarray | None = None) -> np.ndarray:
        """The code of the answer that each row says [n]; ``said`` [n, longest] are the greedy token ids, or where an answer is
        looked for ``among`` some, [n, spellings] the largest of each of the :attr:`spellings`. ``lines`` [n] are the prompt
        lines of the rows.

        A row says a value if all tokens of the value come first in it, and its end after them where one is stated; of
        several, the longest counts.
        """
        if self.lines:
            found = np.empty(len(said), dtype=np.int64)
            for number, own, rows in self.by_spelling(lines, len(said)):
                found[rows] = own.codes_of(said[rows] if self.among is None else said[rows, number : number + 1])
                if not self.stated and self.among is not None:  # an id that says the value after the first prompt
                    for here, there in zip(own.among or (), self.among, strict=True):
                        found[rows[said[rows, number] == here]] = there
            return found
        if not self.stated:
            first = said[:, 0]
            return np.where(first == TWO_LARGEST, TIED, np.where(first == NO_NUMBER, NOT_FINITE, first)).astype(
                np.int64
            )
        found = np.full(len(said), NO_ANSWER, dtype=np.int64)
        for step in range(said.shape[1] - 1, -1, -1):  # where it says nothing, the first such step tells why
            found[said[:, step] == TWO_LARGEST] = TIED
            found[said[:, step] == NO_NUMBER] = NOT_FINITE
        for value, ids in sorted(self.ids.items(), key=lambda item: len(item[1])):
            hit = (said[:, : len(ids)] == np.array(ids)).all(axis=1)
            if self.ending is None:
                found[hit] = self.codes[value]
                continue
            after, back = np.unique(said[hit, len(ids) :], axis=0, return_inverse=True)
            ends = [self.ending.is_after(show_value(value), ids, more) for more in after.tolist()]
            ended = np.array(ends, dtype=bool)[back.reshape(-1)]
            begun = np.where(found[hit] == NO_ANSWER, UNENDED, found[hit])  # a shorter answer may have ended before
            found[hit] = np.where(ended, self.codes[value], begun)
        return found


def answers_of(readout: Readout, alignment: Alignment, tokens: Tokens | None, span: Span = NOWHERE) -> Answers:
    """The answers of a read-out after the prompts of an alignment; faults of tokenisation raise :class:`SpecError`."""
    first = _answers_after(readout, alignment, tokens, 0, span)
    if readout.kind == "logits" or readout.metric is not None or len(alignment.prompts) < 2:
        return first
    seen, lines = {_follows(readout, alignment, tokens, 0): first}, [first]
    for line in range(1, len(alignment.prompts)):
        end = _follows(readout, alignment, tokens, line)
        if end not in seen:
            own = _answers_after(readout, alignment, tokens, line, span)
            seen[end] = next((known for known in lines if known.ids == own.ids), own)
        lines.append(seen[end])
    return first if all(own is first for own in lines) else replace(first, lines=tuple(lines))


def _follows(readout: Readout, alignment: Alignment, tokens: Tokens | None, line: int) -> tuple[object, ...]:
    """The key of the tokens that say an answer after a prompt line: prompts that end alike are followed alike."""
    template = alignment.prompts[line].template
    prompt = answered_prompt(alignment, tokens, line)
    whole = readout.kind == "mask" or readout.position is not None
    return readout.before(template), prompt if whole else template.segments[-1]


def _answers_after(readout: Readout, alignment: Alignment, tokens: Tokens | None, line: int, span: Span) -> Answers:
    model = alignment.model
    codes: dict[Any, int] = {}
    if readout.metric is not None:  # a number is no answer: only the classes of a vector network have their places
        places = dict(zip(readout.values, readout.dims or (), strict=False))
        return Answers({v: (k,) for v, k in places.items()}, dict.fromkeys(places, int(NO_ANSWER)), None)
    for value in readout.values:
        if not readout.stated:
            codes[value] = int(NO_ANSWER)
            continue
        try:
            codes[value] = int(model.answer(readout.variable, value))
        except (KeyError, ValueError):
            codes[value] = int(NO_ANSWER)  # a value of `among` that this variable never takes
    if readout.kind == "logits":
        classes = readout.dims or tuple(range(len(readout.values)))
        numbers: dict[Any, tuple[int, ...]] = {v: (i,) for v, i in zip(readout.values, classes, strict=True)}
        return Answers(numbers, codes, classes, readout.stated)
    assert tokens is not None
    ids = {v: value_tokens(v, readout, tokens, alignment, line, span) for v in readout.values}
    if readout.kind == "mask":
        for value, own in ids.items():
            _one_token(value, own, tokens, span)
    if readout.position is not None:
        long = next(((value, own) for value, own in ids.items() if len(own) > 1), None)
        if long is not None:
            raise fail(
                "E563",
                f"`{show_value(long[0])}` is {len(long[1])} tokens, and inside of a prompt one is read",
                span,
                notes=how_said(long[0], long[1], readout, tokens, alignment, line),
                help="use values that are one token each, or read the answer at the end of the prompt",
            )
    ending = None if readout.end is None or readout.among else StatedEnd(readout.end, tokens)
    return Answers(ids, codes, tuple(i[0] for i in ids.values()) if readout.among else None, readout.stated, ending)


def value_tokens(
    value: Any, readout: Readout, tokens: Tokens, alignment: Alignment, line: int = 0, span: Span = NOWHERE
) -> tuple[int, ...]:
    """The tokens that say a value: after a prompt of a line, or in the place of its mask. Raises E751 for one that the network
    lacks."""
    find = mask_tokens if readout.kind == "mask" else answer_tokens
    text = show_value(value)
    before = said_before(readout, alignment, line, text)
    ids = find(tokens, answered_prompt(alignment, tokens, line), text, before, span)
    refuse_beyond(tokens, ids, before + text, span)
    return ids


def said_before(readout: Readout, alignment: Alignment, line: int, text: str) -> str:
    """The text between a prompt of a line and an answer, whose own text is given."""
    return readout.before(alignment.prompts[line].template if alignment.prompts else None, text)


def how_said(
    value: Any, ids: tuple[int, ...], readout: Readout, tokens: Tokens | None, alignment: Alignment, line: int
) -> tuple[str, ...]:
    """Notes of faults: of which text after which prompt these are the tokens, and what of it is put before the value."""
    if tokens is None or readout.kind == "logits":
        return ()
    text, prompt = show_value(value), answered_prompt(alignment, tokens, line)
    before = said_before(readout, alignment, line, text)
    end = prompt if len(prompt) <= _PROMPT_END else "…" + prompt[-_PROMPT_END:]
    where = f"in the place of {MASK}" if readout.kind == "mask" else f"after {_quoted(end)}"
    whole = f"{where}, {_quoted(before + text)} is {_written(ids, tokens)}"
    if readout.prefix:
        return whole, f"`prefix` puts {_quoted(before)} before an answer"
    if readout.kind == "mask" or readout.prefix is not None:
        return (whole,)
    if before:
        return whole, "a space is put before an answer"
    if text[:1].isspace():
        return whole, "no space is put before an answer that begins with white space"
    return whole, "no space is put before an answer after a newline"


#: how many characters of a prompt's end a note quotes
_PROMPT_END = 40


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _one_token(value: Any, ids: tuple[int, ...], tokens: Tokens, span: Span) -> None:
    """Refuse what cannot stand in the place of one token (E743)."""
    if len(ids) != 1:
        split = " ".join(f"`{tokens.token(i)}`" for i in ids[:8])
        raise fail(
            "E743",
            f"`{show_value(value)}` is {len(ids)} tokens, and a mask is one",
            span,
            notes=(f"this tokenizer splits it into {split}",),
            help="use values that are one token each",
        )
    if ids[0] == tokens.unknown_id:
        raise fail(
            "E743",
            f"`{show_value(value)}` is not in the vocabulary",
            span,
            notes=(f"this tokenizer writes `{tokens.token(ids[0])}` for it, as for everything that it does not know",),
            help="use values that are one token each",
        )


_ALIKE = {True: "begin with the same token", False: "are the same tokens"}


def check_answers(
    answers: Answers, readout: Readout, tokens: Tokens | None, alignment: Alignment, diagnostics: Diagnostics
) -> bool:
    """Refuse answers that one next token cannot tell apart, where one token is needed (E540, E541)."""

    def notes(line: int, *values: Any) -> tuple[str, ...]:
        said = [how_said(value, answers.at(line).ids[value], readout, tokens, alignment, line) for value in values]
        return tuple(dict.fromkeys(note for at in range(2) for one in said for note in one[at : at + 1]))

    firsts = {id(own): line for line, own in reversed(list(enumerate(answers.lines or (answers,))))}
    told = [
        _told_apart(answers.at(line), readout, partial(notes, line), diagnostics) for line in sorted(firsts.values())
    ]
    return all(told)


def _told_apart(
    answers: Answers, readout: Readout, said: Callable[..., tuple[str, ...]], diagnostics: Diagnostics
) -> bool:
    """``said(value, …)``: notes on how values are written after the prompts of these answers."""
    span = readout.span or NOWHERE
    seen: dict[tuple[int, ...], Any] = {}
    several = readout.among and readout.kind == "next_token"
    for value, ids in answers.ids.items():
        key = ids[:1] if readout.among else ids
        if key in seen:
            diagnostics.report(
                "E540",
                f"`{show_value(seen[key])}` and `{show_value(value)}` {_ALIKE[readout.among]}",
                span,
                notes=("the read-out cannot tell them apart", *said(seen[key], value)),
                help="use values whose first tokens differ"
                + (", or read the whole answer with `next_token`" if several else ""),
            )
            return False
        seen[key] = value
    long = next((value for value, ids in answers.ids.items() if len(ids) > 1), None)
    if readout.among and long is not None:
        diagnostics.report(
            "E541",
            f"`{show_value(long)}` is {len(answers.ids[long])} tokens, and `next_token(among=…)` compares one",
            span,
            notes=("its first token alone is not the answer", *said(long)),
            help="use values of one token, or read the whole answer with `next_token`, as its greedy continuation",
        )
        return False
    return True


def check_numbers(
    answers: Answers, readout: Readout, tokens: Tokens | None, alignment: Alignment, diagnostics: Diagnostics
) -> None:
    """Report W668 where a number is an answer whose tokens begin a longer number: what follows them is not read."""
    if tokens is None or readout.kind != "next_token" or answers.ending is not None:
        return
    firsts = {id(own): line for line, own in reversed(list(enumerate(answers.lines or (answers,))))}
    numbers = [(line, value, ids) for line in sorted(firsts.values()) for value, ids in answers.at(line).ids.items()]
    for line, value, ids in numbers:
        text = show_value(value)
        before = said_before(readout, alignment, line, text)
        longer = (
            tokens.continuation(answered_prompt(alignment, tokens, line), f"{before}{text}0")
            if text.isascii() and text.isdigit() and text != "0"
            else None
        )
        if longer is None or longer[: len(ids)] != ids or longer == ids:
            continue
        diagnostics.report(
            "W668",
            f"`{text}` counts as the answer even if the network continues it to a longer number",
            readout.span or NOWHERE,
            notes=(
                f"`{text}` is {_written(ids, tokens)}, and `{text}0` is {_written(longer, tokens)}",
                "an answer counts if its tokens come first; the tokens after them are not read",
            ),
            help="write next_token(end=word): an answer then counts only as a whole number",
        )
        return


def _written(ids: tuple[int, ...], tokens: Tokens) -> str:
    return " ".join(f"[{tokens.token(i)}]" for i in ids[:6]) + (" …" if len(ids) > 6 else "")


def first_token(
    value: Any, readout: Readout, answers: Answers, tokens: Tokens | None, alignment: Alignment, line: int = 0
) -> int:
    """The id whose logit stands for ``value`` after the prompts of a line: its only token, or its class. -1 where the read-out
    has no such class."""
    own = answers.at(line)
    if value in own.ids:
        return own.ids[value][0]
    if tokens is None or readout.kind == "logits":
        return -1
    return value_tokens(value, readout, tokens, alignment, line)[0]
