"""Plan to results: networks loaded once, plans executed, scores taken, everything kept that was computed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from causal_dsl.base.faults import NotBegun, foreign, is_ours, raise_if_stopped, strict
from causal_dsl.checked import Checked
from causal_dsl.checking.checking import check
from causal_dsl.checking.checking_networks import check_to_run
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import NOWHERE, Diagnostic, Source, Span, SpecError
from causal_dsl.discovery.place_gradients import with_gradients
from causal_dsl.engine.cautions import cautions
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.messages.unexpected import of_one_spec, unexpected
from causal_dsl.network.at_hand import prove_at_hand
from causal_dsl.network.before_and_after import Before, before
from causal_dsl.network.described import described
from causal_dsl.network.network import Network
from causal_dsl.network.zoo.cache import unwritable as no_cache
from causal_dsl.planning.network_parts import swept, weights_of
from causal_dsl.planning.show import PrintedPlan, printed
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.told_once import told_once
from causal_dsl.program.trust import needs_trust, refuse_untrusted
from causal_dsl.program.weights_held import is_follower, unshared
from causal_dsl.report.activations import refuse_nowhere, refuse_zarr, save_activations
from causal_dsl.report.one_line import standing
from causal_dsl.report.which_progress import progress
from causal_dsl.running.earlier_results import EarlierResults
from causal_dsl.running.fault_of_code import fault_of_code
from causal_dsl.running.preparing import (
    LoadedPart,
    RunFault,
    at_hand,
    behaviour_of,
    discovered,
    loaded,
    memory_of,
    part_of,
    prepared,
    store_of,
    units_in,
    with_blanks,
)
from causal_dsl.running.provenance import code_of, files_of, identity_of, inputs_of, machine_of
from causal_dsl.running.ran import RanPart, joined, keep, with_faults
from causal_dsl.running.scored_tests import scored_test
from causal_dsl.running.session import Session
from causal_dsl.running.unrun import all_versions, keep_unrun, not_run, stopped_by
from causal_dsl.score.missing import refuse_missing
from causal_dsl.score.results import TestResult
from causal_dsl.score.setting_of_test import models_of, setting_of
from causal_dsl.score.spec_results import Results, SpecResult
from causal_dsl.score.speech import speech_of
from causal_dsl.score.targets import target_ids
from causal_dsl.score.truth import labels_of
from causal_dsl.store.addresses import is_address
from causal_dsl.store.files import CannotWrite
from causal_dsl.store.hashes import cache_root, of_bytes, rehashing
from causal_dsl.store.keys import told
from causal_dsl.store.later import Later
from causal_dsl.store.mirror import mirrored
from causal_dsl.store.notices import collecting
from causal_dsl.store.old_runs import remove_old_runs
from causal_dsl.store.out import SpecFolder, opened, unwritable
from causal_dsl.store.ran_on import is_compared
from causal_dsl.store.rooms import kept_beside
from causal_dsl.store.stored_only import nothing_is_made, refuse_making, refuse_unloaded, why_not_stored
from causal_dsl.vocabulary.fault_of_package import fault_of_package


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; ``results`` are those of the cells that were finished."""

    def __init__(self, results: Results):
        self.results = results
        super().__init__("interrupted")

    def _render_traceback_(self) -> list[str]:
        """The text that IPython and Jupyter show in place of a traceback."""
        return [f"interrupted: {standing(self.results)}", "`sys.last_value.results` holds what was finished"]


def run_specs(
    specs: Sequence[Spec], options: Options, session: Session | None = None, still: Set[NetworkKey] = frozenset()
) -> Results:
    """Check, load, plan, execute and score; raises :class:`SpecError`, or :class:`Interrupted` with what is finished.

    ``session`` has networks that were loaded for other specs; those whose weights are ``still`` needed stay in it.

    A fault that shows only as one of several specs is run loses nothing of the others: its tests stand in the results as
    interrupted, its errors among the diagnostics of its spec (``Results.faults``). So does an exception that nobody foresaw (E799). Where
    no spec was run, it is raised.
    """
    if is_follower() and options.out is not None:
        options = replace(options, out=None)
    if options.out is not None and is_address(options.out):
        return _run_mirrored(specs, options, session, still)
    try:
        checks = [check_to_run(spec, options) for spec in specs]
    except KeyboardInterrupt:
        raise NotBegun from None
    for checked in checks:
        checked.raise_errors()
    if said := unshared(dict(ref.settings) for checked in checks for ref in _refs(checked)):
        print(said, file=sys.stderr)
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
                left = [not_run(*rest) for rest in zip(specs[number:], checks[number:], strict=True)]
                raise Interrupted(Results((*done, *left))) from None
            except Exception as error:
                if len(specs) == 1 and not isinstance(error, SpecError):
                    raise
                fault = of_one_spec(error, Span(spec.source_text, 0, 0))
                found = tuple(dict.fromkeys((*fault.diagnostics, *notices)))
                faults += found
                result, interrupted = stopped_by(spec, checked, found), False
        done.append(result)
        if interrupted:
            left = [not_run(*rest) for rest in zip(specs[number + 1 :], checks[number + 1 :], strict=True)]
            raise Interrupted(Results((*done, *left)))
    results = Results(tuple(done))
    if faults and not any(cell for test in results.tests for cell in test.cells):
        raise SpecError(list(dict.fromkeys(faults)))
    return results


def _run_mirrored(specs: Sequence[Spec], options: Options, session: Session | None, still: Set[NetworkKey]) -> Results:
    """:func:`run_specs` with a folder that stands for the address of ``out``."""
    results: Results | None = None
    try:
        with mirrored(str(options.out)) as mirror:
            results = run_specs(specs, replace(options, out=mirror.folder), session, still)
    except SpecError as error:
        if results is None:
            raise
        last = results.specs[-1]  # what was computed is told all the same
        told = replace(last, warnings=tuple(dict.fromkeys((*last.warnings, *error.diagnostics))))
        return replace(results, specs=(*results.specs[:-1], told))
    return results


def _refs(checked: Checked) -> list[NetworkRef]:
    return [test.network for test in checked.program.tests] if checked.program is not None else []


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
    """:func:`run_spec` with the folder of its results held. Where a fault or Ctrl-C stops it before anything was measured, the folder says so
    in the place of the numbers of a run before."""
    options = session.options
    with ExitStack() as held:
        held.enter_context(rehashing(options.rehash))
        folder = held.enter_context(opened(options.folder, spec.name)) if options.folder is not None else None
        held.enter_context(kept_beside(None, () if folder is None else (units_in(folder),)))
        try:
            try:
                earlier = None if folder is None else EarlierResults(folder, spec, checked, options)
                if earlier is not None:
                    earlier.begin()
                return run_spec(spec, checked, session, folder, notices, later, needed, earlier)
            except CannotWrite as error:
                raise _unwritable(error, options, spec) from error
        except KeyboardInterrupt:
            result = not_run(spec, checked)
            unkept = _unkept(spec, checked, session.options, folder, result)
            return replace(result, warnings=(*result.warnings, *unkept)), True
        except SpecError as error:
            if error.code == "E903":  # the shards are of another run than the results that are there
                raise
            result = stopped_by(spec, checked, _told_of(error, notices))
            if unkept := _unkept(spec, checked, session.options, folder, result):
                raise SpecError(dict.fromkeys((*error.diagnostics, *unkept))) from error
            raise
        except Exception as error:
            fault = unexpected(error, Span(spec.source_text, 0, 0))
            if unkept := _unkept(spec, checked, session.options, folder, stopped_by(spec, checked, [fault])):
                raise SpecError((fault, *unkept)) from error
            raise


def _told_of(error: SpecError, notices: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The faults that stopped a spec, after those for which workers did not store what it needs."""
    behind = () if is_compared() else why_not_stored()
    return list(dict.fromkeys((*behind, *error.diagnostics, *notices)))


def _unkept(
    spec: Spec, checked: Checked, options: Options, folder: SpecFolder | None, result: SpecResult
) -> tuple[Diagnostic, ...]:
    """Keep the result of a spec that was not run; why it could not be written."""
    if folder is None:
        return ()
    try:
        keep_unrun(folder, spec, checked, result)
    except OSError as error:
        told = error if isinstance(error, CannotWrite) else CannotWrite(folder.folder, error)
        return _unwritable(told, options, spec).diagnostics
    return ()


def run_spec(
    spec: Spec,
    checked: Checked,
    session: Session,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
    needed: Set[NetworkKey],
    earlier: EarlierResults | None,
) -> tuple[SpecResult, bool]:
    """The result of one spec, and whether it was interrupted. The networks of a sweep are loaded one after another, each
    with the tests on it, and leave memory where nothing that follows needs them (``needed``: what later specs do). A fault
    of one of them loses nothing of the others. Where something fails as tests are run, a fault of one of them or a mistake of this
    package (E799), each test of the network is run by itself: what the others have computed is in the store."""
    assert checked.program is not None
    groups = [list(tests) for tests in swept(checked.program.tests)]
    alone: set[str] = set()
    parts: list[RanPart] = []
    faults: list[tuple[str, Diagnostic]] = list(checked.faults)
    failed: dict[str, str] = {}
    interrupted = False
    for number, tests in enumerate(groups):  # grows where a group is taken apart
        name = "" if len(groups) == 1 else tests[0].network.name
        try:
            refuse_unloaded(name)
            one = checked if len(groups) == 1 else part_of(checked, tests)
            if tests and tests[0].name in alone:
                name = tests[0].name
                one = check(spec, replace(session.options, tests=(name,)))
                one.raise_errors()
            parts.append(_run_part(spec, one, name, session, folder, notices, later, earlier))
            interrupted = interrupted or parts[-1].interrupted
            faults += parts[-1].faults
        except KeyboardInterrupt:
            if not parts:
                raise
            interrupted = True
        except SpecError as error:
            raise_if_stopped()
            if error.code == "E903":  # nothing of such shards is scored
                raise
            own = {test.name for test in tests}
            if isinstance(error, RunFault) and len(own) > 1 and not own & alone:
                alone |= own
                groups[number + 1 : number + 1] = [[test] for test in tests]
                continue
            if len(groups) == 1 and not faults:
                raise
            faults += ((tests[0].network.name, diagnostic) for diagnostic in error.diagnostics)
            failed |= dict.fromkeys((test.name for test in tests), error.code)
        except Exception as error:
            own = {test.name for test in tests}
            if strict() or not is_ours(error) or (len(own) < 2 and not own & alone):
                raise
            if own & alone:
                faults.append((tests[0].network.name, unexpected(error, tests[0].span)))
                failed |= dict.fromkeys(own, "E799")
            else:
                alone |= own
                groups[number + 1 : number + 1] = [[test] for test in tests]
        if interrupted and (is_compared() or not nothing_is_made()):
            break
        session.keep({*needed, *(weights_of(test.network.key) for rest in groups[number + 1 :] for test in rest)})
    if not parts:
        raise SpecError(_told_once(faults))
    result = joined(spec, checked, parts, session.options, failed)
    result = replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *_told_once(faults)))))
    if interrupted and why_not_stored():
        result = with_faults(result, why_not_stored())
    refuse_missing(checked.program.tests, result.tests, interrupted or bool(faults))
    if folder is not None and (faults or any(part.plan is not None for part in parts)):
        try:
            keep(folder, spec, result, parts, interrupted)
            if not interrupted and not faults and all(part.plan is not None for part in parts):
                remove_old_runs(units_in(folder), [told(part.inputs) for part in parts])
        except OSError as error:  # what was computed is told all the same
            result = _unstored(result, error, folder, session.options, spec)
        # what was found damaged as they were stored
        result = replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *notices))))
    return result, interrupted


def _told_once(faults: Sequence[tuple[str, Diagnostic]]) -> list[Diagnostic]:
    """The faults of several networks, each with its network, which is called by its parameters where it is one of a family."""
    return told_once(faults, {name: name.partition("(")[0] for name, _ in faults})


def _run_part(
    spec: Spec,
    checked: Checked,
    name: str,
    session: Session,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
    earlier: EarlierResults | None,
) -> RanPart:
    """The tests of a spec, or those on one of its networks, which is then called ``name``."""
    options = session.options
    _refuse_untrusted(checked)
    with foreign:
        part = _loaded(spec, checked, name, session, folder)
    roots = [root for ref in part.used.values() if (root := code_of(ref)) is not None]
    with later.watching(spec.folder, roots, () if options.folder is None else (options.folder,)):
        try:
            with foreign:
                ran = _run(spec, part, options, folder, notices, later, earlier)
        except SpecError as error:
            raise RunFault([_placed(one, checked) for one in error.diagnostics]) from error
        except Exception as error:
            if (found := fault_of_package(error) or fault_of_code(error, part.used.values())) is None:
                raise
            raise RunFault([_placed(found, checked)]) from error
    return replace(ran, faults=tuple(part.checked.cells_lost))


def _loaded(spec: Spec, checked: Checked, name: str, session: Session, folder: SpecFolder | None) -> LoadedPart:
    """A part with its networks loaded. A network that cannot be is a fault of its own tests where others are on other networks."""
    try:
        return loaded(spec, checked, name, session, folder)
    except SpecError as error:
        tests = checked.program.tests if checked.program is not None else ()
        if len({weights_of(test.network.key) for test in tests}) < 2:
            raise
        raise RunFault(error.diagnostics) from error


def _refuse_untrusted(checked: Checked) -> None:
    """Raise E346 before a network is loaded; where it is of some of the tests alone, as a fault that leaves the others to be run."""
    tests = checked.program.tests if checked.program is not None else ()
    try:
        refuse_untrusted(tests)
    except SpecError as error:
        if all(needs_trust(test) for test in tests):
            raise
        raise RunFault(error.diagnostics) from error


def _placed(fault: Diagnostic, checked: Checked) -> Diagnostic:
    """A fault of a package at the test that was run alone, where it has no place of its own: formulas do not know where they are asked for."""
    tests = [] if checked.program is None else checked.program.tests
    return (
        replace(fault, span=tests[0].span)
        if fault.code == "E786" and fault.span == NOWHERE and len(tests) == 1
        else fault
    )


def loaded_plan(spec: Spec, checked: Checked, options: Options) -> PrintedPlan:
    """The plan as it will be run on the networks, which are loaded and proved for it."""
    assert checked.program is not None
    refuse_untrusted(checked.program.tests)
    used = {test.network.key: test.network for test in checked.program.tests}
    session = Session(options)
    networks = session.networks(used.values())
    if checked.plan is None:
        checked = check(spec, options, with_blanks(networks, used))
        checked.raise_errors()
    uncut = checked.plan  # of which units are made: before circuits are found
    if checked.searches is not None:
        checked = discovered(spec, checked, "", networks, used, options, None)
    assert checked.plan is not None
    # controls are run on networks of their own, such as one whose weights are drawn anew
    networks |= session.networks(ref for key, ref in checked.plan.networks.items() if key not in networks)
    for key, network in networks.items():
        if key in checked.plan.inputs:
            prove_at_hand(network, checked.plan.inputs[key])
    memory = memory_of(options, networks)
    execution = Execution(
        checked.plan, networks, checked.answers, target_ids(checked.plan, checked.answers, networks), memory
    )
    on_cpu = all(budget.on_cpu for budget in execution.budgets.values())
    return replace(printed(execution.plan), uncut=uncut, asked=options.memory if on_cpu else None)


def _run(
    spec: Spec,
    part: LoadedPart,
    options: Options,
    folder: SpecFolder | None,
    notices: list[Diagnostic],
    later: Later,
    earlier: EarlierResults | None,
) -> RanPart:
    started = time.perf_counter()
    checked, networks, plan = part.checked, part.networks, part.checked.plan
    interrupted = False
    if plan is None:
        inputs = inputs_of(spec, checked, networks, options, "", {})
        return RanPart(_result(spec, checked, networks, [], started, identity_of(inputs, options), notices), inputs)
    memory = memory_of(options, networks)
    later.known = files_of(spec, checked, networks)
    noticed = at_hand(plan, checked, networks)
    behaviour = behaviour_of(plan, checked, networks)
    if earlier is not None:
        earlier.loaded(networks, behaviour)
    before_it = [before(networks[key], rows) for key, rows in plan.inputs.items()]
    with progress(asked=options.progress) as bar:
        ready = prepared(
            spec,
            part,
            options,
            folder,
            behaviour,
            bar,
            lambda made: store_of(made, part.name, folder, later),
            memory,
            columns=_columns(part.name, folder),
        )
        execution, library, inputs, constants = ready.execution, ready.library, ready.inputs, ready.constants
        plan = constants.plan
        checked = replace(checked, plan=plan)
        refuse_nowhere(execution, folder)
        refuse_zarr(execution)
        bar.begin(spec.name, execution.total())
        try:
            for said in execution.run():
                bar.say(f"{spec.name}: {said}"[:60])
            interrupted = execution.left > 0  # only what workers stored is used, and some of it is not there
            if interrupted and is_compared():
                refuse_making()
            if not interrupted:
                with_gradients(execution, bar.say, options.memory)
            _refuse_changed(before_it, execution.store)
        except KeyboardInterrupt:
            interrupted = True
            execution.measured.finish()
    assert checked.program is not None
    scored = [
        (scored_test(test, execution, checked, networks, library, constants), test) for test in checked.program.tests
    ]
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


def _columns(name: str, folder: SpecFolder | None) -> Path | None:
    """Where the numbers of very many pairs are kept: those of a network of a sweep in a folder of its own."""
    if folder is None:
        return None
    return folder.columns / of_bytes(name.encode())[:12] if name else folder.columns


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
        cost |= {"blocks": len(execution.blocks), "stored_blocks": execution.reused}
        steps = {step.network: step for step in execution.plan.steps}
        for name, ref in refs.items():
            if ref.key in steps:
                shown[name]["executor"] = execution.executor(ref.key)
                shown[name]["blocks"] = len(steps[ref.key].blocks)
    warnings = tuple(checked.diagnostics) + (cautions(networks, execution) if execution is not None else ())
    warnings += tuple(dict.fromkeys(notices))
    ended, ran_on = datetime.now(UTC).isoformat(timespec="seconds"), machine_of(networks.values())
    return SpecResult(
        *(spec.name, checked.digest, tuple(tests), all_versions(), shown, cost, warnings, identity, ran_on, ended),
        text=spec.source_text.text,
        imports=checked.imports,
        models=models_of(checked.program.tests),
    )


__all__ = ["Interrupted", "loaded_plan", "run_specs"]
