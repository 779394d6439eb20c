"""Finished blocks of a run in a folder, so that a run that was stopped goes on where it was.

Each block is one file of arrays. ``run.json`` says what they belong to (the inputs of :mod:`~causal_dsl.store.keys`, as data)
and how the run was cut; blocks of other inputs are never taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from causal_dsl.diagnostics import Diagnostic, Source, Span, shown_path
from causal_dsl.store import notices, stopping_points
from causal_dsl.store.documents import take_document, write_document
from causal_dsl.store.files import clear_parts, set_aside
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.keys import changes
from causal_dsl.store.later import CHANGED, Later
from causal_dsl.store.tensors import is_ours, take_arrays, write_arrays

_ABOUT = "run.json"
#: How the name of a note ends that a block is run as its halves.
_HALVED = ".halved.json"
#: Where a block says which files had been read when it was computed.
_LATER = "later"
#: How many changed inputs a warning names.
_NAMED = 4


class Blocks:
    """The finished blocks of one run. ``inputs`` is what they belong to, as plain data; ``later`` hears of files that are read
    only as the run goes on, which are kept beside the blocks and compared before any of them is taken. ``shared``: other
    processes write blocks of the same run into the folder, so how it is cut is said once, and nothing is removed."""

    def __init__(self, folder: Path, inputs: Mapping[str, Any], later: Later | None = None, shared: bool = False):
        self.folder, self._hears, self._shared = folder, later or Later(), shared
        self.inputs: dict[str, Any] = json.loads(json.dumps(inputs))
        self._key = of_bytes(json.dumps(self.inputs, sort_keys=True).encode())
        self.found = 0
        self._cut: list[Any] | None = None
        self._later: dict[str, str] = {}
        before = self._read()
        if before is None:
            return
        found = changes(before["inputs"], self.inputs) + self._hears.changes(before.get("later", {}))
        if found:
            self._tell_changes(found)
        else:
            self._cut, self._later = before["cut"], before.get("later", {})

    def _read(self) -> dict[str, Any] | None:
        def well(about: dict[str, Any]) -> bool:
            return (
                isinstance(about.get("inputs"), dict)
                and isinstance(about.get("cut"), list)
                and isinstance(about.get("later", {}), dict)
            )

        return take_document(self.folder / _ABOUT, "the list of the blocks of a run", well)

    def _tell_changes(self, found: list[str]) -> None:
        notes = tuple(found[:_NAMED]) + ((f"and {len(found) - _NAMED} more",) if len(found) > _NAMED else ())
        place = Span(Source(shown_path(self.folder.parent), ""), 0, 0)
        title, help = (
            "the results stored here belong to another run: none of them is taken, and they are replaced",
            "to keep both, pass another folder to --out",
        )
        notices.tell(Diagnostic("W658", title, place, notes=notes, help=help))

    @property
    def cut(self) -> list[Any] | None:
        """How the run before was cut into blocks, as it said to :meth:`begin`; None where none is to be taken up."""
        return self._cut

    def begin(self, cut: Sequence[Any]) -> None:
        """Start anew: what another run kept here goes, and what no run wrote stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._cut, self._later = list(cut), self._hears.told()
        if self._shared:
            self._begin_shared()
            return
        clear_parts(self.folder, every=True)
        for path in self.folder.glob("step*.npz"):
            if is_ours(path):
                path.unlink()
        for path in self.folder.glob(f"step*{_HALVED}"):
            path.unlink()
        self._write()

    def discard(self) -> None:
        """Keep nothing of this run, also of what others computed of it."""
        self._shared = False
        self.begin([])

    def _begin_shared(self) -> None:
        """Say how the run is cut, or hear it of whoever said it first."""
        with filelock.FileLock(self.folder / ".cut.lock"):
            before = self._read()
            if before is not None and not changes(before["inputs"], self.inputs):
                self._cut = before["cut"]
                return
            self._write()

    def _write(self) -> None:
        write_document(self.folder / _ABOUT, {"inputs": self.inputs, "cut": self._cut, "later": self._later})

    def was_halved(self, name: str) -> bool:
        """Whether memory ran out in this block before."""
        found = take_document(
            self.folder / f"{name}{_HALVED}", "a note of a halved block", lambda said: "owner" in said
        )
        return found is not None and found["owner"] == self._owner(name)

    def halve(self, name: str) -> None:
        """Note that a block is run as its halves: a file of its own, since others may note theirs at the same time."""
        write_document(self.folder / f"{name}{_HALVED}", {"owner": self._owner(name)})

    def say_later(self) -> None:
        """Keep which files were read by now: before a block that was computed with them."""
        found = self._hears.told()
        for name, known in self._later.items():
            if found.setdefault(name, known) != known:
                found[name] = CHANGED
        if found != self._later:
            self._later = found
            if not self._shared:  # each block says what had been read
                self._write()

    def put(self, name: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """Keep a finished block."""
        self.say_later()
        path = self.folder / f"{name}.npz"
        if path.exists() and not is_ours(path):
            set_aside(path, "a block of this run", "something else wrote it")
        write_arrays(path, arrays, {**about, _LATER: self._later}, self._owner(name))
        stopping_points.reached("sweep")

    def get(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """A block that was finished before, or None; a damaged one is set aside (W659)."""
        path = self.folder / f"{name}.npz"
        found = take_arrays(path, "a block of this run", self._owner(name))
        if found is None:
            return None
        if not all(self._agrees(file, known) for file, known in found[1].pop(_LATER).items()):
            set_aside(
                path, "a block of this run", "a file that is read during the run was another when it was computed"
            )
            return None
        self.found += 1
        return found

    def _agrees(self, file: str, known: str) -> bool:
        """Whether a file that had been read when a block was computed is the one that this run reads. One that is heard of
        for the first time, from a block that another process computed, is compared with what it holds now."""
        if file not in self._later and known != CHANGED and not self._hears.changes({file: known}):
            self._later[file] = known
        return self._later.get(file) == known

    def _owner(self, name: str) -> str:
        """The key of a block: all that the run depends on, and which part of it the block is."""
        return f"{self._key} {name}"
