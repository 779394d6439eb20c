"""The pairs that fail: which inputs they have, what is right, and what the network said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.per_pair import ANSWER
from causal_dsl.measures.quantities import SAID
from causal_dsl.score.setting import FailedPair
from causal_dsl.score.wrong_answers import Speech, said_in_words, wrong_rows

#: Of a cell as many are told.
MOST_FAILED = 100


def failed_pairs(frame: CellData, label: bool, speech: Speech, cell: Mapping[str, Any]) -> tuple[FailedPair, ...]:
    """The first pairs of a cell whose answer is wrong: in the patched runs where there is a ``label``, else in the base runs."""
    if not frame.n:
        return ()
    run = "patched" if label else "base"
    rows, codes, said = wrong_rows(frame, run, label)
    pairs = rows if frame.rows is None else frame.rows[rows]
    wanted = frame.labels if label else frame.base_answers
    assert wanted is not None
    before = frame.column("base", ANSWER)
    words = frame.column("base", SAID) if SAID in frame.columns.base else np.full(frame.n, -1.0)
    found = []
    for row, pair, code, token in zip(
        rows[:MOST_FAILED].tolist(), pairs.tolist(), codes.tolist(), said.tolist(), strict=False
    ):
        told = words[row]
        first = said_in_words(int(before[row]), int(told) if told == told else -1, speech) if label else ""
        found.append(
            FailedPair(
                dict(cell),
                int(pair),
                speech.inputs(int(pair)) if speech.inputs is not None else {},
                speech.value(int(wanted[row])),
                said_in_words(code, token, speech),
                first,
            )
        )
    return tuple(found)


__all__ = ["MOST_FAILED", "failed_pairs"]
