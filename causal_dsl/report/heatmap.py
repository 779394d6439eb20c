"""A score over two parameters of a sweep, as a map of numbers: rows are layers, columns positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.text import Text

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.estimates_and_findings import Estimate, Rise
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import CellResult

#: The colours of what lies below the anchor, at it, and above it: brown, grey, blue (told apart without red or green).
_LOW, _MIDDLE, _HIGH = (186, 140, 92), (236, 236, 236), (20, 84, 160)
#: How far networks in float32 round, as a part of the number.
_ROUNDING = 1e-6
_LOW_BAR, _HIGH_BAR = (191, 129, 45), (67, 133, 201)


@dataclass(frozen=True)
class ColourScale:
    """Where the colours are anchored: grey at ``anchor``, blue at ``top``, brown at ``bottom``."""

    bottom: float
    anchor: float
    top: float

    def _mixed(self, value: float) -> tuple[int, int, int]:
        end, span = (_HIGH, self.top - self.anchor) if value >= self.anchor else (_LOW, self.anchor - self.bottom)
        share = min(1.0, abs(value - self.anchor) / span) if span > 0 else 0.0
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(_MIDDLE, end, strict=True))
        return red, green, blue

    def style(self, value: float | None) -> str:
        """The colours of a number, text and background, as rich has them."""
        if value is None or not math.isfinite(value):
            return ""
        mixed = self._mixed(value)
        light = 0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2] >= 140
        return f"{'#000000' if light else '#ffffff'} on {_hex(mixed)}"

    def colour(self, value: float | None) -> str:
        """The colour of a bar of that length: seen on dark and on light."""
        if value is None or not math.isfinite(value):
            return ""
        return _hex(_HIGH_BAR if value >= self.anchor else _LOW_BAR)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def scale(estimates: Sequence[Estimate], share: bool, ceiling: float | None) -> ColourScale:
    """Shares are anchored at the ceiling, so that colours say how far from chance they are; other numbers at 0, or at that which is
    nearest to 0. Numbers that are no further apart than an interval is wide have all one colour."""
    values = [e.value for e in estimates if e.value is not None]
    if share and min(values, default=0.0) < 0:
        return ColourScale(-1.0, 0.0, 1.0)
    if share:
        return ColourScale(0.0, 0.0 if ceiling is None else ceiling, 1.0)
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high - low <= _ROUNDING * max(1.0, abs(low), abs(high)):
        return ColourScale(low, low, low)  # colours would spread what only rounding tells apart
    around = sorted(e.high - e.low for e in estimates if e.low is not None and e.high is not None)
    if around and high - low <= around[len(around) // 2]:
        return ColourScale(low, low, low)  # or what only chance does
    if low < 0 < high:
        reach = max(-low, high)
        return ColourScale(-reach, 0.0, reach)
    return ColourScale(low, low, high) if low >= 0 else ColourScale(low, high, high)


def mark(estimate: Estimate, ceiling: float | None) -> str:
    """``+`` where the interval lies above the ceiling, ``-`` where below, a space where it holds it."""
    if ceiling is None or estimate.value is None:
        return " "
    low, high = estimate.low, estimate.high
    if estimate.method == "exact":
        low = high = estimate.value
    if low is None or high is None:
        return " "
    return "+" if low > ceiling else "-" if high < ceiling else " "


def rise_mark(rise: Rise | None) -> str:
    """``^`` where a cell scores more than the one below it, ``v`` where less, a space where that is open."""
    if rise is None or rise.difference.value is None:
        return " "
    low, high = rise.difference.low, rise.difference.high
    if rise.difference.method == "exact":
        low = high = rise.difference.value
    if low is None or high is None:
        return " "
    return "^" if low > 0 else "v" if high < 0 else " "


def marks(cell: CellResult, score: str, ceiling: float | None) -> str:
    """The mark of a cell: of iia by the interval that holds for all cells together, of others by their own."""
    estimate = cell.scores[score]
    if score == "iia" and cell.rise is not None:
        return rise_mark(cell.rise)
    if score in ("iia", "iia_star") and cell.together is not None and cell.top is not None:
        iia = cell.scores["iia"]
        return mark(replace(iia, low=cell.together[0], high=cell.together[1]), cell.top)
    return mark(estimate, ceiling)


def axes(cells: Sequence[CellResult], parameters: Sequence[str]) -> tuple[str, str]:
    """Which parameter names the rows and which the columns: rows are numbers (layers) and many, columns are words."""

    def many(name: str) -> tuple[bool, int]:
        values = {cell.cell[name] for cell in cells}
        return all(isinstance(value, int | float) for value in values), len(values)

    row = max(parameters, key=many)
    rest = [name for name in parameters if name != row]
    return row, max(rest, key=lambda name: (not many(name)[0], many(name)[1]))


def heat_map(
    cells: Sequence[CellResult],
    score: str,
    rows: str,
    columns: str,
    colours: ColourScale,
    ceiling: float | None,
    width: int,
) -> list[Text]:
    """The lines of a map; where its columns do not fit the width, several maps, one below the other."""
    found: Mapping[tuple[Any, Any], CellResult] = {
        (cell.cell[rows], cell.cell[columns]): cell for cell in cells if score in cell.scores
    }
    down = list(dict.fromkeys(row for row, _ in found))
    across = list(dict.fromkeys(column for _, column in found))
    label = max(len(rows), *(len(str(row)) for row in down))
    numbers = {place: show(cell.scores[score].value, missing="--") for place, cell in found.items()}
    least = max(7, 1 + max(map(len, numbers.values())))
    room = max(1, (width - 2 - label) // (least + 1))
    longest = max(len(str(column)) for column in across)
    fits = min(longest + 1, 9, (width - 2 - label) // len(across) - 1)
    each = max(least, fits) if len(across) <= room else least
    lines: list[Text] = []
    for start in range(0, len(across), room):
        block = across[start : start + room]
        heads = [_lines_of(str(column), each) for column in block]
        height = max(len(head) for head in heads)
        for i in range(height):
            line = Text("  " + (rows if i == height - 1 else "").rjust(label))
            for head in heads:
                part = head[i - height + len(head)] if i >= height - len(head) else ""
                line.append(" " + part.rjust(each - 1) + " ")
            lines.append(line)
        for row in down:
            line = Text("  " + str(row).rjust(label))
            for column in block:
                cell = found.get((row, column))
                line.append(" ")
                if cell is None:
                    line.append(" " * each)
                    continue
                text = numbers[row, column].rjust(each - 1) + marks(cell, score, ceiling)
                line.append(text, style=colours.style(cell.scores[score].value))
            lines.append(line)
        if start + room < len(across):
            lines.append(Text(""))
    return lines


def _lines_of(text: str, each: int) -> list[str]:
    """A column's name in lines of its width."""
    step = each - 1
    return [text[i : i + step] for i in range(0, len(text), step)] or [""]
