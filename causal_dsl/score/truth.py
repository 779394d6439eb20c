"""What the causal model says of a test's pairs: the labels, what each input asks about, which the network solves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.attributes import asked
from causal_dsl.causal.designs import Drawn
from causal_dsl.measures.per_cell import CellScore, asks
from causal_dsl.measures.quantities import Columns

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import Test


def labels_of(test: Test, drawn: Drawn) -> np.ndarray | None:
    """What the causal model answers under the test's interchange, codes [n]; None where nothing is interchanged."""
    if not test.swaps:
        return None
    do = {variable: drawn.values[role][variable] for variable, role in test.swaps}
    settings = {name: drawn.values["base"][name] for name in test.model.exogenous}
    return test.model.evaluate(settings, do)[test.readout.variable]


def asked_of(test: Test, drawn: Drawn) -> np.ndarray | None:
    """Which attribute each base asks about, where the test has scores of attributes."""
    values = [value for value in test.scores.values if isinstance(value, CellScore)]
    if not test.swaps or (
        not test.scores.attributes and not any(asks(part) for value in values for part in value.walk())
    ):
        return None
    return asked(test.model, test.readout.variable, [name for name, _ in test.swaps], drawn.values["base"])


def kept_of(test: Test, plan: Plan, columns: Mapping[str, Columns]) -> np.ndarray | None:
    """Which pairs ``where solved(…)`` keeps [n]: those whose unpatched runs answer right, in every output that is read; None
    without a filter. ``columns`` are those of any cell, by the test of each output."""
    kept = None
    for one in test.each:
        drawn, own, output = plan.draw_of(one), columns[one.name], one.readout.variable
        for role in test.solved:
            answered = own.base if role == "base" else own.sources[role]
            answers = next(values for quantity, values in answered.items() if quantity.kind == "answer")
            right = test.model.accepted(output).right(answers, drawn.values[role][output])
            kept = right if kept is None else kept & right
    return kept
