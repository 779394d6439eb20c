"""The fits of a spec as a plan of their own: which maps are fitted together, on which runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.draw import draw
from causal_dsl.diagnostics import Diagnostics, fail
from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import Drawer, make_plan
from causal_dsl.planning.plan import Experiment, Fits, FitUnit, Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.program.derived_tests import FitTest, declared_for, learned, maps_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.options import Tokenizers
from causal_dsl.program.program import Program, Test
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.program.templates import show_value


def make_fits(
    program: Program, fits: Sequence[FitTest], tokenizers: Tokenizers, found: Diagnostics, drawer: Drawer = draw
) -> Fits | None:
    """The fits of a spec and of its controls; None where nothing is fitted. Raises E712 and what lowering raises. ``drawer``
    may know some draws already."""
    if not fits:
        return None
    tests = [test for one in fits for test in (one.fit, one.validation)]
    plan = make_plan(program, tests, tokenizers, found, drawer)
    units: dict[FeatureRef, FitUnit] = {}
    dead: dict[FeatureRef, None] = {}
    layouts = Layouts(plan)
    for one in fits:
        resume, check = (_resume(plan, test) for test in (one.fit, one.validation))
        maps = _reaching(layouts, resume)
        dead |= {ref: None for ref in maps_of(one.fit.cells[0]) if ref not in maps}
        if not maps:
            continue
        _refuse_one_class(plan, one.fit)
        joined = list(dict.fromkeys(units[ref] for ref in maps if ref in units))
        known = tuple(dict.fromkeys([*(ref for unit in joined for ref in unit.maps), *maps]))
        unit = FitUnit(one.fit.network.key, known, [e for old in joined for e in old.experiments])
        unit.experiments.append(Experiment(one.fit, resume, check))
        _one_way(unit)
        units |= dict.fromkeys(known, unit)
    return Fits(plan, list(dict.fromkeys(units.values())), frozenset(dead) - frozenset(units))


def _reaching(layouts: Layouts, resume: g.Resume) -> tuple[FeatureRef, ...]:
    """The maps of an intervention whose writes can reach the answer, in any of its pairs."""
    live = zip(resume.writes, layouts.reaches(resume), strict=True)
    return tuple(
        dict.fromkeys(write.feature.fitted for write, reaches in live if write.feature and not write.inside and reaches)
    )


def refuse_unfitted(tests: Sequence[Test], plan: Plan, fits: Fits) -> None:
    """Refuse to write through a map that could not be fitted, where it reaches the answer in the test (E745)."""
    if not fits.dead:
        return
    layouts = Layouts(plan)
    for test in tests:
        if not any(fits.dead.intersection(maps_of(cell)) for cell in test.cells):
            continue
        for score in plan.scores[test.name]:
            read = score.read("patched")
            assert read is not None and isinstance(read.run, g.Resume)
            for ref in _reaching(layouts, read.run):
                if ref not in fits.dead:
                    continue
                raise fail(
                    "E745",
                    f"`{ref.place}` reaches the answer in `{test.name}`, and in no pair that its feature is fitted on",
                    ref.span or test.span,
                    notes=("a fit on a place that cannot reach the answer learns nothing",),
                    help="fit it on prompts of the kind that are tested, or write at a token that is the last one in all of them or in none",
                )


def _resume(plan: Plan, test: Test) -> g.Resume:
    read = plan.scores[test.name][0].read("patched")
    assert read is not None and isinstance(read.run, g.Resume)
    return read.run


def _refuse_one_class(plan: Plan, test: Test) -> None:
    """Refuse to fit where all pairs have one label: whatever is fitted would score (E713)."""
    drawn = plan.draw_of(test)
    do = {variable: drawn.values[role][variable] for variable, role in test.swaps}
    settings = {name: drawn.values["base"][name] for name in test.model.exogenous}
    label = test.model.evaluate(settings, do)[test.readout.variable]
    if test.model.needs_trust or not len(label) or not (label == label[0]).all():
        return
    raise fail(
        "E713",
        f"all {len(label)} pairs that `{test.alignment.name}` is fitted on have one counterfactual answer",
        test.design.statements[0].span,
        notes=("any feature that is fitted on one class scores, whatever it reads",),
        help="draw pairs whose answers differ, as with `balance` or `where`",
    )


def _one_way(unit: FitUnit) -> None:
    """Maps that are fitted together are fitted one way (E712)."""
    first = unit.maps[0]
    for other in unit.maps[1:]:
        if other.fitting != first.fitting:
            assert other.span is not None and first.span is not None
            raise fail(
                "E712",
                "these features are fitted together, but their settings differ",
                other.span,
                others=((first.span, "fitted with this one"),),
                help="give both the same n, epochs, batch, rate, patience, restarts, seed, controls and file",
            )


def refuse_overlap(tests: Sequence[Test], declared: Sequence[Test], plan: Plan, fits: Fits) -> None:
    """Refuse to judge a feature on an input that it was fitted on (E711)."""
    twins, units = Twins(plan, fits.plan), dict[FeatureRef, list[FitUnit]]()
    for unit in fits.units:
        for ref in unit.maps:
            units.setdefault(ref, []).append(unit)
    used = {id(unit): twins.used(unit.network, _draws_of(unit)) for unit in fits.units}
    for test in tests:
        if not learned(test):
            continue
        wanted = {id(unit) for cell in test.cells for ref in maps_of(cell) for unit in units.get(ref, ())}
        for unit in (unit for unit in fits.units if id(unit) in wanted):
            if unit.fitting.file or not twins.reads(test, unit.network, used[id(unit)]):
                continue
            for node in _draws_of(unit):
                shared = shared_input(plan, test, fits.plan, unit.network, node, twins)
                if shared is not None:
                    _refuse(test, shared, bool(declared_for(test, declared)))


def _draws_of(unit: FitUnit) -> list[g.DrawNode]:
    """The draws that maps are fitted on, and those that end the fit."""
    return [run.draw for one in unit.experiments for run in (one.fit.base, one.validation.base)]


@dataclass(frozen=True)
class Shared:
    """An input of a test that a fit reads, too: the test's settings, and the prompts of both (empty for vectors)."""

    settings: Mapping[str, float]
    text: str
    fitted: str


def shared_input(
    plan: Plan, test: Test, fits: Plan, network: NetworkKey, draw: g.DrawNode, twins: Twins
) -> Shared | None:
    """The first row of a test whose tokens (or vector) a fit on a network reads, too, in whatever role; else None."""
    theirs, fitted_rows = fits.inputs[network], [rows for _, rows in twins.fitted_rows.get((network, draw), ())]
    own, inputs = plan.scores[test.name][0].label.draw, plan.inputs[test.network.key]
    read = twins.used(network, [draw])[twins.of(test.network.key, network)]
    first: tuple[int, str, int] | None = None
    for run, rows in twins.rows.get((test.network.key, own), ()):
        hit = np.flatnonzero(read[rows])
        if len(hit) and (first is None or hit[0] < first[0]):
            first = int(hit[0]), run.role, int(rows[hit[0]])
    if first is None:
        return None
    row, role, index = first
    settings = {name: plan.drawn[own].values[role][name][row].item() for name in test.model.exogenous}
    seen = np.unique(np.concatenate(fitted_rows))
    fitted = next(int(one) for one in seen if theirs.content(int(one)) == inputs.content(index))
    return Shared(settings, inputs.text(index), theirs.text(fitted))


#: The runs of a draw on a network, each with its rows.
RowsOfDraws = dict[tuple[NetworkKey, g.DrawNode], list[tuple[g.Forward, np.ndarray]]]


def _by_draw(plan: Plan) -> RowsOfDraws:
    found: RowsOfDraws = {}
    for run, rows in plan.rows.items():
        found.setdefault((run.network, run.draw), []).append((run, rows))
    return found


@dataclass
class Twins:
    """Which inputs of a plan are those of its fits, found once for each two networks."""

    plan: Plan
    fits: Plan
    _known: dict[tuple[NetworkKey, NetworkKey], np.ndarray] = field(default_factory=dict)

    @cached_property
    def rows(self) -> RowsOfDraws:
        return _by_draw(self.plan)

    @cached_property
    def fitted_rows(self) -> RowsOfDraws:
        return _by_draw(self.fits)

    def used(self, fitted: NetworkKey, draws: Iterable[g.DrawNode]) -> np.ndarray:
        """Which inputs of a network of the fits some draws read, the last for what has no twin."""
        theirs = self.fits.inputs[fitted]
        found, runs = np.zeros(len(theirs) + 1, dtype=bool), theirs.runs
        for node in dict.fromkeys(draws):
            for _, rows in self.fitted_rows.get((fitted, node), ()):
                found[runs[rows]] = True
        return found

    def reads(self, test: Test, fitted: NetworkKey, used: np.ndarray) -> bool:
        """Whether a test reads any of the inputs that are used."""
        network, draw = test.network.key, self.plan.scores[test.name][0].label.draw
        read = used[self.of(network, fitted)]
        return any(bool(read[rows].any()) for _, rows in self.rows.get((network, draw), ()))

    def of(self, network: NetworkKey, fitted: NetworkKey) -> np.ndarray:
        """For every input of a network of the plan the first input of a network of the fits that is read alike, -1 where none is."""
        if (network, fitted) not in self._known:
            self._known[network, fitted] = self.fits.inputs[fitted].alike(self.plan.inputs[network])
        return self._known[network, fitted]


def _refuse(test: Test, shared: Shared, declared: bool) -> None:
    values = ", ".join(
        f"{n} = {show_value(test.model.decode(n, np.array([c]))[0])}" for n, c in shared.settings.items()
    )
    notes: tuple[str, ...] = (f"for example {values}",)
    help = "leave `split` out: the fit then takes other inputs by itself"
    if declared:
        help = "hold inputs out with `where` in both, or write split=test in the test's draw"
    if shared.text != shared.fitted:
        notes += (f"its tokens are those of {shared.fitted!r}, which is fitted on",)
        help = "draw values that the tokenizer tells apart"
    raise fail(
        "E711",
        f"`{test.name}` judges a feature on inputs on which it is fitted",
        test.design.statements[0].span,
        notes=(*notes, "a feature is judged on inputs that it never saw, as base or as source"),
        help=help,
    )


__all__ = ["make_fits", "refuse_overlap", "refuse_unfitted"]
