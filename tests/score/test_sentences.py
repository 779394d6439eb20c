"""What the sentences of a report say in the cases at the edge: one pair, a filter, a draw without a written `where`."""

from __future__ import annotations

import pytest

from causal_dsl.causal.cover import DrawScope
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import counted
from causal_dsl.score.make_findings import cell_findings, scope_finding
from causal_dsl.score.results import CellInfo
from causal_dsl.score.score import all_of_them
from causal_dsl.score.verdict import verdict

ONE = Estimate(1.0, n=1, method="exact")


def test_one_pair_is_one() -> None:
    assert [counted(n) for n in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
    assert "over 1 pair;" in verdict(ONE, ONE, {}).text
    told = [finding.text for finding in cell_findings(1, 0, CellInfo(), 0.0, True)]
    assert told and not any("1 pairs" in text for text in told)


@pytest.mark.parametrize(
    ("drawn", "filtered", "words"),
    [
        (False, False, "which are all there are"),
        (False, True, "which are all that pass the filter"),
        (True, False, "which include all that can be drawn"),
        (True, True, "which include all that can be drawn and pass the filter"),
    ],
)
def test_all_of_a_filtered_design_are_those_kept(drawn: bool, filtered: bool, words: str) -> None:
    assert all_of_them(drawn, filtered) == words


def test_a_value_has_no_where() -> None:
    assert "`where`" not in scope_finding(DrawScope(("m = true",), 0.25, True, value=True)).text
    assert "of the draws of `base` pass the `where`" in scope_finding(DrawScope(("base",), 0.25, True)).text
