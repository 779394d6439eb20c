"""A test's result with what rode beside it: what no variable claims, and an ablation's places taken away otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from causal_dsl.engine.execute import CellRun, Execution, TestRun
from causal_dsl.measures.quantities import TIED, Columns, Quantity
from causal_dsl.network.forward import SiteRead, forward
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probes import Apart, Replaced, Unmapped, part
from causal_dsl.program.locations import Place, Site
from causal_dsl.program.program import Test
from causal_dsl.score.apart import WrittenApart, apart_findings
from causal_dsl.score.copied import copied_inputs, mixed
from causal_dsl.score.held import held as held_there
from causal_dsl.score.held import held_findings
from causal_dsl.score.paired import difference, share
from causal_dsl.score.results import CellResult, Finding, TestResult
from causal_dsl.score.stillness import not_at_rest
from causal_dsl.score.unmapped import (
    OtherValues,
    Taken,
    Unclaimed,
    moves,
    of_pairs,
    replacement_findings,
    unmapped_findings,
)
from causal_dsl.vocabulary.values.from_run import FromRun

_ANSWER = Quantity("answer")
#: Values of the placed variables, together, that are tabulated; distinct inputs whose vectors are looked at.
_MOST_SETTINGS, _LOOKED_AT = 64, 512


def with_probes(result: TestResult, test: Test, execution: Execution) -> TestResult:
    """The result, its cells told of what was run beside them; as it is where nothing was."""
    if not test.controls and test.intervenes:
        off = Finding("controls_off", "The test ran without its controls (`controls=none`).")
        return replace(result, findings=(*result.findings, off))
    run, seen = execution.runs[test.name], _Seen(execution, test)
    cells = list(result.cells)
    if test.swaps and test.intervenes:
        for i, cell in enumerate(cells):
            number = next(n for n, one in enumerate(run.cells) if dict(one.node.cell) == cell.cell)
            cells[i] = replace(
                cell, findings=(*cell.findings, *_copied(test, number, seen, cell.verdict.code if cell.verdict else ""))
            )
    for probe_test in execution.plan.tests:
        probe = probe_test.probe
        if probe is None or probe_test.control[0] != test.name:
            continue
        values = dict(run.cells[probe.cell].node.cell)
        at = next((i for i, cell in enumerate(cells) if cell.cell == values), None)
        theirs = execution.runs[probe_test.name]
        if at is None or not all(cell.done.all() for cell in theirs.cells):
            continue
        if isinstance(probe, Unmapped):
            cells[at] = _unclaimed(cells[at], probe, probe_test, theirs, seen)
        elif isinstance(probe, Apart):
            cells[at] = _apart(cells[at], probe, probe_test, theirs, seen)
        elif isinstance(probe, Replaced):
            cells[at] = _replaced(cells[at], probe, probe_test, run.cells[probe.cell], theirs)
    return replace(result, cells=tuple(cells))


class _Seen:
    """What a vector network holds at its sites on the inputs of a test and its probes, each site read once."""

    def __init__(self, execution: Execution, test: Test):
        self.execution, self.plan, self.key = execution, execution.plan, test.network.key
        self._known: dict[tuple[Site, bytes], np.ndarray] = {}

    def inputs(self, test: Test) -> tuple[np.ndarray, np.ndarray]:
        """The distinct base inputs of a test, as many as are looked at, and the first row of each."""
        draw = self.plan.scores[test.name][0].label.draw
        distinct, first = np.unique(self.plan.rows[Forward(self.key, draw, "base")], return_index=True)
        return distinct[:_LOOKED_AT], first[:_LOOKED_AT]

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


def _unclaimed(cell: CellResult, probe: Unmapped, test: Test, run: TestRun, seen: _Seen) -> CellResult:
    """Over the pairs in which the network answers both inputs right: there it can have no error of its own to pass on."""
    drawn = seen.plan.draw_of(test)
    output = test.readout.variable
    columns = run.cells[0].columns
    base, other = columns.base[_ANSWER], columns.sources["other"][_ANSWER]
    right = base == drawn.values["base"][output]
    both = right & (other == drawn.values["other"][output])
    natural = 1 - float(right.mean())
    taken = tuple(
        Taken(
            units, str(part(probe.site, units, probe.tokens)), of_pairs(_elsewhere(one.columns)[both], probe.all_pairs)
        )
        for units, one in zip(probe.units, run.cells, strict=True)
    )
    judged = _judged(probe, test, seen, moves(taken[0], natural))
    found = Unclaimed(
        _site(probe.site),
        probe.placed,
        probe.varied,
        probe.why,
        probe.tokens,
        output,
        taken,
        natural,
        judged,
    )
    return replace(cell, unclaimed=(*cell.unclaimed, found), findings=(*cell.findings, *unmapped_findings(found)))


def _judged(probe: Unmapped, test: Test, seen: _Seen, together: bool) -> tuple[bool, ...]:
    """For each set of units, whether the answer must stay when it is taken from the other input.

    Where all that varies reaches the answer through the placed variables, the rest of the layer holds what else the answer
    needs. All of it together is then a natural rest; a part of it must not count just if the other part, in few values,
    tells all that is needed: then what was taken is needed by nothing.
    """
    if probe.why != "through" or together:
        return (True,) * len(probe.units)
    every = probe.units[0]
    drawn = seen.plan.draw_of(test)
    distinct, first = seen.inputs(test)
    vectors = seen.vectors(probe.site, distinct)
    needed = _needed(test, probe.placed, {name: column[first] for name, column in drawn.values["base"].items()})
    if needed is None:
        return (True, *(False for _ in probe.units[1:]))
    return (True, *(_tells(vectors, [u for u in every if u not in units], needed) for units in probe.units[1:]))


def _needed(test: Test, placed: tuple[str, ...], values: dict[str, np.ndarray]) -> np.ndarray | None:
    """What of each input [n] the answer needs beside the placed variables, numbered; None where it is too much to tabulate."""
    settings = np.unique(np.stack([values[name] for name in placed], axis=1), axis=0)
    if len(settings) > _MOST_SETTINGS:
        return None
    inputs = {name: values[name] for name in test.model.exogenous}
    n, output = len(next(iter(inputs.values()))), test.readout.variable
    answers = [
        test.model.evaluate(
            inputs, {p: np.full(n, v, values[p].dtype) for p, v in zip(placed, row, strict=True)}, [output]
        )[output]
        for row in settings
    ]
    return np.unique(np.stack(answers, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _tells(vectors: np.ndarray, units: list[int], needed: np.ndarray) -> bool:
    """Whether the numbers of ``units`` tell what is needed, and in so few values that they do not tell every input."""
    if not units:
        return len(np.unique(needed)) == 1
    _, pattern = np.unique(np.round(vectors[:, units], 6), axis=0, return_inverse=True)
    pattern = pattern.reshape(-1)
    count = int(pattern.max()) + 1
    if 2 * count > len(needed):
        return False
    return len(np.unique(np.stack([pattern, needed], axis=1), axis=0)) == count


def _copied(test: Test, number: int, seen: _Seen, beside: str) -> list[Finding]:
    """`input_copy`, where a variable is written at places that hold the inputs it is computed from, as they came in, and
    `holds_more`, where they hold them in a code; ``beside`` the cell's verdict."""
    plan = seen.plan
    found = []
    for intervention in test.cells[number].interventions:
        name = intervention.variable
        if name is None or intervention.features or not isinstance(intervention.value, FromRun):
            continue
        ancestors = test.model.ancestors(name)
        above = [n for n in test.model.exogenous if n in ancestors]
        places = ", ".join(map(str, intervention.places))
        if plan.inputs[test.network.key].has_tokens:
            if len(above) > 1 and all(_before_all(place.site) for place in intervention.places):
                found.append(
                    Finding("input_copy", f"`{name}` is not computed at {places}: no layer runs before that point.")
                )
            continue
        drawn = plan.draw_of(test)
        distinct, first = seen.inputs(test)
        held = np.concatenate([seen.vectors(place.site, distinct) for place in intervention.places], axis=1)
        if not np.isfinite(held).all():
            continue  # they hold nothing, and `non_finite` says so
        values = {n: column[first] for n, column in drawn.values["base"].items()}
        read = np.asarray(plan.inputs[test.network.key].rows(distinct))
        mine = {n: values[n] for n in above}
        raw = copied_inputs(held, mine, values[name], read)
        blend = () if raw else mixed(held, mine, values[name], read)
        what, hold = " and ".join(f"`{n}`" for n in raw or blend), "hold" if len(intervention.places) > 1 else "holds"
        if raw:
            them = "them" if len(raw) > 1 else "it"
            told = f"{places} {hold} {what} in the form in which the network reads {them}: `{name}` is not yet computed there."
        elif blend:
            told = (
                f"{places} {hold} a linear map of the network's input that distinguishes all values of {what}: "
                f"`{name}` is not yet computed there."
            )
        else:
            found += held_findings(held_there(name, places, held, mine, values[name]), beside)
            continue
        found.append(Finding("input_copy", told))
    return found


def _before_all(site: Site) -> bool:
    return site.component == "embed" or (site.component == "resid_pre" and site.layer == 0)


def _apart(cell: CellResult, probe: Apart, test: Test, run: TestRun, seen: _Seen) -> CellResult:
    """Over the pairs of which the network answers all inputs right, as for what no variable claims."""
    drawn, output = seen.plan.draw_of(test), test.readout.variable
    settings = {name: drawn.values["base"][name] for name in test.model.exogenous}
    found = []
    for swaps, node, one in zip(probe.swaps, test.cells, run.cells, strict=True):
        columns = one.columns
        right = columns.base[_ANSWER] == drawn.values["base"][output]
        for _, role in swaps:
            if role != "base":
                right &= columns.sources[role][_ANSWER] == drawn.values[role][output]
        label = test.model.evaluate(settings, {v: drawn.values[role][v] for v, role in swaps}, [output])[output]
        patched = columns.patched[_ANSWER]
        places = ", ".join(str(place) for i in node.interventions for place in i.places)
        hits, moved = (patched == label)[right], _moved(columns)[right]
        asked = int((label != drawn.values["base"][output])[right].sum())
        found.append(WrittenApart(swaps, places, of_pairs(hits, False), of_pairs(moved, False), asked))
    told = apart_findings(found, cell.scores["iia"], list(dict.fromkeys(v for swaps in probe.swaps for v, _ in swaps)))
    return replace(cell, apart=tuple(found), findings=(*cell.findings, *told))


def _site(site: Site) -> str:
    return str(Place(site))


def _replaced(cell: CellResult, probe: Replaced, test: Test, own: CellRun, run: TestRun) -> CellResult:
    rows = probe.rows
    ids = {"base": test.given.ids["base"]} if test.given is not None else {}
    hits = {probe.own: _moved(own.columns)[rows]}
    hits |= {name: _moved(one.columns) for name, one in zip(probe.names, run.cells, strict=True)}
    found = OtherValues(
        probe.own,
        {name: share(moved, ids) for name, moved in hits.items()},
        {name: difference(hits[name], hits[probe.own], ids) for name in probe.names},
    )
    matters = replacement_findings(found)
    cell = not_at_rest(cell) if matters else cell
    return replace(cell, replaced=found, findings=(*cell.findings, *matters))


def _elsewhere(columns: Columns) -> np.ndarray:
    """Where the answer is another one than the base's, and not for two equal logits alone: which is first is rounding."""
    return _moved(columns) & (columns.patched[_ANSWER] != TIED)


def _moved(columns: Columns) -> np.ndarray:
    """Where the answer is another one than the base's."""
    base, patched = columns.base[_ANSWER], columns.patched[_ANSWER]
    return patched != base


__all__ = ["with_probes"]
