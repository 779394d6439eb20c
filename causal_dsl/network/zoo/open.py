"""``zoo("name")`` as something to load: a checkpoint's folder, or a module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from causal_dsl.diagnostics import NOWHERE, Span
from causal_dsl.network.zoo import equality_relu, perceptrons, rotated_and, smollm2, tracr
from causal_dsl.network.zoo.cache import Notice, ensure, say
from causal_dsl.network.zoo.smollm2 import Progress
from causal_dsl.program.zoo_entries import PROGRAM, Entry, cached_folder, entry_of
from causal_dsl.store.hashes import cache_root

#: Vector networks, made in memory.
BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "equality-relu": equality_relu.build,
    "rotated-and": rotated_and.build,
    "equality-mlp": perceptrons.equality_mlp,
    "logic-or-of-ands": partial(perceptrons.logic, "logic-or-of-ands"),
    "logic-and-of-or": partial(perceptrons.logic, "logic-and-of-or"),
}


def open_zoo(
    name: str, span: Span = NOWHERE, progress: Progress | None = None, notice: Notice = say
) -> Path | nn.Module:
    """The folder of a language network, fetched where it is not here yet; a module for a vector network.

    ``progress(what, done, total)`` counts bytes; None: a bar where standard error is a terminal. Raises E650 (no such
    network), E652 (it cannot be fetched), E653 (no room), E654 (something else was fetched).
    """
    entry = entry_of(name, span)
    if entry.coded:
        return BUILDERS[name]()
    if entry.ships:
        folder = cached_folder(name)
        assert folder is not None
        return tracr.build(folder) if (folder / PROGRAM).is_file() else folder
    return ensure(name, partial(_make, entry, span, progress, notice), room_for(entry), span, notice)


def _make(entry: Entry, span: Span, progress: Progress | None, notice: Notice, fetched: Path, made: Path) -> None:
    notice(f"fetching `{entry.name}` once, {entry.fetch['bytes'] // 10**6} MB, into {cache_root() / entry.name}")
    smollm2.make(entry, fetched, made, span, progress)


def room_for(entry: Entry) -> int:
    """Bytes on disk while it is made: the archive, what is in it, and the result."""
    return int(entry.size + 2.2 * entry.fetch["bytes"])
