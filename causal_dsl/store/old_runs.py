"""The blocks that workers and shards kept of runs: those of other runs go once a run is whole, as they do where one process keeps its blocks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostic, Source, Span, shown_path
from causal_dsl.store import notices
from causal_dsl.store.documents import read_document
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.locks import Held, holding
from causal_dsl.store.tensors import is_ours

#: Files of a folder of blocks beside the blocks themselves.
_BESIDE = frozenset({"run.json", ".cut.lock"})


def name_of_run(inputs: Mapping[str, Any]) -> str:
    """How the folder of the blocks of a run is called, by all that decides its numbers."""
    return of_bytes(json.dumps(inputs, sort_keys=True).encode())[:24]


def remove_other_runs(units: Path, keep: Collection[str]) -> None:
    """Remove from the folder of the units of a spec the blocks of all runs but those of these names, and say so (W658). What no run wrote
    stays; nothing is removed while workers of another driver write there."""
    others = [path for path in (units / "blocks").glob("*") if path.name not in keep and _is_run(path)]
    if not others:
        return
    with suppress(Held, OSError, NotImplementedError), holding(units):
        gone = sum(_remove(path) for path in others)
        for done in (units / "done").glob("*.json"):
            if not _whole(done, units):
                done.unlink(missing_ok=True)
        if gone:
            _tell(units, gone)


def _is_run(path: Path) -> bool:
    try:
        return not path.is_symlink() and isinstance(read_document(path / "run.json").get("inputs"), dict)
    except (OSError, ValueError):
        return False


def _remove(folder: Path) -> bool:
    """Remove our files of a folder; whether it is gone. What says whose they are goes last, so that a kill in between loses nothing of it."""
    ours = [path for path in folder.iterdir() if path.name in _BESIDE or _is_block(path)]
    for path in sorted(ours, key=lambda path: path.name == "run.json"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _is_block(path: Path) -> bool:
    if not path.name.startswith("step") or path.is_symlink():
        return False
    return path.name.endswith(".halved.json") or (path.suffix == ".npz" and is_ours(path))


def _whole(done: Path, units: Path) -> bool:
    """Whether the files of a finished unit are there."""
    try:
        return all((units / str(file)).is_file() for file in read_document(done)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return True  # nothing that was written here


def _tell(units: Path, count: int) -> None:
    which = "another run" if count == 1 else f"{count} other runs"
    notices.tell(
        Diagnostic(
            "W658",
            f"the blocks that workers kept of {which} are removed: this run takes none of them, and is whole",
            Span(Source(shown_path(units.parent), ""), 0, 0),
            help="to keep the results of several runs, pass another folder to --out",
        )
    )


__all__ = ["name_of_run", "remove_other_runs"]
