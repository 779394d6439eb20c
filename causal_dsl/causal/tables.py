"""Tables of facts: ``csv("cities.csv", key=city)``, jsonl, parquet, dataset, or written out: ``{"Monday": "Tuesday", …}``.

The whole file is read and checked at once; a column has one type.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

from causal_dsl.base.garbage import rarely_collected
from causal_dsl.causal.domain_of import constant, finite, one_type
from causal_dsl.causal.domains import LIMIT, Finite, Value, show, type_of, written
from causal_dsl.causal.lookup_table import LookupTable
from causal_dsl.causal.named_files import read_text
from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.syntax import tree

#: Where a table comes from, and the name by which the number of a row is its key.
KINDS = ("csv", "jsonl", "parquet", "dataset")
ROW = "row"
_EXAMPLES = {"csv": "file.csv", "jsonl": "file.jsonl", "parquet": "file.parquet", "dataset": "folder"}
_WHOLE = r"[+-]?(?:0|[1-9]\d*)"
#: Texts that all are whole numbers, one a line. (No step is taken back: there is one way to read each.)
_ALL_WHOLE = re.compile(rf"(?:{_WHOLE}\n)*+{_WHOLE}", re.ASCII)
#: Texts of a column by which it is told whether they occur again and again.
_LOOK = 4096
#: What begins as `007` does.
_CODE = re.compile(r"[+-]?0\d")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)


def load_table(decl: tree.TableDecl, folder: Path, diagnostics: Diagnostics) -> LookupTable | None:
    """Read a declared table, or report why not: E340 (file or call), E341 (key column), E342 (keys), E343 (rows)."""
    call = decl.value
    if isinstance(call, tree.Mapping):
        return _written(decl, call, diagnostics)
    kind = call.function.name if isinstance(call.function, tree.Name) else ""
    if kind not in KINDS:
        help = did_you_mean(kind, KINDS, 'write csv("file.csv", key=column)')
        listed = ", ".join(KINDS[:-1])
        diagnostics.report("E340", f"a table comes from {listed} or {KINDS[-1]}", call.function.span, help=help)
        return None
    file: tree.String | None = None
    key: tree.Node | None = None
    split: str | None = None
    for argument in call.arguments:
        if argument.name is None and file is None and isinstance(argument.value, tree.String):
            file = argument.value
        elif argument.name is not None and argument.name.name == "key" and key is None:
            key = argument.value
        elif (word := _split(argument) if kind == "dataset" and split is None else None) is not None:
            split = word
        else:
            place = argument.name.span if argument.name is not None else argument.span
            help = f'write {kind}("{_EXAMPLES[kind]}", key=column)'
            diagnostics.report("E340", f"`{kind}` takes a file and its key column", place, label="not this", help=help)
            return None
    if file is None:
        what = "a folder" if kind == "dataset" else "a file"
        help = f'write {kind}("{_EXAMPLES[kind]}", key=column)'
        diagnostics.report("E340", f"`{kind}` needs {what}", call.span, help=help)
        return None
    if kind in ("parquet", "dataset"):
        with rarely_collected():
            return _arrow(decl, file, key, split, kind, folder, diagnostics)
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
    names, whole, lines = read
    wanted = _key(decl, key, file, names, {}, diagnostics)
    if wanted is None:
        return None
    columns: dict[str, tuple[Value, ...]] = {}
    gaps: dict[str, str] = {}
    for name, cells in zip(names, whole, strict=True):
        column = _typed(cells, name, lines, file, gaps, diagnostics, parse=kind == "csv")
        if column is None:
            return None
        columns[name] = column
    if wanted not in names:
        columns[ROW] = tuple(range(len(lines)))
    return _keyed(decl, file, wanted, columns, lines, "line", {}, gaps, diagnostics)


def _split(argument: tree.Argument) -> str | None:
    """The word of ``split=train``."""
    if argument.name is None or argument.name.name != "split":
        return None
    value = argument.value
    return value.name if isinstance(value, tree.Name) else value.value if isinstance(value, tree.String) else None


def _key(
    decl: tree.TableDecl,
    key: tree.Node | None,
    file: tree.String,
    names: Sequence[str],
    unusable: Mapping[str, str],
    diagnostics: Diagnostics,
) -> str | None:
    """The name of the key column, which may be the number of the row (E341)."""
    wanted = key.name if isinstance(key, tree.Name) else key.value if isinstance(key, tree.String) else None
    if wanted is None:
        first = names[0] if names else ROW
        help = f"write key={first}; the columns are {', '.join(names[:12])}"
        diagnostics.report("E341", "which column names the rows?", key.span if key else decl.value.span, help=help)
        return None
    if wanted in names or (wanted == ROW and wanted not in unusable):
        return wanted
    assert key is not None
    if wanted in unusable:
        title, label = f"the column `{wanted}` of `{file.value}` cannot name rows", unusable[wanted]
        diagnostics.report("E341", title, key.span, label=label, help=f"name another column, or write key={ROW}")
        return None
    diagnostics.report("E341", f"`{file.value}` has no column `{wanted}`", key.span, help=did_you_mean(wanted, names))
    return None


def _arrow(
    decl: tree.TableDecl,
    file: tree.String,
    key: tree.Node | None,
    split: str | None,
    kind: str,
    folder: Path,
    diagnostics: Diagnostics,
) -> LookupTable | None:
    from causal_dsl.causal.arrow import read_dataset, read_parquet

    if kind == "dataset":
        read = read_dataset(file, split, folder, diagnostics)
    else:
        read = read_parquet(file, folder, diagnostics)
    if read is None:
        return None
    if not read.rows:
        diagnostics.report("E343", f"`{file.value}` has no rows", file.span)
        return None
    wanted = _key(decl, key, file, list(read.columns), read.unusable, diagnostics)
    if wanted is None:
        return None
    columns = dict(read.columns)
    if wanted not in columns:
        columns[ROW] = tuple(range(read.rows))
    return _keyed(decl, file, wanted, columns, range(read.rows), "row", read.unusable, read.gaps, diagnostics)


def _written(decl: tree.TableDecl, mapping: tree.Mapping, diagnostics: Diagnostics) -> LookupTable | None:
    """A table that is written out (E311, E312, E314, E343)."""
    if not mapping.pairs:
        help = 'write {"Monday": "Tuesday", …}'
        diagnostics.report("E343", f"`{decl.name.name}` has no rows", mapping.span, help=help)
        return None
    sides: list[list[Value]] = [[], []]
    for pair in mapping.pairs:
        for found, expr in zip(sides, (pair.key, pair.value), strict=True):
            value = constant(expr)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is None:
                help = f'write "{expr.name}" if it is a text' if isinstance(expr, tree.Name) else ""
                diagnostics.report(
                    "E314", "a table lists plain values", expr.span, help=help or "write a number or a text"
                )
                return None
            if number and _too_large(value):
                diagnostics.report("E308", "this number is too large", expr.span, label="whole numbers end at 4.6e18")
                return None
            found.append(value)
    keys = finite(sides[0], [pair.key.span for pair in mapping.pairs], diagnostics, f"`{decl.name.name}`")
    values = one_type(sides[1], [pair.value.span for pair in mapping.pairs], diagnostics, "a table")
    if keys is None or values is None:
        return None
    columns = {"key": tuple(keys.values), "value": tuple(values)}
    return LookupTable(decl.name.name, "", "key", keys, columns, decl.name.span, "value")


def _keyed(
    decl: tree.TableDecl,
    file: tree.String,
    wanted: str,
    columns: dict[str, tuple[Value, ...]],
    lines: Sequence[int],
    unit: str,
    unusable: Mapping[str, str],
    gaps: Mapping[str, str],
    diagnostics: Diagnostics,
) -> LookupTable | None:
    """The table, whose keys are all different (E342). ``lines`` says where each row is, ``unit`` what that counts."""
    seen: dict[Value, int] = {}
    distinct = set(columns[wanted])
    for value, line in zip(columns[wanted], lines, strict=True):
        if len(distinct) == len(columns[wanted]) and "" not in distinct:
            break  # nothing to find
        if value in seen or value == "":
            what = "is empty" if value == "" else f"{show(value)} is twice in the key column"
            title = f"the key column `{wanted}` {what}" if value == "" else what
            where = f"{unit} {line}" if value == "" else f"{unit}s {seen[value]} and {line}"
            help = "a key names one row: leave one out, or choose another key"
            diagnostics.report("E342", title, file.span, label=f"{where} of `{file.value}`", help=help)
            return None
        seen[value] = line
    keys = Finite(columns[wanted])
    return LookupTable(decl.name.name, file.value, wanted, keys, columns, decl.name.span, "", unusable, gaps)


#: The names of columns, the cells of each, and the line of each row.
_Columns = tuple[list[str], Sequence[Sequence[object]], Sequence[int]]
#: Rows that are read before their cells go to the columns: the lists of a few are used again and again.
_AT_ONCE = 1024


def _csv(text: str, file: tree.String, diagnostics: Diagnostics) -> _Columns | None:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[list[str]] = []
    read = filled = 0
    odd: tuple[int, int] | None = None  # the first row that is not as wide as the first one, and its width
    try:
        while rows := list(islice(reader, _AT_ONCE)):
            read += len(rows)
            rows = list(filter(None, rows))
            columns = columns or [[] for _ in rows[:1] for _ in rows[0]]
            if odd is None and set(map(len, rows)) - {len(columns)}:
                odd = next((filled + i, len(row)) for i, row in enumerate(rows) if len(row) != len(columns))
            if rows and odd is None:
                for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                    column += cells
            filled += len(rows)
    except csv.Error as error:
        diagnostics.report("E343", f"line {reader.line_num} of `{file.value}` is no CSV", file.span, label=str(error))
        return None
    lines: Sequence[int] = range(1, 1 + read)
    if filled < read or reader.line_num > read:  # a row is not a line everywhere
        again = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [again.line_num for row in again if row]
    if odd is not None:
        at, count = odd
        diagnostics.report(
            "E343",
            f"line {lines[at]} of `{file.value}` has {_cells(count)}",
            file.span,
            label=f"the first line names {len(columns)} columns",
            help="quote a value that holds a comma",
        )
        return None
    names = [column[0].strip() for column in columns]
    return _checked(names, [column[1:] for column in columns], lines[1:], file, diagnostics)


def _cells(n: int) -> str:
    return "1 value" if n == 1 else f"{n} values"


def _jsonl(text: str, file: tree.String, diagnostics: Diagnostics) -> _Columns | None:
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
        if not isinstance(row, dict) or not all(
            v is None or isinstance(v, (bool, int, float, str)) for v in row.values()
        ):
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
    return _checked(names, list(zip(*rows, strict=True)), lines, file, diagnostics)


def _checked(
    names: list[str],
    columns: Sequence[Sequence[object]],
    lines: Sequence[int],
    file: tree.String,
    diagnostics: Diagnostics,
) -> _Columns | None:
    if not lines:
        diagnostics.report("E343", f"`{file.value}` has no rows", file.span)
        return None
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        diagnostics.report("E343", f"`{file.value}` has two columns `{twice}`", file.span, help="give one another name")
        return None
    return names, columns, lines


def _typed(
    cells: Sequence[object],
    name: str,
    lines: Sequence[int],
    file: tree.String,
    gaps: dict[str, str],
    diagnostics: Diagnostics,
    parse: bool,
) -> tuple[Value, ...] | None:
    """The values of a column. Of a CSV, all cells that look like numbers make numbers; ``007`` stays a text. Where one is missing,
    the column is one of texts, as prompts and answers write them, and a missing one is the empty text; of numbers and truth values
    that is put into ``gaps``."""
    if parse:
        texts = list(map(str.strip, cast("Sequence[str]", cells)))
        values: Sequence[Value]
        if "" in texts:
            some = iter(_parsed(list(filter(None, texts))))
            values = [next(some) if text else "" for text in texts]
        else:
            values = _parsed(texts)
        missing = "" in texts and not all(isinstance(value, str) for value in values)
        values = [written(value) for value in values] if missing else values
    else:
        texts = [
            cell if isinstance(cell, str) else "" if cell is None else written(cast("Value", cell)) for cell in cells
        ]
        missing = None in cells and not any(isinstance(cell, str) for cell in cells) and any(texts)
        values = texts if None in cells else cast("Sequence[Value]", cells)
        if {type_of(value) for value in values} == {"int", "real"}:
            values = [float(value) if abs(value) < LIMIT else math.inf for value in values]  # type: ignore[arg-type]
    if missing:
        gaps[name] = f"`{name}` has no value in line {lines[list(values).index('')]} of `{file.value}`"
    first = type_of(values[0])
    others = set(map(type, values)) - {type(values[0])}
    large = _some_too_large([value for value in values if type(value) is type(values[0])] if others else values)
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


def _some_too_large(values: Sequence[Value]) -> bool:
    """Whether one of some values of one type is too large: asked of all at once."""
    kind = type_of(values[0])
    if kind == "int":
        return not (max(values) < LIMIT and min(values) > -LIMIT)  # type: ignore[operator]
    return kind == "real" and not all(map(math.isfinite, cast("Sequence[float]", values)))


def _too_large(value: Value) -> bool:
    kind = type_of(value)
    return (kind == "int" and not abs(value) < LIMIT) or (kind == "real" and not math.isfinite(value))  # type: ignore[arg-type]


def _all_whole(texts: list[str]) -> bool:
    """Whether all of some texts are whole numbers: asked of all at once."""
    joined = "\n".join(texts)
    return joined.count("\n") == len(texts) - 1 and _ALL_WHOLE.fullmatch(joined) is not None


def _parsed(texts: list[str]) -> Sequence[Value]:
    """Cells of a CSV as truth values, numbers or texts. Where texts occur again and again, each is looked at once."""
    first = next(iter(texts), "")
    if first.lower() not in ("true", "false") and not _NUMBER.match(first):
        return texts  # whatever else is in it
    apart = len(set(texts[:_LOOK])) > 0.97 * _LOOK  # as good as all are different
    distinct = texts if apart else list(dict.fromkeys(texts))
    values: Sequence[Value] | None = None
    if all(text.lower() in ("true", "false") for text in distinct):
        values = [text.lower() == "true" for text in distinct]
    elif _all_whole(distinct) and max(map(len, distinct)) < 25:
        values = list(map(int, distinct))
    elif all(map(_NUMBER.match, distinct)) and not any(map(_CODE.match, distinct)):
        values = list(map(float, distinct))
    if values is None or apart:
        return texts if values is None else values
    return list(map(dict(zip(distinct, values, strict=True)).__getitem__, texts))
