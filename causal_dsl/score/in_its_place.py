"""The scores of a cell with random circuits in the place of its circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.measures.circuit_run_names import EMPTY, RANDOM, of_random
from causal_dsl.measures.evaluation import Evaluation
from causal_dsl.measures.per_cell import CellScore
from causal_dsl.measures.quantities import Columns
from causal_dsl.measures.units import SHARE
from causal_dsl.score.circuit_results import RandomCircuits, random_of


def of_random_circuits(
    scores: Mapping[str, CellScore], env: Evaluation, number: int, run: str, own: Mapping[str, float | None]
) -> dict[str, RandomCircuits]:
    """Scores of cell ``number`` whose patched run is one with a random circuit; ``run`` is what the patched run is beside a circuit, and
    ``own`` has the scores of the circuit itself. Only random circuits that were run are there."""
    frame = env.frames[number]
    swapped = [one for i in range(RANDOM) if (one := _swapped(frame.columns, i, run)) is not None]
    values: dict[str, list[float | None]] = {name: [] for name in scores}
    for columns in swapped:
        there = replace(env, frames=[frame.of(columns)], cells=[env.cells[number]], memo={}, picked={})
        for name, score in scores.items():
            if {of for of, _ in score.needs()} <= {"base", "patched", *columns.sources}:
                with np.errstate(invalid="ignore", over="ignore"):
                    value = float(there.of(score)[0, 0])
                values[name].append(value if np.isfinite(value) else None)
    return {
        name: random_of(own.get(name), found, None, scale=_scale(scores[name], found))
        for name, found in values.items()
        if found
    }


def _scale(score: CellScore, values: Sequence[float | None]) -> float:
    """How large the numbers are that a score is rounded like: a probability is rounded like itself, and what is made of logits like these."""
    return max((abs(value) for value in values if value is not None), default=0.0) if score.unit == SHARE else 1.0


def _swapped(columns: Columns, number: int, run: str) -> Columns | None:
    """The columns of a cell as if a random circuit were its circuit; None where that was not run."""
    patched, begin = of_random(number, run), of_random(number, "@")
    if patched not in columns.sources:
        return None
    plain = {name: own for name, own in columns.sources.items() if not name.startswith("@") or name == EMPTY}
    theirs = {f"@{name.removeprefix(begin)}": own for name, own in columns.sources.items() if name.startswith(begin)}
    return Columns(columns.base, columns.sources[patched], {**plain, **theirs}, columns.beside)


__all__ = ["of_random_circuits"]
