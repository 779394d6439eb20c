"""The scores of a cell with random circuits in the place of its circuit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.circuit_run_names import EMPTY, RANDOM, of_random
from causal_dsl.measures.evaluation import Evaluation
from causal_dsl.measures.per_cell import CellScore
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.measures.units import SHARE
from causal_dsl.score.circuit_results import RandomCircuits, random_of

_NONE: Mapping[str, CellData] = MappingProxyType({})


def of_random_circuits(
    scores: Mapping[str, CellScore],
    there: Iterable[tuple[Evaluation, Mapping[str, Columns]]],
    own: Mapping[str, float | None],
) -> dict[str, RandomCircuits]:
    """Scores of a cell with random circuits in the place of its circuit: each is ``there`` as an evaluation of that one cell, with its
    columns by the output that they are of (``""``: of the test, where it reads one). ``own`` has the scores of the circuit itself. Only
    random circuits that were run are there."""
    values: dict[str, list[float | None]] = {name: [] for name in scores}
    for env, columns in there:
        for name, score in scores.items():
            if all(_has(columns, run, quantity) for run, quantity in score.needs()):
                with np.errstate(invalid="ignore", over="ignore"):
                    value = float(env.of(score)[0, 0])
                values[name].append(value if np.isfinite(value) else None)
    return {
        name: random_of(own.get(name), found, None, scale=_scale(scores[name], found))
        for name, found in values.items()
        if found
    }


def _has(columns: Mapping[str, Columns], run: str, quantity: Quantity) -> bool:
    """Whether a run was read at the output that a quantity is of: each output reads the runs that its own scores need."""
    where = (columns[quantity.at],) if quantity.at in columns else columns.values()
    return all(run in ("base", "patched") or run in one.sources for one in where)


def in_its_place(columns: Columns, run: str) -> Iterator[Columns]:
    """The columns of a cell as if each random circuit that was run were its circuit; ``run`` is what its patched run is beside a circuit."""
    for number in range(RANDOM):
        patched, begin = of_random(number, run), of_random(number, "@")
        if patched in columns.sources:
            plain = {name: own for name, own in columns.sources.items() if not name.startswith("@") or name == EMPTY}
            beside = {name: own for name, own in columns.sources.items() if name.startswith(begin)}
            theirs = {f"@{name.removeprefix(begin)}": own for name, own in beside.items()}
            yield Columns(columns.base, columns.sources[patched], {**plain, **theirs}, columns.beside)


def one_cell(env: Evaluation, number: int, columns: Columns, outputs: Mapping[str, CellData] = _NONE) -> Evaluation:
    """The evaluation of one cell with other columns, and with those of each output where a test reads several."""
    frame = env.frames[number].of(columns)
    frame.outputs = outputs
    return replace(env, frames=[frame], cells=[env.cells[number]], memo={}, picked={})


def _scale(score: CellScore, values: Sequence[float | None]) -> float:
    """How large the numbers are that a score is rounded like: a probability is rounded like itself, and what is made of logits like these."""
    return max((abs(value) for value in values if value is not None), default=0.0) if score.unit == SHARE else 1.0


__all__ = ["in_its_place", "of_random_circuits", "one_cell"]
