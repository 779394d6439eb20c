"""The events that the scheduler hears of, and the actions that it asks for."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from causal_dsl.base.quick_dataclasses import dataclass


class Scheduled(Protocol):
    """As much of a unit as scheduling takes: units of one ``network`` run best where it is loaded; those of ``needs`` come first."""

    @property
    def key(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def network(self) -> Hashable: ...


# ── what is heard ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Joined:
    """A worker is up, and free."""

    worker: str


@dataclass(frozen=True)
class Loading:
    """A worker loads the network of its unit, and has not begun the unit."""

    worker: str


@dataclass(frozen=True)
class Loaded:
    """A worker has loaded the network of its unit."""

    worker: str


@dataclass(frozen=True)
class Finished:
    """A unit is stored; it took ``seconds``."""

    worker: str
    key: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """A unit was not stored, and its worker lives. ``again``: another try may go well."""

    worker: str
    key: str
    why: str
    again: bool = True


@dataclass(frozen=True)
class Died:
    """A worker is gone. ``memory``: its machine had no memory left. ``wordless``: nothing says why, so it may have been killed from outside."""

    worker: str
    why: str
    memory: bool = False
    wordless: bool = False


@dataclass(frozen=True)
class Alive:
    """A worker got on with what it does."""

    worker: str


@dataclass(frozen=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True)
class Stopped:
    """No unit is to be begun any more, as ``why`` says."""

    why: str


Event = Joined | Loading | Loaded | Finished | Failed | Died | Alive | Tick | Stopped


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Start:
    """Start a worker and call it so."""

    worker: str


@dataclass(frozen=True)
class Run:
    """Let a worker run a unit, with its memory halved so often."""

    worker: str
    key: str
    halved: int = 0


@dataclass(frozen=True)
class Kill:
    """End a worker that is silent. It counts as gone already."""

    worker: str
    why: str


Action = Start | Run | Kill


@dataclass(frozen=True)
class Fault:
    """Why a unit was set aside: each of its tries, in order; ``known``: it failed by a fault that it would have again."""

    key: str
    tries: tuple[str, ...]
    known: bool = False
    #: the unit that was set aside before, which this one needs; it was not tried itself
    behind: str = ""
    #: no worker lived to load its network
    loading: bool = False
