"""The combinations of balanced values against a plain listing of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from causal_dsl.causal.balance_cells import Cells, handed_out

KINDS: dict[str, Callable[[np.random.Generator], list[np.ndarray]]] = {
    "truth values": lambda g: [g.integers(0, 2, 300).astype(bool) for _ in range(4)],
    "small ranges": lambda g: [g.integers(-3, 4, 300), g.integers(5, 9, 300)],
    "with gaps": lambda g: [7 * g.integers(-3, 4, 300), g.integers(0, 2, 300)],
    "far apart": lambda g: [10**12 * g.integers(-3, 4, 300), g.integers(0, 5, 300)],
    "too many for a table": lambda g: [g.integers(0, 300, 300) for _ in range(3)],
    "one column": lambda g: [g.integers(0, 30, 300)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_the_different_rows_in_order(kind: str) -> None:
    columns = KINDS[kind](np.random.default_rng(0))
    some = [column[:200] for column in columns]
    cells = Cells(np.stack(some, axis=1))
    wanted = sorted(set(zip(*(column.tolist() for column in some), strict=True)))
    assert [tuple(row) for row in cells.values.tolist()] == wanted
    number = {row: i for i, row in enumerate(wanted)}
    asked = [
        np.concatenate([column, column[:1] + 1000]) if column.dtype != bool else np.append(column, True)
        for column in columns
    ]
    expected = [number.get(row, -1) for row in zip(*(column.tolist() for column in asked), strict=True)]
    assert cells.of(asked, len(asked[0])).tolist() == expected


def test_nothing_to_balance() -> None:
    cells = Cells(np.zeros((0, 2), np.int64))
    assert len(cells) == 0
    assert cells.of([np.arange(3), np.arange(3)], 3).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(("rows", "draws", "cells"), [(40, 200, 7), (200, 40, 7), (60, 60, 1), (5, 0, 3)])
def test_draws_go_to_the_rows_that_want_them(rows: int, draws: int, cells: int) -> None:
    """Each row is given the first draw of its cell that no row before it has."""
    rng = np.random.default_rng(1)
    wanted, drawn = rng.integers(0, cells, rows), rng.integers(-1, cells, draws)
    left = {cell: [i for i, one in enumerate(drawn.tolist()) if one == cell] for cell in range(cells)}
    expected = {row: left[cell].pop(0) for row, cell in enumerate(wanted.tolist()) if left[cell]}
    taken, which = handed_out(wanted, drawn)
    assert dict(zip(taken.tolist(), which.tolist(), strict=True)) == expected
