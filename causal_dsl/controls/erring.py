"""Whether the network errs by itself on inputs that have what a mixture of inputs has.

A network may read a unit in those inputs alone in which it errs. Taken from another input, such a unit brings the error with it. That is no news: the
network errs there by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from causal_dsl.controls.assembling import inputs_of
from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import LEAST, is_small
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.numbered_values import firsts, numbered
from causal_dsl.score.unmapped import Taken, exceeds, moves, of_pairs

#: Distinct inputs that are looked at, the pairs in which a set of units is taken, and how many sets.
_INPUTS, _PAIRS, _SETS = 2**12, 512, 24
#: The network errs on inputs with some values if it errs on this share of them. Decimals in which two numbers are one.
_MOST, _DIGITS = 0.5, 6


class Erring:
    """The inputs of a test ``own`` and of its ``probe``, the vectors that they have in the layer, and which of them the network answers wrong."""

    def __init__(self, execution: Execution, test: Test, own: Test, probe: Unmapped):
        self.layer = LayerVectors(execution, test, probe)
        index, values = inputs_of(execution, (test,) if probe.beyond else (test, own))
        first = firsts(index)[:_INPUTS]
        index = index[first]
        lines = values["template"][first] if "template" in values else None
        said, _ = self.layer.said(index, lines)
        output = test.readout.variable
        self.wrong = ~test.model.accepted(output).right(said, values[output][first])
        self.held = self._rounded(self.layer.read(index)) if self.wrong.any() else np.empty((0, 0))
        self.places = list(self.layer.blocks(own, int(index[0])).values()) if len(index) else []
        #: sets that were found to bring such errors: larger ones bring them with these
        self.known: list[tuple[int, ...]] = []

    @staticmethod
    def _rounded(vectors: torch.Tensor) -> np.ndarray:
        found: np.ndarray = np.round(vectors.double().cpu().numpy(), _DIGITS)
        return found

    def left(self, hits: np.ndarray, mixed: torch.Tensor, units: tuple[int, ...]) -> np.ndarray:
        """In which of some pairs [n] whose answer moves (``hits``) the network does not err by itself on inputs with what the ``mixed`` vectors [n, width] have at
        some units, or at those of them that were found to bring errors. It is to be asked of small sets first."""
        if not self.wrong.any() or not hits.any():
            return hits
        found = hits.copy()
        for some in (units, *(one for one in self.known if set(one) < set(units))):
            found &= ~self._explains(mixed, some)
        if 2 * found.sum() <= hits.sum():
            self.known.append(units)
        return found

    def _explains(self, mixed: torch.Tensor, units: Sequence[int]) -> np.ndarray:
        """In which of some vectors [n, width] the network errs on half or more of the inputs that have the same numbers at ``units``, beside the same at the
        places of all variables or at those of one of them."""
        found = np.zeros(len(mixed), bool)
        held, here = self._rounded(mixed), self.layer.columns(units)
        whole = [column for place in self.places for column in place]
        for place in (whole, *self.places):
            columns = [*here, *place]
            codes = numbered(np.concatenate([self.held[:, columns], held[:, columns]]))
            natural, mine = codes[: len(self.held)], codes[len(self.held) :]
            count = np.bincount(natural, minlength=int(codes.max()) + 1)
            wrong = np.bincount(natural, weights=self.wrong, minlength=len(count))
            found |= (wrong[mine] > 0) & (wrong[mine] >= _MOST * count[mine])
        return found


@torch.no_grad()
def with_errors(
    taken: Sequence[Taken],
    probe: Unmapped,
    test: Test,
    own: Test,
    execution: Execution,
    both: np.ndarray,
    natural: float,
    allowed: float,
) -> tuple[Taken, ...]:
    """Sets of units that move the answer: each with the share of pairs in which it moves and the network does not err by itself on inputs with these
    values. The pairs are those of a probe that are ``both`` right [n]."""
    inputs, rows = execution.plan.inputs[test.network.key], np.flatnonzero(both)[:_PAIRS]
    moving = [
        i for i, one in enumerate(taken) if not one.mixed and moves(one, allowed, len(taken) if i else 1, natural)
    ]
    if not moving or len(rows) < LEAST or probe.tokens or not is_small(inputs):
        return tuple(taken)
    erring = Erring(execution, test, own, probe)
    if not erring.wrong.any():
        return tuple(taken)
    plan, draw = execution.plan, execution.plan.scores[test.name][0].label.draw
    base, other = (plan.rows[Forward(test.network.key, draw, role)][rows] for role in ("base", "other"))
    here, there = erring.layer.read(base), erring.layer.read(other)
    lines = plan.draw_of(test).templates("base")[rows]
    said, _ = erring.layer.said(base, lines)
    found = list(taken)
    moving.sort(key=lambda i: (len(taken[i].units), -(taken[i].moved.value or 0.0)))
    for i in moving[:_SETS]:
        columns, mixed = erring.layer.columns(taken[i].units), here.clone()
        mixed[:, columns] = there[:, columns]
        new, _ = erring.layer.said(base, lines, mixed)
        hits = (new != said) & (new != TIED)
        rest = erring.left(hits, mixed, taken[i].units)
        apart = firsts(np.column_stack([mixed.double().cpu().numpy(), said]))
        if hits.sum() == rest.sum() and len(apart) == len(hits):
            continue
        every = probe.all_pairs and len(rows) == int(both.sum())
        if len(apart) < len(
            hits
        ):  # pairs that give one vector are one case of the network, of which an error may stand in many
            found[i] = replace(found[i], moved=of_pairs(hits[apart], every))
        if hits.sum() == rest.sum():
            continue
        left = of_pairs(rest[apart], every)
        clear = taken[i].clear if exceeds(left, natural, len(taken), once=True) else None
        found[i] = replace(found[i], unexplained=left, clear=clear)
    return tuple(found)


__all__ = ["Erring", "with_errors"]
