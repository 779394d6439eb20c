"""The history of a spec, for the terminal: its runs, and a line for each score."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from causal_dsl.compare.history import SpecHistory, axis_said, sparkline
from causal_dsl.diagnostics import printable
from causal_dsl.report.text_table import table_of
from causal_dsl.score.format_numbers import counted, show, show_estimate


def history_text(histories: Sequence[SpecHistory], width: int = 100) -> str:
    """The histories as plain text."""
    stream = io.StringIO()
    print_histories(
        histories, Console(file=stream, width=width, color_system=None, force_terminal=False, highlight=False)
    )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def print_histories(histories: Sequence[SpecHistory], console: Console) -> None:
    for one in histories:
        _print(one, console)


def _print(one: SpecHistory, console: Console) -> None:
    console.print(
        Text(printable(f"{one.spec}  {counted(len(one.runs), 'run')} of the text {one.runs[0].digest[:12]}"), "bold")
    )
    runs = table_of("results", "run", "ended", "since the run before")
    runs.columns[3].no_wrap, runs.columns[3].overflow, runs.columns[3].justify = False, "fold", "left"
    for place, (run, changes) in enumerate(zip(one.runs, one.changes, strict=True)):
        told = "; ".join(f"{change.kind}: {change.text}" for change in changes if change.kind != "command")
        when = str(run.document.get("finished") or "not recorded")[:16].replace("T", " ")
        runs.add_row(
            Text(printable(run.name)), str(place + 1), when, Text(printable(told or ("" if not place else "nothing")))
        )
    console.print(Padding(runs, (1, 0, 1, 2)))
    blocks = {} if "utf" in (console.encoding or "").lower() else {"blocks": "0123456789"}
    for test in one.tests:
        console.print(Text.assemble(("test ", "dim"), (printable(test), "bold")))
        table = table_of("score", "runs", "axis", "first", "last", "ceiling")
        for curve in one.curves(test):
            name = curve.named if curve.of == 1 else f"{curve.named}, highest of {curve.of} cells"
            line = Text(sparkline(curve, len(one.runs), **blocks), "blue")
            first, last = curve.points[0].estimate, curve.points[-1].estimate
            top = show(curve.points[-1].ceiling, missing="")
            table.add_row(Text(printable(name)), line, axis_said(curve), show_estimate(first), show_estimate(last), top)
        console.print(Padding(table, (0, 0, 0, 2)))
        for told, changed in _outcomes(one, test):
            console.print(Padding(Text(printable(told), "yellow" if changed else "dim"), (0, 0, 0, 2)))
        console.print()


def _outcomes(one: SpecHistory, test: str) -> Iterator[tuple[str, bool]]:
    """The outcomes of a test in the runs beside its scores, a line each, and whether that changed."""
    verdicts, statuses, expectations = one.verdicts(test), one.statuses(test), one.expectations(test)
    without = ({None: "not run", "interrupted": "interrupted"}.get(status, "none") for status in statuses)
    if any(verdicts) or "interrupted" in statuses:
        yield _stretches("verdicts", [code or other for code, other in zip(verdicts, without, strict=True)])
    else:
        yield "no verdict, as no variable is interchanged", False
    if any(expectations):
        yield _stretches("expectations", [told or "none" for told in expectations])


def _stretches(what: str, said: Sequence[str]) -> tuple[str, bool]:
    """Equal words that follow each other, counted; and whether there are several."""
    found = [(word, len(list(same))) for word, same in itertools.groupby(said)]
    told = ", ".join(word if times == 1 else f"{word} x{times}" for word, times in found)
    return f"{what}: {told}", len(found) > 1


__all__ = ["history_text", "print_histories"]
