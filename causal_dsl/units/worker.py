"""A process that runs units: it reads the spec, loads a network once, proves it once, and puts every result into the store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from causal_dsl.checked import Checked
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import Diagnostic, Source, Span, fail
from causal_dsl.discovery.place_gradients import with_gradients
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.fitting.fit import FitRun
from causal_dsl.network.before_and_after import Before, before
from causal_dsl.planning.network_parts import weights_of
from causal_dsl.planning.work_units import PartOfSpec, WorkUnit, parts_of
from causal_dsl.program.derived_tests import trained_of
from causal_dsl.program.program import NetworkRef
from causal_dsl.report.progress import Progress
from causal_dsl.running.discovering import discover
from causal_dsl.running.optimising import find_constants
from causal_dsl.running.preparing import (
    LoadedPart,
    PreparedPart,
    at_hand,
    behaviour_of,
    fits_of,
    loaded,
    memory_of,
    part_of,
    prepared,
    with_networks,
)
from causal_dsl.running.provenance import code_of, files_of
from causal_dsl.running.session import Session
from causal_dsl.store.files import CannotWrite
from causal_dsl.store.hashes import rehashing
from causal_dsl.store.keys import RunInputs, told
from causal_dsl.store.notices import collecting
from causal_dsl.store.out import unwritable
from causal_dsl.store.rooms import Rooms, kept_beside
from causal_dsl.units.cutting import identity, units_of
from causal_dsl.units.folder import DoneUnit, UnitFolder, unit_folder


class Worker:
    """Runs units of one spec into the folder of its units under ``options.out``, which must be set.

    ``others`` are folders of units that are only read: of other shards. A unit whose needs are stored nowhere computes them,
    so it is never wrong to run a unit too early, only slow. Raises :class:`SpecError` for a fault of the spec.
    """

    def __init__(self, spec: Spec, options: Options, others: tuple[Path, ...] = (), bar: Progress | None = None):
        out = options.folder
        assert out is not None, "a worker needs a folder for results"
        options = replace(options, shared=True)
        self.spec, self.options, self.others, self.bar = spec, options, others, bar or Progress()
        self._checked = check(spec, options)
        self._checked.raise_errors()
        assert self._checked.program is not None
        self._session = Session(options)
        self._parts = {part.name: part for part in parts_of(self._checked.program.tests)}
        self._ready: _ReadyPart | None = None
        self.folder: UnitFolder = unit_folder(out, spec)
        #: what the blocks that were computed or found belong to
        self.runs: list[dict[str, Any]] = []
        #: warnings that were told while units were run
        self.notices: list[Diagnostic] = []

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the run that the units belong to."""
        return identity(self._checked, self.options)

    @cached_property
    def units(self) -> tuple[WorkUnit, ...]:
        """All units of the spec."""
        return units_of(self.spec, self.options, self._checked, self._session)

    def run(self, unit: WorkUnit) -> DoneUnit:
        """Compute a unit and store its result, or find it stored. Raises :class:`SpecError` for a fault of the spec, of its network
        or of the store (E708: nothing of this unit is lost that was stored before), and MemoryError as a run does."""
        started, used = time.perf_counter(), time.process_time()
        with collecting() as notices, rehashing(self.options.rehash):
            try:
                files, found = self._run(unit)
                seconds, cpu = time.perf_counter() - started, time.process_time() - used
                networks = self.folder.note_networks(self._session.made_of)
                done = DoneUnit(unit.key, files, seconds, found, cpu, networks)
                self.folder.say_done(done)
            except CannotWrite as error:
                assert self.options.folder is not None
                raise unwritable(self.options.folder, self.spec.name, error) from error
            finally:
                self.notices += [notice for notice in notices if notice not in self.notices]
        return done

    def load(self, unit: WorkUnit) -> None:
        """Load the networks that a unit is run on, and prove them; nothing for the training of one. Raises as :meth:`run` does."""
        if unit.kind == "training":
            return
        with collecting() as notices, rehashing(self.options.rehash), kept_beside(self.folder.root, self.others):
            try:
                if unit.kind == "search":
                    part = self._parts[unit.network]
                    self._leave(part)
                    with_networks(self.spec, self._checked_of(part), part.name, self._session)
                else:
                    with self._part(unit.network):
                        pass
            finally:
                self.notices += [notice for notice in notices if notice not in self.notices]

    def _run(self, unit: WorkUnit) -> tuple[tuple[str, ...], bool]:
        """The files of a unit from the folder of the units, and whether all of them were there before."""
        before_it = time.time()
        with kept_beside(self.folder.root, self.others) as rooms:
            if unit.kind == "training":
                self._session.network(self._network_of(unit))
                noted = self._noted(rooms, "trained")
            elif unit.kind == "search":
                self._search(unit)
                noted = self._noted(rooms, "circuits")
            elif unit.kind == "block":
                with self._part(unit.network) as ready:
                    noted = ready.block(unit)
            else:
                with self._part(unit.network) as ready:
                    if unit.kind == "gradients":
                        _ = ready.prepared  # with what it reads of the store
                    rooms.noted.clear()
                    {"fit": ready.fit, "constants": ready.constants, "gradients": ready.gradients}[unit.kind](unit)
                noted = self._noted(rooms, {"fit": "features"}.get(unit.kind, unit.kind))
        files = tuple(path.relative_to(self.folder.root).as_posix() for path in dict.fromkeys(noted))
        missing = [file for file in files if not (self.folder.root / file).is_file()]
        assert not missing, f"{unit.label}: {missing} should be stored by now"
        return files, all((self.folder.root / file).stat().st_mtime < before_it for file in files)

    def _noted(self, rooms: Rooms, room: str) -> list[Path]:
        return [self.folder.root / name for name in rooms.noted if name.startswith(f"{room}/")]

    def _search(self, unit: WorkUnit) -> None:
        """Find the scores of a circuit, on networks that are loaded and on no plan that needs them."""
        part = self._parts[unit.network]
        self._leave(part)
        loaded = with_networks(self.spec, self._checked_of(part), part.name, self._session)
        memory = memory_of(self.options, loaded.networks)
        discover(loaded.checked, loaded.networks, self.options, self.bar, memory, only=unit.name)

    def _checked_of(self, part: PartOfSpec) -> Checked:
        return self._checked if len(self._parts) == 1 else part_of(self._checked, list(part.tests))

    def _leave(self, part: PartOfSpec) -> None:
        """Let go of the networks of another part than this."""
        if self._ready is not None and self._ready.part.name != part.name:
            self._ready = None
            self._session.keep({weights_of(test.network.key) for test in part.tests})

    def _network_of(self, unit: WorkUnit) -> NetworkRef:
        program = self._checked.program
        assert program is not None
        tests = [test.network for test in program.tests]
        planned = [] if self._checked.plan is None else list(self._checked.plan.networks.values())
        refs = [trained_of(ref) for ref in (*tests, *planned) if ref.training is not None]
        return next(ref for ref in refs if ref.name == unit.name)

    @contextmanager
    def _part(self, name: str) -> Iterator[_ReadyPart]:
        """A part with its networks loaded; what its networks read as they run is heard within."""
        assert self.options.folder is not None
        part, later = self._parts[name], self._session.later
        self._leave(part)
        ready = self._ready or _ReadyPart(self, part)
        roots = [root for ref in ready.loaded.used.values() if (root := code_of(ref)) is not None]
        with later.watching(self.spec.folder, roots, (self.options.folder,)):
            later.known = files_of(self.spec, ready.loaded.checked, ready.loaded.networks)
            ready.prove()
            self._ready = ready
            yield ready

    def close(self) -> None:
        """Let go of the networks, after a look at whether they are what they were before (E663 where one is not: what was stored
        of its blocks is removed)."""
        ready, self._ready = self._ready, None
        try:
            if ready is not None:
                ready.refuse_changed()
        finally:
            self._session.keep(())


class _ReadyPart:
    """A part of a spec in a worker: its networks, and what is made once for all of its units."""

    def __init__(self, worker: Worker, part: PartOfSpec):
        self.worker, self.part, self.options = worker, part, worker.options
        self.loaded: LoadedPart = loaded(worker.spec, worker._checked_of(part), part.name, worker._session, None)
        self.memory = memory_of(self.options, self.loaded.networks)
        self._behaviour: Mapping[str, str] | None = None
        self._before: list[Before | None] = []

    def prove(self) -> None:
        """Try the networks on the inputs of the plan, once."""
        plan = self.loaded.checked.plan
        if self._behaviour is not None or plan is None:
            return
        at_hand(plan, self.loaded.checked, self.loaded.networks)
        self._behaviour = behaviour_of(plan, self.loaded.checked, self.loaded.networks)
        self._before = [before(self.loaded.networks[key], rows) for key, rows in plan.inputs.items()]

    @cached_property
    def fits(self) -> FitRun | None:
        checked, networks = self.loaded.checked, self.loaded.networks
        return fits_of(checked, networks, self.options, self.worker.bar, None, self.memory)

    def fit(self, unit: WorkUnit) -> None:
        """Fit, or find, the fits of a unit."""
        if self.fits is not None:
            self.fits.share(unit.among, unit.number, unit.count)

    def constants(self, unit: WorkUnit) -> None:
        """Find, or take, the constants of a unit."""
        loaded, share = self.loaded, (unit.number, unit.count)
        find_constants(loaded.checked, loaded.networks, self.options, self.worker.bar, None, self.memory, share)

    def gradients(self, unit: WorkUnit) -> None:
        """Take the gradients of a unit, or those that were kept."""
        with_gradients(self.prepared.execution, self.worker.bar.say, self.options.memory, (unit.number, unit.count))

    @cached_property
    def prepared(self) -> PreparedPart:
        made = prepared(
            self.worker.spec,
            self.loaded,
            self.options,
            None,
            self._behaviour or {},
            self.worker.bar,
            self._store,
            self.memory,
            self.fits,
            scored=False,
        )
        self.__dict__["fits"] = None  # what fits read of a network is large
        return made

    def _store(self, inputs: RunInputs) -> ChunkStore:
        blocks = self.worker.folder.root / "blocks"
        self.worker.runs.append(told(inputs))
        return ChunkStore(blocks, told(inputs), self.worker._session.later, blocks, shared=True)

    def block(self, unit: WorkUnit) -> list[Path]:
        """Run, or find, the blocks of a unit; gives their files."""
        execution = self.prepared.execution
        store = execution.store
        if store is None:
            raise _full(execution.unkept, self.worker)
        execution.run_share(unit.number, unit.count)
        if execution.unkept is not None:
            unkept = execution.unkept
            execution.store, execution.unkept = store, None  # the next unit may find room again
            raise _full(unkept, self.worker)
        return store.take_noted()

    def refuse_changed(self) -> None:
        """Raise E663 where a network is not what it was."""
        try:
            for one in self._before:
                if one is not None:
                    one.refuse_change()
        except Exception:
            if "prepared" in self.__dict__ and self.prepared.execution.store is not None:
                self.prepared.execution.store.discard()
            raise


def _full(error: OSError | None, worker: Worker) -> Exception:
    """E708: the result of a unit cannot be stored."""
    assert worker.options.folder is not None
    if error is not None:
        return unwritable(worker.options.folder, worker.spec.name, error)
    return fail("E708", "cannot write the results", Span(Source(worker.spec.name, ""), 0, 0))


__all__ = ["Worker"]
