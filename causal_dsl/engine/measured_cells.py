"""The measurements of a run: the columns of every cell, filled block by block."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import field
from pathlib import Path
from typing import NoReturn

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import did_you_mean, one_line, printable
from causal_dsl.engine.block_results import BlockResult, BlockResults
from causal_dsl.engine.column_store import HELD_COLUMNS, ColumnStore, DonePairs, NoColumns, columns_of
from causal_dsl.engine.linear_probe import probe_numbers, rows_of, token_bounds
from causal_dsl.measures.quantities import NO_ANSWER, Columns, Quantity
from causal_dsl.messages.displayed import not_there
from causal_dsl.network.network import Network
from causal_dsl.network.steadiness import most_of_batch, refused_noise
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import Test
from causal_dsl.store.scratch import no_room
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.readings import READINGS


@dataclass
class CellRun:
    """The measurements of one cell: ``done`` marks the pairs that were run. ``fired[i]`` of intervention i: at how
    many places it acted, the sum of its relative changes there, and how many places cannot reach the read-out."""

    node: g.ScoreNode
    columns: Columns
    done: DonePairs | np.ndarray
    fired: list[tuple[int, float, int]] = field(default_factory=list)
    noise_floor: float | None = None
    off_manifold: tuple[int, int] = (0, 0)
    #: what was kept of all pairs, [n, width], by the run and the site
    vectors: dict[tuple[str, tree.Expr], np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        cell = ", ".join(f"{name}={value}" for name, value in self.node.cell)
        there = ", ".join(dict.fromkeys(quantity.kind for quantity in self.columns.patched or self.columns.base))
        told = printable(one_line(f"{cell}: {there}" if cell and there else cell or there))
        return f"<CellRun {told}>" if told else "<CellRun>"


@dataclass
class TestRun:
    """The cells of one test, filled as the run goes on."""

    __test__ = False  # not a pytest class

    test: Test
    n: int
    cells: list[CellRun]
    seconds: float = 0.0

    def __repr__(self) -> str:
        done = sum(bool(cell.done.all()) for cell in self.cells)
        told = f"{self.n} pair{'s' * (self.n != 1)}, {done} of {len(self.cells)} cell{'s' * (len(self.cells) != 1)} measured"
        return f"<TestRun {printable(one_line(self.test.name))}: {told}>"


class TestRuns(dict[str, TestRun]):
    """The runs of tests by their names; one that is not there is a diagnostic (E862), which says what is."""

    __test__ = False  # not a pytest class

    def __missing__(self, name: object) -> NoReturn:
        own = [one for one, run in self.items() if not run.test.control[0]]
        known, help = ", ".join(f"`{one}`" for one in own), did_you_mean(str(name), own)
        raise not_there(
            f"the plan has no test `{name}`", f"there is {known}" if known and known not in help else "", help
        )


class MeasuredCells:
    """The cells of all tests of a plan. ``folder`` is where the numbers of pairs lie, if there are more than are held. ``scored``: they are
    read here; of blocks that are computed for another process none are kept beside their files."""

    def __init__(
        self, plan: Plan, networks: Mapping[NetworkKey, Network], folder: Path | None = None, scored: bool = True
    ):
        self.plan, self.networks, self.scored = plan, networks, scored
        self.kept: ColumnStore | None = None
        if not scored:
            self.kept = NoColumns()
        elif columns_of(plan) > HELD_COLUMNS:
            self.kept = ColumnStore(folder)
        self.runs = TestRuns()
        for test in plan.tests:
            shared: dict[tuple[str, Quantity], np.ndarray] = {}
            nodes, n = plan.scores[test.name], plan.draw_of(test).n
            cells = [CellRun(node, self._empty(test, i, n, shared), DonePairs(n)) for i, node in enumerate(nodes)]
            self.runs[test.name] = TestRun(test, n, cells)

    def _empty(self, test: Test, cell: int, n: int, shared: dict[tuple[str, Quantity], np.ndarray]) -> Columns:
        """The columns of a cell, without numbers yet. ``shared`` has those that all cells of the test have: of plain runs."""

        def blank(run: str, read: g.ReadNode | None) -> MutableMapping[Quantity, np.ndarray]:
            plain = read.quantities if read else ()
            places = tuple(quantity for looked in (read.looks if read else ()) for quantity in looked.quantities)
            if self.kept is not None:
                return self.kept.numbers(test.name, run, cell, n, plain, places)
            found: dict[Quantity, np.ndarray] = {}
            for quantity in plain:
                if (run, quantity) not in shared or run == "patched":
                    answer = quantity.kind == "answer"
                    shared[run, quantity] = np.full(n, NO_ANSWER, np.int64) if answer else np.full(n, np.nan)
                found[quantity] = shared[run, quantity]
            return found | {quantity: np.full(n, np.nan) for quantity in places}

        node = self.plan.scores[test.name][cell]
        others = {run: blank(run, read) for run, read in node.reads if run not in ("base", "patched")}
        return Columns(blank("base", node.read("base")), blank("patched", node.read("patched")), others)

    def finish(self) -> None:
        """Make what is made of the vectors of all pairs together, in the cells that are done; hold no columns of many pairs."""
        if self.kept is not None:
            try:
                self.kept.flush()
            except OSError as error:
                raise no_room(error) from error
        for run in self.runs.values():
            for cell in run.cells:
                for role, read in cell.node.reads if cell.vectors and cell.done.all() else ():
                    held = cell.columns
                    own = {**held.sources, "base": held.base, "patched": held.patched}[role]
                    for looked in read.looks:
                        if looked.look.kind in READINGS and READINGS[looked.look.kind].of == "pairs":
                            vectors = cell.vectors[role, looked.look.asked.site]
                            values = probe_numbers(self.plan, run.test, read.run, looked.look, vectors)
                            own.update(dict.fromkeys(looked.quantities, values))

    def merge(self, block_results: BlockResults) -> None:
        """Take in what a block found."""
        for name, block_result in block_results.items():
            self._merge_test(self.runs[name], block_result)

    def _merge_test(self, run: TestRun, block_result: BlockResult) -> None:
        run.seconds += block_result.seconds
        pairs = block_result.pairs
        if self.kept is not None:
            try:
                self.kept.add(run.test.name, block_result)
            except OSError as error:
                raise no_room(error) from error
        for role, numbers in block_result.unpatched.items():
            filled: set[int] = set()
            for cell in run.cells:
                columns = cell.columns.base if role == "base" else cell.columns.sources[role]
                for quantity, values in numbers.items() if self.kept is None else ():
                    if id(columns[quantity]) not in filled:
                        columns[quantity][pairs] = values
                        filled.add(id(columns[quantity]))
                if cell.node.read("patched") is None and role == "base":
                    self._mark(cell, pairs)
        for (number, role), numbers in block_result.looked.items() if self.scored else ():
            self._merge_looked(run, number, role, numbers, block_result)
        for place, number in enumerate(block_result.cells):
            cell = run.cells[number]
            for quantity, values in block_result.patched.items() if self.kept is None else ():
                cell.columns.patched[quantity][pairs] = values[place]
            fired = [(int(rows), float(change), int(dead)) for rows, change, dead in block_result.fired[number]]
            cell.fired = _added(cell.fired, fired)
            if number in block_result.noise_floors:
                cell.noise_floor, share = block_result.noise_floors[number]
                self._refuse_noise(run.test, cell, share)
            out, of = block_result.off_manifold.get(number, (0, 0))
            cell.off_manifold = (cell.off_manifold[0] + out, cell.off_manifold[1] + of)
            self._mark(cell, pairs)

    def _mark(self, cell: CellRun, pairs: np.ndarray) -> None:
        assert isinstance(cell.done, DonePairs)
        cell.done.mark(pairs)

    def _merge_looked(
        self, run: TestRun, number: int, role: str, numbers: Mapping[Quantity, np.ndarray], block_result: BlockResult
    ) -> None:
        """The readings at places in a run of a cell: a number a pair, or vectors, which are held."""
        cell, pairs = run.cells[number], block_result.pairs
        for quantity, values in numbers.items():
            if values.ndim == 1:
                if self.kept is None:
                    cell.columns.of_run(role)[quantity][pairs] = values
                continue
            assert quantity.place is not None
            key, bounds, rows = (role, quantity.place.site), self._bounds(cell, role, quantity), pairs
            if key not in cell.vectors:
                cell.vectors[key] = rows_of(run.n if bounds is None else int(bounds[-1]), values.shape[1])
            if bounds is not None:
                rows = np.concatenate([np.arange(bounds[pair], bounds[pair + 1]) for pair in pairs])
            cell.vectors[key][rows] = values

    def _bounds(self, cell: CellRun, role: str, quantity: Quantity) -> np.ndarray | None:
        """Where the tokens of each pair begin among the vectors that are kept; None where each pair has one vector."""
        read = cell.node.read(role)
        assert read is not None
        look = next(looked.look for looked in read.looks if looked.look.asked == quantity.place)
        return token_bounds(self.plan, read.run, look)

    def _refuse_noise(self, test: Test, cell: CellRun, share: float) -> None:
        """Raise E664 where the base patched into itself is not itself, by more than rounding: its numbers are not its own.

        A feature may lose something on the way in and out; what it does so is a finding (``noise``).
        """
        read = cell.node.read("patched")
        if read is None or not isinstance(read.run, g.Resume) or any(write.feature for write in read.run.writes):
            return
        network = self.networks[test.network.key]
        if share > most_of_batch(network.dtype):
            raise refused_noise(network, share, test.name)


def _added(one: list[tuple[int, float, int]], other: list[tuple[int, float, int]]) -> list[tuple[int, float, int]]:
    if not one:
        return list(other)
    return [(a + d, b + e, c + f) for (a, b, c), (d, e, f) in zip(one, other, strict=True)]


__all__ = ["CellRun", "MeasuredCells", "TestRun"]
