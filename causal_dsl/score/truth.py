"""The causal model on a test's pairs: the labels, what each input asks about, which the network solves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.attributes import asked
from causal_dsl.causal.ceilings import known_in
from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.model import CausalModel
from causal_dsl.measures.known_answers import BASE, LABEL, values_needed
from causal_dsl.measures.per_cell import CellScore, asks
from causal_dsl.measures.quantities import Columns, ValueRef

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import Test


def labels_of(test: Test, drawn: Drawn) -> np.ndarray | None:
    """The answers of the causal model under the test's interchange, codes [n]; None where nothing is interchanged."""
    if not test.swaps:
        return None
    do = {variable: drawn.values[role][variable] for variable, role in test.swaps}
    settings = {name: drawn.values["base"][name] for name in test.model.exogenous}
    return test.model.evaluate(settings, do)[test.readout.variable]


def unknown_of(test: Test, drawn: Drawn) -> dict[ValueRef, np.ndarray]:
    """Of the values that the scores of a test need: in which rows each is not known [n], where it is not in some."""
    if test.readout.kind == "logits" and not test.readout.gaps:
        return {}
    labels, found = labels_of(test, drawn), {}
    for value in frozenset().union(*map(values_needed, test.scores.values)) | {BASE, LABEL}:
        variable = value.variable or test.readout.variable
        codes = labels if value == LABEL else drawn.values.get(value.role, {}).get(variable)
        if codes is not None and (missing := unknown_in(test.model, variable, codes)) is not None and missing.any():
            found[value] = missing
    return found


def has_answer(test: Test, codes: np.ndarray) -> np.ndarray:
    """In which rows it is known what is right [n]; ``codes`` are those of the output."""
    missing = unknown_in(test.model, test.readout.variable, codes) if test.readout.gaps else None
    return np.ones(len(codes), bool) if missing is None else ~missing


def unknown_in(model: CausalModel, variable: str, codes: np.ndarray) -> np.ndarray | None:
    """In which rows a variable is the empty text, and so not known [n]; None if it never is."""
    known = known_in(model, variable, codes)
    if known is None:
        return None
    missing = np.ones(len(codes), bool)
    missing[known] = False
    return missing


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
