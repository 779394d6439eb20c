"""How figures look: sizes for the column of a paper, colours that colour-blind readers tell apart, no decoration."""

from __future__ import annotations

from typing import Any

#: The ink of text and axes, and the lines behind the marks. A page replaces them by its own (`report/html/drawn.py`).
INK, GRID, PAPER = "#1b1f24", "#d8dce1", "#ffffff"
#: A curve, its ceiling, and the colours of several lines (Okabe and Ito 2008, without yellow, which is faint on white).
LINE, CEILING = "#0b62a4", "#9a6a16"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b7280", "#7a5aa6")
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
#: Points: the labels of axes, their titles, and titles of figures.
SMALL, MIDDLE, LARGE = 9, 10, 11
#: The size of a curve, and of a cell of a map.
WIDE, HIGH, CELL = 300, 170, (46, 19)


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
