"""The chance level of an intervention: what rules score that know nothing of the inside of the network.

``noop`` is P(label = base answer), ``source`` is P(label = source answer), ``output_only`` the best accuracy of any
deterministic rule of (base answer, source answers). The label is the answer of the causal model run on the base with the
intervened variables set to their values in the sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.rules import best_in_sample, cross_fitted, groups_of
from causal_dsl.causal.sampling import LISTED, Columns, with_templates
from causal_dsl.causal.splits import restrict
from causal_dsl.causal.support import enumerate_support, matters
from causal_dsl.causal.uniform import bits, key
from causal_dsl.diagnostics import SpecError

#: The rules that a ceiling is the score of, in the order in which they are told.
RULES = ("noop", "source", "output_only", "base_only", "source_only")
#: Combinations of what matters of the inputs that are enumerated at most.
COMBINATIONS = 2_000_000
#: Distinct denominators beyond which sums are those of floats.
_FRACTIONS = 10_000


@dataclass(frozen=True)
class Ceiling:
    """The score of a rule.

    ``exact``: over all combinations of inputs, of which there are ``n``; then ``low`` and ``high`` are ``value``. Else it
    is an estimate from ``n`` drawn rows, and lies between ``low`` and ``high``. Of a best rule ``value`` is ``high``:
    what scores more than that is no such rule.
    """

    value: float
    exact: bool
    n: int
    low: float = math.nan
    high: float = math.nan

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if math.isnan(getattr(self, name)):
                object.__setattr__(self, name, self.value)

    def to_json(self) -> dict[str, Any]:
        """``value``, ``exact``, ``n``, ``low`` and ``high``; null for what is undefined."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        known = {name: None if math.isnan(number) else number for name, number in numbers.items()}
        return {"value": known["value"], "exact": self.exact, "n": self.n, "low": known["low"], "high": known["high"]}


def ceilings(
    design: Design, interventions: Sequence[tuple[str, str]], output: str, drawn: Drawn | None
) -> dict[str, Ceiling]:
    """The ceilings ``noop``, ``source`` and ``output_only`` of a test, and ``informative``, P(label != base answer).

    ``interventions`` are (variable, source role). Exact where what matters of the inputs can be enumerated, else over
    the rows of ``drawn``; empty where it cannot be enumerated and nothing was drawn. Without sources there is no
    ``source``. Raises SpecError where the causal model cannot be evaluated.
    """
    table = _enumerate(design, interventions, output)
    if table is not None:
        return _scores(*table, exact=True)
    if drawn is None:
        return {}
    model = design.models["base"]
    do = {name: drawn.values[role][name] for name, role in interventions}
    label = model.evaluate(drawn.values["base"], do, wanted=(output,))[output]
    sources = list(dict.fromkeys(role for _, role in interventions))
    answers = [drawn.values[role][output] for role in ("base", *sources)]
    if not drawn.exhaustive:
        return _sampled(label, answers, drawn)
    return _scores(label, answers, np.ones(drawn.n, np.int64), np.full(drawn.n, drawn.n), drawn.n, exact=True)


def _sampled(label: np.ndarray, answers: list[np.ndarray], drawn: Drawn) -> dict[str, Ceiling]:
    """Scores over drawn rows; of the best rule the bounds (:mod:`causal_dsl.causal.rules`)."""
    copies = [label == answer for answer in answers]
    shares = [float(copy.mean()) for copy in copies]
    group = groups_of(answers)
    half = (bits(key("halves"), drawn.ids["base"]) & np.uint64(1)).astype(bool)
    low = max(float(cross_fitted(group, label, half, copies).mean()), *shares)
    high = float(best_in_sample(group, label).mean())
    found = {
        "noop": Ceiling(shares[0], False, drawn.n),
        "output_only": Ceiling(high, False, drawn.n, low, high),
        "informative": Ceiling(1 - shares[0], False, drawn.n),
    }
    if shares[1:]:
        found["source"] = Ceiling(max(shares[1:]), False, drawn.n)
    return {name: found[name] for name in ("noop", "source", "output_only", "informative") if name in found}


def _scores(
    label: np.ndarray, answers: list[np.ndarray], tops: np.ndarray, bottoms: np.ndarray, n: int, exact: bool
) -> dict[str, Ceiling]:
    """Scores under the distribution that gives row i the probability tops[i] / bottoms[i]."""
    *seen, right = _dense([*answers, label])
    parts = [_dense([bottoms])[0], *seen, right]
    sizes = [int(part.max(initial=0)) + 1 for part in parts]
    if math.prod(sizes) < 2**62:
        key = np.ravel_multi_index(tuple(parts), sizes)
    else:
        key = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    if math.prod(sizes) <= 4 * len(key) + 1000 and tops.sum(dtype=float) < 2**53:
        summed = np.bincount(key, tops)  # floats, but whole numbers that they hold exactly
        last = np.zeros(len(summed), np.int64)
        last[key] = np.arange(len(key))
        there = np.flatnonzero(summed)
        rows, sums = last[there], summed[there].astype(np.int64)
    else:
        _, rows, inverse = np.unique(key, return_index=True, return_inverse=True)
        sums = np.zeros(len(rows), np.int64)
        np.add.at(sums, inverse.reshape(-1), tops)
    bottoms, right = bottoms[rows], right[rows]
    seen = [part[rows] for part in seen]

    def probability(kept: np.ndarray) -> float:
        """The sum of sums / bottoms over these rows, exact up to the last rounding."""
        which, group = np.unique(bottoms[kept], return_inverse=True)
        if len(which) > _FRACTIONS:
            return math.fsum(sums[kept] / bottoms[kept])
        total = np.zeros(len(which), np.int64)
        np.add.at(total, group.reshape(-1), sums[kept])
        return float(sum((Fraction(t, b) for t, b in zip(total.tolist(), which.tolist(), strict=True)), Fraction(0)))

    answered = np.unique(np.stack(seen, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    outcome, mass_of = np.unique(answered * (int(right.max()) + 1) + right, return_inverse=True)
    mass = np.bincount(mass_of.reshape(-1), sums / bottoms)
    order = np.lexsort((-mass, outcome // (int(right.max()) + 1)))
    _, first = np.unique(outcome[order] // (int(right.max()) + 1), return_index=True)
    chosen = np.zeros(len(outcome), bool)
    chosen[order[first]] = True
    copies = [right == part for part in seen]
    found = {"noop": probability(copies[0])}
    if len(copies) > 1:
        found["source"] = max(probability(copy) for copy in copies[1:])
    found["output_only"] = probability(chosen[mass_of.reshape(-1)])
    found["informative"] = probability(~copies[0])
    return {name: Ceiling(value, exact, n) for name, value in found.items()}


def _dense(columns: list[np.ndarray]) -> list[np.ndarray]:
    """The same columns as small whole numbers, equal where the values are."""
    low, high = min(column.min() for column in columns), max(column.max() for column in columns)
    if columns[0].dtype != np.float64 and high - low < 4 * len(columns[0]) + 100:
        return [column - low for column in columns]
    _, codes = np.unique(np.stack(columns), return_inverse=True)
    return list(codes.reshape(len(columns), -1))


# ── exactly ─────────────────────────────────────────────────────────────────────────────────────


def _enumerate(
    design: Design, interventions: Sequence[tuple[str, str]], output: str
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray, int] | None:
    """Label, answers, numerators and denominators over all that can be drawn; None where that is too much.

    Inputs that agree in all that matters (intervened values, answers, what conditions mention, and for the base what
    the label is computed from) are merged first, which is what makes large domains countable. For a part of the inputs
    all exogenous variables are enumerated, since they decide about what is in it.
    """
    model = design.models["base"]
    do = {name: role for name, role in interventions}
    base = _cut(model, frozenset(do), output)
    matter: dict[str, set[str]] = {role: set() for role in design.models}
    matter["base"] |= {output, *base}
    for name, role in interventions:
        matter[role] |= {name, output}
    for statement in design.statements:
        for role, name in (*(statement.where.mentions if statement.where is not None else ()), *statement.balance):
            matter[role].add(name)
    merged = _merged(design, matter)
    if merged is None:
        return None
    table = _Table({}, np.ones(1, np.int64), np.ones(1, np.int64), np.ones(1))
    for statement in design.statements:
        joined = _join(table, statement, merged, design.exhaustive)
        if joined is None:
            return None
        table = joined
    if design.exhaustive:
        table.bottoms = np.full(len(table.tops), int(table.tops.sum()))
    values = table.values
    settings = {name: values["base", name] for name in base}
    label = model.evaluate(
        {}, {**settings, **{name: values[role, name] for name, role in do.items()}}, wanted=(output,)
    )[output]
    sources = list(dict.fromkeys(role for _, role in interventions))
    answers = [values[role, output] for role in ("base", *sources)]
    n = int(table.counts.sum()) * math.prod(part.times for part in merged.values())
    return label, answers, table.tops, table.bottoms, n


def _cut(model: CausalModel, do: frozenset[str], output: str) -> tuple[str, ...]:
    """The base's values from which the label can be computed: what enters the part that an intervention can change."""
    changed = set(do)
    for name, variable in model.variables.items():
        if changed & set(variable.parents) and variable.kind == "mechanism":
            changed.add(name)
    if output not in changed:
        return (output,)
    found: dict[str, None] = {}
    stack = [output]
    seen: set[str] = set()
    while stack:
        name = stack.pop()
        if name in do or name in seen:
            continue
        seen.add(name)
        if name in changed:
            stack.extend(model.variables[name].parents)
        else:
            found[name] = None
    return tuple(found)


@dataclass
class _Merged:
    """Classes of inputs of one role: columns, the weight and the number of the inputs of each.

    ``times`` is how many values the variables have that do not matter (real ones not counted).
    """

    columns: Columns
    weights: np.ndarray
    counts: np.ndarray
    times: int


def _merged(design: Design, matter: dict[str, set[str]]) -> dict[str, _Merged] | None:
    found: dict[str, _Merged] = {}
    splits = design.splits
    for role, model in design.models.items():
        if model.needs_trust:
            return None
        names = sorted(matter[role])
        fits = {name for where in design.templates if where is not None for _, name in where.mentions}
        asked = {*names, *(fits if "template" in names else ())} - {"template"}
        asked |= set(model.exogenous) if splits[role] else set()
        support = enumerate_support(model, LISTED, sorted(asked))
        if support is None:
            return None
        support = restrict(model, support, splits[role])
        if not support.n:  # drawing tells of it
            return None
        if "template" in names:
            try:
                support = with_templates(model, support, design.templates)
            except SpecError:  # drawing tells of it
                return None
        group = np.zeros(support.n, np.int64)
        for name in names:
            _, codes = np.unique(support.values[name], return_inverse=True)
            _, group = np.unique(group * (int(codes.max(initial=0)) + 1) + codes.reshape(-1), return_inverse=True)
            group = group.reshape(-1)
        _, first = np.unique(group, return_index=True)
        weights, counts = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
        np.add.at(weights, group, support.weights)
        np.add.at(counts, group, 1)
        rest = set(model.exogenous) - matters(model, asked)
        others = [model.variables[name].domain for name in rest]
        times = math.prod(domain.size for domain in others if isinstance(domain, Finite))
        found[role] = _Merged({name: support.values[name][first] for name in names}, weights, counts, times)
    return found


@dataclass
class _Table:
    """Rows of all roles so far: columns by (role, variable), probability tops / bottoms, and how many inputs each stands for."""

    values: dict[tuple[str, str], np.ndarray]
    tops: np.ndarray
    bottoms: np.ndarray
    counts: np.ndarray


def _join(table: _Table, statement: DrawStatement, merged: dict[str, _Merged], exhaustive: bool) -> _Table | None:
    """All rows of the table with all inputs of a statement's roles, where its condition holds."""
    parts = [merged[role] for role in statement.roles]
    sizes = [len(table.tops), *(len(part.weights) for part in parts)]
    if math.prod(sizes) > COMBINATIONS:
        return None
    before, *grid = np.unravel_index(np.arange(math.prod(sizes)), sizes)
    weights, counts = np.ones(len(before), np.int64), np.ones(len(before))
    heaviest = 1
    values = {key: column[before] for key, column in table.values.items()}
    for role, part, index in zip(statement.roles, parts, grid, strict=True):
        mass = part.counts if exhaustive else part.weights
        heaviest *= int(mass.sum())
        if heaviest * int(table.tops.max(initial=1)) >= 2**62:
            return None
        weights, counts = weights * mass[index], counts * part.counts[index]
        values.update({(role, name): column[index] for name, column in part.columns.items()})
    if statement.where is not None:
        settings: dict[str, Columns] = {}
        for role, name in statement.where.mentions:
            settings.setdefault(role, {})[name] = values[role, name]
        keep = statement.where(settings, len(before))
        before, weights, counts = before[keep], weights[keep], counts[keep]
        values = {key: column[keep] for key, column in values.items()}
    tops, counts = table.tops[before] * weights, table.counts[before] * counts
    if not len(tops):
        return None
    if exhaustive:
        return _Table(values, tops, np.ones(len(tops), np.int64), counts)
    group, cells = before, 1
    if statement.balance:
        if len(table.tops) > 1:
            return None  # given the rows of earlier draws, what the balance leaves has no closed form
        # Every combination of the balanced values has the same share of the rows.
        _, group = np.unique(np.stack([values[key] for key in statement.balance], axis=1), axis=0, return_inverse=True)
        group = group.reshape(-1)
        cells = int(group.max()) + 1
    totals = np.zeros(int(group.max()) + 1, np.int64)
    np.add.at(totals, group, weights)
    if float(table.bottoms.max()) * float(totals.max()) * cells >= 2**62:
        return None
    return _Table(values, tops, table.bottoms[before] * totals[group] * cells, counts)
