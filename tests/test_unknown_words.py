"""A word that a table of records has and the code does not know is a mistake of the package: it never runs as another word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from causal_dsl.base.faults import OwnFault
from causal_dsl.engine.linear_probe import probe_numbers
from causal_dsl.planning.head_scores import looked_for
from causal_dsl.vocabulary.readings import READINGS, Reading

#: Tokens that occur again, with another one between.
_IDS = [5, 6, 5, 6]


@pytest.mark.parametrize("name", [name for name, record in READINGS.items() if record.of == "pattern"])
def test_each_score_of_heads_looks_for_weights_of_its_own(name: str) -> None:
    others = [other for other, record in READINGS.items() if record.of == "pattern" and other != name]
    mine = looked_for(name, _IDS)
    assert mine.any()
    assert all((looked_for(other, _IDS) != mine).any() for other in others)


def test_an_unknown_score_of_heads_is_no_induction() -> None:
    with pytest.raises(OwnFault, match="`prefix`"):
        looked_for("prefix", _IDS)


def test_an_unknown_reading_of_all_pairs_is_refused_before_anything_is_computed() -> None:
    look: Any = SimpleNamespace(kind="probe_entropy")
    nothing: Any = None
    with pytest.raises(OwnFault, match="`probe_entropy`"):
        probe_numbers(nothing, nothing, nothing, look, np.zeros((4, 2), np.float32))


def test_a_reading_of_attention_weights_has_two_positions() -> None:
    with pytest.raises(ValueError, match="two positions"):
        Reading("looks", "", "share", "looks(last)", "layer[0].head[0]", "weights", "", ("position",))
