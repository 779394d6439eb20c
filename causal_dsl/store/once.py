"""Values that are computed once for a key of everything that decides them: taken from the cache or a store of results, else computed and kept in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from causal_dsl.store import later, rooms, stopping_points
from causal_dsl.store.files import if_possible
from causal_dsl.store.keys import Inputs, key_of, told
from causal_dsl.store.stepwise import kept_in
from causal_dsl.store.stored_only import refuse_making
from causal_dsl.store.tensors import take_arrays, write_arrays

#: Arrays by their names, and what is told of them as plain data.
StoredArrays = tuple[Mapping[str, np.ndarray], dict[str, Any]]


def once(room: str, what: str, inputs: Inputs, make: Callable[[], StoredArrays]) -> StoredArrays:
    """The value that ``make`` computes from ``inputs``, in the folder ``room`` of the cache and of the store; ``what`` names it to a reader.

    Raises what ``make`` raises, and where only what is stored is used (:mod:`causal_dsl.store.stored_only`) why it is not there.
    """
    key = key_of(inputs)
    name = f"{key}.npz"

    def read(path: Path) -> StoredArrays | None:
        taken = take_arrays(path, what, key)
        return taken if taken is not None and later.holds(taken[1].get("later")) else None

    found = rooms.found(room, name, read)
    if found is not None:
        return found[1]
    refuse_making()
    arrays, about = make()
    more = {**about, "made_for": told(inputs), "later": later.told_now()}
    path = kept_in(room) / name
    with if_possible(what):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, arrays, more, key)
    own = rooms.room()
    if own is not None and not path.is_file():  # the cache could not take it
        path = own / room / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, arrays, more, key)
    if own is not None:
        rooms.put(room, path)
    stopping_points.reached(room)
    return arrays, about


__all__ = ["StoredArrays", "once"]
