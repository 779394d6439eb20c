"""Columns of numbers in Arrow files (IPC, LZ4), a file for some blocks of a run: written once, and read a column at a time.

Each record batch has the numbers of some pairs in one run of one cell of a test, a column for each quantity; what a run does not
have is null there. The metadata of the file's schema name the batches in their order.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.store.files import replacing

_ABOUT = b"causal_dsl"
#: How many files are held open for reading.
_OPEN = 64


@dataclass(frozen=True, eq=False)
class ColumnPart:
    """The numbers of some pairs in one run of a test, by the names of their columns, all of one length: of one cell, or of all (None)."""

    test: str
    run: str
    cell: int | None
    numbers: Mapping[str, np.ndarray]

    @property
    def name(self) -> PartName:
        return self.test, self.run, self.cell


PartName = tuple[str, str, int | None]


def write_columns(path: Path, parts: Sequence[ColumnPart]) -> None:
    """Write a file. Raises :class:`~causal_dsl.store.files.CannotWrite`."""
    import pyarrow as pa

    kinds: dict[str, Any] = {}
    for part in parts:
        for name, numbers in part.numbers.items():
            whole = numbers.dtype.kind in "iub" and kinds.get(name, pa.int64()) == pa.int64()
            kinds[name] = pa.int64() if whole else pa.float64()
    about = {_ABOUT: json.dumps([part.name for part in parts]).encode()}
    schema = pa.schema([pa.field(name, kind) for name, kind in kinds.items()], metadata=about)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        replacing(path) as making,
        pa.OSFile(str(making), "wb") as file,
        pa.ipc.new_file(file, schema, options=options) as writer,
    ):
        for part in parts:
            count = max((len(numbers) for numbers in part.numbers.values()), default=0)
            arrays = [
                pa.array(np.ascontiguousarray(part.numbers[name]), kind)
                if name in part.numbers
                else pa.nulls(count, kind)
                for name, kind in kinds.items()
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def parts_in(path: Path) -> list[PartName] | None:
    """The parts of a file in their order; None where it is not one of this module."""
    import pyarrow as pa

    try:
        with pa.OSFile(str(path), "rb") as file:
            about = pa.ipc.open_file(file).schema.metadata or {}
            if _ABOUT not in about:
                return None
            return [(test, run, cell) for test, run, cell in json.loads(about[_ABOUT])]
    except (OSError, ValueError):  # ArrowInvalid is a ValueError
        return None


class _Readers:
    """Files that are open for reading one of their columns: the last few."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def of(self, path: Path, name: str) -> Any:
        import pyarrow as pa

        there = path.stat()  # a later run may have put another file into its place
        key = (path, name, there.st_ino, there.st_size, there.st_mtime_ns)
        if key not in self._open:
            file = pa.OSFile(str(path), "rb")
            index = pa.ipc.open_file(file).schema.get_field_index(name)
            file.seek(0)
            self._open[key] = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=[index]))
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]


_READERS = _Readers()


def read_column(path: Path, part: int, name: str) -> np.ndarray:
    """One column of one part of a file, not to be written to."""
    found: np.ndarray = _READERS.of(path, name).get_batch(part).column(0).to_numpy(zero_copy_only=True)
    return found


__all__ = ["ColumnPart", "PartName", "parts_in", "read_column", "write_columns"]
