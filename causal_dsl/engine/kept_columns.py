"""Columns of a run that lie in the files of its blocks: which pairs and numbers are where, read when they are asked for.

A test of a million pairs and a hundred cells has more numbers than a process should hold. Scores take them a column after another.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from causal_dsl.engine.block_results import BlockResult, BlockResults
from causal_dsl.measures.quantities import NO_ANSWER, Quantity
from causal_dsl.planning.plan import Plan
from causal_dsl.store.column_files import ColumnPart, PartName, parts_in, read_column, write_columns

#: Bytes of columns that a run holds; from more on they stay in the files of its blocks.
HELD_COLUMNS = 256 * 2**20
#: Bytes of columns that were read last and are held, as several scores in turn read the same ones.
_RECENT = 64 * 2**20
#: Behind the name of a run: what was read at places in it.
AT_PLACES = " at places"

Pairs = slice | np.ndarray


def names_of(quantities: Sequence[Quantity]) -> list[str]:
    """What the columns of some quantities of a run are called, each by a name of its own."""
    names: list[str] = []
    for quantity in quantities:
        name = str(quantity)
        names.append(f"{name} ({len(names)})" if name in names else name)
    return names


def parts_of(block_results: BlockResults) -> list[ColumnPart]:
    """The columns of a block: what was read of plain runs, of each cell's intervention, and at places."""
    parts = []
    for test, found in block_results.items():
        for role, numbers in found.unpatched.items():
            parts.append(ColumnPart(test, role, None, _named(numbers)))
        for (cell, run), numbers in found.looked.items():
            own = {name: values for name, values in _named(numbers).items() if values.ndim == 1}
            if own:
                parts.append(ColumnPart(test, run + AT_PLACES, cell, own))
        for place, cell in enumerate(found.cells):
            own = {name: values[place] for name, values in _named(found.patched).items()}
            parts.append(ColumnPart(test, "patched", cell, own))
    return parts


def _named(numbers: MutableMapping[Quantity, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(names_of(list(numbers)), numbers.values(), strict=True))


@dataclass(eq=False)
class StoredColumn:
    """One number of the n pairs in one run, in the pieces of its blocks: (pairs, file, part)."""

    n: int
    name: str
    blank: float
    pieces: list[tuple[Pairs, Path, int]]

    def read(self) -> np.ndarray:
        """The column, [n], not to be written to; pairs that were not run have no number."""
        found = np.full(self.n, self.blank) if np.isnan(self.blank) else np.full(self.n, int(self.blank))
        for pairs, path, part in self.pieces:
            found[pairs] = read_column(path, part, self.name)
        found.flags.writeable = False
        return found


class _Recent:
    """The columns that were read last."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, tuple[StoredColumn, int, np.ndarray]] = OrderedDict()

    def read(self, column: StoredColumn) -> np.ndarray:
        known = self._held.get(id(column))
        if known is not None and known[:2] == (column, len(column.pieces)):
            self._held.move_to_end(id(column))
            return known[2]
        numbers = column.read()
        self._held[id(column)] = column, len(column.pieces), numbers
        while len(self._held) > 1 and sum(one.nbytes for _, _, one in self._held.values()) > _RECENT:
            self._held.popitem(last=False)
        return numbers


_RECENTLY = _Recent()


class StoredNumbers(MutableMapping[Quantity, np.ndarray]):
    """The numbers of a run by quantity, read at each access; those that are put in are held."""

    def __init__(self, columns: MutableMapping[Quantity, StoredColumn]):
        self._columns = columns
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
        """What holds a number: cells that share it have the same object."""
        return self._own[quantity] if quantity in self._own else self._columns[quantity]


@dataclass(eq=False)
class KeptColumns:
    """Where the columns of a run are. Blocks that no folder of results keeps are kept in a folder of the system's for temporary files."""

    pieces: dict[PartName, list[tuple[Pairs, Path, int]]] = field(default_factory=dict)
    shared: dict[tuple[PartName, Quantity], StoredColumn] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] | None = None
    _count: int = 0

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
                if (part, quantity) not in self.shared:
                    blank = float(NO_ANSWER) if quantity.kind == "answer" else float("nan")
                    own = self.pieces.setdefault(part, [])
                    self.shared[part, quantity] = StoredColumn(n, called, blank, own)
                columns[quantity] = self.shared[part, quantity]
        return StoredNumbers(columns)

    def put_down(self, block_results: BlockResults) -> None:
        """Put the columns of a block into a file of the temporary folder. Raises OSError."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="causal-dsl-", ignore_cleanup_errors=True)
        self._count += 1
        path = Path(self._folder.name) / f"{self._count}.arrow"
        write_columns(path, parts_of(block_results), "")
        for found in block_results.values():
            found.lies = path

    def take(self, test: str, found: BlockResult) -> None:
        """Note where the columns of a test lie in the file of a block."""
        assert found.lies is not None
        first = int(found.pairs[0]) if len(found.pairs) else 0
        run = len(found.pairs) and np.array_equal(found.pairs, np.arange(first, first + len(found.pairs)))
        pairs: Pairs = slice(first, first + len(found.pairs)) if run else found.pairs
        for number, part in enumerate(parts_in(found.lies) or ()):
            if part[0] == test:
                self.pieces.setdefault(part, []).append((pairs, found.lies, number))


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
    "HELD_COLUMNS",
    "DonePairs",
    "KeptColumns",
    "StoredNumbers",
    "columns_of",
    "names_of",
    "parts_of",
]
