"""Vectors of a layer put together from several inputs.

Where one other input gives several units, no two of them are unlike each other that are alike in every run; nor are any two, and what the
placed variables' own places hold. So each unit is taken from an input of its own, and what stands at a place from another input with the
same value of its variable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from causal_dsl.base.counter import Stream
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import SEED
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.numbered_values import firsts

#: Inputs that are put together.
_INPUTS = 512
#: An answer is sure where the gap of its two largest logits is at least this share of the usual one.
SURE = 0.5
#: Rows, and numbers, that are run in one pass.
_AT_ONCE, _NUMBERS = 2**14, 2**23

#: From assembled vectors [n, width] and the rows [n] that they are made from to the vectors that are run.
Kept = Callable[[torch.Tensor, np.ndarray, bool], torch.Tensor]


@dataclass(frozen=True)
class Mixtures:
    """The mixtures of inputs of which something was ``said`` [n]: the rows [n] that they are made from, in which the answer is another one [n] and is as clear
    as usual [n], and the ``donors`` of each unit [n]."""

    base: np.ndarray
    said: np.ndarray
    moved: np.ndarray
    sure: np.ndarray
    donors: tuple[np.ndarray, ...] = ()


class Assembling:
    """Distinct inputs of tests that the network answers right, and the vectors that the layer of a ``probe`` has in them."""

    def __init__(
        self,
        execution: Execution,
        tests: Sequence[Test],
        probe: Unmapped,
        kept: Kept | None = None,
        most: int | None = None,
    ):
        """``tests``: whose inputs these are, the first of them the one whose answers are read; ``kept``: what of the rows that mixtures are
        made from stays in them; ``most``: inputs that are read, where these cost."""
        test = tests[0]
        self.test, self.kept = test, kept
        self.layer = LayerVectors(execution, test, probe)
        index, self.values = inputs_of(execution, tests)
        first = firsts(index)
        self.stream = Stream(SEED, len(first))
        first = np.sort(self.stream.shuffled(first)[: _INPUTS if most is None else most])
        index = index[first]
        self.values = {name: column[first] for name, column in self.values.items()}
        self.inputs = index
        answers, gaps = self.layer.said(index, self.lines(np.arange(len(index))))
        output = test.readout.variable
        right = test.model.accepted(output).right(answers, self.values[output])
        self.inputs, self.answers = index[right], answers[right]
        self.values = {name: column[right] for name, column in self.values.items()}
        self.usual = float(np.median(gaps[right])) if right.any() else 0.0
        self.wrong = 1 - float(right.mean()) if len(right) else 0.0
        self.vectors = self.layer.read(self.inputs) if right.any() else torch.empty(0)

    def lines(self, rows: np.ndarray) -> np.ndarray | None:
        """The prompt lines of some inputs; None where there is but one."""
        return self.values["template"][rows] if "template" in self.values else None

    def rows(self, n: int) -> np.ndarray:
        """Inputs [n] from which mixtures are made: each as often as any other."""
        return np.resize(self.stream.shuffled(np.arange(len(self.inputs))), n)

    def own(self, count: int, n: int) -> tuple[np.ndarray, ...]:
        """For each of ``count`` units an input of its own in each of n rows."""
        return tuple(self.stream.below(len(self.inputs), n) for _ in range(count))

    def alike(self, base: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """For each of the inputs ``base`` [n] another one (it may be the same) that has the same values of ``names``."""
        return self._of_groups(base, np.stack([self.values[name] for name in names], axis=1))

    def _of_groups(self, base: np.ndarray, columns: np.ndarray) -> np.ndarray:
        group = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(int(group.max()) + 2))
        mine = group[base]
        size = bounds[mine + 1] - bounds[mine]
        found: np.ndarray = order[bounds[mine] + np.floor(self.stream.unit(len(base)) * size).astype(np.int64)]
        return found

    def varies(self, columns: Sequence[int], names: Sequence[str]) -> bool:
        """Whether the numbers in some columns are not the same in all inputs with the same values of ``names``."""
        held = self.vectors[:, list(columns)].double().cpu().numpy()
        group = np.unique(np.stack([self.values[n] for n in names], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        size = np.abs(held).max(initial=0)
        return any(np.ptp(held[group == k], axis=0).max(initial=0) > 1e-6 * size for k in range(int(group.max()) + 1))

    @torch.no_grad()
    def run(
        self,
        base: np.ndarray,
        taken: Sequence[Sequence[tuple[Sequence[int] | torch.Tensor, np.ndarray]]],
        placed: np.ndarray | None = None,
    ) -> list[Mixtures]:
        """The mixtures of each of several ways to make them from the inputs ``base`` [n]: pairs of columns (or of a projection [width, width]), and
        of the inputs [n] that these are taken from. ``placed``: the inputs [n] from which is what stays in them, in place of ``base``."""
        n, width = len(base), max(1, self.vectors.shape[1])
        at_once = max(1, min(_AT_ONCE, _NUMBERS // width) // n)
        own, lines, found = self.answers[base], self.lines(base), list[Mixtures]()
        here = torch.from_numpy(base)
        for start in range(0, len(taken), at_once):
            some = taken[start : start + at_once]
            vectors = []
            for parts in some:
                mixed = self.vectors[here].clone()
                for columns, donors in parts:
                    if isinstance(columns, torch.Tensor):
                        mixed += (self.vectors[torch.from_numpy(donors)] - self.vectors[here]) @ columns.to(mixed)
                        continue
                    mixed[:, list(columns)] = self.vectors[torch.from_numpy(donors)][:, list(columns)]
                vectors.append(
                    mixed if self.kept is None else self.kept(mixed, base if placed is None else placed, placed is None)
                )
            every = None if lines is None else np.tile(lines, len(some))
            said, gaps = self.layer.said(self.inputs[np.tile(base, len(some))], every, torch.cat(vectors))
            for parts, one, gap in zip(some, said.reshape(-1, n), gaps.reshape(-1, n), strict=True):
                moved = (one != own) & (one != TIED)
                found.append(Mixtures(base, one, moved, gap >= SURE * self.usual, tuple(donors for _, donors in parts)))
        return found

    def differing(self, mixtures: Mixtures) -> tuple[str, ...]:
        """The inputs of the model in which something of the mixtures is taken from other inputs than theirs."""
        return tuple(
            name
            for name in self.test.model.exogenous
            if any((self.values[name][d] != self.values[name][mixtures.base]).any() for d in mixtures.donors)
        )


def inputs_of(execution: Execution, tests: Sequence[Test]) -> tuple[np.ndarray, Columns]:
    """The inputs of some tests, in all of their roles that are run, and their values."""
    plan, key = execution.plan, tests[0].network.key
    index, values = [], []
    for test in tests:
        draw, drawn = plan.scores[test.name][0].label.draw, plan.draw_of(test)
        for role, columns in drawn.values.items():
            if Forward(key, draw, role) in plan.rows:
                index.append(plan.rows[Forward(key, draw, role)])
                values.append(columns)
    names = [name for name in values[0] if all(name in columns for columns in values)]
    return np.concatenate(index), {name: np.concatenate([columns[name] for columns in values]) for name in names}


__all__ = ["SURE", "Assembling", "Mixtures", "inputs_of"]
