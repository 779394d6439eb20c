"""The measures of a test: its lines are compiled as soon as it is resolved, so that a :class:`Test` is whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from causal_dsl.causal.accepted import UNKNOWN
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics, Span, SpecError
from causal_dsl.measures.compile import compile_metrics, read_number
from causal_dsl.measures.context import LongValue, OnCircuit, TestContext, TestScores
from causal_dsl.measures.per_pair import Pair
from causal_dsl.measures.quantities import ValueRef
from causal_dsl.measures.units import NUMBER
from causal_dsl.program.answers import how_said, value_tokens
from causal_dsl.program.held_places import held_order
from causal_dsl.program.program import Alignment, Cell, Readout, Test
from causal_dsl.program.templates import show_value
from causal_dsl.program.tokens import Tokens
from causal_dsl.syntax import tree

#: Variables with more values are not looked at one by one.
_MOST_VALUES = 10_000


def scores_of(
    name: str,
    span: Span,
    alignment: Alignment,
    readouts: Sequence[Readout],
    roles: Iterable[str],
    cells: Iterable[Cell],
    interchange: bool,
    members: tuple[tree.Node, ...],
    metrics: Mapping[str, tree.Expr],
    tokens: Tokens | None,
    diagnostics: Diagnostics,
) -> TestScores:
    """The lines of a test, compiled; faults are reported. ``tokens`` say which values take several tokens, where they are known."""
    contexts = {
        readout.variable: _context(
            name, span, alignment, readout, roles, cells, interchange, members, metrics, tokens, diagnostics
        )
        for readout in readouts
    }
    if len(contexts) > 1:  # scores of circuits are of one output
        contexts = {variable: replace(context, circuit=None) for variable, context in contexts.items()}
    first = contexts[readouts[0].variable]
    return compile_metrics(replace(first, several=contexts) if len(contexts) > 1 else first, diagnostics)


def _context(
    name: str,
    span: Span,
    alignment: Alignment,
    readout: Readout,
    roles: Iterable[str],
    cells: Iterable[Cell],
    interchange: bool,
    members: tuple[tree.Node, ...],
    metrics: Mapping[str, tree.Expr],
    tokens: Tokens | None,
    diagnostics: Diagnostics,
) -> TestContext:
    variables = _values_of(alignment.model, alignment.network.facts.traits.gaps)
    parameters: dict[str, dict[Any, None]] = {}
    intervened = False
    cells = tuple(cells)
    for cell in cells:
        intervened = intervened or bool(cell.interventions)
        for parameter, value in cell.values:
            parameters.setdefault(parameter, {})[value] = None

    def several(ref: ValueRef) -> LongValue | None:
        if tokens is None or readout.kind == "logits":
            return None
        variable = readout.variable if ref.role == "label" else ref.variable
        values = [ref.constant] if not ref.role else variables.get(variable) or ()
        try:
            for line in _unlike_lines(alignment):
                for value in values:
                    ids = value_tokens(value, readout, tokens, alignment, line, readout.span or span)
                    if len(ids) > 1:
                        return LongValue(show_value(value), how_said(value, ids, readout, tokens, alignment, line))
        except SpecError as error:
            diagnostics.extend(error.diagnostics)
        return None

    context = TestContext(
        name,
        ("base", *(role for role in roles if role != "base")),
        variables,
        readout.variable,
        members,
        metrics,
        interchange,
        intervened,
        {parameter: tuple(values) for parameter, values in parameters.items()},
        readout.values if readout.kind == "logits" or readout.among else None,
        several,
        on_circuit(cells),
        differing(cells),
        held_order(alignment.model, [i.variable for i in cells[0].held if i.variable], readout.variable)
        if cells
        else (),
        span,
    )
    if not readout.stated:
        return replace(context, stated=False, interchange=False)
    if readout.metric is None:
        return context
    number = read_number(readout.metric, replace(context, interchange=False), diagnostics)
    return replace(context, number=number or Pair("", NUMBER))  # a fault is told once


def _unlike_lines(alignment: Alignment) -> list[int]:
    """One prompt line of each end: after prompts that end alike the same tokens say an answer."""
    ends = {line.template.segments[-1]: number for number, line in reversed(list(enumerate(alignment.prompts)))}
    return sorted(ends.values()) if alignment.read_at is None else list(range(len(alignment.prompts)))


def on_circuit(cells: Sequence[Cell]) -> OnCircuit | None:
    """The circuits that scores are of; None where a cell does anything else than intervene on one."""
    found = [cell.circuit for cell in cells if cell.circuit is not None]
    if not found or len(found) < len(cells) or len({one.outside for one in found}) > 1:
        return None
    shares = tuple(one.share for one in found)
    counts = {frozenset(cell.values): len(one.members) for cell, one in zip(cells, found, strict=True)}
    return OnCircuit(found[0].outside, tuple(counts.items()), shares)


def differing(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The choices in which the ablations of some cells differ, of circuits, edges and paths."""
    each = []
    for cell in cells:
        own = (done.choices if done.circuit is None else done.circuit.choices for done in cell.interventions)
        each.append([choices for choices in own if choices is not None])
    pairs = ((one, other) for own in each for one, other in zip(own, each[0], strict=False))
    return tuple(dict.fromkeys(name for one, other in pairs for name in one.differ(other)))


def without_lines(test: Test, **changes: Any) -> Test:
    """A test made from another, with no lines of its own: it measures what every test does."""
    made = replace(test, members=(), **changes)
    scores = scores_of(
        made.name,
        made.span,
        made.alignment,
        made.readouts,
        made.roles,
        made.cells,
        bool(made.swaps),
        made.members,
        made.metrics,
        None,
        Diagnostics(),
    )
    return replace(made, scores=scores)


#: Of a causal model, the values of its variables, with gaps and without: all of its tests ask for the same.
_VALUES: WeakKeyDictionary[CausalModel, dict[bool, dict[str, tuple[Any, ...] | None]]] = WeakKeyDictionary()


def _values_of(model: CausalModel, gaps: bool) -> dict[str, tuple[Any, ...] | None]:
    known = _VALUES.setdefault(model, {})
    if gaps not in known:
        found = {name: _values(model, name) for name in model.variables}
        if gaps:  # a row in which it is the empty text has no such token
            found = {name: told and tuple(v for v in told if v != UNKNOWN) for name, told in found.items()}
        known[gaps] = found
    return dict(known[gaps])


def _values(model: CausalModel, name: str) -> tuple[Any, ...] | None:
    found = model.answers(name)
    return tuple(found) if found is not None and len(found) <= _MOST_VALUES else None
