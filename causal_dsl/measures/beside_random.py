"""Which scores of a test are compared with those of random circuits, beside the scores of circuits themselves."""

from __future__ import annotations

from collections.abc import Collection

from causal_dsl.measures.context import TestScores
from causal_dsl.measures.of_alignments import OfAlignment
from causal_dsl.measures.of_circuits import OfCircuit
from causal_dsl.measures.per_cell import CellScore, OfOutput
from causal_dsl.measures.per_pair import Need
from causal_dsl.vocabulary.readings import READINGS


def beside_random(scores: TestScores) -> dict[str, CellScore]:
    """The scores of a cell that its patched run decides, by name, in a test whose action is on a circuit: with a random circuit in its
    place, each is another number.

    Scores of circuits are none of them: they have random circuits by themselves. Sums of these and others are, if nothing is searched in
    them. Scores over several cells are left out, and those that are made in passes of their own: gradients and probes at places.
    """
    return {name: score for name, score in scores.cell_scores.items() if _compared(score)}


def without_random(scores: TestScores, there: Collection[str]) -> tuple[str, ...]:
    """The scores of a cell that its patched run decides and that are made in passes of their own, by name, where they are not ``there``
    among those that random circuits have."""
    return tuple(
        name
        for name, score in scores.cell_scores.items()
        if name not in there and not isinstance(score, OfCircuit) and _in_passes_of_its_own(score)
    )


def _in_passes_of_its_own(score: CellScore) -> bool:
    needs = list(score.needs())
    return any(run == "patched" for run, _ in needs) and any(map(_apart, needs))


def _compared(score: CellScore) -> bool:
    parts = list(score.walk())
    if isinstance(score, OfCircuit) or any(
        part.over_cells or isinstance(part, OfAlignment | OfOutput) for part in parts
    ):
        return False
    if any(not part.beside or part.narrowed() != part for part in parts if isinstance(part, OfCircuit)):
        return False
    needs = list(score.needs())
    return any(run == "patched" for run, _ in needs) and not any(map(_apart, needs))


def _apart(need: Need) -> bool:
    """Whether a number is made in passes of its own, or from the vectors of all pairs together."""
    _, quantity = need
    reading = None if quantity.place is None else READINGS.get(quantity.kind)
    return reading is not None and reading.of in ("gradients", "pairs")


__all__ = ["beside_random", "without_random"]
