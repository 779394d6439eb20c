"""Whether a place holds its variable or its inputs: on all inputs of small models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from causal_dsl.score.copied import copied_inputs

A, B = (np.array(column) for column in zip(*itertools.product(range(4), range(4)), strict=True))
READ = np.stack([A, B], axis=1).astype(float)
SAME = (A == B).astype(int)


def found(*columns: np.ndarray) -> tuple[str, ...]:
    return copied_inputs(np.stack(columns, axis=1).astype(float), {"a": A, "b": B}, SAME, READ)


@pytest.mark.parametrize(
    ("columns", "raw"),
    [
        ((A, B), ("a", "b")),
        ((2 * A - 1, B**3), ("a", "b")),  # each number of one input, bent or not
        (((np.arange(4)[:, None] == A).astype(float)[1], B), ("a", "b")),
        ((A, 0 * B), ("a",)),  # half of what is needed
        ((SAME, 0 * A), ()),
        ((1 - SAME, A), ()),
        ((A - B,), ()),
        ((SAME + A, A), ()),  # held by two numbers together
        ((np.maximum(A - B, 0), np.maximum(B - A, 0)), ()),
        ((0 * A, 0 * B), ()),
    ],
)
def test_pairs_of_numbers(columns: tuple[np.ndarray, ...], raw: tuple[str, ...]) -> None:
    assert found(*columns) == raw


V = np.arange(12)


@pytest.mark.parametrize(
    ("held", "variable", "raw"),
    [
        (V, V // 3, ("v",)),
        (5 - 2 * V, V // 3, ("v",)),
        (V // 3, V // 3, ()),
        (V, V, ()),  # nothing to compute: the variable is the input
        (V**2, V // 3, ()),
    ],
)
def test_one_number(held: np.ndarray, variable: np.ndarray, raw: tuple[str, ...]) -> None:
    assert copied_inputs(held[:, None].astype(float), {"v": V}, variable, V[:, None].astype(float)) == raw


def test_inputs_that_are_met_once_say_nothing() -> None:
    a, b = np.arange(50), np.arange(50)[::-1].copy()
    held = np.stack([a, b], axis=1).astype(float)
    assert copied_inputs(held, {"a": a, "b": b}, (a > b).astype(int), np.zeros((50, 1))) == ()
