"""The pairs of a test as its scores need them: what is kept of them, their weights, the ceilings that hold on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.known_answers import LABEL
from causal_dsl.measures.quantities import Columns, ValueRef
from causal_dsl.score.chance import kept_ceilings
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.samples import steady

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.causal.cover import Cover


@dataclass(frozen=True)
class Prepared:
    """The data that scores are computed on: the cells, over the ``rows`` that are kept (None: all), and ``everything`` without the
    filter, where there is one; the ceilings of the draws, and of the kept rows."""

    frames: Sequence[CellData]
    estimator: Estimator
    everything: Estimator | None
    rows: np.ndarray | None
    ceilings: dict[str, Ceiling]
    of_kept: dict[str, Ceiling]


def prepare(
    cells: Sequence[tuple[Mapping[str, Any], Columns]],
    *,
    ids: Mapping[str, np.ndarray],
    base_answers: np.ndarray,
    labels: np.ndarray | None = None,
    asked: np.ndarray | None = None,
    source_answers: Mapping[str, np.ndarray] = MappingProxyType({}),
    ceilings: Mapping[str, Ceiling] | None = None,
    exhaustive: bool = False,
    kept: np.ndarray | None = None,
    cover: Cover | None = None,
    accepted: Accepted = SINGLE,
    outputs: Mapping[str, Prepared] = MappingProxyType({}),
    unknown: Mapping[ValueRef, np.ndarray] = MappingProxyType({}),
) -> Prepared:
    """The pairs of a test as scores need them; the arguments are those of :func:`score_test`."""
    names = [dict(cell) for cell, _ in cells]
    given = dict(ceilings or {})
    rows = None if kept is None else np.flatnonzero(kept)

    def framed(rows: np.ndarray | None) -> list[CellData]:
        if not cells:
            return []
        first = CellData(
            cells[0][1], base_answers, labels, dict(source_answers), rows, asked, accepted, unknown=unknown
        )
        return [first, *(first.of(columns) for _, columns in cells[1:])]

    frames = framed(rows)
    for number, frame in enumerate(frames):
        frame.outputs = {name: one.frames[number] for name, one in outputs.items()}
    own_ids = {
        role: np.asarray(column)[rows] if rows is not None else np.asarray(column) for role, column in ids.items()
    }
    weights = None if cover is None else steady(cover, frames, rows)
    level: float | np.ndarray | None = given["output_only"].value if "output_only" in given else None
    of_kept: dict[str, Ceiling] = {}
    if rows is not None and labels is not None and frames:
        known = frames[0].known([LABEL])
        frame = frames[0].among(known)
        assert frame.labels is not None
        answers = {next(iter(ids)): frame.base_answers, **frame.source_answers}
        own = {role: own_ids[role] if known is None else own_ids[role][known] for role in answers}
        drawn = len(base_answers) - int(unknown[LABEL].sum() if LABEL in unknown else 0)
        among = weights if weights is None or known is None else weights[known]
        of_kept, found = kept_ceilings(frame.labels, answers, own, exhaustive, given, drawn, accepted.of_values, among)
        level = found
        if known is not None:
            level = np.full(len(rows), np.nan)
            level[known] = found
    draws = cover is not None and cover.seen
    known_top = _exact(of_kept or given)
    of_outputs = {name: one.estimator for name, one in outputs.items()}
    estimator = Estimator(
        frames, names, own_ids, exhaustive or weights is not None, level, draws, weights, known_top, outputs=of_outputs
    )
    everything = None
    if rows is not None:
        every = framed(None)
        for number, frame in enumerate(every):
            frame.outputs = {n: one.everything.frames[number] for n, one in outputs.items() if one.everything}
        of_all = None if cover is None else steady(cover, every, None)
        whole = {name: one.everything for name, one in outputs.items() if one.everything is not None}
        everything = Estimator(
            every,
            names,
            ids,
            exhaustive or of_all is not None,
            _value(given),
            draws,
            of_all,
            _exact(given),
            outputs=whole,
        )
    return Prepared(frames, estimator, everything, rows, given, of_kept)


def _value(ceilings: Mapping[str, Ceiling]) -> float | None:
    return ceilings["output_only"].value if "output_only" in ceilings else None


def _exact(ceilings: Mapping[str, Ceiling]) -> bool:
    return "output_only" in ceilings and ceilings["output_only"].exact


__all__ = ["Prepared", "prepare"]
