"""Variables of which a test cannot tell the places apart: its pairs were drawn so that interchanging one is interchanging another, or that
two others together tell it.

A `where`, or `like` with `vary`, may tie what the causal model leaves free: where `s` and `t` are equal in every run, a network that holds
`t` at the place of `s` gives the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.causal.designs import Drawn
from causal_dsl.diagnostics import SpecError
from causal_dsl.program.free_draws import free_draw
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import counted
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.score.verdict import settled

#: Pairs that are drawn without the conditions of a test; and of its own, those that are compared before all are.
_FREE, _FIRST = 256, 64
#: Fewer pairs may have values that determine each other by chance.
_ENOUGH = 16
#: How many runs there have to be for each value that tells another, on average.
_TIMES = 4


def with_ties(result: TestResult, test: Test, drawn: Drawn) -> TestResult:
    """The result with a finding on each cell that has variables whose places the test cannot tell apart (`tied`)."""
    if not test.swaps or not any(_counts(cell) for cell in result.cells):
        return result
    ties = _ties(test, drawn)
    told = tuple(_told(drawn, *pair) for pair in ties)
    as_one = _as_one(test, drawn, {name for pair in ties for name in pair})
    told += tuple(_told_as_one(name, others) for name, others in as_one)
    if not told:
        return result
    cells = [
        settled(replace(cell, findings=(*cell.findings, *told))) if _counts(cell) else cell for cell in result.cells
    ]
    return replace(result, cells=tuple(cells))


def _counts(cell: CellResult) -> bool:
    return cell.verdict is not None and cell.verdict.code in (*FULL, "partly")


def _ties(test: Test, drawn: Drawn) -> list[tuple[str, str]]:
    """Each interchanged variable, with another whose interchange has the same answers in all pairs of the test, and has others in
    pairs that nothing ties."""
    found: list[tuple[str, str]] = []
    free: list[Drawn] | None = None
    for name, _ in test.swaps:
        for other in _others(test, name):
            mine, theirs = _assigned(test, name, other)
            if (other, name) in found or not _alike(test, drawn, mine, theirs):
                continue
            free = _freely(test) if free is None else free
            if any(_differ(test, one, mine, theirs) for one in free):  # else they are one in the causal model
                found.append((name, other))
                break
    return found


def _as_one(test: Test, drawn: Drawn, known: set[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Each interchanged variable that is not ``known`` to be tied, with another whose value tells its own in every run of the test, or
    with two others that do together, and not in pairs that no condition ties: the answer need not read the others."""
    found: list[tuple[str, tuple[str, ...]]] = []
    free: list[Drawn] | None = None
    for name, _ in test.swaps if drawn.n >= _ENOUGH else ():
        others = _others(test, name)
        several = combinations(others, 2) if _tying(test) else ()
        for some in (*((other,) for other in others), *several):
            twice = len(some) == 1 and (some[0], (name,)) in found
            if name in known or twice or not _tells(drawn, some, name, _TIMES):
                continue
            free = _freely(test) if free is None else free
            if any(not _tells(one, some, name) for one in free):
                found.append((name, some))
                break
    return found


def _tying(test: Test) -> bool:
    """Whether a condition may tie variables to each other."""
    return bool(test.model.wheres) or any(s.where is not None or s.like for s in test.design.statements)


def _tells(drawn: Drawn, others: tuple[str, ...], name: str, times: int = 1) -> bool:
    """Whether the values of ``others`` determine that of a variable in all runs, which has several values. For each of these, they are
    there so many times on average."""
    runs = [values for values in drawn.values.values() if all(each in values for each in (name, *others))]
    if not runs:
        return False
    for rows in (slice(0, _FIRST), slice(None)):
        columns = [np.concatenate([values[each][rows] for values in runs]) for each in (name, *others)]
        mine, *theirs = (np.unique(column, return_inverse=True)[1].reshape(-1) for column in columns)
        key = theirs[0]
        for column in theirs[1:]:
            key = np.unique(key * (int(column.max()) + 1) + column, return_inverse=True)[1].reshape(-1)
        kinds, of = int(key.max()) + 1, np.zeros(int(key.max()) + 1, np.int64)
        of[key] = mine
        if (of[key] != mine).any():
            return False
    if int(mine.max()) == 0 or kinds > len(mine) / times:
        return False
    return len(others) == 1 or bool((np.bincount(mine) >= times * np.bincount(of)).all())


def _others(test: Test, name: str) -> list[str]:
    """The variables that neither lead to one nor come from it: those that the alignment places first, then those that are computed."""
    model = test.model
    apart = [
        other
        for other, variable in model.variables.items()
        if variable.kind != "template"
        and other not in (name, *_outputs(test))
        and other not in model.ancestors(name)
        and name not in model.ancestors(other)
    ]
    placed = {p.variable for cell in test.cells for p in cell.placed}
    return sorted(apart, key=lambda other: (other not in placed, other in model.exogenous))


def _assigned(test: Test, name: str, other: str) -> tuple[dict[str, str], dict[str, str]]:
    """Which variables are taken from which role, as the test takes ``name``, and with ``other`` in its place."""
    roles = dict(test.swaps)
    if other not in roles:
        return roles, {other if variable == name else variable: role for variable, role in roles.items()}
    if roles[other] == roles[name]:  # together they are what they are, whichever place holds which
        return {name: roles[name]}, {other: roles[name]}
    return roles, {**roles, name: roles[other], other: roles[name]}


def _alike(test: Test, drawn: Drawn, mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    """Whether two interchanges have the same answers in every pair, and other ones than the base in some."""
    for rows in (slice(0, _FIRST), slice(None)):
        label, other = _answers(test, drawn, mine, rows), _answers(test, drawn, theirs, rows)
        if label is None or other is None or not all(map(np.array_equal, label, other)):
            return False
    assert label is not None
    return any((one != drawn.values["base"][output]).any() for one, output in zip(label, _outputs(test), strict=True))


def _differ(test: Test, drawn: Drawn, mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    one, other = _answers(test, drawn, mine, slice(None)), _answers(test, drawn, theirs, slice(None))
    return one is not None and other is not None and not all(map(np.array_equal, one, other))


def _answers(test: Test, drawn: Drawn, swaps: Mapping[str, str], rows: slice) -> list[np.ndarray] | None:
    """The label of each output [rows] under an interchange; None where the causal model has none."""
    settings = {name: drawn.values["base"][name][rows] for name in test.model.exogenous}
    do = {name: drawn.values[role][name][rows] for name, role in swaps.items() if name in drawn.values[role]}
    if len(do) < len(swaps):
        return None
    try:
        found = test.model.evaluate(settings, do, _outputs(test))
    except SpecError:
        return None
    return [found[output] for output in _outputs(test)]


def _outputs(test: Test) -> tuple[str, ...]:
    return (test.outputs,) if isinstance(test.outputs, str) else test.outputs


def _freely(test: Test) -> list[Drawn]:
    """Pairs of the same models without the conditions of the test; and their inputs in any combination, in case a domain or a `where`
    of the causal model ties them."""
    drawn = free_draw(test, _FREE)
    if drawn is None:
        return []
    stream, inputs = Stream("ties"), test.model.exogenous
    values = {}
    for role, columns in drawn.values.items():
        mixed = {name: columns[name][stream.shuffled(np.arange(_FREE))] for name in inputs if name in columns}
        try:
            values[role] = test.model.evaluate(mixed)
        except (SpecError, KeyError):
            return [drawn]
    return [drawn, replace(drawn, values=values)]


def _told(drawn: Drawn, name: str, other: str) -> Finding:
    same = all(np.array_equal(values[name], values[other]) for values in drawn.values.values() if name in values)
    why = "take equal values in every run, and " if same else ""
    return Finding(
        "tied",
        f"`{name}` and `{other}` {why}have the same counterfactual answers in {counted(drawn.n)}, whichever of them is interchanged. "
        f"With inputs that nothing ties to each other these differ. The test cannot tell a place of `{name}` from one of `{other}`.",
    )


def _told_as_one(name: str, others: tuple[str, ...]) -> Finding:
    if len(others) > 1:
        both = " and ".join(f"`{other}`" for other in others)
        return Finding(
            "tied",
            f"The values of {both} together determine that of `{name}` in every run of the test. With inputs that nothing ties to each "
            f"other they do not. The test cannot tell a place of `{name}` from one that holds a function of {both}.",
        )
    (other,) = others
    return Finding(
        "tied",
        f"The value of `{other}` determines that of `{name}` in every run of the test. With inputs that nothing ties to each other "
        f"it does not. The test cannot tell a place of `{name}` from one of `{other}`.",
    )


__all__ = ["with_ties"]
