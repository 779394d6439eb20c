"""The table of all pairs and cells of a run, ``pairs.parquet``: at once, or of very many rows a cell after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass

if TYPE_CHECKING:
    import pandas

#: Rows of a table that is made at once.
AT_ONCE = 500_000
#: Rows by which the types of columns are known.
_SOME = 64


@dataclass(frozen=True, eq=False)
class CodedTexts:
    """A text for each pair: ``texts[codes]`` [n]; none where the code is -1."""

    codes: np.ndarray
    texts: list[str]

    def listed(self, rows: slice = slice(None)) -> list[str | None]:
        return [None if code < 0 else self.texts[code] for code in self.codes[rows].tolist()]

    def arrow(self) -> Any:
        import pyarrow as pa

        codes = self.codes.astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(self.texts, pa.string()))


@dataclass(frozen=True, eq=False)
class TableCell:
    """The rows of a cell: what all of them have, and columns of n rows; these are made when they are needed."""

    same: Mapping[str, Any]
    n: int
    own: Any  # () -> Mapping[str, CodedTexts | np.ndarray | list]

    def frame(self, rows: slice = slice(None)) -> pandas.DataFrame:
        import pandas

        columns = {
            name: values.listed(rows) if isinstance(values, CodedTexts) else values[rows]
            for name, values in self.own().items()
        }
        return pandas.DataFrame({**self.same, **columns})


def write_table(cells: list[TableCell], path: Path) -> None:
    """Write the rows of all cells. Raises OSError."""
    if sum(cell.n for cell in cells) <= AT_ONCE:
        _joined([cell.frame() for cell in cells]).to_parquet(path, index=False)
        return
    import pyarrow as pa
    from pyarrow import parquet

    known = pa.Schema.from_pandas(_joined(list(_samples(cells))), preserve_index=False)
    words = pa.dictionary(pa.int32(), pa.string())
    textual = [field.name for field in known if field.type in (pa.null(), pa.string(), pa.large_string())]
    fields = [pa.field(field.name, words) if field.name in textual else field for field in known]
    schema = pa.schema(fields, metadata=known.metadata)
    with parquet.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for cell in cells:
            own = {**cell.same, **cell.own()}
            arrays = [_column(own.get(field.name), cell.n, field.type) for field in schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        writer.add_key_value_metadata(known.metadata)  # of which type pandas has each column


def _column(values: Any, n: int, kind: Any) -> Any:
    """A column of n rows in Arrow."""
    import pyarrow as pa

    if isinstance(values, CodedTexts):
        return values.arrow()
    if pa.types.is_dictionary(kind):
        if values is None or isinstance(values, str | int | float | bool):
            text = [] if values is None else [str(values)]
            return CodedTexts(np.full(n, len(text) - 1), text).arrow()
        texts = ["" if value is None else str(value) for value in values]
        kinds, codes = np.unique(texts, return_inverse=True)
        lacking = np.array([value is None or value != value for value in values])
        return CodedTexts(np.where(lacking, -1, codes), kinds.tolist()).arrow()
    if values is None:
        return pa.nulls(n, kind)
    if np.ndim(values) == 0:
        return pa.array(np.full(n, values)).cast(kind)
    return pa.array(np.asarray(values), from_pandas=True).cast(kind)


def _samples(cells: list[TableCell]) -> Iterator[pandas.DataFrame]:
    """A few rows, from which the types of all columns can be told: the cells of a test have the same columns."""
    import pandas

    known: set[tuple[Any, Any]] = set()
    for cell in cells:
        of = (cell.same.get("test"), cell.same.get("output"))
        yield cell.frame(slice(_SOME)) if of not in known else pandas.DataFrame([dict(cell.same)])
        known.add(of)


def _joined(frames: list[pandas.DataFrame]) -> pandas.DataFrame:
    import pandas

    table = pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame({"test": []})
    for name in table.columns:
        if name.endswith("_id") or name == "pair":
            table[name] = table[name].astype("Int64")
        elif name == "kept":
            table[name] = table[name].astype("boolean")
        elif table[name].dtype == object:
            table[name] = table[name].map(lambda value: None if value is None or value != value else str(value))
    return table


__all__ = ["AT_ONCE", "CodedTexts", "TableCell", "write_table"]
