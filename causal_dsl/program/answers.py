"""What a network can answer, as token ids (or class numbers): from values of the causal model to the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, fail
from causal_dsl.measures.quantities import NO_ANSWER, NO_NUMBER, NOT_FINITE, TIED, TWO_LARGEST, UNENDED
from causal_dsl.program.program import Readout
from causal_dsl.program.prompt_tokens import answer_tokens, mask_tokens
from causal_dsl.program.stated_ends import StatedEnd
from causal_dsl.program.templates import show_value
from causal_dsl.program.tokens import Tokens
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

    @property
    def longest(self) -> int:
        """How many tokens the greedy continuation needs: those of the longest answer, and those that tell whether it ends."""
        after = 0 if self.ending is None else self.ending.end.tokens
        return max((len(ids) for ids in self.ids.values()), default=1) + after

    def codes_of(self, said: np.ndarray) -> np.ndarray:
        """The code of the answer that each row says [n]; ``said`` [n, longest] are the greedy token ids.

        A row says a value if all tokens of the value come first in it, and its end after them where one is stated; of
        several, the longest counts.
        """
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


def answers_of(
    readout: Readout, model: CausalModel, tokens: Tokens | None, prompt: str, span: Span = NOWHERE
) -> Answers:
    """The answers of a read-out after ``prompt``; faults of tokenisation raise :class:`SpecError`."""
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
    ids = {v: value_tokens(v, readout, tokens, prompt, span) for v in readout.values}
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
                notes=(f"it is {_written(long[1], tokens)}",),
                help="use values that are one token each, or read the answer at the end of the prompt",
            )
    ending = None if readout.end is None or readout.among else StatedEnd(readout.end, tokens)
    return Answers(ids, codes, tuple(i[0] for i in ids.values()) if readout.among else None, readout.stated, ending)


def value_tokens(value: Any, readout: Readout, tokens: Tokens, prompt: str, span: Span = NOWHERE) -> tuple[int, ...]:
    """The tokens that say a value: after a prompt, or in the place of its mask. Raises E751 for one that the network lacks."""
    find = mask_tokens if readout.kind == "mask" else answer_tokens
    ids = find(tokens, prompt, show_value(value), readout.prefix, span)
    refuse_beyond(tokens, ids, readout.prefix + show_value(value), span)
    return ids


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


def check_answers(answers: Answers, readout: Readout, diagnostics: Diagnostics) -> bool:
    """Refuse answers that one next token cannot tell apart, where one token is needed (E540, E541)."""
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
                notes=("the read-out cannot tell them apart",),
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
            notes=("its first token alone is not the answer",),
            help="use values of one token, or read the whole answer with `next_token`, as its greedy continuation",
        )
        return False
    return True


def check_numbers(
    answers: Answers, readout: Readout, tokens: Tokens | None, prompt: str, diagnostics: Diagnostics
) -> None:
    """Report W668 where a number is an answer whose tokens begin a longer number: what follows them is not read."""
    if tokens is None or readout.kind != "next_token" or answers.ending is not None:
        return
    for value, ids in answers.ids.items():
        text = show_value(value)
        longer = (
            tokens.continuation(prompt, f"{readout.prefix}{text}0")
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


def first_token(value: Any, readout: Readout, answers: Answers, tokens: Tokens | None, prompt: str) -> int:
    """The id whose logit stands for ``value``: its only token, or its class. -1 where the read-out has no such class."""
    if value in answers.ids:
        return answers.ids[value][0]
    if tokens is None or readout.kind == "logits":
        return -1
    return value_tokens(value, readout, tokens, prompt)[0]
