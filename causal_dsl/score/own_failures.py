"""Whether an interchange fails more often than the network does by itself, over the same pairs.

The intervals of iia and of the accuracy may overlap though the interchange fails in pairs in which nothing else fails. The failures of each pair
are therefore held against two of the network's own: that of its base, and those of the inputs that have by themselves the values that the
interchange gives to the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.score.estimates_and_findings import Estimate, Verdict
from causal_dsl.score.format_numbers import counted, show, show_estimate
from causal_dsl.score.paired import difference
from causal_dsl.score.truth import has_answer
from causal_dsl.score.verdict import settled

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import Test
    from causal_dsl.score.results import TestResult

#: What the interchange fails more often by no more than this share of pairs is nothing: networks are hardly ever exact.
_RARE = 0.005
#: The chance that a true hypothesis has of such a difference: from the failures of the base, and from those of inputs with the values.
_LUCK, _LIKELY = 0.005, 0.01
#: The same where the failures of the base alone are so different that those of inputs with the values need not be.
_CLEAR = 0.002
#: The number of standard errors on each side of an interval of 95%.
_ERRORS = 1.96


@dataclass(frozen=True)
class MorePairs:
    """Pairs that recombine the inputs of a test: the ``values`` of each role and the ``labels``, all variables of the causal model [n], in which of them the
    interchange is ``wrong`` [n] and the network by itself on each role (``alone``), and the ``ids`` of their inputs."""

    values: Mapping[str, Mapping[str, np.ndarray]]
    labels: Mapping[str, np.ndarray]
    wrong: np.ndarray
    alone: Mapping[str, np.ndarray]
    ids: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Own:
    """In which pairs the network is wrong on the base [n]; how often it is wrong on inputs with the values of the counterfactual of each pair [n];
    and the errors of the inputs of each pair, each as often as it stands in that for another pair's [n]."""

    base: np.ndarray
    there: np.ndarray
    counted: np.ndarray


def with_own_failures(
    result: TestResult,
    outputs: Sequence[Test],
    plan: Plan,
    cells: Sequence[Sequence[Columns]],
    kept: np.ndarray | None,
    sources: Callable[[], Mapping[str, np.ndarray]],
    again: Callable[[Mapping[str, object]], MorePairs | None],
) -> TestResult:
    """The result with `partly` in the place of `supported` where the interchange fails more often than the network by itself.

    outputs: the tests of single outputs that are right or wrong together
    cells:   for each cell the columns of each output
    kept:    which pairs a filter keeps [n]; None for all
    sources: gives in which pairs the network is wrong on sources [n], by role, where these may be run by themselves
    again:   gives more pairs of a cell, where these may be run
    """
    first = outputs[0]
    judged = [n for n, cell in enumerate(result.cells) if cell.verdict is not None and cell.verdict.code == "supported"]
    if not first.swaps or not judged or any(one.readout.metric is not None for one in outputs):
        return result
    try:
        labels = _labels(first, plan)
    except SpecError:
        return result  # the model has no answer in some row
    rows = np.ones(len(next(iter(labels.values()))), bool) if kept is None else kept.copy()
    for one in outputs:
        rows &= has_answer(one, labels[one.readout.variable])
    ids, alone, found = plan.ids_of(first), dict[str, np.ndarray](), list(result.cells)
    drawn = plan.draw_of(first).values
    for number in judged:
        cell = result.cells[number]
        if cell.scores["iia"].method == "exact" or (cell.scores["iia"].value or 0.0) == 1:
            continue
        if not alone:
            base = np.zeros(len(rows), bool)
            for one, columns in zip(outputs, cells[number], strict=True):
                base |= _wrong(one, columns.base, drawn["base"][one.readout.variable])
            alone = {"base": base, **sources()}
        wrong = np.zeros(len(rows), bool)
        for one, columns in zip(outputs, cells[number], strict=True):
            wrong |= _wrong(one, columns.patched, labels[one.readout.variable])
        told = _told(outputs, drawn, labels, wrong, alone, {role: ids[role] for role in first.roles}, rows, len(judged))
        where = ""
        if not told and kept is None and rows.all() and wrong.any() and (more := again(cell.cell)) is not None:
            every = np.ones(len(more.wrong), bool)
            told = _told(outputs, more.values, more.labels, more.wrong, more.alone, more.ids, every, len(judged))
            where = f"of {counted(len(every))} that recombine its inputs, "
        if told:
            text = f"{cell.verdict.text.rstrip('.')}; but {where}{told}."  # type: ignore[union-attr]
            found[number] = settled(replace(cell, verdict=Verdict("partly", text)))
    return replace(result, cells=tuple(found))


def with_outputs(result: TestResult) -> TestResult:
    """The result of several outputs together, `partly` in the place of `supported` where one of them is."""
    found = list(result.cells)
    for number, cell in enumerate(result.cells):
        if cell.verdict is None or cell.verdict.code != "supported":
            continue
        own = {name: one.cells[number].verdict for name, one in result.outputs.items()}
        told = next((f"`{n}`: {v.text}" for n, v in own.items() if v is not None and v.code == "partly"), "")
        if told:
            text = f"{cell.verdict.text.rstrip('.')}; but of one output less. {told}"
            found[number] = settled(replace(cell, verdict=Verdict("partly", text)))
    return replace(result, cells=tuple(found))


def _labels(test: Test, plan: Plan) -> dict[str, np.ndarray]:
    """All variables of the causal model under the interchange."""
    values = plan.draw_of(test).values
    do = {variable: values[role][variable] for variable, role in test.swaps}
    return dict(test.model.evaluate({name: values["base"][name] for name in test.model.exogenous}, do))


def _wrong(test: Test, run: Mapping[Quantity, np.ndarray], wanted: np.ndarray) -> np.ndarray:
    said = next(column for quantity, column in run.items() if quantity.kind == "answer")
    return ~test.model.accepted(test.readout.variable).right(said, wanted)


def _told(
    outputs: Sequence[Test],
    values: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, np.ndarray],
    wrong: np.ndarray,
    alone: Mapping[str, np.ndarray],
    ids: Mapping[str, np.ndarray],
    rows: np.ndarray,
    cells: int,
) -> str:
    """How much more often the interchange fails in some ``rows`` than the network ``alone``; empty where it does not, or luck may explain it."""
    own = _own(outputs, values, labels, alone, rows)
    more = _more(wrong, own, rows, ids, cells)
    if more is None:
        return ""
    return (
        f"{show(float(wrong[rows].mean()))} of the pairs fail, and {show(float(own.there[rows].mean()))} of the unpatched runs on inputs with the values that the "
        f"interchange gives (difference {show_estimate(more)} over the same pairs)"
    )


def _own(
    outputs: Sequence[Test],
    values: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, np.ndarray],
    alone: Mapping[str, np.ndarray],
    rows: np.ndarray,
) -> _Own:
    n, wrong = len(rows), np.concatenate(list(alone.values()))
    there, times = np.full(n, np.nan), np.zeros(len(wrong))
    for names in _keys(outputs, values["base"]):
        have = np.concatenate([_side_by_side(names, values[role]) for role in alone])
        want = _side_by_side(names, {**values["base"], **labels})
        group = np.unique(np.concatenate([have, want]), axis=0, return_inverse=True)[1].reshape(-1)
        mine, theirs = group[: len(have)], group[len(have) :]
        size = np.bincount(mine, minlength=int(group.max()) + 1)
        share = np.bincount(mine, weights=wrong, minlength=len(size)) / np.maximum(size, 1)
        new = np.isnan(there) & (size[theirs] > 0)
        there[new] = share[theirs[new]]
        asked = np.bincount(theirs[new & rows], minlength=len(size))
        times += asked[mine] / size[mine]
    none = np.isnan(there)
    there[none] = wrong.mean()
    times += (none & rows).sum() / len(wrong)
    return _Own(alone["base"], there, (times * wrong).reshape(len(alone), n).sum(axis=0))


def _side_by_side(names: Sequence[str], values: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.stack([np.asarray(values[name], np.float64) for name in names], axis=1)


def _keys(outputs: Sequence[Test], base: Mapping[str, np.ndarray]) -> list[tuple[str, ...]]:
    """Variables whose values say which inputs stand for the counterfactual: the interchanged ones beside the inputs that reach the output by other
    ways, beside the output's parents, and beside the output."""
    model, swapped = outputs[0].model, tuple(name for name, _ in outputs[0].swaps)
    names = tuple(one.readout.variable for one in outputs)
    reaching = set().union(*(model.ancestors(name, without=swapped) for name in names))
    direct = tuple(name for name in (*model.exogenous, "template") if name in reaching or name == "template")
    parents = tuple(dict.fromkeys(parent for name in names for parent in model.variables[name].parents))
    every = (
        (*swapped, *(name for name in direct if name in base)),
        (*swapped, *parents),
        (*swapped, *names),
    )
    return [tuple(dict.fromkeys(one)) for one in every]


def _more(wrong: np.ndarray, own: _Own, rows: np.ndarray, ids: Mapping[str, np.ndarray], cells: int) -> Estimate | None:
    """How much more often the interchange fails in some ``rows`` than inputs with its values, where that is no luck in any of so many ``cells``."""
    from scipy.special import bdtrc, ndtri

    if not rows.any() or wrong[rows].mean() - own.there[rows].mean() <= _RARE:
        return None
    likely = rows & (own.there < 0.5)
    more, less = (int((one & ~other & likely).sum()) for one, other in ((wrong, own.base), (own.base, wrong)))
    if more <= less or bdtrc(more - 1, more + less, 0.5) * cells > _LUCK:
        return None
    against = difference(wrong[likely], own.base[likely], {role: column[likely] for role, column in ids.items()})
    # An error counts as often as its input stands for another: so what both sides have of it falls out.
    each = len(rows) / rows.sum()
    found = replace(difference(each * (wrong & rows), each * own.counted, ids), n=int(rows.sum()))
    if not _is_above(against, _ERRORS):
        return None
    if _is_above(found, -ndtri(_LIKELY / cells)):
        return found
    clear = _is_above(against, -ndtri(_CLEAR / cells)) and 2 * (found.value or 0.0) >= (against.value or 0.0)
    return found if clear and _is_above(found, 1.0) else None


def _is_above(found: Estimate, errors: float) -> bool:
    """Whether a difference is above 0 by more than so many of its standard errors, and its interval if that is of 95%."""
    if found.low is None or found.high is None or found.value is None:
        return False
    spread = (found.high - found.low) / (2 * _ERRORS)
    return found.value > errors * spread and (errors < _ERRORS or found.low > 0)


__all__ = ["MorePairs", "with_outputs", "with_own_failures"]
