"""What positions name in many inputs, and what can be reached, against each input by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from causal_dsl.inputs import VectorInputs


def test_spans_of_many_rows_are_those_of_each_row() -> None:
    lengths, asked = [2, 0, 3, 1], []

    class Located(VectorInputs):
        def __len__(self) -> int:
            return len(lengths)

        def locate(self, position: Any, index: int, span: Any) -> tuple[int, ...]:
            asked.append(index)
            return tuple(10 * index + i for i in range(lengths[index]))

    facts: Any = None
    rows = np.random.default_rng(0).integers(0, 4, 5000)
    for indices in (rows[:7], rows, rows[:0]):
        which, tokens = Located(facts, None).spans(None, indices)
        expected = [(i, 10 * row + k) for i, row in enumerate(indices.tolist()) for k in range(lengths[row])]
        assert list(zip(which.tolist(), tokens.tolist(), strict=True)) == expected
    asked.clear()
    inputs = Located(facts, None)
    for _ in range(2):
        inputs.spans(None, rows)
        assert inputs.sizes(None, rows[:9]).tolist() == [lengths[row] for row in rows[:9].tolist()]
        assert inputs.where(None, 2) == (20, 21, 22)
    assert sorted(asked) == [0, 1, 2, 3]  # each different input once
