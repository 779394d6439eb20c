"""Plan to results: networks loaded once, plans executed, scores taken, everything kept that was computed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from causal_dsl.beside_alignments import with_alignment
from causal_dsl.beside_circuits import with_circuits, with_runs
from causal_dsl.checked import Checked
from causal_dsl.checking import check
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.discovering import discover, file_of, with_found
from causal_dsl.discovery.place_gradients import with_gradients
from causal_dsl.engine.cautions import cautions
from causal_dsl.engine.execute import Execution, budget_of
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.fitting.fit import fit_all
from causal_dsl.fitting.fit_report import with_controls
from causal_dsl.fitting.library import Library, refuse_seen
from causal_dsl.fitting.orthogonal import refuse_slanted
from causal_dsl.network.at_hand import check_at_hand, prove_at_hand
from causal_dsl.network.before_and_after import Before, before
from causal_dsl.network.behaviour import behaviour_at_hand, of_code
from causal_dsl.network.described import described
from causal_dsl.network.network import Network
from causal_dsl.network.zoo.cache import unwritable as no_cache
from causal_dsl.optimising import Constants, find_constants, with_constants
from causal_dsl.planning.network_parts import of_tests, swept, weights_of
from causal_dsl.planning.plan import Plan
from causal_dsl.probing import with_probes
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.program.prompt_tokens import answered_prompt
from causal_dsl.program.templates import show_value
from causal_dsl.program.tokens import MASK
from causal_dsl.program.told_once import told_once
from causal_dsl.provenance import code_of, files_of, identity_of, inputs_of, machine_of, names_of
from causal_dsl.ran import RanPart, joined, keep
from causal_dsl.program.weights_held import is_follower
from causal_dsl.report.activations import refuse_nowhere, refuse_zarr, save_activations
from causal_dsl.report.one_line import standing
from causal_dsl.report.progress import Progress
from causal_dsl.report.which_progress import progress
from causal_dsl.score.agreement import with_agreement
from causal_dsl.score.attribution_checks import with_attributions
from causal_dsl.score.gradient_checks import with_gradient_checks
from causal_dsl.score.missing import as_far_as_measured, not_measured, refuse_missing
from causal_dsl.score.of_run import score_run
from causal_dsl.score.rest_kept import with_rest_kept
from causal_dsl.score.results import Results, SpecResult, TestResult
from causal_dsl.score.setting_of_test import models_of, setting_of
from causal_dsl.score.several import OneOutput, score_several
from causal_dsl.score.speech import speech_of
from causal_dsl.score.targets import target_ids
from causal_dsl.score.tied import with_ties
from causal_dsl.score.truth import kept_of, labels_of
from causal_dsl.score.verdict import settled
from causal_dsl.session import Session
from causal_dsl.specs import Options, Spec
from causal_dsl.store.addresses import is_address
from causal_dsl.store.files import CannotWrite
from causal_dsl.store.hashes import cache_root, of_bytes, rehashing
from causal_dsl.store.keys import RunInputs, told, versions
from causal_dsl.store.later import Later
from causal_dsl.store.mirror import mirrored
from causal_dsl.store.notices import collecting
from causal_dsl.store.out import SpecFolder, opened, unwritable


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; ``results`` are those of the cells that were finished."""

    def __init__(self, results: Results):
        self.results = results
        super().__init__("interrupted")

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show in place of a traceback."""
        return [f"interrupted: {standing(self.results)}", "`sys.last_value.results` holds what was finished"]


def run_specs(
    specs: Sequence[Spec], options: Options, session: Session | None = None, still: Set[NetworkKey] = frozenset()
) -> Results:
    """Check, load, plan, execute and score; raises :class:`SpecError`, or :class:`Interrupted` with what is finished.

    ``session`` has networks that were loaded for other specs; those whose weights are ``still`` needed stay in it.

    A fault that shows only as one of several specs is run loses nothing of the others: its tests stand in the results as
    interrupted, its errors among the diagnostics of its spec (``Results.faults``). Where no spec was run, it is raised.
    """
    if is_follower() and options.out is not None:
        options = replace(options, out=None)
    if options.out is not None and is_address(options.out):
        return _run_mirrored(specs, options, session, still)
    checks = [check(spec, options) for spec in specs]
    for checked in checks:
        checked.raise_errors()
    session = Session(options, session)
    later = session.later  # of all specs: they share networks, and what a network has read once it may not read again
    done: list[SpecResult] = []
    faults: list[Diagnostic] = []
    for number, (spec, checked) in enumerate(zip(specs, checks, strict=True)):
        needed = {*still, *(weights_of(key) for rest in checks[number + 1 :] for key in _keys(rest))}
        with collecting() as notices:
            try:
                result, interrupted = _held(spec, checked, session, notices, later, needed)
            except KeyboardInterrupt:  # networks were loaded or features fitted: finished fits are found the next time
                left = [_not_run(*rest) for rest in zip(specs[number:], checks[number:], strict=True)]
                raise Interrupted(Results((*done, *left))) from None
            except SpecError as error:
                found = tuple(dict.fromkeys((*error.diagnostics, *notices)))
                faults += found
                unrun = _not_run(spec, checked, error.code)
                result, interrupted = replace(unrun, warnings=(*unrun.warnings, *found)), False
        done.append(result)
        if interrupted:
            left = [_not_run(*rest) for rest in zip(specs[number + 1 :], checks[number + 1 :], strict=True)]
            raise Interrupted(Results((*done, *left)))
    results = Results(tuple(done))
    if faults and not any(cell for test in results.tests for cell in test.cells):
        raise SpecError(list(dict.fromkeys(faults)))
    return results


def _run_mirrored(specs: Sequence[Spec], options: Options, session: Session | None, still: Set[NetworkKey]) -> Results:
    """:func:`run_specs` with a folder that stands for the address of ``out``."""
    results: Results | None = None
    try:
        with mirrored(str(options.out)) as folder:
            results = run_specs(specs, replace(options, out=folder), session, still)
    except SpecError as error:
        if results is None:
            raise
        last = results.specs[-1]  # what was computed is told all the same
        told = replace(last, warnings=tuple(dict.fromkeys((*last.warnings, *error.diagnostics))))
        return replace(results, specs=(*results.specs[:-1], told))
    return results


def _keys(checked: Checked) -> list[NetworkKey]:
    return [test.network.key for test in checked.program.tests] if checked.program is not None else []


def _held(
    spec: Spec,
    checked: Checked,
    session: Session,
    notices: list[Diagnostic],
    later: Later,
    needed: Set[NetworkKey],
) -> tuple[SpecResult, bool]:
    """:func:`_run_spec` with the folder of its results held."""
    options = session.options
    with ExitStack() as held:
        held.enter_context(rehashing(options.rehash))
        folder = held.enter_context(opened(options.folder, spec.name)) if options.folder is not None else None
        try:
            return _run_spec(spec, checked, session, folder, notices, later, needed)
        except CannotWrite as error:
            raise _unwritable(error, options, spec) from error


def _run_spec(
    spec: Spec,
    checked: Checked,
    session: Session,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
    needed: Set[NetworkKey],
) -> tuple[SpecResult, bool]:
    """The result of one spec, and whether it was interrupted. The networks of a sweep are loaded one after another, each
    with the tests on it, and leave memory where nothing that follows needs them (``needed``: what later specs do). A fault
    of one of them loses nothing of the others."""
    assert checked.program is not None
    groups = swept(checked.program.tests)
    parts: list[RanPart] = []
    faults: list[tuple[str, Diagnostic]] = []
    failed: dict[str, str] = {}
    interrupted = False
    for number, tests in enumerate(groups):
        one = checked if len(groups) == 1 else _part_of(checked, tests)
        name = "" if len(groups) == 1 else tests[0].network.name
        try:
            parts.append(_run_part(spec, one, name, session, folder, notices, later))
            interrupted = parts[-1].interrupted
        except KeyboardInterrupt:
            if not parts:
                raise
            interrupted = True
        except SpecError as error:
            if len(groups) == 1:
                raise
            faults += ((tests[0].network.name, diagnostic) for diagnostic in error.diagnostics)
            failed |= dict.fromkeys((test.name for test in tests), error.code)
        if interrupted:
            break
        session.keep({*needed, *(weights_of(test.network.key) for rest in groups[number + 1 :] for test in rest)})
    if not parts:
        raise SpecError(_told_once(faults))
    result = joined(spec, checked, parts, session.options, failed)
    result = replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *_told_once(faults)))))
    if folder is not None and any(part.plan is not None for part in parts):
        try:
            keep(folder, spec, result, parts, interrupted)
        except OSError as error:  # what was computed is told all the same
            result = _unstored(result, error, folder, session.options, spec)
        # what was found damaged as they were stored
        result = replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *notices))))
    refuse_missing(checked.program.tests, result.tests, interrupted or bool(faults))
    return result, interrupted


def _told_once(faults: Sequence[tuple[str, Diagnostic]]) -> list[Diagnostic]:
    """The faults of several networks, each with its network, which is called by its parameters where it is one of a family."""
    return told_once(faults, {name: name.partition("(")[0] for name, _ in faults})


def _part_of(checked: Checked, tests: list[Test]) -> Checked:
    """What was found of some of the tests of a spec."""
    assert checked.program is not None
    program = replace(checked.program, tests=tuple(tests))
    if checked.plan is None:
        return replace(checked, program=program)
    plan = of_tests(checked.plan, tests)
    return replace(checked, program=program, plan=plan, fits=plan.fits)


def _run_part(
    spec: Spec,
    checked: Checked,
    name: str,
    session: Session,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
) -> RanPart:
    """The tests of a spec, or those on one of its networks, which is then called ``name``."""
    options = session.options
    assert checked.program is not None
    used = {test.network.key: test.network for test in checked.program.tests}
    if checked.plan is not None:
        used |= checked.plan.networks
    networks = session.networks(used.values())
    if checked.plan is None and checked.program.tests:
        own = replace(options, tests=tuple(test.name for test in checked.program.tests)) if name else options
        checked = check(spec, own, _with_blanks(networks, used))
        checked.raise_errors()
        if checked.plan is not None:
            networks |= session.networks(ref for key, ref in checked.plan.networks.items() if key not in networks)
    if checked.searches is not None:
        checked = _discovered(spec, checked, name, networks, used, options, folder)
    roots = [root for ref in used.values() if (root := code_of(ref)) is not None]
    with later.watching(spec.folder, roots, () if options.folder is None else (options.folder,)):
        return _run(spec, checked, name, networks, options, folder, notices, later)


def _discovered(
    spec: Spec,
    checked: Checked,
    name: str,
    networks: dict[NetworkKey, Network],
    used: Mapping[NetworkKey, NetworkRef],
    options: Options,
    folder: SpecFolder | None,
) -> Checked:
    """The spec checked again, with the circuits that its networks are found to have."""
    assert checked.program is not None
    with progress(asked=options.progress) as bar:
        found = discover(checked, networks, options, bar)
    own = replace(options, tests=tuple(test.name for test in checked.program.tests)) if name else options
    scores = {discovery: one.scores for discovery, one in found.items()}
    again = check(spec, own, _with_blanks(networks, used), discovered=scores)
    again.raise_errors()
    again.found = found
    for discovery, one in found.items() if folder is not None else ():
        assert folder is not None
        number = list(found).index(discovery) + 1
        folder.write(f"circuits/{discovery.test}-{discovery.what}-{number}.json", file_of(one))
    return again


def _not_run(spec: Spec, checked: Checked, fault: str = "") -> SpecResult:
    """A spec that was not come to, or that a fault stopped: all of its tests stand there as not measured."""
    tests = checked.program.tests if checked.program is not None else []
    unrun = tuple(not_measured(test, checked.ceilings.get(test.name, {}), fault) for test in tests)
    text = spec.source_text.text
    return SpecResult(spec.name, checked.digest, unrun, _versions(), warnings=tuple(checked.diagnostics), text=text)


def loaded_plan(spec: Spec, checked: Checked, options: Options) -> Plan:
    """The plan as it will be run on the networks, which are loaded and proved for it."""
    assert checked.program is not None
    used = {test.network.key: test.network for test in checked.program.tests}
    session = Session(options)
    networks = session.networks(used.values())
    if checked.plan is None:
        checked = check(spec, options, _with_blanks(networks, used))
        checked.raise_errors()
    if checked.searches is not None:
        checked = _discovered(spec, checked, "", networks, used, options, None)
    assert checked.plan is not None
    for key, network in networks.items():
        if key in checked.plan.inputs:
            prove_at_hand(network, checked.plan.inputs[key])
    memory = {key: options.memory for key in networks if options.memory}
    return Execution(
        checked.plan, networks, checked.answers, target_ids(checked.plan, checked.answers, networks), memory
    ).plan


def _run(
    spec: Spec,
    checked: Checked,
    name: str,
    networks: dict[NetworkKey, Network],
    options: Options,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
) -> RanPart:
    started = time.perf_counter()
    plan = checked.plan
    interrupted = False
    if plan is None:
        inputs = inputs_of(spec, checked, networks, options, "", {})
        return RanPart(_result(spec, checked, networks, [], started, identity_of(inputs, options), notices), inputs)
    memory = {key: options.memory for key in networks if options.memory}
    later.known = files_of(spec, checked, networks)
    noticed = _at_hand(plan, checked, networks)
    behaviour = _behaviour(plan, checked, networks)
    before_it = [before(networks[key], rows) for key, rows in plan.inputs.items()]
    with progress(asked=options.progress) as bar:
        targets = target_ids(plan, checked.answers, networks)
        refuse_slanted(plan.program.tests)
        library = fit_features(checked, networks, options, bar, folder)
        constants = find_constants(checked, networks, options, bar, folder)
        plan, fitted = constants.plan, "".join([library.digest, *constants.keys])
        checked = replace(checked, plan=plan)
        inputs = inputs_of(spec, checked, networks, options, fitted, behaviour)
        store = _store(inputs, name, folder, later)
        execution = Execution(
            plan, networks, checked.answers, targets, memory, bar.advance, store, options.compiled, library.maps
        )
        refuse_nowhere(execution, folder)
        refuse_zarr(execution)
        bar.begin(spec.name, execution.total())
        try:
            for said in execution.run():
                bar.say(f"{spec.name}: {said}"[:60])
            with_gradients(execution, bar.say)
            _refuse_changed(before_it, store)
        except KeyboardInterrupt:
            interrupted = True
            execution.finish()
    assert checked.program is not None
    scored = [(_scored(test, execution, checked, networks, library, constants), test) for test in checked.program.tests]
    tests = [replace(one, setting=setting_of(test, plan)) if one.cells else one for one, test in scored]
    told = [*noticed, *notices]
    result = _result(spec, checked, networks, tests, started, identity_of(inputs, options), told, execution)
    if folder is None:
        return RanPart(result, inputs, interrupted=interrupted)
    try:
        save_activations(execution, folder)
    except OSError as error:
        result = _unstored(result, error, folder, options, spec)
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
    files, folders = files_of(spec, checked, networks), tuple(_folders(networks))
    return RanPart(result, inputs, plan, cells, labels, speech, files, folders, interrupted)


def _scored(
    test: Test,
    execution: Execution,
    checked: Checked,
    networks: Mapping[NetworkKey, Network],
    library: Library,
    constants: Constants,
) -> TestResult:
    """The result of a test; where nothing of it was finished, as one that was not measured."""
    plan, tokens = execution.plan, networks[test.network.key].tokens
    finished = _finished(test, execution)
    if finished is None:
        return not_measured(test, checked.ceilings.get(test.name, {}))
    kept = kept_of(test, plan, {one.name: execution.runs[one.name].cells[0].columns for one in test.each})
    outputs = []
    for one in test.each:
        run = with_alignment(with_runs(execution.runs[one.name], execution), execution)
        ceilings = checked.ceilings.get(one.name, {})
        cells = [run.cells[number] for number in finished]
        scored = as_far_as_measured(score_run(run, cells, plan, ceilings, checked.answers[one.name], tokens, kept), one)
        scored = with_rest_kept(scored, one)
        scored = with_controls(scored, one, execution, checked, library, kept)
        if one.readout.metric is None:
            scored = with_probes(scored, one, execution)
        scored = with_agreement(with_found(with_circuits(scored, run, execution, kept), checked.found))
        scored = with_constants(scored, constants.plan.scores[one.name], constants.courses)
        scored = with_attributions(scored, one, [cell.columns for cell in cells], kept)
        scored = with_gradient_checks(scored, one, finished, [cell.columns for cell in cells], kept)
        if not test.parts:
            scored = with_ties(scored, test, plan.draw_of(one))
        scored = replace(scored, cells=tuple(map(settled, scored.cells)))
        speech = speech_of(one, plan, checked.answers[one.name], tokens)
        outputs.append(OneOutput(one, run, cells, ceilings, scored, speech))
    if not test.parts:
        return outputs[0].result
    whole = score_several(test, outputs, plan, checked.ceilings.get(test.name, {}), kept)
    return with_ties(as_far_as_measured(whole, test), test, plan.draw_of(test.each[0]))


def _finished(test: Test, execution: Execution) -> list[int] | None:
    """The numbers of the cells that were finished, for every output that is read; None where there are none."""
    runs = [with_runs(execution.runs[one.name], execution).cells for one in test.each]
    found = [number for number, cells in enumerate(zip(*runs, strict=True)) if all(cell.done.all() for cell in cells)]
    return found if found or not runs[0] else None


def _with_blanks(
    networks: Mapping[NetworkKey, Network], used: Mapping[NetworkKey, NetworkRef]
) -> dict[NetworkKey, Network]:
    """Loaded networks, and those that some were trained from: they are of one shape."""
    blanks = {r.training.alignment.network.key: networks[key] for key, r in used.items() if r.training is not None}
    return {**blanks, **networks}


def _at_hand(plan: Plan, checked: Checked, networks: Mapping[NetworkKey, Network]) -> tuple[Diagnostic, ...]:
    """Try each network on the inputs of the plan and of its fits; what was noticed then and as it was loaded."""
    found: list[Diagnostic] = []
    for key, network in networks.items():
        found += network.warnings
        for inputs in (plan.inputs, checked.fits.plan.inputs if checked.fits is not None else {}):
            if key in inputs:
                found += check_at_hand(network, inputs[key], _with_answers(plan, network))
    return tuple(dict.fromkeys(found))


def _refuse_changed(networks: Sequence[Before | None], store: ChunkStore | None) -> None:
    """Raise E663 where a network is not what it was before the run; its blocks are not kept then."""
    try:
        for one in networks:
            if one is not None:
                one.refuse_change()
    except SpecError:
        if store is not None:
            store.discard()
        raise


def _behaviour(plan: Plan, checked: Checked, networks: Mapping[NetworkKey, Network]) -> dict[str, str]:
    """What the networks that code makes do with some inputs of the run, by their names."""
    plans = [plan] if checked.fits is None else [plan, checked.fits.plan]
    made = {key for one in plans for key, ref in one.networks.items() if of_code(ref)}
    return {
        name: behaviour_at_hand(networks[key], [one.inputs[key] for one in plans if key in one.inputs])
        for key, name in names_of(networks).items()
        if key in made
    }


def _with_answers(plan: Plan, network: Network) -> list[str]:
    """A prompt of each test on a network with each of the answers that are looked for, as they are tokenised."""
    found = []
    for test in plan.tests:
        if test.network.key != network.key or test.readout.kind == "logits":
            continue
        prompt = answered_prompt(test.alignment, network.tokens)
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
    if options.folder is None or error.path.is_relative_to(cache_root()):
        return no_cache(error, Span(Source(spec.name, ""), 0, 0))
    return unwritable(options.folder, spec.name, error)


def _folders(networks: Mapping[NetworkKey, Network]) -> list[Path]:
    """The folders of checkpoints: they are not copied into results."""
    return [Path(os.path.abspath(n.facts.folder)) for n in networks.values() if n.facts.folder is not None]


def fit_features(
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
    targets = target_ids(checked.fits.plan, checked.answers, networks)
    library = fit_all(checked.fits, networks, checked.answers, targets, budgets, bar, options.seed, folder)
    for test in plan.tests:
        for cell in test.cells:
            for intervention in cell.interventions:
                for feature in intervention.features:
                    if feature.fitted not in checked.fits.dead:
                        library.want(feature)
        for rows in [plan.rows[run] for run in plan.rows if run.draw == plan.scores[test.name][0].label.draw]:
            refuse_seen(library, test, plan.inputs[test.network.key], rows)
    return library


def _store(inputs: RunInputs, name: str, folder: SpecFolder | None, later: Later) -> ChunkStore | None:
    """Where finished blocks are kept: those of a network of a sweep in a folder of its own; None without ``--out``."""
    if folder is None:
        return None
    blocks = folder.blocks / of_bytes(name.encode())[:12] if name else folder.blocks
    return ChunkStore(blocks, told(inputs), later)


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
    shown = {name: described(ref, networks[ref.key]) for name, ref in refs.items()}
    cost: dict[str, Any] = {"seconds": time.perf_counter() - started}
    if execution is not None:
        cost |= execution.cost.to_json()
        steps = {step.network: step for step in execution.plan.steps}
        for name, ref in refs.items():
            if ref.key in steps:
                shown[name]["executor"] = execution.executor(ref.key)
                shown[name]["blocks"] = len(steps[ref.key].blocks)
    warnings = tuple(checked.diagnostics) + (cautions(networks, execution) if execution is not None else ())
    warnings += tuple(dict.fromkeys(notices))
    ended, ran_on = datetime.now(UTC).isoformat(timespec="seconds"), machine_of(networks.values())
    return SpecResult(
        *(spec.name, checked.digest, tuple(tests), _versions(), shown, cost, warnings, identity, ran_on, ended),
        text=spec.source_text.text,
        models=models_of(checked.program.tests),
    )


__all__ = ["Interrupted", "loaded_plan", "run_specs"]
