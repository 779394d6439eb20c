"""The blocks that workers and shards kept of runs: those that no run can use any more go once a run is whole.

A run with other options (other tests, another seed) of the same files can be taken up again, so its blocks stay. Those of another text, of
other weights, or of other versions of what computes belong to a run that is none any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
_ABOUT = "run.json"
_BESIDE = frozenset({_ABOUT, ".cut.lock"})


def name_of_run(inputs: Mapping[str, Any]) -> str:
    """How the folder of the blocks of a run is called, by all that decides its numbers."""
    return of_bytes(json.dumps(inputs, sort_keys=True).encode())[:24]


def remove_old_runs(units: Path, current: Sequence[Mapping[str, Any]]) -> None:
    """Remove from the folder of the units of a spec the blocks of runs of other files or versions than those of the ``current`` inputs, and
    say so (W658). What no run wrote stays; nothing is removed while workers of another driver write there."""
    others = [path for path in (units / "blocks").glob("*") if _is_old(path, current)]
    if not others or not current:
        return
    with suppress(Held, OSError, NotImplementedError), holding(units):
        gone = sum(_remove(path) for path in others)
        for done in (units / "done").glob("*.json"):
            if not _whole(done, units):
                done.unlink(missing_ok=True)
        if gone:
            _tell(units, gone)


def _is_old(path: Path, current: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a folder is one of blocks of a run of other files or versions."""
    try:
        inputs = read_document(path / _ABOUT)["inputs"]
        return not path.is_symlink() and not any(_of_the_same(inputs, one) for one in current)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _of_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs are of one text and the same versions, and agree in all files and networks that both read."""
    alike = all(one[name] == other[name] for name in ("spec", "versions"))
    return alike and all(
        one[name][part] == other[name][part]
        for name in ("files", "networks")
        for part in one[name].keys() & other[name]
    )


def _remove(folder: Path) -> bool:
    """Remove our files of a folder; whether it is gone. What says whose they are goes last, so that a kill in between loses nothing of it."""
    ours = [path for path in folder.iterdir() if path.name in _BESIDE or _is_block(path)]
    for path in sorted(ours, key=lambda path: path.name == _ABOUT):
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
    which = "a run" if count == 1 else f"{count} runs"
    notices.tell(
        Diagnostic(
            "W658",
            f"the blocks that workers kept of {which} of another text, other files or versions are removed: no run can use them any more",
            Span(Source(shown_path(units.parent), ""), 0, 0),
            help="to keep the results of several runs, pass another folder to --out",
        )
    )


__all__ = ["name_of_run", "remove_old_runs"]
