"""Specs run on several workers: their units are computed into the store, and then what is stored is scored as any run does it.

The driver is the only one that writes results. It plans, hands out units, and in the end does what ``run --out`` does in one
process, which finds everything stored. So a run whose driver died goes on with the same command, on workers or without.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field, replace
from pathlib import Path

from causal_dsl.base.faults import NotBegun, foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.cluster.actor import Host, Task, WorkerLoad
from causal_dsl.cluster.driving import drive
from causal_dsl.cluster.ray_session import Machines, address_used, session
from causal_dsl.cluster.scheduler import DOUBLES, Limits, Scheduler
from causal_dsl.cluster.worker_pool import WorkerPool
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError, fail, shown_path
from causal_dsl.messages.typed_words import place_of_option
from causal_dsl.messages.unexpected import of_one_spec
from causal_dsl.program.weights_held import refuse_in_group
from causal_dsl.report.which_progress import every_step_told, progress
from causal_dsl.running.earlier_results import EarlierResults
from causal_dsl.running.ran import with_faults
from causal_dsl.running.running import Interrupted, run_specs
from causal_dsl.running.session import Session
from causal_dsl.running.unrun import keep_unrun, not_run, stopped_by
from causal_dsl.score.format_numbers import counted
from causal_dsl.score.spec_results import Results
from causal_dsl.store.addresses import Address, Unreachable, is_address, unreachable
from causal_dsl.store.keys import versions
from causal_dsl.store.locks import Held, holding
from causal_dsl.store.mirror import Mirror, mirrored
from causal_dsl.store.out import opened, unwritable
from causal_dsl.store.stored_only import stored_only
from causal_dsl.units import Unit, unit_folder, units_of

#: How the file begins by which workers see that a store is the driver's.
_TOKEN = ".driver-"


def run_on_workers(specs: Sequence[Spec], options: Options) -> Results:
    """Run specs on the workers that ``options`` ask for; as :func:`~causal_dsl.running.running.run_specs`.

    Raises also E917 to E919 where Ray cannot be used, E921 to E923 where the store cannot, E924 where no worker can be had. Units that were set aside
    (E920) are among the faults of the results. E948 under torchrun.
    """
    option = option_of(options)
    refuse_in_group(option, _place(options)(option))
    try:
        for spec in specs:
            check(spec, options).raise_errors()
    except KeyboardInterrupt:
        raise NotBegun from None
    with ExitStack() as held:
        alone, store, mirror = _store(options, held)
        faults: dict[int, _Faults] = {}
        try:
            faults = _computed(specs, alone, options, store)
            if mirror is not None:
                mirror.pull()
        except KeyboardInterrupt:
            with stored_only(()):
                raise Interrupted(_each(specs, alone, {})) from None
        except Unreachable as error:
            raise unreachable(error) from error
        if not faults:
            return run_specs(specs, alone)
        return _each(specs, alone, faults)


def _store(options: Options, held: ExitStack) -> tuple[Options, str, Mirror | None]:
    """The options of the driver, whose ``out`` is a folder; the store as workers know it; and the mirror of an address."""
    plain = replace(options, workers=None, cluster=None, shared=True)
    if options.out is None:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="causal-dsl-units-", ignore_cleanup_errors=True))
        return replace(plain, out=folder), folder, None
    if not is_address(options.out):
        assert options.folder is not None
        options.folder.mkdir(parents=True, exist_ok=True)
        return plain, os.path.abspath(options.folder), None
    written = str(options.out)
    if written.startswith("memory://"):
        raise fail(
            "E921",
            f"`{written}` is a store within one process, which no worker sees",
            Span(Source(written, ""), 0, 0),
            help="pass a folder to --out, or an address that all machines reach, such as s3://bucket/runs",
        )
    mirror = held.enter_context(mirrored(written))
    return replace(plain, out=mirror.folder), written, mirror


def _asked(options: Options) -> int | None:
    return options.workers if isinstance(options.workers, int) else None


@dataclass
class _Faults:
    """Why units of a spec were not stored, and the parts of it whose networks no worker lived to load."""

    told: list[Diagnostic] = field(default_factory=list)
    unloaded: set[str] = field(default_factory=set)


def _computed(specs: Sequence[Spec], alone: Options, options: Options, store: str) -> dict[int, _Faults]:
    """Let workers compute the units of specs into the store; why some were not, by the number of their spec. A fault of a spec that
    shows as its networks are loaded loses nothing of the others; it is raised where it is the only one, or all have one."""
    tasks: list[Task] = []
    stored: set[str] = set()
    uncut: dict[int, _Faults] = {}
    assert alone.folder is not None
    for number, spec in enumerate(specs):
        try:
            mine = [Task(number, unit) for unit in _units(spec, alone)]
        except Exception as error:
            if len(specs) == 1:
                raise
            uncut[number] = _Faults(list(of_one_spec(error, Span(spec.source_text, 0, 0)).diagnostics))
            continue
        found = unit_folder(alone.folder, spec).among(task.unit.key for task in mine)
        stored |= {task.key for task in mine if task.unit.key in found}
        tasks += mine
    if len(uncut) == len(specs):
        raise SpecError(list(dict.fromkeys(told for found in uncut.values() for told in found.told)))
    if all(task.key in stored for task in tasks):
        where = f"; the cluster {address_used(options.cluster)[0]} is not asked" if options.cluster else ""
        print(f"all {counted(len(tasks), 'unit')} are stored already, so no worker is started{where}", file=sys.stderr)
        return uncut
    with ExitStack() as held, session(options.cluster, _asked(options), _place(options)) as machines:
        for root, spec in {unit_folder(alone.folder, spec).root: spec for spec in specs}.items():
            _hold(held, root, spec)
        gpu = machines.gpus > 0 and options.device in (None, "auto", "cuda")
        workers = _count(options, machines, gpu, len(tasks) - len(stored))
        limits = Limits(silence=options.silence, doubles=0.0 if machines.local else DOUBLES)
        scheduler = Scheduler(tasks, workers, lambda task: task.unit.flops, stored, limits)
        sharers = workers if machines.local else -(-workers // machines.nodes)
        with _token(store) as token, progress(asked=options.progress) as bar:
            load = WorkerLoad(
                tuple(specs),
                replace(alone, out=store, progress=False),
                versions(),
                token,
                machines.where,
                sharers,
                _threads(),
            )
            pool = WorkerPool(machines, Host, load, {task.key: task for task in tasks}, gpu)
            drive(scheduler, pool, bar)
        if every_step_told():
            print(_who_ran(scheduler, workers, len(stored), machines.where), file=sys.stderr)
    return {**uncut, **_faults(scheduler, pool, options)}


def _units(spec: Spec, options: Options) -> Sequence[Unit]:
    """The units of a spec, for which its networks are loaded. The folder of a spec that cannot be cut says why, as where it is run in one process;
    results of another run give way there."""
    assert options.folder is not None
    with opened(options.folder, spec.name) as folder:
        try:
            EarlierResults(folder, spec, check(spec, options), options).begin()
        except OSError as error:
            raise unwritable(options.folder, spec.name, error) from error
    try:
        with foreign:
            return units_of(spec, options)
    except SpecError as error:
        try:
            with opened(options.folder, spec.name) as folder:
                checked = check(spec, options)
                keep_unrun(folder, spec, checked, stopped_by(spec, checked, error.diagnostics))
        except SpecError as unkept:
            raise SpecError(dict.fromkeys((*error.diagnostics, *unkept.diagnostics))) from error
        except OSError as full:
            fault = unwritable(options.folder, spec.name, full)
            raise SpecError(dict.fromkeys((*error.diagnostics, *fault.diagnostics))) from error
        raise


def _who_ran(scheduler: Scheduler[Task], workers: int, before: int, where: str) -> str:
    here = len(scheduler.done) - before
    told = (
        f"{counted(here, 'unit')} {'was' if here == 1 else 'were'} computed by {counted(workers, 'worker')} on {where}"
    )
    return told + (f", and {before} {'was' if before == 1 else 'were'} stored before" if before else "")


def option_of(options: Options) -> str:
    """The option by which workers were asked for."""
    return "--workers" if options.workers is not None else "--cluster"


def _place(options: Options) -> Callable[[str], Span]:
    """Where a word of the command stands, or what was given in Python."""

    def place(word: str) -> Span:
        of_cluster = options.workers is None or word != "--workers"
        given = f"cluster={options.cluster!r}" if of_cluster and options.cluster else f"workers={options.workers!r}"
        return place_of_option(options.command, word, given)

    return place


def _hold(held: ExitStack, root: Path, spec: Spec) -> None:
    """Let no other driver hand out units of a spec into the same folder, or remove what is stored there. Raises E756 where one does."""
    try:
        held.enter_context(holding(root))
    except Held as error:
        raise fail(
            "E756",
            f"workers of another run write into `{shown_path(root.parent)}`",
            Span(Source(spec.name, ""), 0, 0),
            notes=(f"their driver is {error}",),
            help="wait for it, or pass another folder to --out",
        ) from error


def _threads() -> int | None:
    """The threads of each worker, where the environment says it."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else None


def _count(options: Options, machines: Machines, gpu: bool, units: int) -> int:
    """How many workers there are to be: as many as were asked for, or one for each GPU, or for each core; no more than GPUs, where
    each has one, and than units."""
    most = machines.gpus if gpu else machines.cpus
    asked = options.workers if isinstance(options.workers, int) else max(1, most)
    if gpu and asked > most:
        _say(
            Diagnostic(
                "W925",
                f"{counted(most, 'worker')} in place of {asked}: each has a GPU of its own",
                Span(Source(machines.where, ""), 0, 0),
                help="pass --device cpu to run on processors instead",
            )
        )
        asked = most
    if options.cluster == "auto":
        address, source = address_used("auto")
        print(f"workers run on the cluster {address}" + (f", from {source}" if source else ""), file=sys.stderr)
    return max(1, min(asked, units))


def _say(diagnostic: Diagnostic) -> None:
    print(diagnostic.render(), file=sys.stderr, flush=True)


@contextmanager
def _token(store: str) -> Iterator[tuple[str, str]]:
    """A file in the store while the block runs, by its name and content. Raises E708 or :class:`Unreachable`."""
    name, content = f"{_TOKEN}{secrets.token_hex(6)}", secrets.token_hex(16)
    if is_address(store):
        address = Address(store)
        address.write(name, content.encode())
        try:
            yield name, content
        finally:
            address.remove(name)
        return
    path = Path(store) / name
    path.write_text(content, encoding="utf-8")
    try:
        yield name, content
    finally:
        path.unlink(missing_ok=True)


def _faults(scheduler: Scheduler[Task], pool: WorkerPool, options: Options) -> dict[int, _Faults]:
    """Why units were not stored, by the number of their spec. Raises what keeps all of them from being run."""
    stored = f"{len(scheduler.done)} of {len(scheduler.units)} units are stored"
    if pool.refused:
        raise SpecError([replace(one, notes=(*one.notes, stored)) for one in pool.refused])
    if scheduler.stuck:
        raise fail(
            "E924",
            "no worker can be started" if not scheduler.progressed else "no more workers can be started",
            _place(options)(option_of(options)),
            notes=(
                f"the last {counted(scheduler.vain, 'worker')} ended before they were up, and no unit was stored between",
                f"of the last of them: {scheduler.why_stuck}",
                stored,
            ),
            help="look at the machines; with fewer workers each has more memory",
        )
    found = _not_loaded(scheduler, pool)
    for key, fault in scheduler.faults.items():
        if fault.behind or fault.loading:
            continue
        task = scheduler.units[key]
        waiting = sum(other.behind == key for other in scheduler.faults.values())
        behind = (
            f"{counted(waiting, 'unit')} that {'needs' if waiting == 1 else 'need'} it {'was' if waiting == 1 else 'were'} not run",
        )
        tries = tuple(f"try {number}: {why}" for number, why in enumerate(fault.tries, 1))
        told = Diagnostic(
            "E920",
            f"a unit was set aside: {task.unit.label}",
            Span(Source(pool.load.specs[task.number].name, ""), 0, 0),
            notes=(*([f"it has {task.unit.about}"] if task.unit.about else ()), *tries, *(behind if waiting else ())),
            help="the same command tries it again; without --workers it runs in one process, where its error is seen",
        )
        found.setdefault(task.number, _Faults()).told.extend((*pool.diagnostics.get(key, ()), told))
    return found


def _not_loaded(scheduler: Scheduler[Task], pool: WorkerPool) -> dict[int, _Faults]:
    """E924 for each network that no worker lived to load, by the number of its spec."""
    found: dict[int, _Faults] = {}
    of: dict[object, list[str]] = {}
    for key, fault in scheduler.faults.items():
        if fault.loading:
            of.setdefault(scheduler.units[key].network, []).append(key)
    for keys in of.values():
        task = scheduler.units[keys[0]]
        waiting = len(keys) + sum(fault.behind in keys for fault in scheduler.faults.values())
        spec = pool.load.specs[task.number].name
        networks = f"network `{task.unit.network}`" if task.unit.network else "networks"
        tries = (f"try {number}: {why}" for number, why in enumerate(scheduler.faults[keys[0]].tries, 1))
        told = Diagnostic(
            "E924",
            f"no worker lived to load the {networks} of {spec}",
            Span(Source(spec, ""), 0, 0),
            notes=(*tries, f"{counted(waiting, 'unit')} {'was' if waiting == 1 else 'were'} not run"),
            help="without --workers it is loaded in one process, where its error is seen; with fewer workers each has more memory",
        )
        found.setdefault(task.number, _Faults()).told.append(told)
        found[task.number].unloaded.add(task.unit.network)
    return found


def _each(specs: Sequence[Spec], options: Options, faults: Mapping[int, _Faults]) -> Results:
    """The results of what is stored, spec by spec; ``faults`` are told with those of their spec."""
    found = []
    active = Session(options)
    for number, spec in enumerate(specs):
        own = faults.get(number, _Faults())
        mine = tuple(dict.fromkeys(own.told))
        with stored_only(mine, own.unloaded):
            try:
                results = run_specs([spec], options, active)
            except Interrupted as stopped:
                results = stopped.results
            except Exception as error:
                if len(specs) == 1 and not isinstance(error, SpecError):
                    raise
                fault = of_one_spec(error, Span(spec.source_text, 0, 0))
                mine = tuple(dict.fromkeys((*mine, *fault.diagnostics)))
                unrun = with_faults(not_run(spec, check(spec, options), mine[0].code), mine)
                results = Results((unrun,))
        one = results.specs[0]
        found.append(with_faults(one, mine) if mine else one)
    return Results(tuple(found))
