"""How figures look: sizes for a paper, colours that colour-blind readers tell apart, no decoration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

#: The ink of text and axes, and the lines behind the marks. A page replaces them by its own (`report/html/drawn.py`).
INK, GRID, PAPER = "#1b1f24", "#d8dce1", "#ffffff"
#: A curve, its ceiling, and the colours of several lines (Okabe and Ito 2008, without yellow, which is faint on white).
LINE, CEILING = "#0b62a4", "#9a6a16"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b7280", "#7a5aa6")
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
#: The letters of parameters: in those of the other texts `l` reads as a bar.
CODE = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
#: Points: the labels of axes, their titles, and titles of figures.
SMALL, MIDDLE, LARGE = 9, 10, 11
#: The size of a curve, and of a cell of a map.
WIDE, HIGH, CELL = 300, 170, (46, 19)


def ink_on(value: float | None, colours: Sequence[tuple[float, str]]) -> str:
    """Black or white, whichever is easier to read on a cell of a map; ``colours`` are those of some values, in between they
    are mixed. The contrast of the better one is at least 4.5 (WCAG 2, 1.4.3)."""
    if value is None or not math.isfinite(value):
        return "#444444"
    points = [point for point, _ in colours]
    channels = zip(*(_channels(colour) for _, colour in colours), strict=True)
    light = _luminance([float(np.interp(value, points, channel)) for channel in channels])
    return "#000000" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "#ffffff"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(channels: Sequence[float]) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in channels)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def config() -> dict[str, Any]:
    """The configuration of a Vega-Lite chart."""
    axis = {
        "labelFontSize": SMALL,
        "titleFontSize": MIDDLE,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "tickColor": INK,
        "gridColor": GRID,
        "labelLimit": 220,
    }
    return {
        "background": PAPER,
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "header": {
            "labelFontSize": SMALL,
            "titleFontSize": MIDDLE,
            "labelColor": INK,
            "titleColor": INK,
            "titleFontWeight": "normal",
        },
        "legend": {
            "labelFontSize": SMALL,
            "titleFontSize": SMALL,
            "labelColor": INK,
            "titleColor": INK,
            "titleFontWeight": "normal",
            "labelLimit": 200,
        },
        "title": {
            "fontSize": LARGE,
            "fontWeight": "normal",
            "color": INK,
            "subtitleColor": INK,
            "subtitleFontSize": SMALL,
            "anchor": "start",
        },
        "range": {"category": list(LINES)},
    }
