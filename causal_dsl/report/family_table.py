"""The tests of a family in one table, and their scores over networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from causal_dsl.report.text_table import table_of
from causal_dsl.score.across_networks import FamilyResult, Spread
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate
from causal_dsl.score.results import TestResult

_MOST_ROWS = 40


def family(one: FamilyResult) -> Iterator[RenderableType]:
    """The lines below the tests of a family."""
    yield Text.assemble(
        ("family ", "dim"),
        (one.name, "bold"),
        (f"  {counted(len(one.tests), 'test')} over {', '.join(one.parameters)}", "dim"),
    )
    scores = _scores(one.tests)
    rows = [_row(test, scores) for test in one.tests[:_MOST_ROWS]]
    yield Padding(_table([*one.parameters, *scores, "verdict", "passed"], rows), (1, 0, 0, 2))
    if len(one.tests) > _MOST_ROWS:
        yield Padding(Text(f"and {counted(len(one.tests) - _MOST_ROWS, 'more test')}"), (0, 0, 0, 2))
    for over in one.over:
        spreads = [spread for spread in one.spreads if spread.score in scores and spread.over == over]
        if not any(spread.of > 1 for spread in spreads):
            continue
        yield Padding(Text(f"over {over}: each network counts once", style="dim"), (1, 0, 0, 2))
        head = [*spreads[0].at, "score", "networks", "mean", "sd", "lowest", "highest"]
        yield Padding(_table(head, [_spread(s) for s in spreads[:_MOST_ROWS]]), (0, 0, 0, 2))
        if len(spreads) > _MOST_ROWS:
            yield Padding(
                Text(f"and {counted(len(spreads) - _MOST_ROWS, 'more row')} (run --json has all)"), (0, 0, 0, 2)
            )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = table_of(head[0], *head[1:])
    for row in rows:
        table.add_row(*row)
    return table


def _scores(tests: Sequence[TestResult]) -> list[str]:
    """The scores that the family speaks of, which all of its measured cells have."""
    asked = list(dict.fromkeys(name for test in tests for name in test.asked))
    there = [set(cell.scores) for test in tests for cell in test.cells]
    return [name for name in asked if there and all(name in scores for scores in there)]


def _row(test: TestResult, scores: Sequence[str]) -> list[str]:
    shown = []
    for score in scores:
        values = [(cell.scores[score], cell.cell) for cell in test.cells if cell.scores[score].value is not None]
        if not values:
            shown.append("")
        elif len(test.cells) == 1:
            shown.append(show_estimate(values[0][0]))
        else:
            best, at = max(values, key=lambda one: one[0].value or 0.0)
            shown.append(f"at most {show(best.value)} at {show_cell(at)}")
    verdict = "" if test.verdict is None else test.verdict.code
    passed = sum(expectation.passed for expectation in test.expectations)
    expected = f"{passed} of {len(test.expectations)}" if test.expectations else ""
    expected = test.cut or expected
    return [*(str(value) for _, value in test.variant), *shown, verdict, expected]


def _spread(spread: Spread) -> list[str]:
    def network(of: object) -> str:
        return show_cell(dict(of))  # type: ignore[call-overload]

    return [
        *(str(value) for value in spread.at.values()),
        spread.score,
        str(spread.of),
        show(spread.mean),
        "" if spread.sd is None else show(spread.sd),
        f"{show(spread.low)} ({network(spread.lowest)})",
        f"{show(spread.high)} ({network(spread.highest)})",
    ]
