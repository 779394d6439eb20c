"""Where finished fits and trainings are kept beside the cache: in the store of ``--out``, and in those of other shards.

The cache belongs to a machine. What one machine finished reaches another through a folder that both see, or that is
copied between them; so what is kept under a key is looked for in all of these places, and is put into the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from pathlib import Path
from typing import TypeVar

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.store.code import kept_in_folders
from causal_dsl.store.files import write_atomic
from causal_dsl.store.stepwise import kept_in

T = TypeVar("T")


@dataclass(frozen=True)
class Rooms:
    """``own``: where what is finished is put as well (None: nowhere but in the cache). ``others``: what is only read."""

    own: Path | None = None
    others: tuple[Path, ...] = ()
    #: what was put into ``own``, or was there when it was asked for, by its path from there
    noted: dict[str, None] = field(default_factory=dict)


_NOWHERE = Rooms()
_ROOMS: ContextVar[Rooms] = ContextVar("rooms", default=_NOWHERE)


@contextmanager
def kept_beside(own: Path | None, others: tuple[Path, ...] = ()) -> Iterator[Rooms]:
    """Within, what is finished is kept in ``own`` as well, and is found in ``own`` and ``others`` where the cache lacks it."""
    rooms = Rooms(own, others)
    token = _ROOMS.set(rooms)
    try:
        with kept_in_folders([room for room in (own, *others) if room is not None]):
            yield rooms
    finally:
        _ROOMS.reset(token)


def found(name: str, file: str, read: Callable[[Path], T | None]) -> tuple[Path, T] | None:
    """The value that ``read`` makes of the first file that it can use, of the cache and then of the rooms; None where there is none.
    What lies elsewhere is copied into the room of this run, so that the room holds all that was taken."""
    rooms = _ROOMS.get()
    places = [kept_in(name), *(room / name for room in (rooms.own, *rooms.others) if room is not None)]
    for place in places:
        path = place / file
        taken = read(path)
        if taken is not None:
            put(name, path)
            return path, taken
    return None


def put(name: str, path: Path) -> None:
    """Copy a finished file into the room of this run. Raises :class:`~causal_dsl.store.files.CannotWrite`."""
    rooms = _ROOMS.get()
    own = rooms.own
    if own is None:
        return
    rooms.noted[f"{name}/{path.name}"] = None
    if (own / name / path.name).exists():
        return
    (own / name).mkdir(parents=True, exist_ok=True)
    write_atomic(own / name / path.name, path.read_bytes())


def room() -> Path | None:
    """The room of this run."""
    return _ROOMS.get().own


__all__ = ["Rooms", "found", "kept_beside", "put", "room"]
