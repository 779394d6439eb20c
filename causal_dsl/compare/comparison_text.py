"""Two runs side by side, for the terminal: what changed in what identifies them, then test by test what changed in scores."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from causal_dsl.compare.comparison import (
    CellComparison,
    RunComparison,
    SpecComparison,
    TestComparison,
    Turn,
    told_scores,
)
from causal_dsl.compare.differences import Difference
from causal_dsl.diagnostics import printable
from causal_dsl.report.heatmap import axes, heat_map, scale
from causal_dsl.report.text_table import table_of
from causal_dsl.score.format_numbers import counted, show, show_cell, show_interval
from causal_dsl.score.results import CellResult

_MOST_LINES, _MOST_ROWS, _MOST_MAPS = 20, 12, 4


def comparison_text(comparison: RunComparison, width: int = 100) -> str:
    """The comparison as plain text."""
    stream = io.StringIO()
    print_comparison(
        comparison,
        Console(
            file=stream, width=width, color_system=None, force_terminal=False, force_jupyter=False, highlight=False
        ),
    )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def print_comparison(comparison: RunComparison, console: Console) -> None:
    for spec in comparison.specs:
        for part in _spec(spec, console):
            console.print(part, highlight=False)
    for which, names in (("A", comparison.gone), ("B", comparison.new)):
        if names:
            console.print(_plain(f"specs that only {which} has: {', '.join(names)}"))
    console.print(_plain(summary_of(comparison), "bold yellow" if comparison.changed else "bold green"))


def _plain(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _indented(what: RenderableType, by: int = 2) -> Padding:
    return Padding(what, (0, 0, 0, by))


def summary_of(comparison: RunComparison) -> str:
    """The changes, in a line."""
    tests = [test for spec in comparison.specs for test in spec.tests]
    changed = [test.name for test in tests if test.changed]
    gone = sum(len(spec.gone) for spec in comparison.specs)
    told = f"{counted(len(tests), 'test')} in both"
    if changed:
        named = ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
        told += f"; verdicts or expectations changed in {len(changed)}: {named}"
    if gone:
        told += f"; {counted(gone, 'test')} of A {'is' if gone == 1 else 'are'} not in B"
    if comparison.gone:
        told += f"; {counted(len(comparison.gone), 'spec')} of A not in B"
    if not comparison.changed:
        told += "; no verdict and no expectation changed"
    return told


# ── what identifies the runs ────────────────────────────────────────────────────────────────────


def _spec(spec: SpecComparison, console: Console) -> Iterator[RenderableType]:
    for letter, run in (("A", spec.a), ("B", spec.b)):
        when = f", {run.document['finished']}" if run.document.get("finished") else ""
        yield _plain(f"{letter}  {run.name}  ({run.document['path']}{when})", "bold")
    if spec.a.spec != spec.b.spec:
        yield _indented(_plain("specs of two names, compared by the names of their tests", "dim"))
    yield Text("")
    yield _indented(changes_of(spec))
    if spec.spec_lines:
        yield Text("")
        for line in spec.spec_lines[:_MOST_LINES]:
            yield _indented(_plain(line, "green" if line[:1] == "+" else "red" if line[:1] == "-" else "dim"), 4)
        if len(spec.spec_lines) > _MOST_LINES:
            yield _indented(Text(f"and {len(spec.spec_lines) - _MOST_LINES} more lines (--json has all)", "dim"), 4)
    yield Text("")
    for test in spec.tests:
        yield Group(Text.assemble(("test ", "dim"), (printable(test.name), "bold")), *told_of_test(test, console))
        yield Text("")
    for which, names in (("A", spec.gone), ("B", spec.new)):
        if names:
            yield _plain(f"tests that only {which} has: {', '.join(names)}")
            yield Text("")


def changes_of(spec: SpecComparison) -> RenderableType:
    """Where what identifies the two runs differs."""
    if not spec.changes:
        return Text("one key, one command, one machine: both runs answer the same question")
    table = table_of("what differs")
    for change in spec.changes:
        table.add_row(Text.assemble((f"{change.kind}: ", "cyan"), _plain(change.text)))
    return table


# ── one test ────────────────────────────────────────────────────────────────────────────────────


def told_of_test(test: TestComparison, console: Console | None = None) -> Iterator[RenderableType]:
    """The lines on a test below its name; without a console, tables of all cells in place of maps."""
    yield _indented(_plain(_pairs(test)))
    if test.interrupted:
        which = " and ".join(x for x, status in (("A", test.status.a), ("B", test.status.b)) if status == "interrupted")
        yield _indented(_plain(f"interrupted in {which}: only cells that both measured are compared"))
    for which, cells in (("A", test.only_a), ("B", test.only_b)):
        if cells:
            named = "; ".join(show_cell(cell) or "its cell" for cell in cells[:4])
            yield _indented(_plain(f"{counted(len(cells), 'cell')} only in {which}: {named}{' …' * (len(cells) > 4)}"))
    if test.ceiling.changed:
        tops = ("none" if top is None else top for top in (test.ceiling.a, test.ceiling.b))
        yield _indented(_plain(f"the ceiling output_only: {' -> '.join(tops)}", "yellow"))
    if not test.cells:
        return
    yield Text("")
    if len(test.cells) == 1 and not test.cells[0].cell:
        yield _indented(_scores(test.cells[0]))
    else:
        yield from _sweep(test, console)
    yield from _turns(test)
    yield from _why(test)


def _pairs(test: TestComparison) -> str:
    match = test.match
    if match.same:
        same = f"the same {counted(match.first)} in both"
        gaps = [gap for cell in test.cells for _, _, gap in cell.scores.values()]
        apart = any(gap.way == "unpaired" for gap in gaps)
        if not any(gap.paired for gap in gaps):
            return f"{same}; no interval of a difference is paired" if apart else same
        return f"{same}: the intervals of differences are paired" + (", except for those named below" if apart else "")
    return f"{counted(match.first)} in A, {match.second} in B; {match.why}: the intervals of differences are not paired"


def _scores(cell: CellComparison) -> RenderableType:
    table = table_of("score", "A", "B", "B - A", "95% interval")
    for name, (a, b, gap) in cell.scores.items():
        table.add_row(_plain(name), show(a["value"]), show(b["value"]), _gap(gap), Text(_interval(gap)))
    return table


def _gap(gap: Difference) -> Text:
    """A difference with its sign, marked where its interval does not hold 0."""
    value = gap.estimate.value
    shown = show(value, missing="")
    signed = f"+{shown}" if value is not None and value > 0 else shown
    return Text(signed, style=("bold blue" if (value or 0) > 0 else "bold yellow") if gap.apart else "")


def _interval(gap: Difference) -> str:
    if gap.value is None:
        return gap.why
    found = gap.estimate
    if found.low is None or found.high is None:
        return "exact" if gap.way == "exact" else "none"
    return show_interval(found.low, found.high) + ("" if gap.paired else " unpaired")


def _sweep(test: TestComparison, console: Console | None) -> Iterator[RenderableType]:
    for number, score in enumerate(told_scores(list(test.cells[0].scores), _MOST_MAPS)):
        if number:
            yield Text("")
        cells = [cell for cell in test.cells if score in cell.scores]
        yield _indented(Text.assemble((printable(score), "bold"), (", B - A", "dim")))
        varying = [name for name in cells[0].cell if len({str(cell.cell.get(name)) for cell in cells}) > 1]
        if len(varying) == 2 and console is not None:
            yield from _map(score, cells, varying, console)
        else:
            yield _rows(score, cells, len(cells) if console is None else _MOST_ROWS)
        yield _indented(_plain(_by_luck(score, cells), "dim"))


def _map(
    score: str, cells: Sequence[CellComparison], varying: Sequence[str], console: Console
) -> Iterator[RenderableType]:
    made = [CellResult(dict(cell.cell), {score: cell.scores[score][2].estimate}) for cell in cells]
    rows, columns = axes(made, list(varying))
    colours = scale([cell.scores[score] for cell in made], False, None)
    yield from heat_map(made, score, rows, columns, colours, 0.0, console.width)
    yield _indented(Text("+ interval of the difference above 0, - below it", "dim"))


def _rows(score: str, cells: Sequence[CellComparison], most: int) -> RenderableType:
    """A row a cell; of many, those that differ most."""
    shown = list(cells)
    if len(shown) > most:
        ranked = sorted(shown, key=lambda cell: abs(cell.scores[score][2].value or 0.0), reverse=True)
        shown = ranked[:most]
    table = table_of("cell", "A", "B", "B - A", "95% interval")
    for cell in shown:
        a, b, gap = cell.scores[score]
        table.add_row(_plain(show_cell(cell.cell)), show(a["value"]), show(b["value"]), _gap(gap), Text(_interval(gap)))
    more = len(cells) - len(shown)
    rest = Text(f"and {counted(more, 'cell')} that differ less (--json has all)" if more else "", "dim")
    return _indented(Group(table, rest) if more else table)


def _by_luck(score: str, cells: Sequence[CellComparison]) -> str:
    gaps = [cell.scores[score][2] for cell in cells]
    judged = [gap for gap in gaps if gap.low is not None]
    exact = [gap for gap in gaps if gap.way == "exact"]
    if exact and not judged:
        return f"exact in all cells; {sum(gap.apart for gap in exact)} of {len(cells)} differ"
    apart = sum(gap.apart for gap in judged)
    known = [value for gap in gaps if (value := gap.estimate.value) is not None]
    if not judged or not known:
        return "no cell has an interval of its difference"
    largest = max(known, key=abs)
    luck = 0.05 * len(judged)
    return (
        f"largest: {'+' if largest > 0 else ''}{show(largest)}; in {apart} of {counted(len(judged), 'cell')} the 95% interval "
        f"does not hold 0 ({luck:.2g} would by luck alone if nothing had changed)"
    )


# ── what turned ─────────────────────────────────────────────────────────────────────────────────


def _turns(test: TestComparison) -> Iterator[RenderableType]:
    lines: list[Text] = []
    if test.verdict.changed and not test.interrupted:
        lines.append(_turned("verdict", test.verdict))
    cells = [cell for cell in test.cells if cell.verdict.changed and cell.cell]
    for cell in cells[:_MOST_ROWS]:
        lines.append(_turned(f"verdict at {show_cell(cell.cell)}", cell.verdict))
    if len(cells) > _MOST_ROWS:
        lines.append(Text(f"and the verdicts of {len(cells) - _MOST_ROWS} more cells (--json has all)"))
    for one in test.expectations if not test.interrupted else ():
        if one.held.changed:
            lines.append(_turned(f"expect {one.text}", one.held))
    if test.status.changed and not test.interrupted and not any(one.held.changed for one in test.expectations):
        lines.append(_turned("status", test.status))
    if lines:
        yield Text("")
        yield from map(_indented, lines)


def _turned(what: str, turn: Turn) -> Text:
    words = Text.assemble((printable(what), ""), ": ", (turn.a or "none", "dim"), " -> ", (turn.b or "none", "bold"))
    words.stylize("yellow", 0, len(printable(what)))
    return words


def _why(test: TestComparison) -> Iterator[RenderableType]:
    """Why scores are not paired although the pairs are the same: once for each reason."""
    if not test.match.same:
        return
    reasons: dict[str, Counter[str]] = {}
    judged = Counter(name for cell in test.cells for name, (_, _, gap) in cell.scores.items() if gap.low is not None)
    for cell in test.cells:
        for name, (_, _, gap) in cell.scores.items():
            if gap.way == "unpaired":
                reasons.setdefault(gap.why, Counter())[name] += 1
    for why, names in reasons.items():
        told = (
            name if n == judged[name] else f"{name} (in {counted(n, 'cell')} of {judged[name]})"
            for name, n in names.items()
        )
        yield _indented(_plain(f"unpaired, because {why}: {', '.join(told)}", "dim"))


__all__ = ["changes_of", "comparison_text", "print_comparison", "summary_of", "told_of_test"]
