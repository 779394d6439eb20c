"""The folder in which workers and shards put what they finished: ``DIR/STEM/units`` of ``--out DIR``.

``features/`` and ``trained/`` hold fits and trained weights under their keys; ``blocks/RUN/`` the blocks of a run, RUN being
made of everything that decides their numbers; ``done/KEY.json`` says of a unit which files hold its result. Every file is there whole or
not at all, and no process removes one of another, so any number of processes may write here at once.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checking.specs import Spec
from causal_dsl.diagnostics import SpecError
from causal_dsl.store.documents import read_document, write_document
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.out import MARKER, UNITS, folder_of, opened

#: Seconds for which another process may be making the folder of a spec.
_WAIT = 20.0


@dataclass(frozen=True)
class DoneUnit:
    """The record of a finished unit: its ``files`` from the folder of the units, and ``seconds`` that it took where it was
    computed, of which the processor worked for ``cpu`` seconds on all threads together; ``found``: it was there already.
    ``networks``: the notes of the networks that were loaded for it, which :meth:`UnitFolder.networks_of` reads."""

    key: str
    files: tuple[str, ...]
    seconds: float
    found: bool
    cpu: float = 0.0
    networks: tuple[str, ...] = ()


class UnitFolder:
    """The finished units of one spec."""

    def __init__(self, root: Path):
        self.root = root
        self._notes: set[str] = set()

    def say_done(self, done: DoneUnit) -> None:
        """Note a finished unit. Raises :class:`~causal_dsl.store.files.CannotWrite`."""
        (self.root / "done").mkdir(parents=True, exist_ok=True)
        write_document(self.root / "done" / f"{done.key}.json", asdict(done))

    def note_networks(self, made_of: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[str, ...]:
        """Note networks by their names, with what each was made of; gives the names of the notes."""
        return tuple(dict.fromkeys(self._note_network(name, inputs) for name, inputs in made_of))

    def _note_network(self, name: str, inputs: Mapping[str, Any]) -> str:
        said = {"network": name, "inputs": inputs}
        note = of_bytes(json.dumps(said, sort_keys=True).encode())[:24]
        path = self.root / "networks" / f"{note}.json"
        if note not in self._notes and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_document(path, said)
        self._notes.add(note)
        return note

    def networks_of(self, done: DoneUnit) -> list[tuple[str, dict[str, Any]]]:
        """The networks that were loaded for a finished unit, by name, with what each was made of."""
        found = []
        for note in done.networks:
            with suppress(OSError, ValueError, KeyError, TypeError):
                said = read_document(self.root / "networks" / f"{note}.json")
                found.append((str(said["network"]), dict(said["inputs"])))
        return found

    def done(self, key: str) -> DoneUnit | None:
        """The record of a finished unit whose files are there; None where it is not finished. It tells nothing of the
        weights that it was computed with: whoever takes a result compares the key that its file holds."""
        try:
            said = read_document(self.root / "done" / f"{key}.json")
            done = DoneUnit(
                key,
                tuple(map(str, said["files"])),
                float(said["seconds"]),
                bool(said["found"]),
                float(said.get("cpu", 0)),
                tuple(map(str, said.get("networks", ()))),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return done if all((self.root / file).is_file() for file in done.files) else None

    def among(self, keys: Iterable[str]) -> set[str]:
        """Those of some units that are finished."""
        return {key for key in keys if self.done(key) is not None}


def unit_folder(out: Path, spec: Spec) -> UnitFolder:
    """The folder of the units of a spec under ``--out``, made and marked as ours where there is none. Raises E708, E755 and
    E756 as a run does."""
    folder = folder_of(out, spec.name)
    until = time.monotonic() + _WAIT
    while not ((folder / MARKER).is_file() and (folder / UNITS).is_dir()):
        try:
            with opened(out, spec.name) as held:
                (held.folder / UNITS).mkdir(exist_ok=True)
        except SpecError as error:  # another worker is making it
            if error.code != "E756" or time.monotonic() > until:
                raise
            time.sleep(0.05)
    return UnitFolder(folder / UNITS)


def file_name(text: str) -> str:
    """A text as part of the name of a file."""
    return re.sub(r"[^\w.-]+", "_", text)


__all__ = ["DoneUnit", "UnitFolder", "file_name", "unit_folder"]
