"""Exact chance levels, from all that a test can draw: the answers are joined and summed out one role at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from causal_dsl.base.counter import bits, key
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.causal.combinations import Combinations
from causal_dsl.causal.groups import first_rows, groups_of
from causal_dsl.causal.sides import Side

#: Rows that a table of answers may grow to.
_GROWN = 8_000_000
#: Distinct denominators beyond which sums are those of floats.
_FRACTIONS = 10_000


@dataclass
class _Mass:
    """Probabilities tops / bottoms of rows, ``[n]``."""

    tops: np.ndarray
    bottoms: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> _Mass:
        return _Mass(self.tops[rows], self.bottoms[rows])

    def total(self) -> Fraction:
        """Their sum: exact, or where the numbers are too large or too many, that of floats."""
        if self.tops.dtype != np.int64:
            return Fraction(min(1.0, math.fsum(self.tops / self.bottoms)))
        which, group = np.unique(self.bottoms, return_inverse=True)
        if len(which) > _FRACTIONS:
            return Fraction(min(1.0, math.fsum(self.tops / self.bottoms)))
        sums = np.zeros(len(which), np.int64)
        np.add.at(sums, group.reshape(-1), self.tops)
        return sum((Fraction(t, b) for t, b in zip(sums.tolist(), which.tolist(), strict=True)), Fraction(0))

    def times(self, side: Side, index: np.ndarray, shares: np.ndarray) -> _Mass:
        """The part that some shares of an interface have: its weight is a factor of ``tops``, so the division is whole."""
        weights = side.weights[index]
        if self.tops.dtype == np.int64:
            return _Mass(self.tops // weights * shares, self.bottoms)
        return _Mass(self.tops / weights * shares, self.bottoms)


def exact_scores(
    table: Combinations,
    labels: np.ndarray,
    sources: Sequence[str],
    accepted: Accepted = SINGLE,
    of: Fraction = Fraction(1),
) -> dict[str, float]:
    """The scores of rules over all combinations, and ``informative``; ``labels`` are codes ``[n]``.

    A score is missing where the table of the answers that it needs grows too large; ``source`` and ``source_only`` where
    there is no source. ``of``: how probable the combinations are together.
    """
    if not of:
        return {}
    mass = _Mass(table.tops, table.bottoms)
    roles = ["base", *sources]
    found: dict[str, Fraction | None] = {}
    if accepted is SINGLE:
        copies: dict[str, Fraction | None] = {role: _copied(table, labels, mass, role) for role in roles}
        found["informative"] = of - _copied(table, labels, mass, "base")
    else:
        answers = {role: _answers(table, labels, mass, role) for role in roles}
        copies = {role: a and _best([a[0]], a[1], a[2], accepted, a[0]) for role, a in answers.items()}
        if (base := answers["base"]) is not None:
            own, wanted, part = base
            found["informative"] = part[np.flatnonzero(accepted.apart(wanted, own))].total()
    found["noop"] = copies["base"]
    if sources and None not in (sums := [copies[role] for role in sources]):
        found["source"] = max(one for one in sums if one is not None)
    found["output_only"] = _output_only(table, labels, mass, roles, accepted)
    found["base_only"] = _best([table.indices["base"]], labels, mass, accepted)
    if sources:
        found["source_only"] = _best([table.indices[role] for role in sources], labels, mass, accepted)
    return {name: float(score / of) for name, score in found.items() if score is not None}


def whole(table: Combinations) -> Fraction:
    """How probable all rows are together."""
    return _Mass(table.tops, table.bottoms).total()


def _copied(table: Combinations, labels: np.ndarray, mass: _Mass, role: str) -> Fraction:
    """P(label = the role's answer)."""
    side, index = table.sides[role], table.indices[role]
    _, codes = np.unique(np.concatenate([side.answers, labels]), return_inverse=True)
    codes = codes.reshape(-1)
    many = int(codes.max(initial=0)) + 1
    there = side.at * many + codes[: len(side.answers)]
    order = np.argsort(there)
    wanted = index * many + codes[len(side.answers) :]
    place = np.minimum(np.searchsorted(there[order], wanted), len(there) - 1)
    hit = np.flatnonzero(there[order][place] == wanted)
    return mass[hit].times(side, index[hit], side.shares[order][place[hit]]).total()


def _answers(
    table: Combinations, labels: np.ndarray, mass: _Mass, role: str
) -> tuple[np.ndarray, np.ndarray, _Mass] | None:
    """The answer of a role beside the label, with their mass; None where these are too many."""
    (index, labels), mass = _collapse([table.indices[role], labels], mass)
    side = table.sides[role]
    order = np.argsort(side.at, kind="stable")
    sizes = np.bincount(side.at, minlength=len(side.weights))
    counts = sizes[index]
    if int(counts.sum()) > _GROWN:
        return None
    rows = np.repeat(np.arange(len(index)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    entry = order[(np.cumsum(sizes) - sizes)[index][rows] + within]
    mass = mass[rows].times(side, index[rows], side.shares[entry])
    (own, labels), mass = _collapse([side.answers[entry], labels[rows]], mass)
    return own, labels, mass


def answers_beside(
    table: Combinations, labels: np.ndarray, role: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The answer of a role, the label, and how probable the two are together, ``[m]`` each; None where these are too many."""
    found = _answers(table, labels, _Mass(table.tops, table.bottoms), role)
    return None if found is None else (found[0], found[1], found[2].tops / found[2].bottoms)


def _best(
    seen: Sequence[np.ndarray],
    labels: np.ndarray,
    mass: _Mass,
    accepted: Accepted = SINGLE,
    own: np.ndarray | None = None,
) -> Fraction | None:
    """The score of the best rule of some columns, which says one answer; None where these are too many.

    ``own``: codes of the variable, one of the columns: what the rule says is among the answers that it accepts.
    """
    columns, mass = _collapse([*seen, labels], mass)
    labels = columns[-1]
    group = groups_of(columns[:-1])
    if accepted.more(labels, _GROWN):
        return None
    rows, answers = accepted.expand(labels)
    if own is not None:
        may = accepted.right(answers, columns[0][rows])
        rows, answers = rows[may], answers[may]
    if not len(rows):
        return Fraction(0)
    outcome = groups_of([group[rows], answers])
    sums = np.bincount(outcome, (mass.tops / mass.bottoms)[rows])
    owner = group[rows][first_rows(outcome)]
    order = np.lexsort((-sums, owner))
    _, best = np.unique(owner[order], return_index=True)
    chosen = np.zeros(len(sums), bool)
    chosen[order[best]] = True
    return mass[rows[chosen[outcome]]].total()


def _collapse(columns: Sequence[np.ndarray], mass: _Mass) -> tuple[list[np.ndarray], _Mass]:
    """Rows that agree in all columns (and in their denominators) summed."""
    group = groups_of([*columns, mass.bottoms])
    rows = first_rows(group)
    sums = np.zeros(len(rows), mass.tops.dtype)
    np.add.at(sums, group, mass.tops)
    return [column[rows] for column in columns], _Mass(sums, mass.bottoms[rows])


def _output_only(
    table: Combinations, labels: np.ndarray, mass: _Mass, roles: Sequence[str], accepted: Accepted
) -> Fraction | None:
    """The best rule of the answers. In place of an interface each role gets the answers that its inputs give."""
    columns, mass = _collapse([*(table.indices[role] for role in roles), labels], mass)
    for place, role in enumerate(roles):
        side = table.sides[role]
        kinds, shares, starts, sizes = _kinds(side)
        index = columns[place]
        counts = sizes[index]
        if int(counts.sum()) > _GROWN:
            return None
        rows = np.repeat(np.arange(len(index)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = starts[index][rows] + within
        mass = mass[rows].times(side, index[rows], shares[entry])
        columns = [column[rows] for column in columns]
        columns[place] = kinds[entry]
        columns, mass = _collapse(columns, mass)
    return _best(columns[:-1], columns[-1], mass, accepted)


def _kinds(side: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The answers of a role as kinds: answers that tell the same of the interface, and so of the label, are one.

    Gives a sparse table by interface: kinds ``[m]``, their shares ``[m]``, where each interface starts and how many it has.
    """
    _, answers = np.unique(side.answers, return_inverse=True)
    answers = answers.reshape(-1)
    order = np.argsort(answers, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(answers[order]) > 0])
    divisor = np.gcd.reduceat(side.shares[order], starts)
    scaled = side.shares // divisor[answers]
    # Answers are of one kind if their shares of all interfaces are proportional: a sum of 64-bit hashes tells.
    hashes = bits(key("kinds"), side.at, scaled)
    sums = np.zeros(len(starts), np.uint64)
    with np.errstate(over="ignore"):
        np.add.at(sums, answers, hashes)
    _, kind = np.unique(sums, return_inverse=True)
    cell = groups_of([side.at, kind.reshape(-1)[answers]])
    rows = first_rows(cell)
    shares = np.zeros(len(rows), np.int64)
    np.add.at(shares, cell, side.shares)
    at, kinds = side.at[rows], kind.reshape(-1)[answers][rows]
    sizes = np.bincount(at, minlength=len(side.weights))
    return kinds, shares, np.cumsum(sizes) - sizes, sizes
