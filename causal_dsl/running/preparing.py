"""The work before a run: networks loaded, circuits found, features fitted, and the plan cut into blocks of a store.

One process does this for all of a spec, a worker for the units that it is given; both by these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checked import Checked
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import Diagnostic, SpecError
from causal_dsl.engine.budgets import budget_of
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.fitting.fit import FitRun
from causal_dsl.fitting.library import Library, refuse_seen
from causal_dsl.fitting.orthogonal import refuse_slanted
from causal_dsl.network.at_hand import check_at_hand
from causal_dsl.network.behaviour import behaviour_at_hand, of_code
from causal_dsl.network.network import Network
from causal_dsl.network.unusable import sites_of, unusable
from causal_dsl.planning.memory import MOST_UNASKED
from causal_dsl.planning.network_parts import of_tests
from causal_dsl.planning.plan import Plan
from causal_dsl.program.answers import said_before
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.program.prompt_tokens import answered_prompt
from causal_dsl.program.templates import show_value
from causal_dsl.program.tokens import MASK
from causal_dsl.report.progress import Progress
from causal_dsl.report.which_progress import progress
from causal_dsl.running.discovering import discover, file_of
from causal_dsl.running.optimising import Constants, find_constants
from causal_dsl.running.provenance import inputs_of, names_of
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.keys import RunInputs, told
from causal_dsl.store.later import Later
from causal_dsl.store.out import UNITS, SpecFolder
from causal_dsl.store.ran_on import compare_run
from causal_dsl.vocabulary.locations import Site


@dataclass(frozen=True, eq=False)
class LoadedPart:
    """Tests of a spec that are run together, with their networks: all tests, or those on one network of a sweep, which is
    then called ``name``. ``used`` are the declarations of the networks."""

    name: str
    checked: Checked
    networks: dict[NetworkKey, Network]
    used: dict[NetworkKey, NetworkRef]


@dataclass(frozen=True, eq=False)
class PreparedPart:
    """A part that is ready to be run block by block."""

    execution: Execution
    library: Library
    inputs: RunInputs
    constants: Constants


def memory_of(options: Options, networks: Mapping[NetworkKey, Network]) -> dict[NetworkKey, int]:
    """Bytes that a pass on each network may take, where it is not half of what is free now: as asked for, and where several
    processes share the work the same in all of them."""
    if options.memory:
        return dict.fromkeys(networks, options.memory)
    return {key: _nominal(network) for key, network in networks.items()} if options.shared else {}


def _nominal(network: Network) -> int:
    """The memory of a pass where none was asked for: what every machine of a kind has, however much is free on it now."""
    if network.device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(network.device).total_memory // 2)
    return MOST_UNASKED


def part_of(checked: Checked, tests: list[Test]) -> Checked:
    """The same check for some of the tests of a spec."""
    assert checked.program is not None
    program = replace(checked.program, tests=tuple(tests))
    if checked.plan is None:
        return replace(checked, program=program)
    plan = of_tests(checked.plan, tests)
    return replace(checked, program=program, plan=plan, fits=plan.fits)


def loaded(spec: Spec, checked: Checked, name: str, session: Session, folder: SpecFolder | None) -> LoadedPart:
    """A part with its networks loaded and proved, and its circuits found; ``folder`` gets what was found."""
    part = with_networks(spec, checked, name, session)
    if part.checked.searches is None:
        return part
    found = discovered(spec, part.checked, name, part.networks, part.used, session.options, folder)
    return replace(part, checked=found)


def with_networks(spec: Spec, checked: Checked, name: str, session: Session) -> LoadedPart:
    """A part with its networks loaded and proved, and no circuit found yet."""
    options = session.options
    assert checked.program is not None
    used = {test.network.key: test.network for test in checked.program.tests}
    if checked.plan is not None:
        used |= checked.plan.networks
    networks = session.networks(used.values())
    own = (
        replace(options, tests=tuple(test.name for test in checked.program.tests)) if name or checked.lost else options
    )
    while checked.program.tests:
        refused = _refused(checked, networks)
        if checked.plan is not None and refused == checked.refused:
            break
        checked = check(spec, own, with_blanks(networks, used), memo=checked.memo, refused=refused)
        if checked.errors:
            raise RunFault(checked.diagnostics)
        if checked.plan is None:
            break
        networks |= session.networks(ref for key, ref in checked.plan.networks.items() if key not in networks)
    return LoadedPart(name, checked, networks, used)


class RunFault(SpecError):
    """A fault that showed as tests were run, when their networks had been loaded: it may be of one of the tests alone."""


def _refused(checked: Checked, networks: Mapping[NetworkKey, Network]) -> dict[NetworkKey, dict[Site, Diagnostic]]:
    """Why sites of tests and fits cannot be used in the networks, beside what was found before."""
    assert checked.program is not None
    found: dict[NetworkKey, dict[Site, Diagnostic]] = {key: dict(known) for key, known in checked.refused.items()}
    for test in (*checked.program.tests, *checked.program.fits):
        key = test.network.key
        if key in networks:
            found[key] = found.get(key, {}) | unusable(networks[key], sites_of(test.cells))
    return found


def prepared(
    spec: Spec,
    part: LoadedPart,
    options: Options,
    folder: SpecFolder | None,
    behaviour: Mapping[str, str],
    bar: Progress,
    stored: Callable[[RunInputs], ChunkStore | None],
    memory: Mapping[NetworkKey, int],
    fits: FitRun | None = None,
    columns: Path | None = None,
    scored: bool = True,
) -> PreparedPart:
    """A part with its features fitted, or found, and its plan cut. ``stored`` gives the store of its blocks, ``memory`` the
    bytes that a pass on a network may take, ``fits`` the fits of the part (made here by default),
    ``columns`` the folder for the numbers of very many pairs; ``scored``: these are read in this process."""
    checked, plan = part.checked, part.checked.plan
    assert plan is not None
    targets = target_ids(plan, checked.answers, part.networks)
    refuse_slanted(plan.program.tests)
    library = fit_features(checked, part.networks, options, bar, folder, fits)
    constants = find_constants(checked, part.networks, options, bar, folder, memory)
    fitted = "".join([library.digest, *constants.keys])
    checked = replace(checked, plan=constants.plan)
    inputs = inputs_of(spec, checked, part.networks, options, fitted, behaviour)
    compare_run(part.name, lambda: told(inputs))
    execution = Execution(
        constants.plan,
        part.networks,
        checked.answers,
        targets,
        memory,
        bar.advance,
        stored(inputs),
        options.compiled,
        library.maps,
        columns,
        scored,
    )
    return PreparedPart(execution, library, inputs, constants)


def discovered(
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
        found = discover(checked, networks, options, bar, memory_of(options, networks))
    own = (
        replace(options, tests=tuple(test.name for test in checked.program.tests)) if name or checked.lost else options
    )
    scores = {discovery: one.scores for discovery, one in found.items()}
    blanks = with_blanks(networks, used)
    again = check(spec, own, blanks, discovered=scores, memo=checked.memo, refused=checked.refused)
    again.raise_errors()
    again.found = found
    for discovery, one in found.items() if folder is not None else ():
        assert folder is not None
        number = list(found).index(discovery) + 1
        ref = next(test.network for test in checked.program.tests if test.name == discovery.test)
        inputs = networks[ref.key].inputs
        data = file_of(one, ref, "" if inputs is None else inputs.weights)
        folder.write(f"circuits/{discovery.test}-{discovery.what}-{number}.json", data)
    return again


def with_blanks(
    networks: Mapping[NetworkKey, Network], used: Mapping[NetworkKey, NetworkRef]
) -> dict[NetworkKey, Network]:
    """Loaded networks, and those that some were trained from: they are of one shape."""
    blanks = {r.training.alignment.network.key: networks[key] for key, r in used.items() if r.training is not None}
    return {**blanks, **networks}


def at_hand(plan: Plan, checked: Checked, networks: Mapping[NetworkKey, Network]) -> tuple[Diagnostic, ...]:
    """Try each network on the inputs of the plan and of its fits; what was noticed then and as it was loaded."""
    found: list[Diagnostic] = []
    for key, network in networks.items():
        found += network.warnings
        for inputs in (plan.inputs, checked.fits.plan.inputs if checked.fits is not None else {}):
            if key in inputs:
                found += check_at_hand(network, inputs[key], _with_answers(plan, network))
    return tuple(dict.fromkeys(found))


def behaviour_of(plan: Plan, checked: Checked, networks: Mapping[NetworkKey, Network]) -> dict[str, str]:
    """The answers of the networks that code makes to some inputs of the run, by their names."""
    plans = [plan] if checked.fits is None else [plan, checked.fits.plan]
    made = {key for one in plans for key, ref in one.networks.items() if of_code(ref)}
    return {
        name: behaviour_at_hand(networks[key], [one.inputs[key] for one in plans if key in one.inputs])
        for key, name in names_of(networks).items()
        if key in made
    }


def _with_answers(plan: Plan, network: Network) -> list[str]:
    """A prompt of each line of each test on a network with each of the answers that are looked for, as they are tokenised."""
    found = []
    for test in plan.tests:
        if test.network.key != network.key or test.readout.kind == "logits":
            continue
        for line in range(len(test.alignment.prompts)):
            prompt = answered_prompt(test.alignment, network.tokens, line)
            for value in test.readout.values:
                text = show_value(value)
                said = said_before(test.readout, test.alignment, line, text) + text
                found.append(prompt.replace(MASK, said) if test.readout.kind == "mask" else prompt + said)
    return found


def fit_features(
    checked: Checked,
    networks: dict[NetworkKey, Network],
    options: Options,
    bar: Progress,
    folder: SpecFolder | None,
    fits: FitRun | None = None,
) -> Library:
    """The features that the tests of a spec write through, fitted or found on disk; ``fits`` is :func:`fits_of`."""
    if checked.fits is None or checked.plan is None:
        return Library()
    plan = checked.plan
    fits = fits or fits_of(checked, networks, options, bar, folder, memory_of(options, networks))
    assert fits is not None
    library = fits.library()
    for test in plan.tests:
        for cell in test.cells:
            for intervention in cell.interventions:
                for feature in intervention.features:
                    if feature.fitted not in checked.fits.dead:
                        library.want(feature)
        own = test.network.key, plan.scores[test.name][0].label.draw
        for rows in [rows for run, rows in plan.rows.items() if (run.network, run.draw) == own]:
            refuse_seen(library, test, plan.inputs[test.network.key], rows)
    return library


def fits_of(
    checked: Checked,
    networks: Mapping[NetworkKey, Network],
    options: Options,
    bar: Progress,
    folder: SpecFolder | None,
    memory: Mapping[NetworkKey, int],
) -> FitRun | None:
    """The fits of a spec, not run yet; None where nothing is fitted. ``memory``: bytes that a pass on a network may take,
    where it is not what the options say."""
    if checked.fits is None or checked.plan is None:
        return None
    budgets = {key: budget_of(network, memory.get(key, options.memory)) for key, network in networks.items()}
    targets = target_ids(checked.fits.plan, checked.answers, networks)
    return FitRun(checked.fits, networks, checked.answers, targets, budgets, bar, options.seed, folder)


def store_of(inputs: RunInputs, name: str, folder: SpecFolder | None, later: Later) -> ChunkStore | None:
    """Where finished blocks are kept: those of a network of a sweep in a folder of its own; None without ``--out``."""
    if folder is None:
        return None
    blocks = folder.blocks / of_bytes(name.encode())[:12] if name else folder.blocks
    return ChunkStore(blocks, told(inputs), later, units_in(folder) / "blocks")


def units_in(folder: SpecFolder) -> Path:
    """Where workers and shards put what they finished of a spec."""
    return folder.folder / UNITS
