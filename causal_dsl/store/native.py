"""Functions of libraries that open files beyond Python's sight: what they are given is noted as it is given.

Python tells of the files that it opens itself (:mod:`causal_dsl.store.code`). Libraries in other languages open theirs
without it, so those of their functions that take the path of a file are wrapped while code of the user runs.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: By module: the functions and classes whose first argument is a path, or a list of paths.
READERS = {
    "safetensors": ("safe_open",),
    "safetensors.torch": ("safe_open", "load_file", "load_model"),
    "safetensors.numpy": ("safe_open", "load_file"),
    "torch": ("from_file",),
    "torch.jit": ("load",),
    "pyarrow": ("memory_map", "OSFile"),
    "pyarrow.parquet": ("read_table", "ParquetFile", "ParquetDataset", "read_schema", "read_metadata"),
    "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.csv": ("read_csv", "open_csv"),
    "pyarrow.json": ("read_json",),
    "pyarrow.ipc": ("open_file", "open_stream"),
    "sqlite3": ("connect",),
}
_POSITION = {("safetensors.torch", "load_model"): 1}
_MARK = "_causal_dsl_tells"


@contextmanager
def telling(note: Callable[[str], None]) -> Iterator[None]:
    """Within, ``note`` is told of each path that one of these functions is given.

    Code that takes one by name (``from safetensors import safe_open``) keeps what it took: ``note`` may be called later, too.
    """
    replaced: list[tuple[Any, str, Any, Any]] = []
    for module, names in READERS.items():
        there = sys.modules.get(module)
        for name in names if there is not None else ():
            own = getattr(there, name, None)
            if own is not None and not hasattr(own, _MARK):  # within another `telling` it is wrapped already
                wrapped = _wrapped(own, _POSITION.get((module, name), 0), note)
                setattr(there, name, wrapped)
                replaced.append((there, name, own, wrapped))
    try:
        yield
    finally:
        for there, name, own, wrapped in reversed(replaced):
            if getattr(there, name, None) is wrapped:
                setattr(there, name, own)


@functools.cache  # code of a user is called for each value of a table: it is made once
def _wrapped(own: Any, position: int, note: Callable[[str], None]) -> Any:
    @functools.wraps(own)
    def told(*arguments: Any, **named: Any) -> Any:
        given = list(arguments[position : position + 1]) or list(named.values())
        for one in given:
            for path in one if isinstance(one, list | tuple) else (one,):
                if isinstance(path, str | bytes | os.PathLike):
                    note(os.fsdecode(path))
        return own(*arguments, **named)

    setattr(told, _MARK, True)
    return told


__all__ = ["READERS", "telling"]
