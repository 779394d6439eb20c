"""A test's result with what ran beside its circuits (:mod:`causal_dsl.planning.circuit_runs`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.beside_random import beside_random, without_random
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.circuit_run_names import EMPTY, FULL, HALVES, RANDOM, is_random, of_random
from causal_dsl.measures.circuit_tests import CircuitTest, MinimalityTest
from causal_dsl.measures.evaluation import Evaluation
from causal_dsl.measures.of_circuits import CircuitCurve, OfCircuit
from causal_dsl.measures.per_cell import CellScore
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.measures.weighted_sums import Matrix
from causal_dsl.planning.circuit_runs import compared, patched_of, source_of
from causal_dsl.planning.random_circuits import nodes_tried
from causal_dsl.program.ablations import Ablation
from causal_dsl.program.circuit_members import name as name_of
from causal_dsl.program.circuit_members import size
from causal_dsl.program.edge_sets import EdgeSet
from causal_dsl.program.nodes import dictionaries_of, kinds_of, of_dictionary
from causal_dsl.program.probed import CircuitRuns
from causal_dsl.program.program import Test
from causal_dsl.score.circuit_results import (
    CircuitResult,
    HypothesisTest,
    RandomCircuits,
    SelfCheck,
    like_random,
    lines_of,
    random_of,
)
from causal_dsl.score.contrasts import silenced
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.in_its_place import in_its_place, of_random_circuits, one_cell
from causal_dsl.score.of_run import cells_of, pairs_of
from causal_dsl.score.prepared import prepare
from causal_dsl.score.results import TestResult
from causal_dsl.vocabulary.network_facts import Facts


def with_runs(run: TestRun, execution: Execution) -> TestRun:
    """A run whose cells have the columns of what ran beside their circuits, under the names of those runs."""
    beside = _beside(run.test, execution)
    if beside is None:
        return run
    probe, theirs = beside
    more: dict[int, dict[str, MutableMapping[Quantity, np.ndarray]]] = {}
    for (number, name), one in zip(probe.names, theirs.cells, strict=True):
        if one.done.all() or not is_random(name):  # what random circuits did not come to, they are not compared by
            more.setdefault(number, {})[name] = one.columns.patched
    cells = [
        replace(
            cell, columns=Columns(cell.columns.base, cell.columns.patched, {**cell.columns.sources, **more.get(i, {})})
        )
        for i, cell in enumerate(run.cells)
    ]
    for i, cell in enumerate(cells):
        mine = [
            one for (of, name), one in zip(probe.names, theirs.cells, strict=True) if of == i and not is_random(name)
        ]
        cell.done = np.logical_and.reduce([np.asarray(one.done) for one in (cell, *mine)])
    return replace(run, cells=cells, seconds=run.seconds + theirs.seconds)


def with_circuits(
    result: TestResult, run: TestRun, execution: Execution, kept: np.ndarray | None, ceilings: Mapping[str, Ceiling]
) -> TestResult:
    """The result with the numbers of circuits in its cells: sizes and choices, self-checks and random circuits. ``kept`` [n] are the pairs
    that are scored (None: all), ``ceilings`` those of the test."""
    beside, test = _beside(run.test, execution), run.test
    probe = None if beside is None else beside[0]
    cells = list(result.cells)
    scores = {} if probe is None else beside_random(test.scores)
    env = _env(result, run, execution, kept, ceilings) if scores else None
    for number, (cell, own) in enumerate(zip(test.cells, run.cells, strict=True)):
        at = next((i for i, one in enumerate(cells) if one.cell == dict(own.node.cell)), None)
        ablation = cell.circuit
        if at is None or ablation is None:
            continue
        told = _circuit(ablation, () if probe is None else probe.sizes[number], test, own, execution, kept)
        if probe is not None:
            told = replace(told, drawn=lines_of(probe.random[number]))
        told = replace(told, checks=tuple(_checks(ablation, test, _runs_of(number, beside))))
        if probe is not None and test.controls and len(probe.sizes[number]) <= RANDOM:
            told = replace(told, others=len(probe.sizes[number]) - 1)
        if env is not None:
            values = {name: estimate.value for name, estimate in cells[at].scores.items()}
            runs = in_its_place(env.frames[at].columns, patched_of(ablation))
            random = of_random_circuits(scores, ((one_cell(env, at, one), {"": one}) for one in runs), values)
            told = replace(told, random={**told.random, **random})
        if told.sizes:
            told = replace(told, apart=without_random(test.scores, told.random))
        elsewhere = _found_elsewhere(ablation, test, execution)
        told = told.without_contrast(silenced(cells[at].findings))
        cells[at] = replace(cells[at], circuit=told, findings=(*cells[at].findings, *told.findings(), *elsewhere))
    if probe is None:
        return replace(result, cells=tuple(cells))
    silent = silenced(finding for cell in cells for finding in cell.findings)
    curves = _curves(probe, test, run, execution, kept, silent) if len(cells) == len(test.cells) else {}
    found = [finding for name, random in curves.items() for finding in like_random(name, "the circuits", random)]
    return replace(result, cells=tuple(cells), random=curves, findings=tuple(dict.fromkeys([*result.findings, *found])))


def _beside(test: Test, execution: Execution) -> tuple[CircuitRuns, TestRun] | None:
    for other in execution.plan.tests:
        if other.control[0] == test.name and isinstance(other.probe, CircuitRuns):
            return other.probe, execution.runs[other.name]
    return None


def _found_elsewhere(ablation: Ablation, test: Test, execution: Execution) -> list[Finding]:
    """The note that the file of a circuit is of other weights than the test runs on."""
    inputs = execution.networks[test.network.key].inputs
    return [
        Finding(
            "circuit_elsewhere",
            f"`{file}` says that its circuit was found on weights with the SHA-256 {digest[:12]}…, and those of `{test.network.name}` have "
            f"{inputs.weights[:12]}…: it is of another checkpoint, or of the same one in other files.",
        )
        for file, digest in ablation.files
        if inputs is not None and digest != inputs.weights
    ]


def _shared(facts: Facts) -> bool:
    """Whether several query heads of a network share keys and values."""
    return bool(facts.heads and facts.kv_heads and facts.kv_heads < facts.heads)


def _env(
    result: TestResult, run: TestRun, execution: Execution, kept: np.ndarray | None, ceilings: Mapping[str, Ceiling]
) -> Evaluation:
    """The cells of a result as their scores are computed."""
    numbers = {tuple(dict(own.node.cell).items()): own for own in run.cells}
    finished = [numbers[tuple(cell.cell.items())] for cell in result.cells]
    return prepare(cells_of(finished), **pairs_of(run.test, execution.plan, ceilings, kept)).estimator.env


def _circuit(
    ablation: Ablation, sizes: Sequence[float], test: Test, own: CellRun, execution: Execution, kept: np.ndarray | None
) -> CircuitResult:
    frame, cell = _frame(test, own, execution, kept), dict(own.node.cell)
    env = Evaluation([frame], [cell], Matrix(np.ones((1, frame.n))))
    asked = [*test.scores.cell_scores.values(), *test.scores.values]
    scores = {part.text: part for value in asked for part in value.walk() if isinstance(part, OfCircuit)}
    random = {}
    for text, score in scores.items():
        others = [score.of_random(i) for i in range(RANDOM)] if score.beside else []
        there = [other for other in others if set(other.runs) <= {"base", *own.columns.sources}]
        if there:
            narrow = score.narrowed()
            values = [_number(env, other) for other in there]
            random[text] = random_of(_number(env, narrow), values, score.better, score.searched)
    tests = {
        text: _tested(score, frame, cell, ablation) for text, score in scores.items() if isinstance(score, CircuitTest)
    }
    return CircuitResult(
        ablation.name,
        size(ablation.members, test.network.facts, ablation.every),
        ablation.choices,
        (),
        random,
        tuple(sizes[1:]),
        ablation.members,
        ablation.found,
        tests=tests,
        parallel=test.network.facts.parallel,
        stated=ablation.weights,
        shared=_shared(test.network.facts),
        left_out=ablation.left_out,
    )


def _frame(test: Test, own: CellRun, execution: Execution, kept: np.ndarray | None) -> CellData:
    """The columns of a cell, of the pairs that are scored."""
    drawn = execution.plan.draw_of(test)
    rows = None if kept is None else np.flatnonzero(kept)
    return CellData(own.columns, drawn.values["base"][test.readout.variable], rows=rows)


def _tested(score: CircuitTest, frame: CellData, cell: Mapping[str, object], ablation: Ablation) -> HypothesisTest:
    """A null hypothesis about a circuit, with what it is tested by."""
    tested = score.tested(frame, cell) if frame.n else ()
    names = [name_of(member) for member in nodes_tried(ablation.members)] if isinstance(score, MinimalityTest) else []
    return HypothesisTest(score.null, tuple(tested), tuple(names))


def _curves(
    probe: CircuitRuns,
    test: Test,
    run: TestRun,
    execution: Execution,
    kept: np.ndarray | None,
    silent: Collection[str],
) -> dict[str, RandomCircuits]:
    """Areas under the curves of random circuits, one in the place of each circuit of a sweep. A circuit that has few others of its size
    has each of them several times. ``silent`` are scores that say nothing in some cell."""
    parts = [part for value in test.scores.values for part in value.walk() if isinstance(part, CircuitCurve)]
    curves = {part.text: part for part in parts}
    counts = [len(sizes) - 1 for sizes in probe.sizes]
    if not curves or min(counts, default=0) < 1:
        return {}
    count = max(counts)
    frames = [
        _frame(test, replace(own, columns=_again(own.columns, there, count)), execution, kept)
        for own, there in zip(run.cells, counts, strict=True)
    ]
    env = Evaluation(frames, [dict(own.node.cell) for own in run.cells], Matrix(np.ones((1, frames[0].n))))
    ablation = test.cells[0].circuit
    assert ablation is not None
    whole = size(ablation.members, test.network.facts, ablation.every).of_edges
    shares = np.asarray([[sizes[1 + i % (len(sizes) - 1)] for i in range(count)] for sizes in probe.sizes])
    shares = shares / max(1, whole)
    found = {}
    for text, curve in curves.items():
        theirs = [_number(env, curve.of_random(i, shares[:, i].tolist())) for i in range(count)]
        random = random_of(_number(env, curve), theirs, curve.better)
        found[text] = random.uncompared() if curve.score.text in silent else random
    return found


def _again(columns: Columns, there: int, count: int) -> Columns:
    """Columns in which the random circuits that are there stand for as many as there are of others."""
    more = {
        of_random(i, f"@{name.removeprefix(of_random(i % there, '@'))}"): own
        for i in range(there, count)
        for name, own in columns.sources.items()
        if name.startswith(of_random(i % there, "@"))
    }
    return replace(columns, sources={**columns.sources, **more})


def _number(env: Evaluation, score: CellScore) -> float | None:
    value = float(env.of(score)[0, 0])
    return value if np.isfinite(value) else None


def _runs_of(number: int, beside: tuple[CircuitRuns, TestRun] | None) -> dict[str, Mapping[Quantity, np.ndarray]]:
    """The runs that have to be alike of one cell, with the logits in which they are compared."""
    if beside is None:
        return {}
    probe, theirs = beside
    mine = [(name, one) for (of, name), one in zip(probe.names, theirs.cells, strict=True) if of == number]
    found: dict[str, Mapping[Quantity, np.ndarray]] = {}
    for name, one in mine:
        if name in (EMPTY, FULL, HALVES):
            found |= {"base": one.columns.base, **one.columns.sources, **found, name: one.columns.patched}
    return found


def _checks(ablation: Ablation, test: Test, runs: Mapping[str, Mapping[Quantity, np.ndarray]]) -> list[SelfCheck]:
    """Checks of the runs of a circuit: what they have to have in common, whatever the network is."""
    found = []

    def check(says: str, one: str, other: str) -> None:
        quantities = [q for q in compared(frozenset(runs[one])) if q in runs[other]]
        if not quantities:
            return
        gaps = [_gap(runs[one][q], runs[other][q]) for q in quantities]
        sizes = [float(np.nanmax(np.abs(runs[other][q]), initial=0.0)) for q in quantities]
        found.append(SelfCheck(says, max(gaps), max(sizes)))

    if FULL in runs:
        check("the full circuit is the clean run", FULL, "base")
    if HALVES in runs:
        check("the circuit and its complement, written together, are the empty circuit", HALVES, EMPTY)
    source, facts = source_of(ablation), test.network.facts
    there = ablation.kinds | ({"mlp"} if "neuron" in ablation.kinds else set())
    everywhere = all(position is None or position.kind == "all" for position in ablation.positions)
    if (
        source is not None
        and everywhere
        and (set(kinds_of(facts)) <= there or _stream(ablation))
        and {source, EMPTY} <= set(runs)
    ):
        check(f"the empty circuit is the run of {source}", EMPTY, source)
    return found


def _stream(ablation: Ablation) -> bool:
    """Whether all that is written is all of the stream at some layer: every latent of a dictionary there, and its error term."""
    if isinstance(ablation.every, EdgeSet):
        return False
    nodes = {node for node, _ in ablation.every}
    whole = (one for one in dictionaries_of(nodes) if one.site.component in ("resid_pre", "resid_post"))
    return any(one.site.dims is None and set(of_dictionary(one)) <= nodes for one in whole)


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference; infinite where a number is not finite in one run and another in the other."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(one - other))
    return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))


__all__ = ["with_circuits", "with_runs"]
