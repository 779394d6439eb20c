"""Ray, started on this machine or joined where it runs: no statistics sent, no dashboard, no logs between the lines of a run.

On this machine it takes about five seconds to start, a small part of shared memory, and a folder of temporary files that goes
with it. Actors ask for no CPU, so none waits for one that something else was promised; on GPUs each asks for one, and Ray shows it no other.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.cluster.this_machine import cores
from causal_dsl.diagnostics import Diagnostic, Span, SpecError, fail
from causal_dsl.messages.typed_words import place_of_option

#: Where an address of a cluster is looked for that is not given.
ADDRESS = "RAY_ADDRESS"
#: Bytes of the shared memory that Ray keeps objects in: nothing is sent but names of units.
_OBJECTS = 80 * 2**20
#: Seconds that the machine of an address may take to answer.
_ANSWERS = 10.0
_PREFIX = "causal-dsl-ray-"
#: How the folder of a worker begins in which it has the files of a store with an address.
WORKER = "causal-dsl-worker-"
#: The token of the sessions that this process starts: Ray remembers the first that it reads.
_TOKEN = secrets.token_hex(32)
#: What Ray reads from the environment as it is imported and started.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Machines:
    """Where workers run: ``where`` in words, with the ``gpus`` and ``cpus`` of all ``nodes``; ``logs`` is the folder of this machine's own."""

    where: str
    local: bool
    gpus: int
    cpus: int
    nodes: int = 1
    logs: Path | None = None


def installed(place: Callable[[str], Span] | None = None) -> Any:
    """The module of Ray. Raises E917 where it is not installed."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    try:
        import ray
    except ImportError as error:
        raise fail(
            "E917",
            "runs on several workers need Ray, which is not installed",
            (place or _typed)("--workers"),
            notes=(str(error),),
            help="pip install 'causal-dsl[ray]'",
        ) from error
    return ray


def address_used(cluster: str) -> tuple[str, str]:
    """The address of a cluster and where it is from. ``auto`` is that of ``RAY_ADDRESS``, else the cluster that runs on this machine."""
    if cluster != "auto":
        return cluster, ""
    return (os.environ[ADDRESS], ADDRESS) if os.environ.get(ADDRESS) else ("auto", "")


@contextmanager
def session(cluster: str | None, workers: int | None, place: Callable[[str], Span] | None = None) -> Iterator[Machines]:
    """Ray, for as long as the block runs. ``cluster`` None: on this machine, for so many ``workers``. A session that the caller began is used as it is, and stays.
    ``place`` says where a word or an option of the command stands.

    Raises E917 where Ray is missing, E918 where it cannot be started or joined, E919 where its versions are others.
    """
    place = place or _typed
    ray = installed(place)
    if ray.is_initialized():
        yield Machines("the Ray session of this process", False, *_resources(ray))
        return
    with _action_given_back():
        yield from _begun(ray, cluster, workers, place)


def _begun(ray: Any, cluster: str | None, workers: int | None, place: Callable[[str], Span]) -> Iterator[Machines]:
    """A session that begins here, and ends."""
    if cluster is not None:
        address, source = address_used(cluster)
        with _own_signals():
            _join(ray, address, place)
        try:
            where = f"the cluster {address}" + (f" (from {source})" if source else "")
            yield Machines(where, False, *_resources(ray))
        finally:
            ray.shutdown()
        return
    clear_left()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_short_folder()))
    try:
        with _own_signals(), _own_group():
            _start(ray, folder, workers or cores(), place)
        yield Machines("this machine", True, *_resources(ray), folder)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _action_given_back() -> Iterator[None]:
    """Leave this process with the action on SIGTERM that it had before."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # of another thread than the main one: none was set there
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the action of this process on SIGTERM, also while Ray starts: Ray would print a dump of its own and leave at once."""
    from ray._private import utils

    before, taken = signal.getsignal(signal.SIGTERM), getattr(utils, "set_sigterm_handler", None)
    if taken is not None:
        utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        if taken is not None:
            utils.set_sigterm_handler = taken
        with suppress(ValueError):  # of another thread than the main one: none is set there
            signal.signal(signal.SIGTERM, before if callable(before) or before == signal.SIG_IGN else _leave)


@contextmanager
def _own_group() -> Iterator[None]:
    """Start Ray's processes in groups of their own. A signal to the group of this process (Ctrl-C of a terminal, `timeout`, a batch system) does not
    reach them then: where Ray's own processes die first, they take this one with them before anything is told. They end with it all the same."""
    from ray._private import services

    plain = getattr(services, "ConsolePopen", None)  # of no release that has another name, signals are as Ray has them
    if plain is None or os.name != "posix":
        yield
        return

    def apart(*words: Any, **named: Any) -> Any:
        return plain(*words, process_group=0, **named)

    services.ConsolePopen = apart
    try:
        yield
    finally:
        services.ConsolePopen = plain


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _start(ray: Any, folder: Path, workers: int, place: Callable[[str], Span]) -> None:
    try:
        with _own_environment():
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=_OBJECTS,
                _temp_dir=str(folder),
            )
    except Exception as error:  # of the system and of Ray's own processes
        few = "" if workers == 1 else ", with fewer workers"
        raise fail(
            "E918",
            "Ray cannot be started on this machine",
            place("--workers"),
            notes=(_said(error),),
            help=f"try again{few}, while less else runs here; or leave out --workers, or run shards, which need no Ray: --shard 1/2",
        ) from error
    _silence(ray)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _join(ray: Any, address: str, place: Callable[[str], Span]) -> None:
    host = re.fullmatch(r"(?:ray://)?(\[[^\]]+\]|[^:/]+):(\d+)", address)
    if host is not None:  # Ray itself waits half a minute and more
        try:
            socket.create_connection((host[1].strip("[]"), int(host[2])), _ANSWERS).close()
        except OSError as error:
            raise _not_joined(f"nothing answers at `{address}`", place(address), error) from error
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            configure_logging=True,
            namespace="causal-dsl",
        )
    except Exception as error:  # of networks, of versions, and of addresses that are none
        if "ersion mismatch" in str(error):
            raise SpecError([other_versions(address, str(error), place)]) from error
        raise _not_joined(f"the cluster `{address}` cannot be joined", place(address), error) from error
    _silence(ray)


def other_versions(address: str, said: str, place: Callable[[str], Span] | None = None) -> Diagnostic:
    """E919: a machine of the cluster has other versions of what computes."""
    return Diagnostic(
        "E919",
        f"the cluster `{address}` has other versions than this machine",
        (place or _typed)(address),
        notes=tuple(" ".join(line.split()) for line in said.splitlines() if line.strip())[:6],
        help=f"use the same versions on all machines: here is Python {sys.version.split()[0]}",
    )


def _not_joined(title: str, place: Span, error: BaseException) -> SpecError:
    help = "start a cluster with `ray start --head` and pass its address, or run on this machine with --workers N"
    if "RAY_AUTH_MODE" not in os.environ:
        help += "; where the cluster asks for a token, set RAY_AUTH_MODE=token"
    return fail("E918", title, place, notes=(_said(error),), help=help)


def _typed(word: str) -> Span:
    return place_of_option((), word, word)


def _resources(ray: Any) -> tuple[int, int, int]:
    found = ray.cluster_resources()
    nodes = sum(bool(node.get("Alive")) for node in ray.nodes())
    return int(found.get("GPU", 0)), int(found.get("CPU", 0)), max(1, nodes)


def _silence(ray: Any) -> None:
    """Let Ray print nothing of workers that died: the run says it, and its standard output is for its results."""
    with suppress(AttributeError):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextmanager
def _own_environment() -> Iterator[None]:
    """Without an address in the environment, which would be joined where this machine is meant; and with a token of its own, which
    keeps other users of the machine out and which Ray would write into the home folder else."""
    names = (ADDRESS, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    held = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.pop(ADDRESS, None)
    if "RAY_AUTH_MODE" not in held and "RAY_AUTH_TOKEN" not in held:
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(held)


def _short_folder() -> str:
    """Where Ray's sockets go: their paths must be short, which those of some machines' own temporary folders are not."""
    chosen = tempfile.gettempdir()
    return chosen if len(chosen) <= 30 or not os.access("/tmp", os.W_OK) else "/tmp"


def clear_left() -> None:
    """Remove the temporary folders of drivers and workers that were killed."""
    for folder, prefix in ((_short_folder(), _PREFIX), (tempfile.gettempdir(), WORKER)):
        for path in Path(folder).glob(f"{prefix}*"):
            number = path.name.removeprefix(prefix).partition("-")[0]
            if number.isdigit() and not psutil.pid_exists(int(number)):
                shutil.rmtree(path, ignore_errors=True)


def died_of(logs: Path | None, process: int) -> str:
    """The last words of a worker of this machine: what faulthandler wrote as it crashed; empty where nothing is known."""
    for path in logs.glob(f"session_latest/logs/worker-*-{process}.err") if logs is not None else ():
        with suppress(OSError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("Fatal Python error: "):
                    return line.removeprefix("Fatal Python error: ")
    return ""


__all__ = ["Machines", "address_used", "clear_left", "died_of", "installed", "other_versions", "session"]
