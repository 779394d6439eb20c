"""Tables of facts: ``csv("cities.csv", key=city)`` and ``jsonl("cities.jsonl", key=city)``.

The whole file is read and checked at once; a column has one type.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from causal_dsl.causal.domains import LIMIT, Finite, Value, show, type_of
from causal_dsl.causal.files import read_text
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.garbage import rarely_collected
from causal_dsl.syntax import tree

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)


@dataclass(frozen=True)
class LookupTable:
    """Rows of a file by the value of their key column.

    ``columns[name]`` has one value a row, in the order of ``keys``; the values of a column are of one type.
    """

    name: str
    path: str
    key: str
    keys: Finite
    columns: dict[str, tuple[Value, ...]]
    span: Span
    _domains: dict[str, Finite] = field(default_factory=dict, compare=False, repr=False)

    def domain(self, column: str) -> Finite:
        """The distinct values of a column, in the order of the rows."""
        if column not in self._domains:
            cells = self.columns[column]
            distinct = dict.fromkeys(cells)
            self._domains[column] = Finite(cells if len(distinct) == len(cells) else tuple(distinct))
        return self._domains[column]


def load_table(decl: tree.TableDecl, folder: Path, diagnostics: Diagnostics) -> LookupTable | None:
    """Read a declared table, or report why not: E340 (file or call), E341 (key column), E342 (keys), E343 (rows)."""
    call = decl.value
    kind = call.function.name if isinstance(call.function, tree.Name) else ""
    if kind not in ("csv", "jsonl"):
        help = did_you_mean(kind, ("csv", "jsonl"), 'write csv("file.csv", key=column)')
        diagnostics.report("E340", "a table comes from csv or jsonl", call.function.span, help=help)
        return None
    file: tree.String | None = None
    key: tree.Node | None = None
    for argument in call.arguments:
        if argument.name is None and file is None and isinstance(argument.value, tree.String):
            file = argument.value
        elif argument.name is not None and argument.name.name == "key" and key is None:
            key = argument.value
        else:
            place = argument.name.span if argument.name is not None else argument.span
            help = f'write {kind}("file.{kind}", key=column)'
            diagnostics.report("E340", f"`{kind}` takes a file and its key column", place, label="not this", help=help)
            return None
    if file is None:
        diagnostics.report("E340", f"`{kind}` needs a file", call.span, help=f'write {kind}("file.{kind}", key=column)')
        return None
    text = read_text(file.value, folder, file.span, diagnostics, "E340")
    if text is None:
        return None
    # A million rows are millions of objects, none of which is on a cycle: looking for cycles takes longer than reading.
    with rarely_collected():
        return _read_table(decl, text, kind, file, key, diagnostics)


def _read_table(
    decl: tree.TableDecl, text: str, kind: str, file: tree.String, key: tree.Node | None, diagnostics: Diagnostics
) -> LookupTable | None:
    read = _csv(text, file, diagnostics) if kind == "csv" else _jsonl(text, file, diagnostics)
    if read is None:
        return None
    names, rows, lines = read
    wanted = key.name if isinstance(key, tree.Name) else key.value if isinstance(key, tree.String) else None
    if wanted is None:
        help = f"write key={names[0]}; the columns are {', '.join(names[:12])}"
        diagnostics.report("E341", "which column names the rows?", key.span if key else decl.value.span, help=help)
        return None
    if wanted not in names:
        assert key is not None
        diagnostics.report(
            "E341", f"`{file.value}` has no column `{wanted}`", key.span, help=did_you_mean(wanted, names)
        )
        return None
    columns: dict[str, tuple[Value, ...]] = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        column = _typed(cells, name, lines, file, diagnostics, parse=kind == "csv")
        if column is None:
            return None
        columns[name] = column
    seen: dict[Value, int] = {}
    distinct = set(columns[wanted])
    for value, line in zip(columns[wanted], lines, strict=True):
        if len(distinct) == len(columns[wanted]) and "" not in distinct:
            break  # nothing to find
        if value in seen or value == "":
            what = "is empty" if value == "" else f"{show(value)} is twice in the key column"
            title = f"the key column `{wanted}` {what}" if value == "" else what
            where = f"line {line}" if value == "" else f"lines {seen[value]} and {line}"
            help = "a key names one row: leave one out, or choose another key"
            diagnostics.report("E342", title, file.span, label=f"{where} of `{file.value}`", help=help)
            return None
        seen[value] = line
    return LookupTable(decl.name.name, file.value, wanted, Finite(columns[wanted]), columns, decl.name.span)


_Rows = tuple[list[str], Sequence[Sequence[object]], Sequence[int]]


def _csv(text: str, file: tree.String, diagnostics: Diagnostics) -> _Rows | None:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        diagnostics.report("E343", f"line {reader.line_num} of `{file.value}` is no CSV", file.span, label=str(error))
        return None
    filled = [row for row in rows if row]
    lines: Sequence[int] = range(1, 1 + len(rows))
    if len(filled) < len(rows) or reader.line_num > len(rows):  # a row is not a line everywhere
        again = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [again.line_num for row in again if row]
    if not filled:
        return _checked([], [], [], file, diagnostics)
    names, wide = [name.strip() for name in filled[0]], len(filled[0])
    if set(map(len, filled)) != {wide}:
        line, count = next((line, len(row)) for line, row in zip(lines, filled, strict=True) if len(row) != wide)
        diagnostics.report(
            "E343",
            f"line {line} of `{file.value}` has {_cells(count)}",
            file.span,
            label=f"the first line names {wide} columns",
            help="quote a value that holds a comma",
        )
        return None
    return _checked(names, filled[1:], lines[1:], file, diagnostics)


def _cells(n: int) -> str:
    return "1 value" if n == 1 else f"{n} values"


def _jsonl(text: str, file: tree.String, diagnostics: Diagnostics) -> _Rows | None:
    names: list[str] = []
    rows: list[list[object]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not all(isinstance(v, (bool, int, float, str)) for v in row.values()):
            help = 'write one object a line: {"city": "Paris", "country": "France"}'
            diagnostics.report("E343", f"line {number} of `{file.value}` is not a row", file.span, help=help)
            return None
        names = names or list(row)
        if set(row) != set(names):
            odd = sorted(set(row) ^ set(names))
            label = f"`{odd[0]}` is {'missing' if odd[0] in names else 'only here'}"
            diagnostics.report("E343", f"line {number} of `{file.value}` has other columns", file.span, label=label)
            return None
        rows.append([row[name] for name in names])
        lines.append(number)
    return _checked(names, rows, lines, file, diagnostics)


def _checked(
    names: list[str],
    rows: Sequence[Sequence[object]],
    lines: Sequence[int],
    file: tree.String,
    diagnostics: Diagnostics,
) -> _Rows | None:
    if not rows:
        diagnostics.report("E343", f"`{file.value}` has no rows", file.span)
        return None
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        diagnostics.report("E343", f"`{file.value}` has two columns `{twice}`", file.span, help="give one another name")
        return None
    return names, rows, lines


def _typed(
    cells: Sequence[object], name: str, lines: Sequence[int], file: tree.String, diagnostics: Diagnostics, parse: bool
) -> tuple[Value, ...] | None:
    """The values of a column. Of a CSV, all cells that look like numbers make numbers; ``007`` stays a text."""
    if parse:
        found = _parsed(list(map(str.strip, cast("Sequence[str]", cells))), name, lines, file, diagnostics)
        if found is None:
            return None
        values: Sequence[Value] = found
    else:
        values = [cell for cell in cells if isinstance(cell, (bool, int, float, str))]
        if {type_of(value) for value in values} == {"int", "real"}:
            values = [float(value) if abs(value) < LIMIT else math.inf for value in values]  # type: ignore[arg-type]
    first = type_of(values[0])
    others = set(map(type, values)) - {type(values[0])}
    large = first in ("int", "real") and any(
        _too_large(value) for value in set(values) if type(value) is type(values[0])
    )
    for value, line in zip(values, lines, strict=True) if others or large else ():
        if type_of(value) != first:
            title = f"the column `{name}` of `{file.value}` has values of several types"
            diagnostics.report(
                "E343", title, file.span, label=f"line {lines[0]}: {show(values[0])}, line {line}: {show(value)}"
            )
            return None
        if _too_large(value):
            title = f"a number in `{name}` of `{file.value}` is too large"
            diagnostics.report(
                "E343", title, file.span, label=f"line {line}", help="write it as a text in quotes, or scale it"
            )
            return None
    return tuple(values)


def _too_large(value: Value) -> bool:
    kind = type_of(value)
    return (kind == "int" and not abs(value) < LIMIT) or (kind == "real" and not math.isfinite(value))  # type: ignore[arg-type]


def _parsed(
    texts: list[str], name: str, lines: Sequence[int], file: tree.String, diagnostics: Diagnostics
) -> Sequence[Value] | None:
    """Cells of a CSV as truth values, numbers or texts. Each text is looked at once, however often it occurs."""
    first = next(filter(None, texts), "true")
    if first.lower() not in ("true", "false") and not _NUMBER.match(first):
        return texts  # whatever else is in it
    distinct = dict.fromkeys(texts)
    filled = [text for text in distinct if text]
    values: dict[str, Value] | None = None
    if filled and all(text.lower() in ("true", "false") for text in filled):
        values = {text: text.lower() == "true" for text in filled}
    elif filled and all(_NUMBER.match(t) and not re.match(r"[+-]?0\d", t) for t in filled):
        kind: type[int] | type[float]
        kind = int if all(_WHOLE.match(text) and len(text) < 25 for text in filled) else float
        values = {text: kind(text) for text in filled}
    if values is None:
        return texts
    if "" in distinct:
        line = lines[texts.index("")]
        diagnostics.report(
            "E343", f"`{name}` has no value in line {line} of `{file.value}`", file.span, help="fill it in"
        )
        return None
    return list(map(values.__getitem__, texts))
