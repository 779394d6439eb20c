"""Pairs of inputs that a causal model answers alike, given the variables that are placed somewhere.

Which inputs may be varied is a matter of what the model computes, not of its graph: an edge that does nothing keeps no input
fixed, and an input that matters only with some values of others is kept only there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.draw import identify
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.pooled_inputs import Pooled
from causal_dsl.diagnostics import SpecError
from causal_dsl.planning.probe_rows import LEAST, SEED
from causal_dsl.program.program import Test

#: Of so few inputs, all pairs are looked at; of more, so many pairs for each that is run.
_ALL_OF, _LOOKED = 128, 16
#: How often the values of a variable are exchanged between inputs, to see whether any answer changes.
_SHIFTS = 8


def told(model: CausalModel, output: str, placed: Collection[str], first: Columns, second: Columns) -> np.ndarray:
    """The answers of the model [n] in the ``second`` inputs, with the values that the placed variables have in the ``first``."""
    do = {name: first[name] for name in placed}
    return model.evaluate({name: second[name] for name in model.exogenous}, do, [output])[output]


def idle(test: Test, drawn: Drawn, name: str, placed: Collection[str]) -> bool:
    """Whether no value of a variable changes an answer in the inputs of a test, whatever the ``placed`` others are set to.

    Where there is no path to the answer, none does.
    """
    model, output = test.model, test.readout.variable
    if name == output:
        return False
    if name not in model.ancestors(output):
        return True
    inputs = drawn.pooled
    first = inputs.first
    own = inputs.all_at(first[:_ALL_OF])
    n, stream = len(first[:_ALL_OF]), Stream(SEED, len(first))
    others = [other for other in placed if other != name]
    try:
        for shift in range(_SHIFTS):
            rows = stream.shuffled(np.arange(n))
            do = {} if shift % 2 else {other: own[other][stream.shuffled(np.arange(n))] for other in others}
            settings = {key: own[key] for key in model.exogenous}
            kept = model.evaluate(settings, do, [output])[output]
            moved = model.evaluate(settings, {**do, name: own[name][rows]}, [output])[output]
            if (kept != moved).any():
                return False
    except SpecError:
        return False  # the model has no answer there
    return True


def decided(test: Test, drawn: Drawn, placed: Collection[str]) -> bool:
    """Whether in the inputs of a test the placed variables give the answer, whatever the other input is they are set in."""
    inputs = drawn.pooled
    first = inputs.first
    own = inputs.all_at(first[:_ALL_OF])
    n, stream = len(first[:_ALL_OF]), Stream(SEED, len(first))
    try:
        for _ in range(_SHIFTS):
            rows = stream.shuffled(np.arange(n))
            other = {key: column[rows] for key, column in own.items()}
            if (told(test.model, test.readout.variable, placed, own, other) != own[test.readout.variable]).any():
                return False
    except SpecError:
        return False
    return True


def answered_alike(test: Test, drawn: Drawn, placed: Collection[str]) -> Drawn | None:
    """Of given pairs those of which the model answers the second as the first, with the placed variables of the first."""
    base, other = drawn.values["base"], drawn.values["other"]
    try:
        kept = told(test.model, test.readout.variable, placed, base, other) == base[test.readout.variable]
    except SpecError:
        return None
    if not kept.any():
        return None
    values = {role: {name: column[kept] for name, column in columns.items()} for role, columns in drawn.values.items()}
    return Drawn(int(kept.sum()), values, {role: ids[kept] for role, ids in drawn.ids.items()}, drawn.exhaustive)


def are_few(drawn: Drawn) -> bool:
    """Whether the inputs of a test are so few that :func:`alike_pairs` looks at all pairs of them; else these are never all."""
    return len(drawn.pooled.first) <= _ALL_OF


def alike_pairs(
    test: Test, drawn: Drawn, placed: Collection[str], m: int, number: int, known: Collection[str]
) -> tuple[Drawn, bool, tuple[str, ...]] | None:
    """Up to ``m`` pairs of inputs of which the model answers the second as the first, with the placed variables of the first;
    whether these are all such pairs of the test's inputs; and the variables in which they differ. Pairs that differ in the
    ``known`` variables alone are left out. None where there are too few.

    Half of them differ in as few variables as can be, each variable as often as another.
    """
    model, output = test.model, test.readout.variable
    inputs = drawn.pooled
    first = inputs.first
    names = [name for name in (*model.exogenous, "template") if name in inputs.names]
    stream = Stream(SEED, number)
    whole = are_few(drawn)
    if whole:
        mine, theirs = (
            grid.ravel() for grid in np.meshgrid(np.arange(len(first)), np.arange(len(first)), indexing="ij")
        )
        base, other = inputs.all_at(first[mine]), inputs.all_at(first[theirs])
    else:
        base, other = _some_pairs(test, inputs, names, _LOOKED * m, stream)
    try:
        if not whole:
            other |= model.evaluate({name: other[name] for name in model.exogenous})
        same = told(model, output, placed, base, other) == base[output]
    except SpecError:
        return None  # with these values the model has no answer
    apart = np.stack([base[name] != other[name] for name in names], axis=1)
    new = [k for k, name in enumerate(names) if name not in known]
    found = np.flatnonzero(same & apart[:, new].any(axis=1))
    every = whole and len(found) <= m
    if len(found) < (1 if every else LEAST):
        return None
    if not every:
        found = found[_chosen(apart[found], m, stream)]
    values = {
        "base": {name: column[found] for name, column in base.items()},
        "other": {name: other[name][found] for name in base},
    }
    statement = replace(test.design.statements[0], roles=("base", "other"))
    varied = tuple(name for k, name in enumerate(names) if apart[found, k].any() and name != "template")
    return Drawn(len(found), values, identify(Design((statement,)), values), False), every, varied


def _chosen(apart: np.ndarray, m: int, stream: Stream) -> np.ndarray:
    """``m`` of some pairs. ``apart`` [n, variables] says in which variables each pair differs. Half of the chosen pairs differ in as
    few variables as possible, and the variables take turns."""
    order = stream.shuffled(np.arange(len(apart)))
    near = order[np.argsort(apart[order].sum(axis=1), kind="stable")]
    turns: list[np.ndarray] = [near[apart[near, k]] for k in range(apart.shape[1]) if apart[:, k].any()]
    rank = np.concatenate([np.arange(len(turn)) for turn in turns])
    by_turns = np.concatenate(turns)[np.argsort(rank, kind="stable")]
    few = list(dict.fromkeys(by_turns.tolist()))[: m // 2]
    taken = set(few)
    rest = [k for k in order.tolist() if k not in taken]
    return np.array([*few, *rest[: m - len(few)]])


def _some_pairs(test: Test, inputs: Pooled, names: list[str], count: int, stream: Stream) -> tuple[Columns, Columns]:
    """Pairs of inputs: an input with any other one; and, where an input may be put together from two, with one that differs in a few
    variables, which are as in another."""
    first = inputs.first
    n = len(first)
    mine, theirs = stream.below(n, count), stream.below(n, count)
    base, other = inputs.all_at(first[mine]), inputs.all_at(first[theirs])
    model = test.model
    if not (model.wheres or model.choices or any(where is not None for where in test.design.templates)):
        share = stream.unit(count)[:, None] / 2
        taken = stream.unit((count, len(names))) < share
        taken[np.arange(count), stream.below(len(names), count)] = True
        taken[::4] = True
        for k, name in enumerate(names):
            other[name] = np.where(taken[:, k], other[name], base[name])
    return base, other


__all__ = ["alike_pairs", "answered_alike", "are_few", "decided", "idle", "told"]
