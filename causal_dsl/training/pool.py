"""The inputs that a network is trained on: drawn from the causal model, the same on every machine."""

from __future__ import annotations

import numpy as np

from causal_dsl.base.counter import bits, key, unit
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.draw import draw
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.sampling import with_templates
from causal_dsl.causal.support import support_of
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.inputs import Inputs
from causal_dsl.inputs.conditions import conditions_of, judged
from causal_dsl.program.program import Alignment, Training

#: A model with at most so many inputs is trained on all of them, where no number is asked for; else so many are drawn.
LISTED, DRAWN = 16_384, 10_000


@dataclass(eq=False)
class Pool:
    """Inputs with their chances, sorted by their length in tokens.

    ``values[variable]`` [n]: codes of every variable. ``rows`` [n]: the index of each input in ``inputs``. ``sums``
    [n + 1]: cumulative chances, from 0 to 1. ``lengths`` [n] in tokens (1 for vectors).
    """

    model: CausalModel
    values: dict[str, np.ndarray]
    inputs: Inputs
    rows: np.ndarray
    sums: np.ndarray
    lengths: np.ndarray
    seed: int

    @property
    def n(self) -> int:
        return len(self.rows)

    def draw(self, role: str, step: int, count: int, like: np.ndarray | None = None) -> np.ndarray:
        """Inputs [count] of a role in a step, by their chances: a function of (seed, role, step) alone.

        ``like`` [count]: inputs each of which the drawn one must equal in length.
        """
        rows = np.arange(step * count, (step + 1) * count)
        share = unit(bits(key(self.seed, "train", role), rows))
        low, high = 0.0, self.sums[-1]
        if like is not None and self.lengths[0] != self.lengths[-1]:
            first = np.searchsorted(self.lengths, self.lengths[like], side="left")
            last = np.searchsorted(self.lengths, self.lengths[like], side="right")
            low, high = self.sums[first], self.sums[last]
        found = np.searchsorted(self.sums, low + share * (high - low), side="right") - 1
        return np.minimum(found, self.n - 1)

    def settings(self, picked: np.ndarray) -> dict[str, np.ndarray]:
        """The exogenous settings of some inputs."""
        return {name: self.values[name][picked] for name in self.model.exogenous}


def pool_of(training: Training, inputs: Inputs) -> Pool:
    """The pool of a training; the inputs are entered into ``inputs``. Raises what drawing and tokenising raise."""
    alignment = training.alignment
    values, weights = _values(training, alignment)
    drawn = _Drawn(len(weights), {"base": values})
    conditions = conditions_of(place for _, places in training.places for place in places)
    choices = judged(conditions, alignment.model, values, len(weights))
    rows = inputs.add(alignment, drawn, "base", training.span, choices)  # type: ignore[arg-type]
    lengths = inputs.lengths[rows]
    order = np.argsort(lengths, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    return Pool(
        alignment.model,
        {name: codes[order] for name, codes in values.items()},
        inputs,
        rows[order],
        sums / sums[-1],
        lengths[order],
        training.seed,
    )


@dataclass
class _Drawn:
    """As much of :class:`~causal_dsl.causal.designs.Drawn` as entering inputs takes."""

    n: int
    values: dict[str, dict[str, np.ndarray]]


def _values(training: Training, alignment: Alignment) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Codes of every variable and the chance of each input, not yet summing to 1."""
    model = alignment.model
    templates = tuple(line.where for line in alignment.prompts)
    for function in model.needs_trust:
        function.load()  # raises E346
    support = support_of(model, LISTED) if training.n is None else None
    if support is not None and support.n:
        support = with_templates(model, support, templates)
        return support.values, _balanced(support.values, support.weights.astype(np.float64), training.balance)
    found = Diagnostics()
    balance = tuple(("base", name) for name in training.balance)
    n = training.n or DRAWN
    statement = DrawStatement(("base",), model, n, training.seed, balance, False, None, training.span)
    drawn = draw(Design((statement,), templates), found)
    found.raise_errors()
    assert drawn is not None
    return drawn.values["base"], np.ones(drawn.n)


def _balanced(values: dict[str, np.ndarray], weights: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The weights, made to give every combination of the values of ``names`` the same chance."""
    if not names:
        return weights
    _, cells = np.unique(np.stack([values[name] for name in names], axis=1), axis=0, return_inverse=True)
    cells = cells.reshape(-1)
    return weights / np.bincount(cells, weights)[cells]
