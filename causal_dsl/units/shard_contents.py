"""The contents of shards in their folders: their manifests, what their units were computed on, and their files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.store.documents import read_document
from causal_dsl.store.files import replacing
from causal_dsl.store.out import UNITS
from causal_dsl.store.tensors import Damaged, load_arrays, load_tensors
from causal_dsl.units.folder import UnitFolder
from causal_dsl.units.shards import SHARD, shard_folders


@dataclass(frozen=True, eq=False)
class ShardFolder:
    """The folder of one spec in one shard, and what its manifest says."""

    folder: Path
    said: dict[str, Any]
    units: UnitFolder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", UnitFolder(self.folder / UNITS))

    @property
    def name(self) -> str:
        return f"shard {self.said['shard']}/{self.said['of']}"


def shards_in(folder: Path) -> Iterator[ShardFolder]:
    """The shards in a folder: it may be the ``--out`` of all of them, of one, or the folder of a spec."""
    places = [folder, *shard_folders(folder)]
    for inner in [*places, *(path for place in places for path in sorted(place.glob("*")) if path.is_dir())]:
        try:
            said = json.loads((inner / SHARD).read_text(encoding="utf-8"))
            keys = {"shard", "of", "spec", "path", "identity", "networks", "versions", "units"}
            if isinstance(said, dict) and said.keys() >= keys:
                yield ShardFolder(inner, said)
        except (OSError, ValueError):
            continue


def known_runs(shards: Sequence[ShardFolder]) -> dict[str, dict[str, Any]]:
    """The runs that the blocks of each part belong to."""
    known: dict[str, dict[str, Any]] = {}
    for shard in shards:
        for unit in shard.said["units"]:
            done = shard.units.done(unit["key"]) if unit["kind"] == "block" and unit["network"] not in known else None
            about = run_of(shard.units.root / done.files[0]) if done is not None and done.files else None
            if about is not None:
                known[unit["network"]] = about
    return known


def run_of(file: Path) -> dict[str, Any] | None:
    """The run that the blocks beside a file belong to; None where it is not said."""
    try:
        return read_document(file.parent / "run.json")
    except (OSError, ValueError):
        return None


def is_whole(path: Path) -> bool:
    """Whether a file is as it was written."""
    try:
        if path.suffix == ".npz":
            load_arrays(path)
        elif path.suffix == ".safetensors":
            load_tensors(path)
    except (OSError, Damaged):
        return False
    return path.is_file()


def copy_units(here: Path, there: Path) -> None:
    """Put every file of one folder of units into another that lacks it, or has it damaged."""
    for inner, _, names in os.walk(here):
        for name in names:
            path = Path(inner) / name
            target = there / path.relative_to(here)
            if name.startswith(".") or not is_whole(path) or (target.is_file() and is_whole(target)):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part:
                shutil.copyfile(path, part)


__all__ = ["ShardFolder", "copy_units", "is_whole", "known_runs", "run_of", "shards_in"]
