"""Rows in which the causal model does not say what is right: which scores leave them out, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.diagnostics import NOWHERE, SpecError, fail
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.known_answers import BASE, LABEL, values_needed
from causal_dsl.measures.of_alignments import OfAlignment
from causal_dsl.measures.per_cell import CellScore, PairMean
from causal_dsl.program.discovery import metric_of
from causal_dsl.program.program import Readout, Test
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import show_share
from causal_dsl.score.truth import has_answer, labels_of, unknown_of


def answered(frame: CellData, label: bool) -> CellData:
    """A cell over the rows whose label (or whose base's answer) is known."""
    return frame.among(frame.known([LABEL if label else BASE]))


def refuse_unanswered(test: Test, drawn: Drawn, several: bool) -> None:
    """Refuse what needs an answer in every row, where some of the rows that are drawn have none (E787). ``several``: the test
    is of one output of several."""
    if not test.readout.gaps:
        return
    unknown = unknown_of(test, drawn)
    parts = [part for score in test.scores.values for part in score.walk()]
    metric = metric_of(test) if test.discoveries else None
    places = [quantity.place for part in parts for _, quantity in part.needs() if quantity.place is not None]
    gradients = [place.gradient.metric for place in places if place.gradient is not None]
    why = ""
    if (BASE in unknown or LABEL in unknown) and several:
        why = "a run of several outputs is right if all of them are"
    elif unknown and any(isinstance(part, OfAlignment) for part in parts):
        why = "measures of a whole alignment ask for the answer of each run"
    elif any(values_needed(one) & unknown.keys() for one in gradients):
        why = "gradients are those of a metric in each pair"
    elif metric is not None and values_needed(metric) & unknown.keys():
        why = "a circuit is found by a metric in each pair"
    if why:
        raise _no_answer(test.readout, why)


def of_the_answered(test: Test, draw: Callable[[], Drawn | None]) -> Test:
    """A fit on those of its rows that have an answer: the others take no part. Raises E787 where none has one."""
    drawn = draw() if test.readout.gaps else None
    labels = None if drawn is None else labels_of(test, drawn)
    if drawn is None or labels is None:
        return test
    known = has_answer(test, labels)
    if known.all():
        return test
    if not known.any():
        raise _no_answer(test.readout, f"none of the {drawn.n} rows has one on which a feature is fitted")
    swaps = ", ".join(f"{variable} <- {role}" for variable, role in test.swaps)
    told = f"{test.draws}; those with a known `{test.readout.variable}` under {swaps}"
    return replace(test, given=drawn.among(np.flatnonzero(known)), draws=told)


def _no_answer(readout: Readout, why: str) -> SpecError:
    """E787: an answer is needed in every row, and in some it is the empty text."""
    name = readout.variable
    return fail(
        "E787",
        f"`{name}` has no answer in some of the rows that are drawn, and {why}",
        readout.span or NOWHERE,
        help=f'draw rows that have one, say `where base.{name} != ""`; or read it in a test of its own',
    )


def unknown_finding(frame: CellData, scores: Mapping[str, CellScore]) -> list[Finding]:
    """Which scores rest on fewer pairs, for the others have no expected answer, or no value that they need."""
    resting: dict[int, list[str]] = {}
    whole: list[str] = []
    for name, score in scores.items():
        if any(isinstance(part, PairMean) and part.where is not None for part in score.walk()):
            continue  # over fewer pairs in any case, as is told with it
        rows = frame.known(frozenset().union(*(values_needed(part) for part in score.walk())))
        if rows is not None:
            resting.setdefault(len(rows), []).append(name)
        else:
            whole.append(name)
    if not resting:
        return []
    parts = [
        f"{_named(names)} {'rests' if len(names) == 1 else 'rest'} on {show_share(known, frame.n)} pairs"
        for known, names in resting.items()
    ]
    rest = f"; {_named(whole)} {'is' if len(whole) == 1 else 'are'} over all pairs" if whole else ""
    text = f"Some pairs have no expected answer, or not each value that a score needs: {'; '.join(parts)}{rest}."
    return [Finding("unanswered", text)]


def _named(names: list[str]) -> str:
    *some, last = [f"`{name}`" for name in names]
    return f"{', '.join(some)} and {last}" if some else last


__all__ = ["answered", "of_the_answered", "refuse_unanswered", "unknown_finding"]
