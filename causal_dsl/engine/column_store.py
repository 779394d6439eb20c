"""Columns of a run that lie in files: which pairs and numbers are where, read when they are asked for.

A test of a million pairs and a hundred cells has more numbers than a process should hold. Scores take them a column after another.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.block_results import BlockResult
from causal_dsl.measures.quantities import NO_ANSWER, Quantity
from causal_dsl.planning.plan import Plan
from causal_dsl.store.column_files import ColumnPart, PartName, parts_in, read_column, write_columns

#: Bytes of columns that a run holds; from more on they lie in files.
HELD_COLUMNS = 256 * 2**20
#: Bytes of columns that were read last and are held, as several scores in turn read the same ones.
RECENT = 64 * 2**20
#: Bytes of columns that one file has.
FILE_BYTES = 128 * 2**20
#: Behind the name of a run: what was read at places in it.
AT_PLACES = " at places"

Pairs = slice | np.ndarray


def names_of(quantities: Sequence[Quantity]) -> list[str]:
    """The names of the columns of some quantities of a run, each its own."""
    names: list[str] = []
    for quantity in quantities:
        name = " ".join(str(quantity).replace(" of None", "").split())
        names.append(f"{name} ({len(names)})" if name in names else name)
    return names


def _named(numbers: MutableMapping[Quantity, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(names_of(list(numbers)), numbers.values(), strict=True))


@dataclass(eq=False)
class ColumnPiece:
    """The numbers of some pairs in one run of a cell: held, by name, or as one ``part`` of a file."""

    pairs: Pairs
    numbers: dict[str, np.ndarray]
    path: Path | None = None
    part: int = 0

    def of(self, name: str) -> np.ndarray:
        return self.numbers[name] if self.path is None else read_column(self.path, self.part, name)


@dataclass(eq=False)
class StoredColumn:
    """One number of the n pairs in one run, in pieces."""

    n: int
    name: str
    blank: float
    pieces: list[ColumnPiece]

    def read(self) -> np.ndarray:
        """The column, [n], not to be written to; pairs that were not run have no number."""
        found = np.full(self.n, self.blank) if np.isnan(self.blank) else np.full(self.n, int(self.blank))
        for piece in self.pieces:
            found[piece.pairs] = piece.of(self.name)
        found.flags.writeable = False
        return found


class _Recent:
    """The columns that were read last."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, tuple[StoredColumn, list[ColumnPiece], np.ndarray]] = OrderedDict()

    def read(self, column: StoredColumn) -> np.ndarray:
        known = self._held.get(id(column))
        if known is not None and known[0] is column and known[1] == column.pieces:
            self._held.move_to_end(id(column))
            return known[2]
        numbers = column.read()
        self._held[id(column)] = column, list(column.pieces), numbers
        while len(self._held) > 1 and sum(one.nbytes for _, _, one in self._held.values()) > RECENT:
            self._held.popitem(last=False)
        return numbers


_RECENTLY = _Recent()


class StoredNumbers(MutableMapping[Quantity, np.ndarray]):
    """The numbers of a run by quantity, read at each access; those that are put in are held."""

    def __init__(self, columns: MutableMapping[Quantity, StoredColumn], home: object = None):
        self._columns = columns
        self._home = home  # a temporary folder is there as long as what reads its files
        self._own: dict[Quantity, np.ndarray] = {}

    def __getitem__(self, quantity: Quantity) -> np.ndarray:
        return self._own[quantity] if quantity in self._own else _RECENTLY.read(self._columns[quantity])

    def __setitem__(self, quantity: Quantity, numbers: np.ndarray) -> None:
        self._own[quantity] = numbers

    def __delitem__(self, quantity: Quantity) -> None:
        self._own.pop(quantity, None)
        del self._columns[quantity]

    def __contains__(self, quantity: object) -> bool:
        return quantity in self._own or quantity in self._columns

    def __iter__(self) -> Iterator[Quantity]:
        return iter(dict.fromkeys((*self._columns, *self._own)))

    def __len__(self) -> int:
        return len(dict.fromkeys((*self._columns, *self._own)))

    def held(self, quantity: Quantity) -> object:
        """The object that holds a number: cells that share it have the same."""
        return self._own[quantity] if quantity in self._own else self._columns[quantity]


class ColumnStore:
    """Where the columns of a run are: in Arrow files in a ``folder``, which is emptied of those of runs before; None: in one of the
    system's for temporary files, which goes with this object. What was added last is held until there is enough for a file."""

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._pieces: dict[PartName, list[ColumnPiece]] = {}
        self._columns: dict[tuple[PartName, Quantity], StoredColumn] = {}
        self._bytes = self._files = 0
        for path in folder.glob("*.arrow") if folder is not None else ():
            if parts_in(path) is not None:
                path.unlink()

    def numbers(
        self, test: str, run: str, cell: int, n: int, plain: Sequence[Quantity], places: Sequence[Quantity]
    ) -> StoredNumbers:
        """The numbers of a run of a cell: ``plain`` ones, and those at ``places``."""
        columns: dict[Quantity, StoredColumn] = {}
        for quantities, name, of in (
            (plain, run, cell if run == "patched" else None),
            (places, run + AT_PLACES, cell),
        ):
            part: PartName = test, name, of
            for called, quantity in zip(names_of(quantities), quantities, strict=True):
                if (part, quantity) not in self._columns:
                    blank = float(NO_ANSWER) if quantity.kind == "answer" else float("nan")
                    own = self._pieces.setdefault(part, [])
                    self._columns[part, quantity] = StoredColumn(n, called, blank, own)
                columns[quantity] = self._columns[part, quantity]
        return StoredNumbers(columns, self)

    def add(self, test: str, found: BlockResult) -> None:
        """Take the columns of a test in a block. Raises OSError."""
        for role, numbers in found.unpatched.items():
            self._add((test, role, None), found.pairs, _named(numbers))
        for (cell, run), numbers in found.looked.items():
            own = {name: values for name, values in _named(numbers).items() if values.ndim == 1}
            self._add((test, run + AT_PLACES, cell), found.pairs, own)
        patched = _named(found.patched)
        for place, cell in enumerate(found.cells):
            self._add((test, "patched", cell), found.pairs, {name: values[place] for name, values in patched.items()})
        if self._bytes > FILE_BYTES:
            self.flush()

    def _add(self, part: PartName, pairs: np.ndarray, numbers: dict[str, np.ndarray]) -> None:
        if numbers and len(pairs):
            self._pieces.setdefault(part, []).append(ColumnPiece(pairs, numbers))
            self._bytes += sum(values.nbytes for values in numbers.values())

    def flush(self) -> None:
        """Put what is held into a file. Raises OSError."""
        parts: list[ColumnPart] = []
        pairs: list[Pairs] = []
        for name, pieces in self._pieces.items():
            held = [piece for piece in pieces if piece.path is None]
            if held:
                names = held[0].numbers
                joined = {one: np.concatenate([piece.numbers[one] for piece in held]) for one in names}
                parts.append(ColumnPart(*name, joined))
                pairs.append(_run(np.concatenate([np.asarray(piece.pairs) for piece in held])))
        if not parts:
            return
        room = self._room()
        while (path := room / f"{self._files}.arrow").exists():  # something else is called so
            self._files += 1
        write_columns(path, parts)
        self._files, self._bytes = self._files + 1, 0
        for number, (part, mine) in enumerate(zip(parts, pairs, strict=True)):
            kept = [piece for piece in self._pieces[part.name] if piece.path is not None]
            self._pieces[part.name][:] = [*kept, ColumnPiece(mine, {}, path, number)]

    def _room(self) -> Path:
        """The folder that files are put into."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="causal-dsl-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)


class NoColumns(ColumnStore):
    """Of a process that computes blocks for others: the numbers of pairs are in the files of these, and none are kept beside them."""

    def add(self, test: str, found: BlockResult) -> None:
        """Keep nothing."""


def _run(pairs: np.ndarray) -> Pairs:
    """Pairs as a slice, where they follow one another."""
    first = int(pairs[0])
    return slice(first, first + len(pairs)) if np.array_equal(pairs, np.arange(first, first + len(pairs))) else pairs


class DonePairs:
    """Which of n pairs were run. Blocks are runs of pairs, so of most cells only where these end is held."""

    def __init__(self, n: int):
        self.n = n
        self._ends: list[tuple[int, int]] = []
        self._each: np.ndarray | None = None

    def mark(self, pairs: np.ndarray) -> None:
        """Note that some pairs, in rising order, were run."""
        if not len(pairs):
            return
        first, last = int(pairs[0]), int(pairs[-1]) + 1
        if self._each is not None or last - first != len(pairs):
            self._each = np.asarray(self)
            self._each[pairs] = True
            return
        merged: list[tuple[int, int]] = []
        for start, stop in sorted([*self._ends, (first, last)]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        self._ends = merged

    def all(self) -> bool:
        """Whether all were."""
        return bool(self._each.all()) if self._each is not None else self.n == 0 or self._ends == [(0, self.n)]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        if self._each is not None:
            return self._each
        found = np.zeros(self.n, bool)
        for start, stop in self._ends:
            found[start:stop] = True
        return found


def columns_of(plan: Plan) -> int:
    """How many bytes the numbers of all pairs and cells of a plan take."""
    found = 0
    for test in plan.tests:
        shared: set[tuple[str, Quantity]] = set()
        own = 0
        for node in plan.scores[test.name]:
            for run, read in node.reads:
                own += sum(len(looked.quantities) for looked in read.looks)
                own += len(read.quantities) if run == "patched" else 0
                shared |= {(run, quantity) for quantity in read.quantities if run != "patched"}
        found += 8 * (own + len(shared)) * plan.draw_of(test).n
    return found


__all__ = [
    "AT_PLACES",
    "FILE_BYTES",
    "HELD_COLUMNS",
    "ColumnStore",
    "DonePairs",
    "NoColumns",
    "StoredNumbers",
    "columns_of",
    "names_of",
]
