"""``pairs.parquet`` read back, cell by cell: a file of very many rows has a cell in row groups of its own, which are read alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl.report import pair_table

if TYPE_CHECKING:
    import pandas
    from pyarrow.parquet import ParquetFile


class PairFile:
    """The pairs that a run kept. What cannot be read has no rows."""

    def __init__(self, path: Path):
        self._path = path

    def rows(self, test: str, cell: Mapping[str, Any], output: str = "") -> pandas.DataFrame | None:
        """The rows of a cell: those of one ``output``, or of the first where a test reads several; None where there are none."""
        import pandas
        import pyarrow

        try:
            parts = [_of_cell(part, test, cell) for part in self._parts({"test": test, **cell})]
        except (OSError, ValueError, pyarrow.ArrowException):
            return None
        rows = [part for part in parts if part is not None and len(part)]
        if not rows:
            return None
        found = pandas.concat(rows, ignore_index=True) if len(rows) > 1 else rows[0]
        if "output" in found and found["output"].notna().any():
            found = found[found["output"].astype(str) == (output or str(found["output"].iloc[0]))]
        elif output:
            return None
        return found if len(found) else None

    def _parts(self, wanted: Mapping[str, Any]) -> Iterator[pandas.DataFrame]:
        file = self._file
        if file is None:
            return
        if file.metadata.num_rows <= pair_table.AT_ONCE:
            yield self._whole
            return
        for number in range(file.num_row_groups):
            if _may_hold(file, number, wanted):
                yield file.read_row_group(number).to_pandas()

    @cached_property
    def _file(self) -> ParquetFile | None:
        import pyarrow as pa
        from pyarrow import parquet

        if not self._path.is_file():
            return None
        schema = parquet.read_schema(self._path)
        texts = [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
        many = parquet.read_metadata(self._path).num_rows > pair_table.AT_ONCE
        return parquet.ParquetFile(self._path, read_dictionary=texts if many else None)

    @cached_property
    def _whole(self) -> pandas.DataFrame:
        assert self._file is not None
        return self._file.read().to_pandas()


def _may_hold(file: ParquetFile, number: int, wanted: Mapping[str, Any]) -> bool:
    """Whether a row group may have rows with these values, by what the file says of its columns."""
    import pandas

    group = file.metadata.row_group(number)
    columns = (group.column(at) for at in range(group.num_columns))
    said = {one.path_in_schema: one.statistics for one in columns}
    for name, value in wanted.items():
        found = said.get(name)
        if found is None or not found.has_min_max or found.min != found.max:
            continue
        if not bool(_equal(pandas.Series([found.min]), value).iloc[0]):
            return False
    return True


def _of_cell(rows: pandas.DataFrame, test: str, cell: Mapping[str, Any]) -> pandas.DataFrame | None:
    found = rows[rows["test"] == test]
    for name, value in cell.items():
        if name not in found:
            return None
        found = found[_equal(found[name], value)]
    return found


def _equal(column: pandas.Series, value: Any) -> pandas.Series:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return column.astype(str) == str(value)
    try:
        return column.astype(float) == float(value)
    except (TypeError, ValueError):
        return column.astype(str) == str(value)


__all__ = ["PairFile"]
