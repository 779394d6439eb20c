"""Plan to results: networks loaded once, plans executed, scores taken, everything kept that was computed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from causal_dsl import pipeline
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.engine.answers import first_token
from causal_dsl.engine.chunks import ChunkStore
from causal_dsl.engine.columns import Quantity
from causal_dsl.engine.execute import CellRun, Execution, TestRun, budget_of
from causal_dsl.fitting.fit import fit_all
from causal_dsl.fitting.library import Library, refuse_seen
from causal_dsl.fitting.report import with_controls
from causal_dsl.network.fingerprint import fingerprint
from causal_dsl.network.load import Reference, device_of, dtype_of, prove, wrap
from causal_dsl.network.load import load as load_network
from causal_dsl.network.network import Network
from causal_dsl.network.untrained import untrained
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.pipeline import Checked, Options, Spec
from causal_dsl.planning.cost import cost_of
from causal_dsl.planning.lower import Plan
from causal_dsl.probing import with_probes
from causal_dsl.program.fits import trained_name
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.report.progress import Progress, progress
from causal_dsl.report.store import folder_of, save, writing
from causal_dsl.score.results import CellInfo, Fired, Results, SpecResult, TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.truth import asked_of, kept_of, labels_of
from causal_dsl.training.train import TrainedNetwork, trained


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; ``results`` are those of the cells that were finished."""

    def __init__(self, results: Results):
        self.results = results
        super().__init__("interrupted")


def run_specs(specs: Sequence[Spec], options: Options) -> Results:
    """Check, load, plan, execute and score; raises :class:`SpecError`, or :class:`Interrupted` with what is finished."""
    checks = [pipeline.check(spec, options) for spec in specs]
    for checked in checks:
        checked.raise_errors()
    loaded: dict[Any, Network] = {}
    done: list[SpecResult] = []
    for spec, checked in zip(specs, checks, strict=True):
        assert checked.program is not None
        used = {test.network.name: test.network for test in checked.program.tests}
        if checked.plan is not None:
            used |= checked.plan.networks
        networks = {name: _network(ref, options, loaded) for name, ref in used.items()}
        if checked.plan is None and checked.program.tests:
            checked = pipeline.check(spec, options, _with_blanks(networks, used))
            checked.raise_errors()
            if checked.plan is not None:
                networks |= {
                    n: _network(r, options, loaded) for n, r in checked.plan.networks.items() if n not in networks
                }
        try:
            result, interrupted = _run(spec, checked, networks, options)
        except KeyboardInterrupt:  # while features were fitted: those fits go on the next time
            raise Interrupted(Results(tuple(done))) from None
        done.append(result)
        if interrupted:
            raise Interrupted(Results(tuple(done)))
    return Results(tuple(done))


def loaded_plan(spec: Spec, checked: Checked, options: Options) -> Plan:
    """The plan as it will be run on the networks, which are loaded and proved for it."""
    assert checked.program is not None
    used = {test.network.name: test.network for test in checked.program.tests}
    loaded: dict[Any, Network] = {}
    networks = {name: _network(ref, options, loaded) for name, ref in used.items()}
    if checked.plan is None:
        checked = pipeline.check(spec, options, _with_blanks(networks, used))
        checked.raise_errors()
    assert checked.plan is not None
    memory = {name: options.memory for name in networks if options.memory}
    return Execution(checked.plan, networks, checked.answers, _targets(checked.plan, checked, networks), memory).plan


# ── networks ────────────────────────────────────────────────────────────────────────────────────


def _network(ref: NetworkRef, options: Options, loaded: dict[Any, Network]) -> Network:
    """The loaded network of a declaration; the same declaration in another file is the same network."""
    device = options.device or ref.setting("device")
    dtype = options.dtype or ref.setting("dtype")
    declared = (ref.span.source.path, ref.span.start) if ref.training is not None else None
    key = (ref.kind, ref.target, ref.base if ref.kind != "zoo" else None, ref.settings, declared, device, dtype)
    if key not in loaded and ref.setting("untrained"):
        settings = tuple(setting for setting in ref.settings if setting[0] != "untrained")
        trained = replace(ref, name=trained_name(ref), settings=settings)
        loaded[key] = untrained(_network(trained, options, loaded))
        prove(loaded[key])
    if key not in loaded:
        loaded[key] = _load(ref, device, dtype, options)
    network = loaded[key]
    network.padding = ref.setting("padding", "right")
    network.name, network.span = ref.name, ref.span
    return network


def _trained(ref: NetworkRef, device: str | None, options: Options) -> TrainedNetwork:
    """The outcome of a declared training. It is trained in the dtype that is declared, whatever it then runs in."""
    assert ref.training is not None
    blank = _load(ref.training.alignment.network, None if device == "auto" else device, ref.setting("dtype"), options)
    blank.padding = ref.setting("padding", "right")
    with progress() if options.progress else Progress() as bar:
        return trained(ref, blank, bar)


def train_spec(spec: Spec, options: Options) -> dict[str, TrainedNetwork]:
    """Every network of a spec that is declared as trained, by name; raises :class:`SpecError` for a fault."""
    checked = pipeline.check(spec, options)
    checked.raise_errors()
    assert checked.program is not None
    refs = [ref for ref in checked.program.networks.values() if ref.training is not None]
    return {ref.name: _trained(ref, options.device or ref.setting("device"), options) for ref in refs}


def _with_blanks(networks: dict[str, Network], used: dict[str, NetworkRef]) -> dict[str, Network]:
    """Loaded networks, and under the names of those that were trained from: they are of one shape."""
    blanks = {r.training.alignment.network.name: networks[n] for n, r in used.items() if r.training is not None}
    return {**blanks, **networks}


def _load(ref: NetworkRef, device: str | None, dtype: str | None, options: Options) -> Network:
    if ref.training is not None:
        network = _trained(ref, device, options).network
        assert network is not None
        kind = dtype_of(dtype, ref.span)
        if kind is not None and kind != network.dtype:
            network = wrap(network.model.to(dtype=kind), network.facts, network.tokens, ref.name, ref.span)
        prove(network)
        return network
    if ref.kind == "zoo":
        opened = open_zoo(ref.target, ref.span)
        if isinstance(opened, nn.Module):
            where, kind = device_of(device, ref.span), dtype_of(dtype, ref.span)
            network = wrap(
                opened.to(device=where, dtype=kind) if kind else opened.to(where), ref.facts, None, ref.name, ref.span
            )
            prove(network)
            return network
        return load_network(ref.facts, Reference("hf", str(opened), Path()), device, dtype, False, ref.span, ref.name)
    reference = Reference(
        "torch" if ref.kind == "torch" else "hf", ref.target, ref.base, ref.setting("revision"), ref.setting("weights")
    )
    return load_network(ref.facts, reference, device, dtype, options.trust, ref.span, ref.name)


def _describe(ref: NetworkRef, network: Network) -> dict[str, Any]:
    facts = network.facts
    said: dict[str, Any] = {
        "kind": ref.kind, "target": ref.target, "architecture": facts.architecture, "layers": facts.layers,
        "device": str(network.device), "dtype": str(network.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in network.model.parameters()),
    }  # fmt: skip
    if ref.training is not None:
        settings = ("steps", "batch", "rate", "decay", "seed", "task", "interchange", "strict", "init")
        said["training"] = {name: getattr(ref.training, name) for name in settings}
    if network.proof is not None:
        said["refused_sites"] = dict(network.proof.refused)
        said["notes"] = list(network.proof.notes)
    return said


# ── one spec ────────────────────────────────────────────────────────────────────────────────────


def _run(spec: Spec, checked: Checked, networks: dict[str, Network], options: Options) -> tuple[SpecResult, bool]:
    started = time.perf_counter()
    plan = checked.plan
    interrupted = False
    if plan is None:
        return _result(spec, checked, networks, [], started), False
    memory = {name: options.memory for name in networks if options.memory}
    with progress() if options.progress else Progress() as bar:
        targets = _targets(plan, checked, networks)
        library = _fit(spec, checked, networks, options, bar)
        store = _store(spec, checked, networks, options, library)
        execution = Execution(
            plan, networks, checked.answers, targets, memory, bar.advance, store, options.compiled, library.maps
        )
        bar.begin(spec.name, execution.total())
        try:
            for said in execution.run():
                bar.say(f"{spec.name}: {said}"[:60])
        except KeyboardInterrupt:
            interrupted = True
    tests = []
    for test in plan.tests:
        run = execution.runs[test.name]
        finished = [cell for cell in run.cells if cell.done.all()]
        if finished and not test.control[0]:
            scored = _score(test, run, finished, plan, checked)
            scored = with_controls(scored, test, execution, checked, library)
            tests.append(with_probes(scored, test, execution))
    result = _result(spec, checked, networks, tests, started, execution)
    if options.out is not None:
        cells = {
            name: [(dict(cell.node.cell), cell.columns) for cell in run.cells if cell.done.all()]
            for name, run in execution.runs.items()
            if run.test.probe is None
        }
        labels = {test.name: labels_of(test, plan.draw_of(test)) for test in plan.tests}
        save(options.out, spec.name, spec.source_text.text, result, plan, cells, labels, interrupted)
    return result, interrupted


def _fit(
    spec: Spec, checked: Checked, networks: dict[str, Network], options: Options, bar: Progress
) -> Library:  # fmt: skip
    """The features that the tests of a spec write through, fitted or found on disk."""
    if checked.fits is None or checked.plan is None:
        return Library()
    plan = checked.plan
    budgets = {name: budget_of(network, options.memory) for name, network in networks.items()}
    out = None if options.out is None else folder_of(options.out, spec.name) / "features"
    targets = _targets(checked.fits.plan, checked, networks)
    library = fit_all(checked.fits, networks, checked.answers, targets, budgets, bar, options.seed, out)
    for test in plan.tests:
        for cell in test.cells:
            for intervention in cell.interventions:
                for feature in intervention.features:
                    library.want(feature)
        for rows in [plan.rows[run] for run in plan.rows if run.draw == plan.scores[test.name][0].label.draw]:
            refuse_seen(library, test, plan.inputs[test.network.name], rows)
    return library


def _store(
    spec: Spec, checked: Checked, networks: dict[str, Network], options: Options, library: Library
) -> ChunkStore | None:
    """Where finished blocks are kept, and what they belong to; None without ``--out``. Raises E708."""
    if options.out is None:
        return None
    key = {
        "spec": checked.digest, "tests": [test.name for test in checked.plan.tests] if checked.plan else [],
        "seed": options.seed, "compiled": options.compiled, "memory": options.memory,
        "networks": {name: [fingerprint(network), str(network.dtype), network.device.type, network.padding]
                     for name, network in sorted(networks.items())},
        "torch": torch.__version__, "features": library.digest,
    }  # fmt: skip
    with writing(options.out, spec.name):
        return ChunkStore(folder_of(options.out, spec.name) / "blocks", key)


def _result(
    spec: Spec, checked: Checked, networks: dict[str, Network], tests: list[TestResult], started: float,
    execution: Execution | None = None,
) -> SpecResult:  # fmt: skip
    from importlib.metadata import PackageNotFoundError, version

    import transformers

    try:
        own = version("causal-dsl")
    except PackageNotFoundError:
        own = "checkout"
    versions = {
        "causal_dsl": own, "torch": torch.__version__, "transformers": transformers.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
    assert checked.program is not None
    refs = {test.network.name: test.network for test in (checked.plan.tests if checked.plan else checked.program.tests)}
    described = {name: _describe(refs[name], network) for name, network in networks.items()}
    cost: dict[str, Any] = {"seconds": time.perf_counter() - started}
    if execution is not None:
        cost |= cost_of(execution.plan).to_json()
        for name, step in {step.network: step for step in execution.plan.steps}.items():
            described[name]["executor"] = execution.executor(name)
            described[name]["blocks"] = len(step.blocks)
    warnings = tuple(checked.diagnostics) + (_warnings(networks, execution) if execution is not None else ())
    return SpecResult(spec.name, checked.digest, tuple(tests), versions, described, cost, warnings)


def _warnings(networks: dict[str, Network], execution: Execution) -> tuple[Diagnostic, ...]:
    """What a user should know of how it was run: one intervention at a time (W655), or in halves (W656)."""
    found = []
    for name, step in {step.network: step for step in execution.plan.steps}.items():
        if step.why and step.resumes:
            found.append(
                Diagnostic(
                    "W655",
                    f"the interventions on `{name}` are run one by one",
                    networks[name].span,
                    notes=(step.why,),
                    help="the numbers are the same; it takes as many whole forwards as there are cells",
                )
            )
    for name in dict.fromkeys(execution.halved):
        found.append(
            Diagnostic(
                "W656",
                f"memory ran out while `{name}` was run",
                networks[name].span,
                notes=("it went on with half as many rows at once, and again where that did not suffice",),
                help="pass a smaller --batch-memory to lose no time",
            )
        )
    return tuple(found)


def _targets(plan: Plan, checked: Checked, networks: dict[str, Network]) -> Callable[[Test, Quantity], np.ndarray]:
    """For each row of a test, the id whose logit a quantity asks for."""

    def ids(test: Test, quantity: Quantity) -> np.ndarray:
        ref = quantity.of
        assert ref is not None
        drawn, answers = plan.draw_of(test), checked.answers[test.name]
        tokens = networks[test.network.name].tokens
        prompt = pipeline._sample_prompt(test)

        def one(value: Any) -> int:
            return first_token(value, test.readout, answers, tokens, prompt)

        if not ref.role:
            return np.full(drawn.n, one(ref.constant), dtype=np.int64)
        variable = test.readout.variable if ref.role == "label" else ref.variable
        codes = labels_of(test, drawn) if ref.role == "label" else drawn.values[ref.role][variable]
        assert codes is not None
        distinct, back = np.unique(codes, return_inverse=True)
        known = np.array([one(value) for value in test.model.decode(variable, distinct)], dtype=np.int64)
        return known[back.reshape(-1)]

    return ids


def _score(test: Test, run: TestRun, finished: list[CellRun], plan: Plan, checked: Checked) -> TestResult:
    drawn = plan.draw_of(test)
    output = test.readout.variable
    roles = ("base", *(role for role in test.roles if role != "base"))
    kept = kept_of(test, drawn, finished[0].columns)
    info = []
    for cell in finished:
        interventions = next(c.interventions for c in test.cells if c.values == cell.node.cell)
        texts = [i.text for i in interventions for _ in i.places]
        fired = tuple(
            Fired(text, rows, change / rows if rows else None, dead)
            for text, (rows, change, dead) in zip(texts, cell.fired, strict=True)
        )
        info.append(CellInfo(fired, cell.noise_floor))
    return score_test(
        test.scores, [(dict(cell.node.cell), cell.columns) for cell in finished],
        ids={role: drawn.ids[role] for role in roles}, base_answers=drawn.values["base"][output],
        labels=labels_of(test, drawn), asked=asked_of(test, drawn),
        source_answers={role: drawn.values[role][output] for role in dict.fromkeys(role for _, role in test.swaps)},
        ceilings={n: c for n, c in checked.ceilings.get(test.name, {}).items() if n != "informative"},
        exhaustive=drawn.exhaustive, kept=kept, info=info, seconds=run.seconds,
    )  # fmt: skip


__all__ = ["Interrupted", "run_specs", "train_spec"]
