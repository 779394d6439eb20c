"""The words of a network in wrong runs, in runs without an answer, and in runs whose largest logit is not an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.per_pair import ANSWER
from causal_dsl.measures.quantities import NO_ANSWER, NO_ANSWERS, NOT_FINITE, SAID, TIED, UNENDED
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import counted, show_share
from causal_dsl.score.make_findings import not_said, said_nothing
from causal_dsl.score.results import Wrong

#: Of the wrong answers as many are told of, each with as many examples.
MOST, EXAMPLES = 3, 3
#: The fewest runs of which it is told that they have one answer.
FEWEST = 8


def _number(number: int) -> str:
    return str(number)


@dataclass(frozen=True)
class Speech:
    """How what a network says is put into words: the value of a code, the text of an id, the base of a pair.

    ``answers`` are the ids that the answer is read among; None where it is read among all.
    """

    value: Callable[[int], str] = _number
    token: Callable[[int], str] = _number
    base: Callable[[int], str] | None = None
    answers: frozenset[int] | None = None
    #: whether the output is a set, any value of which is right
    several: bool = False
    #: the inputs of a pair in words, by role
    inputs: Callable[[int], dict[str, str]] | None = None


#: Codes and ids as the numbers that they are.
PLAIN = Speech()


def nothing_said(frame: CellData, patched: bool) -> list[Finding]:
    """Findings of runs of a cell, base and patched, that say nothing, or nothing that is an answer."""
    runs = ("base", "patched") if patched else ("base",)
    answers = np.concatenate([frame.column(run, ANSWER) for run in runs]) if frame.n else np.zeros(0)
    which = "runs, base and patched," if patched else "runs"
    return said_nothing(int((answers == TIED).sum()), int((answers == NOT_FINITE).sum()), len(answers), which)


def one_answer(frame: CellData, speech: Speech) -> list[Finding]:
    """The finding of runs without an intervention that all have one answer, though it is not right in all of them."""
    said = frame.column("base", ANSWER) if frame.n >= FEWEST else np.zeros(0)
    if not len(said) or said[0] in NO_ANSWERS or (said != said[0]).any():
        return []
    right = int(frame.accepted.right(said, frame.base_answers).sum())
    if right == frame.n:
        return []
    text = (
        f"The network answers `{speech.value(int(said[0]))}` in each of {counted(frame.n, 'run')}, which is right in "
        f"{show_share(right, frame.n)}: the score does not show that the answer depends on the input."
    )
    return [Finding("one_answer", text)]


def elsewhere(frame: CellData, patched: bool, speech: Speech) -> list[Finding]:
    """The finding of runs whose largest logit of all is not an answer, where answers are read among some."""
    runs = ("base", "patched") if patched else ("base",)
    columns = [frame.columns.base, frame.columns.patched][: len(runs)]
    if speech.answers is None or not frame.n or any(SAID not in column for column in columns):
        return []
    told = _elsewhere(
        [frame.column(run, SAID) for run in runs], "runs, base and patched," if patched else "runs", speech
    )
    if not patched or frame.labels is None or any(finding.severity == "alarm" for finding in told):
        return told
    # The other runs may say their answers: these decide the score.
    changed = frame.accepted.apart(frame.labels, frame.base_answers)
    right = changed & frame.accepted.right(frame.column("patched", ANSWER), frame.labels)
    which = "right patched runs whose answer is another than the base's and"
    deciding = _elsewhere([frame.column("patched", SAID)[right]], which, speech)
    return deciding if any(finding.severity == "alarm" for finding in deciding) else told


def _elsewhere(columns: Sequence[np.ndarray], which: str, speech: Speech) -> list[Finding]:
    """The finding of the runs of some ``columns`` of ids, -1 where what is said is not known; ``which`` says of what runs this is."""
    assert speech.answers is not None
    said = np.concatenate(columns)
    said = said[said >= 0].astype(np.int64)
    missing = said[~np.isin(said, list(speech.answers))]
    if not len(missing):
        return []
    ids, counts = np.unique(missing, return_counts=True)
    instead = f"most often `{speech.token(int(ids[np.argmax(counts)]))}`"
    return not_said(len(missing), len(said), which, instead)


def wrong_answers(frame: CellData, label: bool, speech: Speech) -> tuple[Wrong, ...]:
    """The commonest of what was said where the answer is wrong: of the patched runs where there is a label, else of the
    base runs."""
    run: Literal["base", "patched"] = "patched" if label else "base"
    if not frame.n:
        return ()
    rows, codes, said = wrong_rows(frame, run, label)
    pairs = rows if frame.rows is None else frame.rows[rows]
    wanted = _wanted(frame, label)[rows]
    keys = np.stack([codes, said], axis=1)
    kinds, back, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    found = []
    for kind in np.argsort(-counts, kind="stable")[:MOST].tolist():
        mine = np.flatnonzero(back.reshape(-1) == kind)[:EXAMPLES]
        examples = tuple((int(pairs[i]), speech.value(int(wanted[i]))) for i in mine)
        words = said_in_words(int(kinds[kind][0]), int(kinds[kind][1]), speech)
        found.append(Wrong(run, words, int(counts[kind]), len(rows), examples))
    return tuple(found)


def _wanted(frame: CellData, label: bool) -> np.ndarray:
    found = frame.labels if label else frame.base_answers
    assert found is not None
    return found


def wrong_rows(frame: CellData, run: str, label: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that are wrong, the code that each says, and the id where the code is not an answer (-1: unknown)."""
    codes = frame.column(run, ANSWER)
    rows = np.flatnonzero(~frame.accepted.right(codes, _wanted(frame, label)))
    of_run = frame.columns.base if run == "base" else frame.columns.patched
    said = frame.column(run, SAID)[rows] if SAID in of_run else np.full(len(rows), -1)
    codes = codes[rows]
    unknown = np.isnan(np.asarray(said, np.float64)) | ~np.isin(codes, (NO_ANSWER, UNENDED))
    return rows, codes.astype(np.int64), np.where(unknown, -1, np.nan_to_num(said)).astype(np.int64)


def said_in_words(code: int, token: int, speech: Speech) -> str:
    if code == TIED:
        return "nothing (two logits tie for the largest)"
    if code == NOT_FINITE:
        return "nothing (a logit is not finite)"
    if code == UNENDED:
        return f"more than an answer (`{speech.token(token)}` and so on)" if token >= 0 else "more than an answer"
    if code in NO_ANSWERS:
        return f"`{speech.token(token)}`" if token >= 0 else "none of the answers"
    return f"`{speech.value(code)}`"


def told(code: int, speech: Speech) -> str:
    """The answer of a run, by its code alone."""
    return said_in_words(code, -1, speech).strip("`")


def wrong_finding(wrong: Sequence[Wrong], runs: int, cell: str, speech: Speech, weighed: bool = False) -> list[Finding]:
    """The finding on answers that were said instead; ``cell`` names the cell that they are about, where there are several. ``weighed``: the scores count each
    pair that can be drawn by its chance, and not by how often it was drawn."""
    if not wrong:
        return []
    parts = []
    for kind in wrong:
        pair, wanted = kind.examples[0]
        text = f"{kind.said} in {kind.count} (pair {pair}"
        text += f", {_short(speech.base(pair))}" if speech.base is not None else ""
        parts.append(f"{text}: {'any of ' * speech.several}`{wanted}` is right)")
    where = f"At {cell}, where iia is highest, " if cell else ""
    text = f"{where}{show_share(wrong[0].of, runs)} {wrong[0].run} runs answer wrong; they say {'; '.join(parts)}."
    if weighed:
        text += (
            " Here each run counts once, as it was drawn. The scores above weigh every pair that can be drawn by its chance, so their "
            "shares may differ from this one."
        )
    return [Finding("wrong_answers", text)]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return f'"{text}"' if len(text) <= 60 else f'"…{text[-58:]}"'
