"""Whether answers that move become other ones as clearly as usual.

A network with errors of its own makes more of them where a layer holds parts of two inputs: an answer that was close becomes another one that
is close. What a backup does is no error of this kind. The answer that it gives is as clear as any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from causal_dsl.controls.assembling import SURE
from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import LEAST, is_small, rows_of_tokens
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.unmapped import Taken, exceeds, of_pairs

#: Of how many sets it is asked, and in how many pairs at most.
_SETS, _PAIRS = 4, 512


@torch.no_grad()
def with_clear(
    taken: Sequence[Taken],
    probe: Unmapped,
    test: Test,
    execution: Execution,
    both: np.ndarray,
    natural: float,
    allowed: float,
) -> tuple[Taken, ...]:
    """Sets of units that move the answer no more often than errors in both inputs explain (``allowed``), but more often than the network errs by
    itself (``natural``): each with the share of pairs in which the answer becomes another one clearly. The pairs are those of a probe that are ``both`` right [n].
    """
    inputs = execution.plan.inputs[test.network.key]
    doubted = [
        i
        for i, one in enumerate(taken)
        if not one.mixed
        and exceeds(one.moved, natural, len(taken) if i else 1, once=True)
        and not exceeds(one.moved, allowed, len(taken) if i else 1)
    ]
    rows = np.flatnonzero(both)[:_PAIRS]
    if not natural or not doubted or len(rows) < LEAST or not (is_small(inputs) or rows_of_tokens(inputs)):
        return tuple(taken)
    layer = LayerVectors(execution, test, probe)
    if probe.tokens and layer.unfit:
        return tuple(taken)
    plan, draw = execution.plan, execution.plan.scores[test.name][0].label.draw
    base, other = (plan.rows[Forward(test.network.key, draw, role)][rows] for role in ("base", "other"))
    here, there = layer.read(base), layer.read(other)
    lines = plan.draw_of(test).templates("base")[rows]
    own, gaps = layer.said(base, lines)
    usual, found = float(np.median(gaps)), list(taken)
    doubted.sort(key=lambda i: (i > 0, len(taken[i].units), -(taken[i].moved.value or 0.0)))
    for i in doubted[:_SETS]:
        columns, mixed = layer.columns(taken[i].units), here.clone()
        mixed[:, columns] = there[:, columns]
        said, gap = layer.said(base, lines, mixed)
        hits = (said != own) & (said != TIED) & (gap >= SURE * usual)
        found[i] = replace(taken[i], clear=of_pairs(hits, False))
    return tuple(found)


__all__ = ["with_clear"]
