"""Adds the numbers of a test's controls to its result: units that no variable claims, and other values of its ablations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from causal_dsl.causal.cover import Cover, cover_of
from causal_dsl.controls.by_numbers import with_numbers
from causal_dsl.controls.in_tokens import rows_of
from causal_dsl.controls.interchanging import with_apart, with_beyond
from causal_dsl.controls.levelling import with_levelled
from causal_dsl.controls.number_moves import with_number_moves
from causal_dsl.controls.placing import InPartsRun, Vectors, read_parts, with_parts
from causal_dsl.controls.replacing import with_replaced
from causal_dsl.controls.through_features import with_rest_of_features
from causal_dsl.controls.unclaiming import with_unclaimed
from causal_dsl.controls.untried import not_tried
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.written_there import written_there
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.forward import SiteRead, forward
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import in_tokens, rows_of_tokens
from causal_dsl.planning.rest_of_layer import named
from causal_dsl.program.probed import AlignmentRuns, Apart, Beyond, CircuitRuns, InParts, Replaced, Unmapped
from causal_dsl.program.program import Intervention, Test
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.program.whole_maps import writes_all
from causal_dsl.score.codes import FULL, LADDER
from causal_dsl.score.copied import SAME, as_read, copied_inputs, mixed
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.held import held as held_there
from causal_dsl.score.held import held_findings, lie_apart
from causal_dsl.score.numbered_values import firsts, numbered
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.score.untried_findings import untried_finding
from causal_dsl.score.verdict import settled
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.values.from_run import FromRun

_ANSWER = Quantity("answer")
#: Distinct inputs whose vectors are looked at.
_LOOKED_AT = 512
#: Prompts in which a module is looked at; and, of the size of float32 numbers, what is rounding after a few steps.
_PROMPTS, _ROUNDED = 64, 1e-4
#: Beside features nothing is taken within the plan. So many times as much is left for what is taken later.
_OF_FEATURES = 3
#: Two values that differ by less, as a share of the largest that a site holds, are one.
_ALIKE = 1e-6


def with_probes(result: TestResult, test: Test, execution: Execution) -> TestResult:
    """The result with the numbers of the controls in its cells; unchanged where no control was run."""
    if not test.controls and test.intervenes:
        text = "The test ran without its controls (`controls=none`)."
        if any(cell.circuit is not None for cell in test.cells):
            tests = (one for one in execution.plan.tests if one.control[0] == test.name)
            checked = any(isinstance(one.probe, CircuitRuns) for one in tests)
            text = "The test ran without its controls (`controls=none`): no random circuits stand beside its circuit"
            text += "." if checked else ", and no self-checks."
        off = Finding("controls_off", text)
        return replace(result, findings=(*result.findings, off))
    run, seen = execution.runs[test.name], _Seen(execution, test)
    cells = list(result.cells)
    in_parts: dict[int, list[InPartsRun]] = {}
    early: list[tuple[int, Unmapped]] = []
    mine = [one for one in execution.plan.tests if one.control[0] == test.name]
    # Whether the places of one layer are enough decides whether its rest is judged; and whether the claim holds in other pairs.
    spared = rows_of(test, execution, cells)
    shares = Counter(one.probe.cell for one in mine if isinstance(one.probe, Unmapped))
    for probe_test in sorted(mine, key=lambda one: not isinstance(one.probe, InParts | Beyond)):
        probe = probe_test.probe
        if probe is None or isinstance(probe, CircuitRuns | AlignmentRuns):
            continue
        values = dict(run.cells[probe.cell].node.cell)
        at = next((i for i, cell in enumerate(cells) if cell.cell == values), None)
        theirs = execution.runs[probe_test.name]
        if at is None or not all(cell.done.all() for cell in theirs.cells):
            continue
        if isinstance(probe, InParts):
            found = read_parts(probe, test, execution.plan.draw_of(test), run.cells[probe.cell], theirs)
            in_parts.setdefault(probe.cell, []).append(found)
            cells[at] = with_parts(cells[at], found, seen.of(test), run.n)
        elif isinstance(probe, Unmapped):
            if probe.early and not any(one.enough(probe.site, test) for one in in_parts.get(probe.cell, ())):
                early.append((at, probe))
                continue
            more = spared[at] // shares[probe.cell]
            cells[at] = with_unclaimed(cells[at], probe, probe_test, run.cells[probe.cell], theirs, execution, more)
        elif isinstance(probe, Apart):
            cells[at] = with_apart(cells[at], probe, probe_test, execution.plan.draw_of(probe_test), theirs)
        elif isinstance(probe, Beyond):
            cells[at] = with_beyond(cells[at], test, probe_test, execution.plan.draw_of(probe_test), theirs)
        elif isinstance(probe, Replaced):
            cells[at] = with_replaced(
                cells[at],
                probe,
                probe_test,
                run.cells[probe.cell],
                theirs,
                _cover(result, test, seen),
                partial(seen.changed, test, probe),
            )
    if test.swaps and test.intervenes:
        spared = rows_of(test, execution, cells, _OF_FEATURES)
        for i, cell in enumerate(cells):
            number = next(n for n, one in enumerate(run.cells) if dict(one.node.cell) == cell.cell)
            if test.firsts[number] < number:
                continue
            idle = {(part.variable, part.place) for part in cell.parts if part.idle}
            probes = [one.probe for one in in_parts.get(number, ())]
            used = {
                p.variable: tuple(place for place in p.parts if (p.variable, str(place)) not in idle)
                for p in probes
                if any((p.variable, str(place)) in idle for place in p.parts)
            }
            beside = cell.verdict.code if cell.verdict else ""
            cells[i] = replace(cell, findings=(*cell.findings, *_held(test, number, seen, beside, used)))
            cells[i] = with_rest_of_features(cells[i], number, test, execution, spared[i])
            cells[i] = with_numbers(cells[i], number, test, execution)
            cells[i] = with_levelled(cells[i], number, test, execution)
    cells = _shared(cells, result.cells, test)
    untold = not_tried(test, execution, cells, early)
    return replace(result, cells=tuple(cells), findings=(*result.findings, *untold))


def with_places(result: TestResult, test: Test, execution: Execution) -> TestResult:
    """The result of a test whose output is a number, with what its places hold, and whether what no variable claims moves the number."""
    run, seen = execution.runs[test.name], _Seen(execution, test)
    cells, untold = list(result.cells), dict[Finding, None]()
    for number in range(len(run.cells) if test.swaps and test.intervenes and test.controls else 0):
        values = dict(run.cells[number].node.cell)
        at = next((i for i, cell in enumerate(cells) if cell.cell == values), None)
        if at is None:
            continue
        beside = cells[at].verdict
        told = _held(test, number, seen, beside.code if beside else "", {})
        cells[at] = replace(cells[at], findings=(*cells[at].findings, *told))
        cells[at], why = with_number_moves(cells[at], number, test, execution)
        if why and beside is not None and beside.code in FULL:
            untold[untried_finding(why)] = None
    return replace(result, cells=tuple(cells), findings=(*result.findings, *untold))


def _shared(cells: Sequence[CellResult], before: Sequence[CellResult], test: Test) -> list[CellResult]:
    """The cells with the controls of those that do the same, for which alone they were run."""
    at = {tuple(cell.cell.items()): number for number, cell in enumerate(cells)}
    found = list(cells)
    for number, first in enumerate(test.firsts):
        mine, theirs = (at.get(tuple(test.cells[n].settings.items())) for n in (number, first))
        if first < number and mine is not None and theirs is not None:
            found[mine] = _with_controls(before[mine], before[theirs], cells[theirs])
    return found


def _with_controls(own: CellResult, first: CellResult, told: CellResult) -> CellResult:
    """A cell with the controls that the ``first`` one was told; their own verdicts may go by the cells below them."""
    known = {(one.code, one.text) for one in first.findings}
    added = tuple(one for one in told.findings if (one.code, one.text) not in known and one.code not in LADDER)
    beside = {name: getattr(told, name) for name in ("unclaimed", "apart", "beyond", "parts", "replaced", "learned")}
    return settled(replace(own, findings=(*own.findings, *added), **beside))


def _cover(result: TestResult, test: Test, seen: _Seen) -> Cover | None:
    """How a test's rows cover all there are; None where they do not, or where its pairs have sources of their own."""
    if not (result.covered or result.exhaustive) or test.roles != ("base",):
        return None
    return cover_of(test.design, seen.plan.draw_of(test))


class _Seen:
    """The vectors of a vector network at its sites on the inputs of a test and its probes, each site read once."""

    def __init__(self, execution: Execution, test: Test):
        self.execution, self.plan, self.key = execution, execution.plan, test.network.key
        self._known: dict[tuple[Site, bytes], np.ndarray] = {}

    def inputs(self, test: Test) -> tuple[np.ndarray, np.ndarray]:
        """The distinct base inputs of a test, as many as are looked at, and the first row of each."""
        draw = self.plan.scores[test.name][0].label.draw
        rows = self.plan.rows[Forward(self.key, draw, "base")]
        first = firsts(rows)[:_LOOKED_AT]
        return rows[first], first

    @torch.no_grad()
    def vectors(self, site: Site, indices: np.ndarray) -> np.ndarray:
        """The vectors [n, width] at a site, on some inputs."""
        whole = replace(site, dims=None)
        key = (whole, indices.tobytes())
        if key not in self._known:
            rows = self.plan.inputs[self.key].rows(indices)
            read = SiteRead(whole, torch.arange(len(rows)))
            found = forward(self.execution.networks[self.key], rows, [read]).reads[0]
            self._known[key] = found.double().cpu().numpy()
        return self._known[key] if site.dims is None else self._known[key][:, list(site.dims)]

    def of(self, test: Test) -> Vectors:
        """The vectors of one place, and the values of a variable, on distinct base inputs of a test."""
        distinct, first = self.inputs(test)
        values = self.plan.draw_of(test).values["base"]

        def vectors(place: Place, variable: str) -> tuple[np.ndarray, np.ndarray] | None:
            inputs = self.plan.inputs[self.key]
            some = distinct[: inputs.looked_at]
            found = self.at_place(place.site, place.position, some)
            return None if found is None else (found, values[variable][first[: len(some)]])

        return vectors

    @torch.no_grad()
    def written(self, site: Site, ref: FeatureRef | None, indices: np.ndarray) -> np.ndarray:
        """The part of the vectors [n, width] at a site that is written elsewhere: all of them, or what a feature takes of them."""
        found = self.vectors(site, indices)
        feature = None if ref is None else self.execution.features.get(ref.map)
        if ref is None or feature is None or ref.joined:
            return found
        block = None if ref.block is None else slice(*ref.block)
        source = torch.from_numpy(found).to(feature.device)
        written = feature.swap(source[:1].expand_as(source).clone(), source, block).double().cpu().numpy()
        spread = np.ptp(written, axis=0)
        return np.where(spread > _ROUNDED * spread.max(initial=0), written, written[:1])

    @torch.no_grad()
    def changed(self, test: Test, probe: Replaced) -> np.ndarray | None:
        """In which pairs [m] of a probe an ablation writes another value than the other input has there; None where that is not known."""
        draw = self.plan.scores[test.name][0].label.draw
        index, which = np.unique(self.plan.rows[Forward(self.key, draw, "base")][probe.others], return_inverse=True)
        if len(index) > _LOOKED_AT:
            return None
        found = np.zeros(len(index), bool)
        for i in test.cells[probe.cell].interventions:
            for place in i.places:
                site = named(place, test.network.facts).site
                held = self.at_place(site, place.position, index)
                if held is None:
                    return None
                new = written_there(i.value, torch.from_numpy(held))
                if new is None:
                    return None
                gap = np.abs(new.numpy() - (0 if i.add else held)).max(axis=1)
                found |= gap > _ALIKE * np.abs(held).max(initial=0)
        return found[which]

    def at_places(self, places: Sequence[Place], indices: np.ndarray) -> np.ndarray | None:
        """The vectors of some places of a language network side by side [n, width]; None where one of them is not one token in each prompt."""
        found = []
        for place in places:
            at = self._tokens(place.position, indices)
            if at is None:
                return None
            found.append(self.at_tokens(place.site, indices, at))
        return np.concatenate(found, axis=1)

    def at_place(self, site: Site, position: Position | None, indices: np.ndarray) -> np.ndarray | None:
        """The vectors of a site at a position [n, width], on some inputs; None where that is not one token in each of them."""
        step = self.plan.inputs[self.key].looked_at
        if step is None:
            return self.vectors(site, indices)
        at, every = self._tokens(position, indices), np.arange(len(indices))
        if at is None:
            return None
        parts = [every[k : k + step] for k in range(0, len(indices), step)]
        return np.concatenate([self.at_tokens(site, indices[some], at[some]) for some in parts])

    def _tokens(self, position: Position | None, indices: np.ndarray) -> np.ndarray | None:
        """The token that a position names in each of some inputs [n]; None where it is not one."""
        where = [self.plan.inputs[self.key].where(position, index) for index in indices.tolist()]
        return None if any(len(tokens) != 1 for tokens in where) else np.array([tokens[0] for tokens in where])

    @torch.no_grad()
    def at_tokens(self, site: Site, indices: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The vectors [n, width] at a site of a language network, at one token of each of some prompts."""
        network, rows = self.execution.networks[self.key], self.plan.inputs[self.key].rows(indices)
        read = SiteRead(site, torch.arange(len(indices)), torch.from_numpy(positions))
        found = forward(network, rows, [read], padding=network.padding).reads[0]
        return found.double().cpu().numpy()


def _held(test: Test, number: int, seen: _Seen, beside: str, used: Mapping[str, tuple[Place, ...]]) -> list[Finding]:
    """The findings on what the places of a cell hold; and, where that is no alarm, whether it is one of those that change an answer alone, ``used``
    by variable where some do not: a place that nothing reads may hold the variable beside one that holds its inputs, or a code of these
    beside one that holds the variable."""
    found = []
    for i in test.cells[number].interventions:
        told, fewer = _copied(test, i, i.places, seen, beside), used.get(i.variable or "", ())
        if fewer:
            more = [one for one in _copied(test, i, fewer, seen, beside) if one.severity == "alarm"]
            if _is_clear(test, i, fewer, seen):  # the code is what nothing reads
                told = [one for one in told if one.severity != "alarm" or one.code != "holds_more"]
            told = list({one.code: one for one in (*told, *more)}.values())
        found += told
    return found


def _is_clear(test: Test, intervention: Intervention, places: tuple[Place, ...], seen: _Seen) -> bool:
    """Whether the values of a variable lie apart from each other at some places of a vector network."""
    name = intervention.variable
    if name is None or seen.plan.inputs[test.network.key].traits.positions or intervention.features:
        return False
    ancestors, (distinct, first) = test.model.ancestors(name), seen.inputs(test)
    values = {n: column[first] for n, column in seen.plan.draw_of(test).values["base"].items()}
    vectors = np.concatenate([seen.vectors(place.site, distinct) for place in places], axis=1)
    return lie_apart(vectors, {n: values[n] for n in test.model.exogenous if n in ancestors}, values[name])


def _copied(
    test: Test, intervention: Intervention, written: tuple[Place, ...], seen: _Seen, beside: str
) -> list[Finding]:
    """`input_copy`, where a variable is written at places that hold the inputs it is computed from, as they came in, and
    `holds_more`, where they hold them in a code; ``beside`` the cell's verdict."""
    plan = seen.plan
    name = intervention.variable
    if name is None or not isinstance(intervention.value, FromRun) or intervention.inside:
        return []
    ancestors = test.model.ancestors(name)
    above = [n for n in test.model.exogenous if n in ancestors]
    places = ", ".join(map(str, written))
    given = plan.inputs[test.network.key]
    tokens = in_tokens(given)
    if tokens:
        if len(above) > 1 and all(_before_all(place.site) for place in written):
            return [Finding("input_copy", f"`{name}` is not computed at {places}: no layer runs before that point.")]
        if len(above) > 1 and all(_sees_its_own(place, test, seen) for place in written):
            told = f"`{name}` is not computed at {places}: each vector there depends on its own token alone."
            return [Finding("input_copy", told)]
        cheap = rows_of_tokens(given) and beside in (*FULL, "partly")
        if len(above) < 2 or intervention.features or not cheap:
            return []
    drawn = plan.draw_of(test)
    distinct, first = seen.inputs(test)
    through = dict(zip(intervention.places, intervention.features, strict=False))  # a part of a place is not of them
    held = seen.at_places(written, distinct) if tokens else None
    if held is None and tokens:
        return []
    if held is None:
        held = np.concatenate([seen.written(p.site, through.get(p), distinct) for p in written], axis=1)
    if not np.isfinite(held).all():
        return []  # they hold nothing, and `non_finite` says so
    values = {n: column[first] for n, column in drawn.values["base"].items()}
    read = given.as_numbers(distinct)
    mine = {n: values[n] for n in above}
    raw = copied_inputs(held, mine, values[name], read)
    blend = () if raw else mixed(held, mine, values[name], read, _ROUNDED if intervention.features else SAME)
    if intervention.features:
        places += " via " + ", ".join(dict.fromkeys(ref.told for ref in intervention.features))
    what, hold = " and ".join(f"`{n}`" for n in raw or blend), "hold" if len(written) > 1 else "holds"
    if raw:
        them = "them" if len(raw) > 1 else "it"
        if as_read(held, read):
            told = f"{places} {hold} {what} in the form in which the network reads {them}: `{name}` is not yet computed there."
        else:
            told = f"Each number of {places} is a function of one of {what} alone: `{name}` is not yet computed there."
    elif blend:
        told = (
            f"{places} {hold} a linear map of the network's input that distinguishes all values of {what}: "
            f"`{name}` is not yet computed there."
        )
    elif tokens or not writes_all(intervention, test.network.facts):
        return []  # a token has what it was by itself beside all else; and a fitted map is judged by its controls
    else:
        inputs = {n: values[n] for n in test.model.exogenous}
        return held_findings(held_there(name, places, held, mine, values[name], inputs), beside)
    return [Finding("input_copy", told)]


def _sees_its_own(place: Place, test: Test, seen: _Seen) -> bool:
    """Whether the vectors of a place depend on no other token: attention of the first layer comes later, or, of a module, they are
    the same wherever the token and its position are."""
    site = place.site
    if site.component != "module":
        first = COMPONENTS[site.component].read < COMPONENTS["pattern"].read
        return _before_all(site) or (site.layer == 0 and first)
    inputs, (distinct, _) = seen.plan.inputs[test.network.key], seen.inputs(test)
    distinct = distinct[:_PROMPTS]
    where = [list(inputs.where(place.position, index)) for index in distinct.tolist()]
    if any(len(tokens) != 1 for tokens in where):
        return False
    at = np.array([tokens[0] for tokens in where])
    vectors = seen.at_tokens(site, distinct, at)
    prompts = [list(prompt) for prompt in inputs.rows(distinct)]
    own = numbered(np.array([(prompt[i], i) for prompt, i in zip(prompts, at.tolist(), strict=True)]))
    others = [tuple(prompt[:i]) + tuple(prompt[i + 1 :]) for prompt, i in zip(prompts, at.tolist(), strict=True)]
    apart = np.array(
        [number for number in range(own.max() + 1) if len({others[k] for k in np.flatnonzero(own == number)}) > 1]
    )
    if not len(apart):
        return False
    size = np.abs(vectors).max()
    return all(np.ptp(vectors[own == number], axis=0).max() <= _ROUNDED * size for number in apart)


def _before_all(site: Site) -> bool:
    return site.component == "embed" or (site.component == "resid_pre" and site.layer == 0)


__all__ = ["with_places", "with_probes"]
