"""``run --shard i/N --out DIR``: the units of one shard, into ``DIR/shard-i-of-N``.

Shards speak to nobody and wait for nobody. Where they share ``DIR`` each takes the fits and trainings that others have
finished; what is stored nowhere yet it computes itself, so it ends whatever happens to the others.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import NOWHERE, Diagnostic, SpecError
from causal_dsl.planning.unit_shares import assigned
from causal_dsl.planning.work_units import WorkUnit
from causal_dsl.program.weights_held import refuse_in_group
from causal_dsl.report.progress import Progress
from causal_dsl.report.which_progress import progress
from causal_dsl.store.keys import versions
from causal_dsl.store.notices import collecting
from causal_dsl.store.old_runs import remove_old_runs
from causal_dsl.store.out import UNITS, SpecFolder, folder_of, opened, unwritable
from causal_dsl.units.worker import Worker

#: What says in the folder of a spec which shard it is, and of what.
SHARD = "shard.json"
#: The most shards of a run: a folder has one for each.
MOST_SHARDS = 100_000
_NAME = re.compile(r"shard-(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` of ``count``, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def folder(self, out: Path) -> Path:
        """Where it writes below ``--out``."""
        return out / f"shard-{self.number}-of-{self.count}"


@dataclass(frozen=True)
class RanShard:
    """The work of a shard on one spec: its ``units``, of ``every`` unit of the spec, and how many of them were ``found`` stored."""

    path: str
    shard: Shard
    folder: Path
    units: tuple[WorkUnit, ...]
    found: int
    every: int
    seconds: float
    warnings: tuple[Diagnostic, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "shard": self.shard.number,
            "of": self.shard.count,
            "folder": str(self.folder),
            "units": [unit.to_json() for unit in self.units],
            "found": self.found,
            "every": self.every,
            "seconds": self.seconds,
        }


def shard_folders(out: Path) -> list[Path]:
    """The folders of shards below a folder, by their numbers."""
    found = [path for path in out.glob("shard-*-of-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: [int(part) for part in _NAME.findall(path.name)[0]])


def run_shard(spec: Spec, options: Options, shard: Shard) -> RanShard:
    """Run, or find, the units of one shard of a spec. Raises :class:`SpecError` for a fault of the spec, its networks or the
    folder; a fault of one network keeps none of the units of others from being run."""
    assert options.folder is not None
    refuse_in_group("--shard", NOWHERE)
    out = shard.folder(options.folder)
    check(spec, options).raise_errors()  # before a folder is made
    with opened(out, spec.name) as held, progress(asked=options.progress) as bar:
        (held.folder / UNITS).mkdir(exist_ok=True)
        worker = Worker(spec, replace(options, out=out, progress=False))
        whose = assigned(worker.units, shard.count)
        try:
            held.write(SHARD, _manifest(worker, shard, whose))
        except OSError as error:
            raise unwritable(out, spec.name, error) from error
        mine = [unit for unit in worker.units if whose[unit.key] == shard.number - 1]
        return _run(worker, shard, held, mine, bar)


def _run(worker: Worker, shard: Shard, held: SpecFolder, mine: Sequence[WorkUnit], bar: Progress) -> RanShard:
    spec = worker.spec
    faults: list[Diagnostic] = []
    found, seconds = 0, 0.0
    bar.begin(f"{spec.name}: shard {shard}", len(mine))
    try:
        for unit in mine:
            bar.say(f"shard {shard}: {unit.label}"[:60])
            worker.others = _siblings(held, shard, spec)
            try:
                done = worker.run(unit)
            except SpecError as error:
                if error.code in _OF_THE_FOLDER:
                    raise
                faults += error.diagnostics
                continue
            finally:
                bar.advance()
            found, seconds = found + done.found, seconds + done.seconds
    finally:
        worker.close()
    if faults:
        raise SpecError(list(dict.fromkeys(faults)))
    with collecting() as notices:
        remove_old_runs(held.folder / UNITS, worker.runs)
    warnings = (*worker.notices, *notices)
    return RanShard(spec.name, shard, held.folder, tuple(mine), found, len(worker.units), seconds, warnings)


#: Faults after which no unit can be stored.
_OF_THE_FOLDER = frozenset({"E653", "E708", "E755", "E756"})


def _siblings(held: SpecFolder, shard: Shard, spec: Spec) -> tuple[Path, ...]:
    """The folders of the units of other shards of the same number, where they share a folder."""
    above = held.folder.parent.parent
    others = [path for path in shard_folders(above) if path.name.endswith(f"-of-{shard.count}")]
    found = [folder_of(path, spec.name) / UNITS for path in others if path != held.folder.parent]
    return tuple(path for path in found if path.is_dir())


def _manifest(worker: Worker, shard: Shard, whose: Mapping[str, int]) -> bytes:
    spec = worker.spec
    told = {
        "format": 1,
        "shard": shard.number,
        "of": shard.count,
        "spec": spec.name,
        "path": None if spec.path is None else os.path.abspath(spec.path),
        "identity": worker.identity,
        "networks": {name: os.path.abspath(path) for name, path in worker.options.networks.items()},
        "versions": versions(),
        "units": [
            {
                "key": unit.key,
                "kind": unit.kind,
                "network": unit.network,
                "label": unit.label,
                "shard": whose[unit.key] + 1,
            }
            for unit in worker.units
        ],
    }
    return json.dumps(told, indent=1).encode()


__all__ = ["SHARD", "RanShard", "Shard", "run_shard", "shard_folders"]
