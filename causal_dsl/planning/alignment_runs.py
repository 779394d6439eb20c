"""The runs of measures of a whole alignment: each place is set from runs of its own, down the causal model.

A run is a tree: the input that everything else comes from, and for each placed variable that is set the run whose vectors are
written there, which may itself be one. Trees are tests of their own in the plan, whose rows are chosen among the base inputs of
their test. Equal runs are one node, and in a pass equal (run, inputs) are one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.base.faults import OwnFault
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.cover import cover_of, once
from causal_dsl.causal.designs import Drawn
from causal_dsl.measures.of_alignments import (
    ABSTRACT,
    CARRIED,
    CONSISTENT,
    RANDOM,
    RESAMPLED,
    SCRUBBED,
    OfAlignment,
)
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning import graph as g
from causal_dsl.planning.probe_rows import is_small, made_test
from causal_dsl.program.held_places import held_order, held_parents
from causal_dsl.program.probed import AlignmentRuns
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.vocabulary.values.from_run import FromRun

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

_SEED = 38_017
#: The reference of a run: the row of the test that it belongs to.
ASKED = "asked"
#: The input on which a run is made; and another input, in which the value at a place is used.
_BASE = "base"
#: Rows up to which all inputs that a run can have are listed: in a network whose rows cost next to nothing, and in others.
_LISTED, _LISTED_SOME = 2**15, 512
#: Most runs for each row of a test; and for how many runs in all, in such a network and in others.
_RUNS, _FREE_RUNS, _SOME_RUNS = 16, 4096, 256
#: Sets of variables that are intervened on, at the most.
_SETS = 12


def alignment_runs(plan: Plan, test: Test) -> Iterator[Test]:
    """The runs that a test's measures of its whole alignment ask for."""
    scores = [part for value in test.scores.values for part in value.walk() if isinstance(part, OfAlignment)]
    if not scores or test.control[0]:
        return
    wanted: dict[str, set[Quantity]] = {}
    for score in dict.fromkeys(scores):
        for kind, quantity in score.asked:
            wanted.setdefault(kind, set()).add(_renamed(quantity))
    drawn, known = _Inputs(plan, test), test.scores.context.placed
    for kind, quantities in wanted.items():
        for tree in _trees(kind, test, known):
            rows = drawn.rows(tree.draws)
            cells = [] if tree.plain else list(enumerate(test.cells))
            made = [Cell((*c.values, ("run", tree.name)), tree.interventions(c), c.placed) for _, c in cells]
            names = tuple((number, tree.name) for number, _ in cells) or ((None, tree.name),)
            expected = tree.expected(drawn, rows)
            probe = AlignmentRuns(names, rows.row, rows.weight, (expected,) * len(names), rows.exact)
            given = drawn.given(rows)
            one = made_test(test, "alignment", 0, given, tuple(made) or (Cell(()),), probe, tree.name)
            also = frozenset(quantities)
            needed = frozenset(("base", quantity) for quantity in quantities) if tree.plain else frozenset()
            yield replace(one, solved=(), scores=replace(one.scores, also=also, needed=needed))


def _renamed(quantity: Quantity) -> Quantity:
    """The quantity with the reference in the place of the base: the base of a run is another input."""
    ref = quantity.of
    return quantity if ref is None or ref.role != "base" else replace(quantity, of=replace(ref, role=ASKED))


# ── trees of runs ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _TreeRun:
    """The run on the input ``role`` with the places of variables set from other runs."""

    role: str
    sets: tuple[tuple[str, _TreeRun], ...] = ()


@dataclass(frozen=True)
class _Draw:
    """An input that equals that of ``like`` in the ``same`` variables; of no variable: any input."""

    role: str
    like: str
    same: tuple[str, ...]


@dataclass(frozen=True)
class _Tree:
    """A kind of run beside a test: the draws of its inputs, in order; the variables that are set in it; and the values ``do`` that the
    causal model is to be given in the input ``on``: of each variable, the chain of settings that compute it."""

    name: str
    draws: tuple[_Draw, ...]
    run: _TreeRun
    on: str
    do: tuple[tuple[str, _Told], ...] = ()
    plain: bool = False

    def interventions(self, cell: Cell) -> tuple[Intervention, ...]:
        """The writes of one cell."""
        held = {one.variable or "": one for one in cell.held}
        return tuple(_write(held, variable, run) for variable, run in self.run.sets)

    def expected(self, inputs: _Inputs, rows: _Rows) -> np.ndarray:
        """The codes [m] that the causal model gives for the output."""
        output = inputs.test.readout.variable
        return inputs.evaluated(rows, self.on, {v: told.of(v, inputs, rows) for v, told in self.do}, output)


@dataclass(frozen=True)
class _Told:
    """The value of a variable in the input ``role`` of the causal model, with other variables set to what ``do`` tells."""

    role: str
    do: tuple[tuple[str, _Told], ...] = ()

    def of(self, variable: str, inputs: _Inputs, rows: _Rows) -> np.ndarray:
        return inputs.evaluated(rows, self.role, {v: told.of(v, inputs, rows) for v, told in self.do}, variable)


def _write(held: dict[str, Intervention], variable: str, run: _TreeRun) -> Intervention:
    under = tuple(_write(held, name, inner) for name, inner in run.sets)
    one = held[variable]
    return replace(one, value=FromRun(run.role, one.places, under), text=f"{variable} <- {run.role}")


def _trees(kind: str, test: Test, known: tuple[str, ...]) -> Iterator[_Tree]:
    output = test.readout.variable
    grow = _Growing(test, known)
    if kind == RANDOM:
        yield _Tree(RANDOM, (_Draw(_BASE, ASKED, ()),), _TreeRun(_BASE), ASKED, plain=True)
    elif kind == SCRUBBED:
        run = grow.scrubbed(output, ASKED, _BASE)
        yield _Tree(SCRUBBED, tuple(grow.draws), run, ASKED)
    elif kind == CARRIED:
        parents = held_parents(test.model, known, output)
        draws = (_Draw(_BASE, ASKED, parents.free),)
        yield _Tree(CARRIED, draws, _TreeRun(_BASE, tuple((v, _TreeRun(ASKED)) for v in parents.placed)), ASKED)
    elif kind == CONSISTENT:
        for variable in (*known, output):
            yield _consistent(test, known, variable)
    elif kind in (ABSTRACT, RESAMPLED):
        for chosen in _sets(known):
            for target in (*known, output):
                if target not in chosen and (target == output or set(chosen) & _above(test, known, target)):
                    yield _abstract(kind, test, known, chosen, target)
    else:
        raise OwnFault(f"no runs are made for measures of the kind `{kind}`")


@dataclass
class _Growing:
    """Grows a tree; ``draws`` are those of its inputs so far."""

    test: Test
    known: tuple[str, ...]
    draws: list[_Draw] = field(default_factory=list)

    def scrubbed(self, variable: str, like: str, role: str) -> _TreeRun:
        """A run whose value at the place of ``variable`` is, by the hypothesis, as good as that of the input ``like``."""
        parents = held_parents(self.test.model, self.known, variable)
        self.draws.append(_Draw(role, like, parents.free))
        sets = []
        for parent in parents.placed:
            chosen = f"{parent} of {role}"
            self.draws.append(_Draw(chosen, like, (parent,)))
            sets.append((parent, self.scrubbed(parent, chosen, f"rest of {chosen}")))
        return _TreeRun(role, tuple(sets))

    def resampled(self, variable: str, chosen: Iterable[str], role: str) -> _TreeRun:
        """A run in which the ``chosen`` variables come from inputs of their own, what they decide is computed, all else that is
        placed comes from the reference, and what is not placed from other inputs."""
        parents = held_parents(self.test.model, self.known, variable)
        self.draws.append(_Draw(role, ASKED, parents.free))
        sets = []
        for parent in parents.placed:
            if parent in chosen:
                run = _TreeRun(_own(parent))
            elif set(chosen) & _above(self.test, self.known, parent):
                run = self.resampled(parent, chosen, f"{parent} of {role}")
            else:
                run = _TreeRun(ASKED)
            sets.append((parent, run))
        return _TreeRun(role, tuple(sets))


def _own(variable: str) -> str:
    return f"input of {variable}"


def _above(test: Test, known: tuple[str, ...], variable: str) -> set[str]:
    """The placed variables from which a path of placed variables leads to one."""
    return set(held_order(test.model, known, variable))


def _consistent(test: Test, known: tuple[str, ...], variable: str) -> _Tree:
    """The parents of a variable come from inputs of their own: what is then at its place is used in the reference."""
    parents = held_parents(test.model, known, variable).placed
    draws = [_Draw(_own(parent), ASKED, ()) for parent in parents]
    sets = tuple((parent, _TreeRun(_own(parent))) for parent in parents)
    do = tuple((parent, _Told(_own(parent))) for parent in parents)
    name = f"{CONSISTENT}: {variable}"
    base = _Draw(_BASE, ASKED, test.model.exogenous)  # the reference itself
    if variable == test.readout.variable:
        return _Tree(name, (base, *draws), _TreeRun(_BASE, sets), ASKED, do)
    draws.append(_Draw("source", ASKED, ()))
    run = _TreeRun(_BASE, ((variable, _TreeRun("source", sets)),))
    return _Tree(name, (base, *draws), run, ASKED, ((variable, _Told("source", do)),))


def _abstract(kind: str, test: Test, known: tuple[str, ...], chosen: tuple[str, ...], target: str) -> _Tree:
    """The ``chosen`` variables come from inputs of their own; what the network then has for ``target`` is compared."""
    name = f"{kind}: {target} under {', '.join(chosen)}"
    do = tuple((variable, _Told(_own(variable))) for variable in chosen)
    sets = tuple((variable, _TreeRun(_own(variable))) for variable in chosen)
    own = [_Draw(_own(variable), ASKED, ()) for variable in chosen]
    output = target == test.readout.variable
    if kind == ABSTRACT:
        if output:
            base = _Draw(_BASE, ASKED, test.model.exogenous)
            return _Tree(name, (base, *own), _TreeRun(_BASE, sets), ASKED, do)
        draws = (_Draw(_BASE, ASKED, ()), *own)
        run = _TreeRun(_BASE, ((target, _TreeRun(ASKED, sets)),))
        return _Tree(name, draws, run, _BASE, ((target, _Told(ASKED, do)),))
    if kind != RESAMPLED:
        raise OwnFault(f"no interventions are made for measures of the kind `{kind}`")
    grow = _Growing(test, known, own)
    if output:
        run = grow.resampled(target, chosen, _BASE)
        return _Tree(name, tuple(grow.draws), run, ASKED, do)
    grow.draws.append(_Draw(_BASE, ASKED, ()))
    run = _TreeRun(_BASE, ((target, grow.resampled(target, chosen, f"{target} of {_BASE}")),))
    return _Tree(name, tuple(grow.draws), run, _BASE, ((target, _Told(ASKED, do)),))


def _sets(known: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets of variables that are intervened on: all, where they are few; else single ones, all together, and pairs."""
    every = [some for size in range(1, len(known) + 1) for some in combinations(known, size)]
    if len(every) <= _SETS:
        return every
    singles, pairs = ([some for some in every if len(some) == size] for size in (1, 2))
    return [*singles[: _SETS - 1], tuple(known), *pairs][:_SETS]


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class _Rows:
    """The inputs of a tree: for each row [m] of which row of the test it is, how much it counts there, and which input (of the
    distinct ones) each role has."""

    row: np.ndarray
    weight: np.ndarray
    chosen: dict[str, np.ndarray]
    exact: bool


class _Inputs:
    """The base inputs of a test, each once, with how often each occurs."""

    def __init__(self, plan: Plan, test: Test):
        self.plan, self.test = plan, test
        self.drawn = plan.draw_of(test)
        self.values = self.drawn.values["base"]
        names = [*test.model.exogenous, *(["template"] if "template" in self.values else [])]
        settings = np.stack([np.asarray(self.values[n], np.float64) for n in names], axis=1)
        _, self.first, back = np.unique(settings, axis=0, return_index=True, return_inverse=True)
        self.of_row = back.reshape(-1)
        cover = cover_of(test.design, self.drawn)
        weights = np.ones(self.drawn.n)
        if cover.weights is not None and cover.group is not None:
            weights = once(cover.weights, cover.group)
        self.weights = np.bincount(self.of_row, weights)
        self.whole = self.drawn.exhaustive or cover.weights is not None
        self.small = is_small(plan.inputs[test.network.key])

    @cached_property
    def sizes(self) -> np.ndarray:
        """Inputs are alike where all places have as many tokens: a number for each input [p]."""
        network, inputs = self.test.network.key, self.plan.inputs[self.test.network.key]
        run = g.Forward(network, self.plan.scores[self.test.name][0].label.draw, "base")
        rows = self.plan.rows[run][self.first]
        places = [place for cell in self.test.cells for one in cell.held for place in one.places]
        spans = dict.fromkeys(p for place in places for p in (place.position, place.key))
        counts = [inputs.sizes(position, rows, self.test.span) for position in spans if position is not None]
        if any(place.site.component == "pattern" for place in places):
            counts.append(inputs.lengths[rows])
        return _numbered([np.zeros(len(rows), np.int64), *counts])

    def classes(self, same: tuple[str, ...]) -> np.ndarray:
        """Inputs that are alike in some variables: a number for each input [p]."""
        return _numbered([self.sizes, *(np.asarray(self.values[name])[self.first] for name in same)])

    def rows(self, draws: Sequence[_Draw]) -> _Rows:
        """The inputs of a tree: all that it can have, where the rows of the test are all there are and these are few; else some."""
        if self.whole:
            listed = self._listed(draws)
            if listed is not None:
                return listed
        n = self.drawn.n
        times = max(1, min(_RUNS, (_FREE_RUNS if self.small else _SOME_RUNS) // n))
        row = np.tile(np.arange(n), times)
        chosen = {ASKED: self.of_row[row]}
        for draw in draws:
            chosen[draw.role] = self._some(draw, chosen[draw.like])
        return _Rows(row, np.full(len(row), 1 / times), chosen, False)

    def _listed(self, draws: Sequence[_Draw]) -> _Rows | None:
        """All inputs that a tree can have, each with its probability; None where there are too many."""
        most = _LISTED if self.small else _LISTED_SOME
        row, weight = np.arange(self.drawn.n), np.ones(self.drawn.n)
        chosen = {ASKED: self.of_row[row]}
        for draw in draws:
            order, start, count, total, mine = self._sorted(draw, chosen[draw.like])
            if count[mine].sum() > most:
                return None
            again = np.repeat(np.arange(len(row)), count[mine])
            ends = np.cumsum(count[mine])
            within = np.arange(len(again)) - np.repeat(ends - count[mine], count[mine])
            picked = order[start[mine][again] + within]
            weight = weight[again] * self.weights[picked] / total[mine][again]
            row = row[again]
            chosen = {role: inputs[again] for role, inputs in chosen.items()} | {draw.role: picked}
        return _Rows(row, weight, chosen, True)

    def _some(self, draw: _Draw, like: np.ndarray) -> np.ndarray:
        """One input for each of the inputs ``like`` [m], drawn from those that are alike, in proportion to their weights."""
        order, start, count, total, mine = self._sorted(draw, like)
        running = np.cumsum(self.weights[order])
        before = np.where(start > 0, running[start - 1], 0.0)
        at = before[mine] + Stream(_SEED, draw.role).unit(len(like)) * total[mine]
        found = np.searchsorted(running, at, side="right")
        return order[np.clip(found, start[mine], start[mine] + count[mine] - 1)]

    def _sorted(self, draw: _Draw, like: np.ndarray) -> tuple[np.ndarray, ...]:
        """The inputs, class after class; where each class begins, how many it has, their weight, and the class of each [m]."""
        group = self.classes(draw.same)
        order = np.argsort(group, kind="stable")
        count = np.bincount(group)
        return order, np.cumsum(count) - count, count, np.bincount(group, self.weights), group[like]

    def evaluated(self, rows: _Rows, role: str, do: dict[str, np.ndarray], wanted: str) -> np.ndarray:
        """The codes [m] of a variable in the inputs of a role, with others set."""
        at = self.first[rows.chosen[role]]
        settings = {name: np.asarray(self.values[name])[at] for name in self.test.model.exogenous}
        if not do:
            return np.asarray(self.values[wanted])[at]
        return np.asarray(self.test.model.evaluate(settings, do, [wanted])[wanted])

    def given(self, rows: _Rows) -> Drawn:
        """The rows of a tree, as a test draws them."""
        at = {role: self.first[chosen] for role, chosen in rows.chosen.items()}
        at = {_BASE: at[_BASE], **at}  # the base first
        values = {role: {name: column[index] for name, column in self.values.items()} for role, index in at.items()}
        ids = {role: self.drawn.ids["base"][index] for role, index in at.items()}
        return Drawn(len(rows.row), values, ids, False)


def _numbered(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each row of some columns, equal where all of them are."""
    table = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)


__all__ = ["ASKED", "alignment_runs"]
