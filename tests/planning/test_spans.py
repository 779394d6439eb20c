"""What positions name in many inputs, and what can be reached, against each input by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from causal_dsl.planning.prompts import Inputs


def test_spans_of_many_rows_are_those_of_each_row() -> None:
    lengths, asked = [2, 0, 3, 1], []

    def where(position: Any, index: int) -> tuple[int, ...]:
        asked.append(index)
        return tuple(10 * index + i for i in range(lengths[index]))

    rows = np.random.default_rng(0).integers(0, 4, 5000)
    for indices in (rows[:7], rows, rows[:0]):
        asked.clear()
        which, tokens = Inputs.spans(SimpleNamespace(where=where), None, indices)  # type: ignore[arg-type]
        expected = [(i, 10 * row + k) for i, row in enumerate(indices.tolist()) for k in range(lengths[row])]
        assert list(zip(which.tolist(), tokens.tolist(), strict=True)) == expected
    Inputs.spans(SimpleNamespace(where=where), None, rows)  # type: ignore[arg-type]
    assert len(asked) == 4  # each different input once
