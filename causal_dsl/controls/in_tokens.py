"""Unclaimed tokens taken one by one and two by two, once it is known in which cells a claim would be called true.

In prompts each row costs, and a plan shares what it may cost among all cells of a sweep. Few of them are called true. What is left for
these is spent there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch

from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import FLOOR, LEAST
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.results import CellResult

#: The rows that a cell needs at the least, and the share of them in which its parts are taken in the pairs of its own probe.
_WORTH, _OWN = FLOOR // 2, 1 / 3


def rest_of(rows: int) -> int:
    """Of the ``rows`` of a probe those that are left after :func:`taken_later`, of few rows as many again."""
    return max(rows - int(rows * _OWN), min(rows, FLOOR))


def rows_of(test: Test, execution: Execution, cells: Sequence[CellResult], more: int = 1) -> list[int]:
    """How many rows each of the ``cells`` of a test may be looked at in by :func:`taken_later` and what follows it: those that are called
    true, from the highest iia down. ``more``: times the share of the test that is left for these."""
    found = [0] * len(cells)
    share = execution.plan.inputs[test.network.key].later_share * more
    if not share:
        return found
    left = max(FLOOR, int(share * execution.plan.draw_of(test).n * test.unlike))
    full = [number for number, cell in enumerate(cells) if cell.verdict is not None and cell.verdict.code in FULL]
    full.sort(key=lambda number: -(cells[number].scores["iia"].value or 0.0))
    full = full[: max(1, left // _WORTH)]
    for number in full:
        found[number] = left // len(full)
    return found


@torch.no_grad()
def taken_later(
    probe: Unmapped, test: Test, execution: Execution, both: np.ndarray, own: np.ndarray, rows: int
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Single tokens and, where ``rows`` suffice, each two that a probe did not take, and in which of some of its pairs that are ``both``
    right [n] the answer moves when they are taken. ``own`` [n] are the answers to the first inputs.

    A token whose vectors are alike in all of these pairs changes nothing, and costs nothing.
    """
    layer, index = LayerVectors(execution, test, probe), np.flatnonzero(both)
    if layer.unfit or not len(index):
        return
    plan, key = execution.plan, test.network.key
    draw, drawn = plan.scores[test.name][0].label.draw, plan.draw_of(test)
    index = index[: max(LEAST, int(rows * _OWN) // (2 + len(probe.units[0])))]
    base, other = (plan.rows[Forward(key, draw, role)][index] for role in ("base", "other"))
    here, there = layer.read(base), layer.read(other)
    lines = drawn.templates("base")[index]
    apart = [unit for unit in probe.units[0] if not torch.equal(*(v[:, layer.columns([unit])] for v in (here, there)))]
    left = int(rows * _OWN) - 2 * len(index)
    none = np.zeros(len(index), bool)
    found: dict[tuple[int, ...], np.ndarray] = {}
    for size in (1, 2):
        sets = [some for some in combinations(probe.units[0], size) if some not in probe.units]
        run = [some for some in sets if set(some) <= set(apart)]
        if len(run) * len(index) > left:
            break
        left -= len(run) * len(index)
        for some in sets:
            moving = tuple(unit for unit in some if unit in apart)
            if some in run:
                mixed, columns = here.clone(), layer.columns(some)
                mixed[:, columns] = there[:, columns]
                said, _ = layer.said(base, lines, mixed)
                found[some] = (said != own[index]) & (said != TIED)
            elif not moving or moving in found:
                found[some] = found.get(moving, none)
            else:
                continue  # the token that counts was taken alone by the probe, in all of its pairs
            yield some, found[some]


__all__ = ["rest_of", "rows_of", "taken_later"]
