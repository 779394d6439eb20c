"""The process of a worker: it holds networks, runs the units that it is given into the store, and says how far it is."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal_dsl.base.faults import foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.cluster.answer import Answer
from causal_dsl.cluster.ray_session import WORKER, clear_left, other_versions
from causal_dsl.cluster.this_machine import cores
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.report.progress import Progress
from causal_dsl.report.which_progress import progress_shown_by
from causal_dsl.store.addresses import Address, is_address
from causal_dsl.store.mirror import Mirror, standing_for
from causal_dsl.units import Unit

#: The codes of diagnostics that say that the store, or the cache, cannot be written.
_FULL = ("E653", "E708", "E916")
#: Bytes read from disk that count as getting on: a network is being loaded.
_READ = 8 * 2**20


@dataclass(frozen=True)
class Task:
    """A unit of one of several specs, by the spec's number."""

    number: int
    unit: Unit

    @property
    def key(self) -> str:
        """Its name: two specs of one text have units of the same keys, and stores of their own."""
        return f"{self.number} {self.unit.key}"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(f"{self.number} {key}" for key in self.unit.needs)

    @property
    def network(self) -> tuple[int, object]:
        """The network that a worker has to load for it."""
        return self.number, self.unit.network


@dataclass(frozen=True)
class WorkerLoad:
    """The load of each worker: ``specs`` with the ``options`` of the run (``out`` is the store), the ``versions`` that compute, and how
    many workers share a machine's memory and cores. ``token`` is the name and content of a file of the store."""

    specs: tuple[Spec, ...]
    options: Options
    versions: Mapping[str, str]
    token: tuple[str, str]
    where: str
    sharers: int = 1
    threads: int | None = None


class _Counting(Progress):
    """Counts the steps of whatever is shown."""

    def __init__(self, host: Host):
        self._host = host

    def begin(self, text: str, total: int) -> None:
        self._host.steps += 1

    def advance(self, steps: int = 1) -> None:
        self._host.steps += 1

    def say(self, text: str) -> None:
        self._host.steps += 1


class Host:
    """The actor. :meth:`look` is answered while a unit runs, by another thread."""

    def __init__(self, load: WorkerLoad):
        self.told, self.steps = load, 0
        self._workers: dict[int, Any] = {}
        self._mirror: Mirror | None = None
        self._options = load.options

    def join(self) -> tuple[int, str, list[Diagnostic]]:
        """Its process, its machine, and why it cannot be used where that is so."""
        return os.getpid(), socket.gethostname(), self._refusals()

    def _refusals(self) -> list[Diagnostic]:
        import torch

        from causal_dsl.planning.memory import share_memory
        from causal_dsl.store.keys import versions

        own = versions()
        parted = [
            f"{name}: {self.told.versions.get(name)} here, {own.get(name)} on {socket.gethostname()}" for name in own
        ]
        parted = [line for line, name in zip(parted, own, strict=True) if self.told.versions.get(name) != own[name]]
        if parted:
            return [other_versions(self.told.where, "\n".join(parted))]
        torch.set_num_threads(self.told.threads or max(1, cores() // self.told.sharers))
        share_memory(self.told.sharers)
        try:
            return self._open_store()
        except OSError as error:
            return [_not_shared(str(self.told.options.out), str(error))]
        except SpecError as error:
            return list(error.diagnostics)

    def _open_store(self) -> list[Diagnostic]:
        out, (name, content) = self.told.options.out, self.told.token
        assert out is not None
        if is_address(out):
            address = Address(str(out))
            if address.read(name) != content.encode():
                return [_not_shared(str(out), "")]
            clear_left()
            folder = Path(tempfile.mkdtemp(prefix=f"{WORKER}{os.getpid()}-"))
            self._mirror = standing_for(address, folder, _needed)
            self._options = replace(self.told.options, out=folder)
        elif not (Path(out) / name).is_file() or (Path(out) / name).read_text(encoding="utf-8") != content:
            return [_not_shared(str(out), "")]
        return []

    def look(self) -> tuple[int, int]:
        """A value that changes as this worker gets on."""
        return self.steps, _read_from_disk() // _READ

    def load(self, task: Task) -> Answer:
        """Load the network of a unit: what ends this process then is not the unit."""
        return self._tried(lambda: self._worker(task.number).load(task.unit), stores=False)

    def run(self, task: Task, halved: int) -> Answer:
        """Run a unit of a spec into the store."""
        return self._tried(lambda: self._worker(task.number).run(task.unit), stores=True)

    def _tried(self, act: Callable[[], object], stores: bool) -> Answer:
        started = time.perf_counter()
        try:
            with progress_shown_by(lambda: _Counting(self)), _silent(), foreign:
                if self._mirror is not None:
                    self._mirror.pull()
                act()
                if self._mirror is not None and stores:
                    self._mirror.push()
        except SpecError as error:
            first = error.diagnostics[0]
            if error.code in _FULL:
                return _of_system(OSError(errno.ENOSPC, "; ".join(first.notes)), str(self.told.options.out))
            return Answer(False, why=f"{first.code}: {first.title}", again=False, diagnostics=error.diagnostics)
        except OSError as error:
            return _of_system(error, str(self.told.options.out))
        except Exception as error:
            said = traceback.format_exception_only(error)[-1].strip()
            return Answer(False, why=said[:300])
        self.steps += 1
        return Answer(True, time.perf_counter() - started)

    def finish(self) -> list[Diagnostic]:
        """Let go of the networks; why nothing of this worker can be trusted, where that is so (E663)."""
        try:
            for worker in self._workers.values():
                worker.close()
        except SpecError as error:
            return list(error.diagnostics)
        finally:
            if self._mirror is not None:
                shutil.rmtree(self._mirror.folder, ignore_errors=True)
        return []

    def _worker(self, number: int) -> Any:
        from causal_dsl.units import Worker

        if number not in self._workers:
            for other in self._workers.values():
                other.close()  # what is next may need the memory of its networks
            self._workers.clear()
            self._workers[number] = Worker(self.told.specs[number], self._options)
        return self._workers[number]


def _needed(name: str) -> bool:
    """Whether a worker reads a file of the store: all of units but the numbers of blocks, which only the driver reads."""
    blocks = "/units/blocks/" in name and name.endswith((".npz", ".arrow"))
    return name.endswith("/causal-dsl.json") or ("/units/" in name and not blocks)


def _of_system(error: OSError, out: str) -> Answer:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    why = error.strerror or str(error)
    found = Diagnostic(
        "E923",
        f"the store `{out}` takes nothing more",
        Span(Source(out, ""), 0, 0),
        notes=(why,),
        help="make room there; the same command then goes on from what is stored",
    )
    return Answer(False, why=why, full=full, diagnostics=(found,) if full else ())


def _not_shared(out: str, said: str) -> Diagnostic:
    return Diagnostic(
        "E922",
        f"the store `{out}` is not the same on `{socket.gethostname()}`",
        Span(Source(out, ""), 0, 0),
        notes=("a file that the driver put there is not seen there", *((said,) if said else ())),
        help="pass a folder that all machines share to --out, or an address such as s3://bucket/runs",
    )


def _read_from_disk() -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])
    return 0


@contextmanager
def _silent() -> Iterator[None]:
    """Keep a worker from saying again what the driver has said already."""
    from causal_dsl.store.notices import collecting

    with collecting():
        yield
    sys.stdout.flush()
