"""Tables of Apache Arrow: ``parquet("f.parquet", key=id)``, and folders that `datasets` of Hugging Face has saved.

A column of a type that a causal model has (numbers, texts, truth values) can be used. Where a value is missing, it is the empty text, and
all values of the column are texts. Of the other columns it is kept why not, for whoever asks for one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import LIMIT, Value, written
from causal_dsl.causal.named_files import read_file
from causal_dsl.diagnostics import Diagnostics, did_you_mean, shown_path
from causal_dsl.store.reading import may_read
from causal_dsl.syntax import tree


@dataclass(frozen=True)
class ArrowColumns:
    """The columns that can be used, by name, the others with what is wrong with them, and how many rows there are."""

    columns: dict[str, tuple[Value, ...]]
    unusable: dict[str, str]
    rows: int
    #: those of numbers or truth values of which some are missing, with the first that is: they are texts
    gaps: dict[str, str]


def read_parquet(file: tree.String, folder: Path, diagnostics: Diagnostics) -> ArrowColumns | None:
    """The columns of a parquet file (E340, E343)."""
    data = read_file(file.value, folder, file.span, diagnostics, "E340")
    if data is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        _refuse(f"`{file.value}` is not a parquet file", file, str(error), diagnostics)
        return None
    return _columns(table)


def read_dataset(file: tree.String, split: str | None, folder: Path, diagnostics: Diagnostics) -> ArrowColumns | None:
    """The columns of a folder of ``Dataset.save_to_disk``, or of one split of a ``DatasetDict`` (E340, E343)."""
    where = folder / file.value
    splits = where / "dataset_dict.json"
    name = file.value
    if not may_read(where, name, file.span, diagnostics):
        return None
    if not where.is_dir():
        title = f"`{name}` is no folder" if where.exists() else f"there is no folder `{name}`"
        help = "name a folder that `Dataset.save_to_disk` has written"
        diagnostics.report("E340", title, file.span, notes=(f"looked for {shown_path(where)}",), help=help)
        return None
    if splits.is_file():
        told = _json(f"{name}/dataset_dict.json", folder, file, diagnostics)
        known = told.get("splits") if told is not None else None
        if told is None:
            return None
        if not isinstance(known, list) or not all(isinstance(one, str) for one in known):
            _refuse(f"`{name}/dataset_dict.json` names no splits", file, "", diagnostics)
            return None
        if split not in known:
            title = f"`{name}` has no split `{split}`" if split else f"which split of `{name}`?"
            help = did_you_mean(split or "", known) if split else f"write split={known[0]}" if known else ""
            diagnostics.report("E340", title, file.span, notes=(f"there is {', '.join(known)}",), help=help)
            return None
        name = f"{name}/{split}"
    elif split:
        diagnostics.report("E340", f"`{name}` has no splits", file.span, help="leave `split` out")
        return None
    state = _json(f"{name}/state.json", folder, file, diagnostics)
    if state is None:
        return None
    if state.get("_indices_data_files") or state.get("_indices_files"):
        help = "save it again after flatten_indices()"
        diagnostics.report("E343", f"the rows of `{name}` are kept by an index", file.span, help=help)
        return None
    files = state.get("_data_files")
    names = [one.get("filename") if isinstance(one, dict) else None for one in files] if isinstance(files, list) else []
    if not names or not all(isinstance(one, str) and Path(one).name == one for one in names):
        _refuse(f"`{name}/state.json` names no files of data", file, "", diagnostics)
        return None
    return _shards([f"{name}/{one}" for one in names], folder, file, diagnostics)


def _shards(names: Sequence[str], folder: Path, file: tree.String, diagnostics: Diagnostics) -> ArrowColumns | None:
    import pyarrow as pa

    tables = []
    for name in names:
        data = read_file(name, folder, file.span, diagnostics, "E340")
        if data is None:
            return None
        try:
            tables.append(pa.ipc.open_stream(pa.BufferReader(data)).read_all())
        except (pa.ArrowException, OSError, ValueError) as error:
            _refuse(f"`{name}` is not an Arrow file", file, str(error), diagnostics)
            return None
    try:
        return _columns(pa.concat_tables(tables))
    except pa.ArrowException as error:
        _refuse(f"the files of `{file.value}` do not have the same columns", file, str(error), diagnostics)
        return None


def _json(name: str, folder: Path, file: tree.String, diagnostics: Diagnostics) -> dict[str, Any] | None:
    data = read_file(name, folder, file.span, diagnostics, "E340")
    if data is None:
        return None
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        _refuse(f"`{name}` is no JSON", file, str(error), diagnostics)
        return None
    if isinstance(told, dict):
        return told
    _refuse(f"`{name}` is no JSON object", file, "", diagnostics)
    return None


def _refuse(title: str, file: tree.String, why: str, diagnostics: Diagnostics) -> None:
    diagnostics.report("E343", title, file.span, label=why.splitlines()[0][:120] if why else "")


# ── columns ─────────────────────────────────────────────────────────────────────────────────────


def _columns(table: Any) -> ArrowColumns:
    import pyarrow as pa

    columns: dict[str, tuple[Value, ...]] = {}
    unusable: dict[str, str] = {}
    gaps: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in columns or name in unusable:
            columns.pop(name, None)
            unusable[name] = "there are two of that name"
            continue
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (numeric or pa.types.is_boolean(kind) or _is_text(kind)):
            unusable[name] = f"it holds values of the type {kind}"
        elif column.null_count and _is_text(kind):
            columns[name] = tuple("" if value is None else value for value in column.to_pylist())
        else:
            values = tuple(column.to_pylist())
            large = next((i for i, one in enumerate(values) if numeric and one is not None and not _fits(one)), None)
            if large is None and None in values:
                gaps[name] = f"`{name}` has no value in row {values.index(None)}"
                columns[name] = tuple("" if value is None else written(value) for value in values)
            elif large is None:
                columns[name] = values
            else:
                unusable[name] = f"the number of row {large} is too large, or none"
    return ArrowColumns(columns, unusable, table.num_rows, gaps)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _fits(value: int | float) -> bool:
    return abs(value) < LIMIT if isinstance(value, int) else math.isfinite(value)


__all__ = ["ArrowColumns", "read_dataset", "read_parquet"]
