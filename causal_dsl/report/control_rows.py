"""The controls that ran beside a test, in the terminal: a row for each control of a learned feature, and for each other intervention."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from causal_dsl.report.text_table import table_of
from causal_dsl.score.apart import WrittenApart
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import show, show_cell, show_interval
from causal_dsl.score.results import CellResult, TestResult

_MOST_CELLS = 40
_ORDER = ("whole vector", "natural axes", "random subspace", "shuffled labels", "untrained network")
_REPLACED = {
    "zero": "set to zero",
    "written": "as the test writes it",
    "put": "as the test writes it",
    "mean": "set to the mean",
    "resample": "taken from other inputs",
    "anew": "as the test writes it, from other inputs",
}
_MEANINGS = {
    "whole vector": "the site's whole vectors are interchanged",
    "natural axes": "only the change along natural axes is written",
    "random subspace": "smallest and largest of {} draws of its size",
    "shuffled labels": "the same fit on shuffled labels",
    "untrained network": "the same fit on an untrained network",
}


def controls(test: TestResult) -> Iterator[RenderableType]:
    """The controls of a test's learned features; nothing where there are none."""
    cells = [cell for cell in test.cells if cell.learned is not None and cell.learned.controls]
    if not cells:
        return
    yield Text("")
    if len(test.cells) == 1:
        yield Padding(_one(cells[0]), (0, 0, 0, 2))
        return
    yield Padding(_several(cells), (0, 0, 0, 2))
    if len(cells) > _MOST_CELLS:
        yield Padding(Text(f"and {len(cells) - _MOST_CELLS} more cells", style="dim"), (0, 0, 0, 2))


def beside(test: TestResult) -> Iterator[RenderableType]:
    """The units that were taken from other inputs beside a test of one cell, and the other values of an ablation."""
    if len(test.cells) != 1:
        return
    cell = test.cells[0]
    rows: list[tuple[str, Estimate, str]] = []
    known: dict[tuple[tuple[int, ...], str, str], Estimate] = {}
    for rest in cell.unclaimed:
        most = max(rest.taken, key=lambda one: (one.moved.value or 0.0, len(one.units)))
        for one in dict.fromkeys((rest.taken[0], most)):
            what = f"at the layer, beside {rest.through} of" if rest.through else "unclaimed beside"
            meaning = f"{what} {', '.join(rest.placed)}; the inputs differ in {', '.join(one.varied or rest.varied)}"
            told = f"{one.told}, each by itself" if one.mixed else one.told
            before = known.get((one.units, told, meaning))  # the same in other pairs: the larger share is shown
            if before is None or (before.value or 0.0) < (one.moved.value or 0.0):
                known[one.units, told, meaning] = one.moved
    rows += [(told, moved, meaning) for (_, told, meaning), moved in known.items()]
    if cell.replaced is not None:
        for name, moved in cell.replaced.moved.items():
            rows.append(
                (_REPLACED[name], moved, "the test's own" if name == cell.replaced.own else "on the same pairs")
            )
    if rows:
        yield from _rows("beside it", "moved", rows)
    if cell.apart:
        yield from _rows("written apart", "right", [_apart(one) for one in cell.apart])


def _apart(one: WrittenApart) -> tuple[str, Estimate, str]:
    names = ", ".join(name for name, _ in one.swaps)
    meaning = "alone" if len(one.swaps) == 1 else "from different sources"
    return names, one.right, f"{meaning}, at {one.place}"


def _rows(first: str, number: str, rows: list[tuple[str, Estimate, str]]) -> Iterator[RenderableType]:
    table = table_of(first, number, "interval", "pairs", meaning=True)
    for told, share, meaning in rows:
        table.add_row(Text(told), show(share.value), Text(_interval(share)), str(share.n), Text(meaning, style="dim"))
    yield Text("")
    yield Padding(table, (0, 0, 0, 2))


def _one(cell: CellResult) -> Table:
    assert cell.learned is not None
    table = table_of("control", "iia", "interval", "logits moved", meaning=True)
    learned, iia = cell.learned, cell.scores["iia"]
    table.add_row(
        Text("the feature", style="bold"), show(iia.value), Text(_interval(iia)), show(learned.margin), Text("")
    )
    for name in _known(cell):
        control = learned.controls[name]
        meaning = _MEANINGS.get(name, "").format(len(control.draws))
        table.add_row(
            Text(name),
            show(control.iia.value),
            Text(_interval(control.iia)),
            show(control.margin),
            Text(meaning, style="dim"),
        )
    return table


def _several(cells: list[CellResult]) -> Table:
    names = [name for name in _ORDER if any(name in cell.learned.controls for cell in cells if cell.learned)]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(Text("iia of", style="dim"))
    for name in ("the feature", *names):
        table.add_column(Text(name, style="dim"), justify="right")
    for cell in cells[:_MOST_CELLS]:
        assert cell.learned is not None
        values = [cell.learned.controls[name].iia.value if name in cell.learned.controls else None for name in names]
        table.add_row(
            Text(show_cell(cell.cell)), Text(show(cell.scores["iia"].value), style="bold"), *map(show, values)
        )
    return table


def _known(cell: CellResult) -> list[str]:
    assert cell.learned is not None
    return sorted(cell.learned.controls, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "exact" if estimate.method == "exact" else ""
    return show_interval(estimate.low, estimate.high)
