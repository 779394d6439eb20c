"""Plan to results: networks loaded once, plans executed, scores taken, everything kept that was computed."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from causal_dsl import pipeline
from causal_dsl.causal.cover import cover_of, scope_of
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.engine.chunks import ChunkStore
from causal_dsl.engine.execute import CellRun, Execution, TestRun, budget_of
from causal_dsl.fitting.fit import fit_all
from causal_dsl.fitting.library import Library, refuse_seen
from causal_dsl.fitting.origin import elsewhere
from causal_dsl.fitting.report import with_controls
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.at_hand import check_at_hand
from causal_dsl.network.load import Reference, device_of, dtype_of, prove, wrap
from causal_dsl.network.load import load as load_network
from causal_dsl.network.network import Network
from causal_dsl.network.shared import claim_to_train
from causal_dsl.network.untrained import untrained
from causal_dsl.network.zoo.cache import unwritable as no_cache
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.pipeline import Checked, Options, Spec
from causal_dsl.planning.cost import cost_of
from causal_dsl.planning.lower import Plan
from causal_dsl.probing import with_probes
from causal_dsl.program.answers import first_token
from causal_dsl.program.fits import trained_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.program.prompts import first_prompt, show_value
from causal_dsl.program.tokens import MASK
from causal_dsl.provenance import code_of, files_of, identity_of, inputs_of, say_made_of
from causal_dsl.report.progress import Progress, progress
from causal_dsl.report.store import save
from causal_dsl.score.missing import as_far_as_measured, not_measured, refuse_missing
from causal_dsl.score.results import CellInfo, Fired, Results, SpecResult, TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.speech import speech_of
from causal_dsl.score.truth import asked_of, kept_of, labels_of
from causal_dsl.score.verdict import settled
from causal_dsl.store.code import watching
from causal_dsl.store.files import CannotWrite
from causal_dsl.store.hashes import cache_root, rehashing
from causal_dsl.store.keys import RunInputs, told, versions
from causal_dsl.store.later import Later
from causal_dsl.store.notices import collecting
from causal_dsl.store.out import SpecFolder, keep_source, opened, unwritable
from causal_dsl.store.reads import note_all, recording
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
    loaded: dict[NetworkKey, Network] = {}
    later = Later()  # of all specs: they share networks, and what a network has read once it may not read again
    done: list[SpecResult] = []
    for number, (spec, checked) in enumerate(zip(specs, checks, strict=True)):
        with ExitStack() as held, collecting() as notices:
            held.enter_context(rehashing(options.rehash))
            folder = held.enter_context(opened(options.out, spec.name)) if options.out is not None else None
            try:
                result, interrupted = _run_one(spec, checked, options, loaded, folder, notices, later)
            except KeyboardInterrupt:  # networks were loaded or features fitted: finished fits are found the next time
                left = [_not_run(*rest) for rest in zip(specs[number:], checks[number:], strict=True)]
                raise Interrupted(Results((*done, *left))) from None
            except CannotWrite as error:
                raise _unwritable(error, options, spec) from error
            except SpecError:
                _say(notices)  # there are no results for them to stand in
                raise
        done.append(result)
        if interrupted:
            left = [_not_run(*rest) for rest in zip(specs[number + 1 :], checks[number + 1 :], strict=True)]
            raise Interrupted(Results((*done, *left)))
    return Results(tuple(done))


def _run_one(
    spec: Spec,
    checked: Checked,
    options: Options,
    loaded: dict[NetworkKey, Network],
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
) -> tuple[SpecResult, bool]:
    """The result of one spec, and whether it was interrupted."""
    assert checked.program is not None
    used = {test.network.key: test.network for test in checked.program.tests}
    if checked.plan is not None:
        used |= checked.plan.networks
    networks = {key: _network(ref, options, loaded) for key, ref in used.items()}
    if checked.plan is None and checked.program.tests:
        checked = pipeline.check(spec, options, _with_blanks(networks, used))
        checked.raise_errors()
        if checked.plan is not None:
            networks |= {
                key: _network(ref, options, loaded) for key, ref in checked.plan.networks.items() if key not in networks
            }
    roots = [root for ref in used.values() if (root := code_of(ref)) is not None]
    with later.watching(spec.folder, roots, () if options.out is None else (options.out,)):
        result, interrupted = _run(spec, checked, networks, options, folder, notices, later)
    assert checked.program is not None
    refuse_missing(checked.program.tests, result.tests, interrupted)
    return result, interrupted


def _not_run(spec: Spec, checked: Checked) -> SpecResult:
    """A spec that was not come to: all of its tests stand there as interrupted."""
    tests = checked.program.tests if checked.program is not None else []
    unrun = tuple(not_measured(test, checked.ceilings.get(test.name, {})) for test in tests)
    return SpecResult(spec.name, checked.digest, unrun, _versions(), warnings=tuple(checked.diagnostics))


def loaded_plan(spec: Spec, checked: Checked, options: Options) -> Plan:
    """The plan as it will be run on the networks, which are loaded and proved for it."""
    assert checked.program is not None
    used = {test.network.key: test.network for test in checked.program.tests}
    loaded: dict[NetworkKey, Network] = {}
    networks = {key: _network(ref, options, loaded) for key, ref in used.items()}
    if checked.plan is None:
        checked = pipeline.check(spec, options, _with_blanks(networks, used))
        checked.raise_errors()
    assert checked.plan is not None
    memory = {key: options.memory for key in networks if options.memory}
    return Execution(checked.plan, networks, checked.answers, _targets(checked.plan, checked, networks), memory).plan


# ── networks ────────────────────────────────────────────────────────────────────────────────────


def _network(ref: NetworkRef, options: Options, loaded: dict[NetworkKey, Network]) -> Network:
    """The network of a declaration, as the declaration uses it. What is loaded is kept by who it is: two declarations of
    one network share its weights, and nothing that one says of it changes what the other runs on."""
    key = ref.key.loaded
    if key not in loaded and key.untrained:
        with recording() as reads:
            whole = _network(trained_of(ref), options, loaded)
            if whole.reads is not None:
                note_all(whole.reads)
            made = untrained(whole)
        prove(made)
        loaded[key] = say_made_of(ref, made, reads)
    if key not in loaded:
        if key.untrained:
            loaded[key] = untrained(_network(trained_of(ref), options, loaded))
            prove(loaded[key])
        else:
            loaded[key] = _load(
                ref, options.device or ref.setting("device"), options.dtype or ref.setting("dtype"), options
            )
    return loaded[key].used_as(ref)


def _trained(ref: NetworkRef, device: str | None, options: Options) -> TrainedNetwork:
    """The outcome of a declared training. It is trained in the dtype that is declared, whatever it then runs in."""
    assert ref.training is not None
    start = ref.training.alignment.network
    blank = _load(start, None if device == "auto" else device, ref.setting("dtype"), options).used_as(start)
    claim_to_train(blank.model, start.span)
    with progress() if options.progress else Progress() as bar:
        return trained(ref, blank, bar)


def train_spec(spec: Spec, options: Options) -> dict[str, TrainedNetwork]:
    """Every network of a spec that is declared as trained, by name; raises :class:`SpecError` for a fault."""
    checked = pipeline.check(spec, options)
    checked.raise_errors()
    assert checked.program is not None
    refs = [ref for ref in checked.program.networks.values() if ref.training is not None]
    return {ref.name: _trained(ref, options.device or ref.setting("device"), options) for ref in refs}


def _with_blanks(
    networks: Mapping[NetworkKey, Network], used: Mapping[NetworkKey, NetworkRef]
) -> dict[NetworkKey, Network]:
    """Loaded networks, and those that some were trained from: they are of one shape."""
    blanks = {r.training.alignment.network.key: networks[key] for key, r in used.items() if r.training is not None}
    return {**blanks, **networks}


def _load(ref: NetworkRef, device: str | None, dtype: str | None, options: Options) -> Network:
    """A network, and what it was made of."""
    root = code_of(ref)
    with recording() as reads, watching(root) if root is not None else nullcontext():
        network = _open(ref, device, dtype, options)  # it is proved there, too: what its passes read is noted
    return say_made_of(ref, network, reads)


def _open(ref: NetworkRef, device: str | None, dtype: str | None, options: Options) -> Network:
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
        "torch" if ref.kind == "torch" else "hf",
        ref.target,
        ref.base,
        ref.setting("revision"),
        ref.setting("weights"),
        ref.setting("tokenizer"),
    )
    return load_network(ref.facts, reference, device, dtype, options.trust, ref.span, ref.name)


def _describe(ref: NetworkRef, network: Network) -> dict[str, Any]:
    facts = network.facts
    said: dict[str, Any] = {
        "kind": ref.kind,
        "target": ref.target,
        "identity": ref.key.to_json(),
        "weights": network.inputs.weights if network.inputs else None,
        "architecture": facts.architecture,
        "layers": facts.layers,
        "device": str(network.device),
        "dtype": str(network.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in network.model.parameters()),
    }
    if ref.training is not None:
        settings = ("steps", "batch", "rate", "decay", "seed", "task", "interchange", "strict", "init")
        said["training"] = {name: getattr(ref.training, name) for name in settings}
    if network.proof is not None:
        said["refused_sites"] = dict(network.proof.refused)
        said["notes"] = [*network.notes, *network.proof.notes]
    return said


# ── one spec ────────────────────────────────────────────────────────────────────────────────────


def _run(
    spec: Spec,
    checked: Checked,
    networks: dict[NetworkKey, Network],
    options: Options,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
) -> tuple[SpecResult, bool]:
    started = time.perf_counter()
    plan = checked.plan
    interrupted = False
    if plan is None:
        inputs = inputs_of(spec, checked, networks, options, "")
        return _result(spec, checked, networks, [], started, identity_of(inputs, options), notices), False
    memory = {key: options.memory for key in networks if options.memory}
    later.known = files_of(spec, checked, networks)
    noticed = _at_hand(plan, checked, networks, options)
    with progress() if options.progress else Progress() as bar:
        targets = _targets(plan, checked, networks)
        library = _fit(spec, checked, networks, options, bar, folder)
        inputs = inputs_of(spec, checked, networks, options, library.digest)
        store = _store(inputs, folder, later)
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
        if test.control[0]:
            continue
        run = execution.runs[test.name]
        finished = [cell for cell in run.cells if cell.done.all()]
        if finished or not run.cells:
            scored = _score(test, run, finished, plan, checked, networks[test.network.key])
            scored = as_far_as_measured(scored, test)
            scored = with_controls(scored, test, execution, checked, library)
            scored = with_probes(scored, test, execution)
            tests.append(replace(scored, cells=tuple(map(settled, scored.cells))))
        else:
            tests.append(not_measured(test, checked.ceilings.get(test.name, {})))
    told = [*noticed, *notices]
    result = _result(spec, checked, networks, tests, started, identity_of(inputs, options), told, execution)
    if folder is not None:
        for unkept in (library.unkept, execution.unkept):
            if unkept is not None:
                result = _unstored(result, unkept, folder, options, spec)
        cells = {
            name: [(dict(cell.node.cell), cell.columns) for cell in run.cells if cell.done.all()]
            for name, run in execution.runs.items()
            if run.test.probe is None
        }
        labels = {test.name: labels_of(test, plan.draw_of(test)) for test in plan.tests}
        speech = {
            test.name: speech_of(test, plan, checked.answers[test.name], networks[test.network.key].tokens)
            for test in plan.tests
        }
        try:
            save(folder, spec.source_text.text, result, plan, cells, labels, interrupted, speech)
            if spec.path is not None:
                keep_source(folder, spec.path, files_of(spec, checked, networks), _folders(networks))
        except OSError as error:  # what was computed is told all the same
            result = _unstored(result, error, folder, options, spec)
        # what was found damaged as they were stored
        result = replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *notices))))
    return result, interrupted


def _at_hand(
    plan: Plan, checked: Checked, networks: Mapping[NetworkKey, Network], options: Options
) -> tuple[Diagnostic, ...]:
    """Try each network on the inputs of the plan and of its fits; what was noticed then and as it was loaded."""
    found: list[Diagnostic] = []
    for key, network in networks.items():
        found += network.warnings
        for inputs in (plan.inputs, checked.fits.plan.inputs if checked.fits is not None else {}):
            if key in inputs:
                found += check_at_hand(network, inputs[key], _with_answers(plan, network), options.trust)
    return tuple(dict.fromkeys([*found, *elsewhere(plan.tests)]))


def _with_answers(plan: Plan, network: Network) -> list[str]:
    """A prompt of each test on a network with each of the answers that are looked for, as they are tokenised."""
    found = []
    for test in plan.tests:
        if test.network.key != network.key or test.readout.kind == "logits":
            continue
        prompt = first_prompt(test.alignment)
        for value in test.readout.values:
            said = test.readout.prefix + show_value(value)
            found.append(prompt.replace(MASK, said) if test.readout.kind == "mask" else prompt + said)
    return found


def _unstored(result: SpecResult, error: OSError, folder: SpecFolder, options: Options, spec: Spec) -> SpecResult:
    """The result, told that it could not be stored."""
    told = error if isinstance(error, CannotWrite) else CannotWrite(folder.folder, error)
    fault = _unwritable(told, options, spec)
    return replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *fault.diagnostics))))


def _unwritable(error: CannotWrite, options: Options, spec: Spec) -> SpecError:
    """E653 for the cache, E708 for the folder of results."""
    if options.out is None or error.path.is_relative_to(cache_root()):
        return no_cache(error, Span(Source(spec.name, ""), 0, 0))
    return unwritable(options.out, spec.name, error)


def _say(notices: list[Diagnostic]) -> None:
    for notice in notices:
        print(notice.render(), file=sys.stderr)


def _folders(networks: Mapping[NetworkKey, Network]) -> list[Path]:
    """The folders of checkpoints: they are not copied into results."""
    return [Path(os.path.abspath(n.facts.folder)) for n in networks.values() if n.facts.folder is not None]


def _fit(
    spec: Spec,
    checked: Checked,
    networks: dict[NetworkKey, Network],
    options: Options,
    bar: Progress,
    folder: SpecFolder | None,
) -> Library:
    """The features that the tests of a spec write through, fitted or found on disk."""
    if checked.fits is None or checked.plan is None:
        return Library()
    plan = checked.plan
    budgets = {key: budget_of(network, options.memory) for key, network in networks.items()}
    out = None if folder is None else folder.features
    targets = _targets(checked.fits.plan, checked, networks)
    library = fit_all(checked.fits, networks, checked.answers, targets, budgets, bar, options.seed, out)
    for test in plan.tests:
        for cell in test.cells:
            for intervention in cell.interventions:
                for feature in intervention.features:
                    if feature.fitted not in checked.fits.dead:
                        library.want(feature)
        for rows in [plan.rows[run] for run in plan.rows if run.draw == plan.scores[test.name][0].label.draw]:
            refuse_seen(library, test, plan.inputs[test.network.key], rows)
    return library


def _store(inputs: RunInputs, folder: SpecFolder | None, later: Later) -> ChunkStore | None:
    """Where finished blocks are kept; None without ``--out``."""
    return None if folder is None else ChunkStore(folder.blocks, told(inputs), later)


def _versions() -> dict[str, str]:
    return {**versions(), "python": platform.python_version()}


def _result(
    spec: Spec,
    checked: Checked,
    networks: dict[NetworkKey, Network],
    tests: list[TestResult],
    started: float,
    identity: dict[str, Any],
    notices: list[Diagnostic],
    execution: Execution | None = None,
) -> SpecResult:
    assert checked.program is not None
    refs = {test.network.name: test.network for test in (checked.plan.tests if checked.plan else checked.program.tests)}
    described = {name: _describe(ref, networks[ref.key]) for name, ref in refs.items()}
    cost: dict[str, Any] = {"seconds": time.perf_counter() - started}
    if execution is not None:
        cost |= cost_of(execution.plan).to_json()
        steps = {step.network: step for step in execution.plan.steps}
        for name, ref in refs.items():
            if ref.key in steps:
                described[name]["executor"] = execution.executor(ref.key)
                described[name]["blocks"] = len(steps[ref.key].blocks)
    warnings = tuple(checked.diagnostics) + (_warnings(networks, execution) if execution is not None else ())
    warnings += tuple(dict.fromkeys(notices))
    return SpecResult(spec.name, checked.digest, tuple(tests), _versions(), described, cost, warnings, identity)


def _warnings(networks: dict[NetworkKey, Network], execution: Execution) -> tuple[Diagnostic, ...]:
    """What a user should know of how it was run: one intervention at a time (W655), in halves (W656), or around a mistake
    of this package (W657)."""
    found = []
    for key in dict.fromkeys(step.network for step in execution.plan.steps):
        mine = [step for step in execution.plan.steps if step.network == key and step.resumes]
        slow = [step for step in mine if step.why]
        if slow:
            every = sum(len(step.resumes) for step in mine)
            some = sum(len(step.resumes) for step in slow)
            which = f"{some} of {every}" if some < every else "the"
            found.append(
                Diagnostic(
                    "W655",
                    f"{which} interventions on `{networks[key].name}` are run one by one",
                    networks[key].span,
                    notes=tuple(dict.fromkeys(step.why for step in slow)),
                    help="each is run by whole forwards of the network itself: as many as there are cells, which takes longer",
                )
            )
    for key, reason in execution.refused.items():
        found.append(
            Diagnostic(
                "W655",
                f"interventions on `{networks[key].name}` are run one by one",
                networks[key].span,
                notes=(reason,),
                help="each is run by whole forwards of the network itself: as many as there are cells, which takes longer",
            )
        )
    for key, fault in execution.faults.items():
        found.append(
            Diagnostic(
                "W657",
                f"a mistake of causal_dsl showed while `{networks[key].name}` was run or tested",
                networks[key].span,
                notes=(fault, "what it touches was run in another way, by whole forwards where there is no other"),
                help="the numbers are not touched by it; please report it with the spec and this message",
            )
        )
    for key in dict.fromkeys(execution.halved):
        found.append(
            Diagnostic(
                "W656",
                f"memory ran out while `{networks[key].name}` was run",
                networks[key].span,
                notes=("it went on with half as many rows at once, and again where that did not suffice",),
                help="pass a smaller --batch-memory to lose no time",
            )
        )
    return tuple(found)


def _targets(
    plan: Plan, checked: Checked, networks: Mapping[NetworkKey, Network]
) -> Callable[[Test, Quantity], np.ndarray]:
    """For each row of a test, the id whose logit a quantity asks for."""

    def ids(test: Test, quantity: Quantity) -> np.ndarray:
        ref = quantity.of
        assert ref is not None
        drawn, answers = plan.draw_of(test), checked.answers[test.name]
        tokens = networks[test.network.key].tokens
        prompt = first_prompt(test.alignment)

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


def _score(
    test: Test, run: TestRun, finished: list[CellRun], plan: Plan, checked: Checked, network: Network
) -> TestResult:
    drawn = plan.draw_of(test)
    output, ids = test.readout.variable, plan.ids_of(test)
    roles = ("base", *(role for role in test.roles if role != "base"))
    kept = kept_of(test, drawn, finished[0].columns)
    info = []
    interventions = {cell.values: cell.interventions for cell in test.cells}
    for cell in finished:
        texts = [i.text for i in interventions[cell.node.cell] for _ in i.places]
        fired = tuple(
            Fired(text, rows, change / rows if rows else None, dead)
            for text, (rows, change, dead) in zip(texts, cell.fired, strict=True)
        )
        info.append(CellInfo(fired, cell.noise_floor, cell.outside))
    return score_test(
        test.scores,
        [(dict(cell.node.cell), cell.columns) for cell in finished],
        ids={role: ids[role] for role in roles},
        base_answers=drawn.values["base"][output],
        labels=labels_of(test, drawn),
        asked=asked_of(test, drawn),
        source_answers={role: drawn.values[role][output] for role in dict.fromkeys(role for _, role in test.swaps)},
        ceilings={n: c for n, c in checked.ceilings.get(test.name, {}).items() if n != "informative"},
        exhaustive=drawn.exhaustive,
        kept=kept,
        info=info,
        seconds=run.seconds,
        cover=cover_of(test.design, drawn),
        speech=speech_of(test, plan, checked.answers[test.name], network.tokens),
        scope=scope_of(test.design),
        part=any(test.design.splits.values()),
    )


__all__ = ["Interrupted", "run_specs", "train_spec"]
