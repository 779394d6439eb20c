"""Charts as SVG within a page: in the colours of the page, with a text on each mark, and no name twice in one page."""

from __future__ import annotations

import re
from itertools import count

from markupsafe import Markup, escape

from causal_dsl.diagnostics import SpecError
from causal_dsl.report.figures.charts import chart, charting
from causal_dsl.report.figures.figure_style import CEILING, CODE, GRID, INK, LINE
from causal_dsl.report.figures.pictures import Picture
from causal_dsl.report.html.environment import made_of

_NUMBERS = count(1)
#: How much larger than on paper figures are.
_LARGER = 1.3
#: The part of its width to which one shrinks where the screen is narrow.
_LEAST = 0.8
#: What of the colours of figures a page has its own for.
_COLOURS = {INK: "currentColor", GRID: "var(--grid)", LINE: "var(--line)", CEILING: "var(--ceiling)"}


def drawn(picture: Picture, table: bool = True) -> Markup:
    """The figure of a picture, with its numbers as a ``table`` unless they stand in another one. Without Altair no figure."""
    try:
        charting()
    except SpecError as error:
        return made_of("picture.html.j2", picture=picture, svg=Markup(), missing=error.diagnostics[0].help, table=table)
    return made_of(
        "picture.html.j2", picture=picture, svg=Markup(page_svg(svg_of(picture, titled=False))), missing="", table=table
    )


def svg_of(picture: Picture, titled: bool = True) -> str:
    """A picture as SVG, made without a browser and without a network."""
    import vl_convert

    found: str = vl_convert.vegalite_to_svg(chart(picture, titled).to_dict())
    return found


def page_svg(svg: str) -> str:
    """An SVG of Vega as a page has it: half as long, and its labels as titles, which are shown where a mark is pointed at."""
    number = next(_NUMBERS)
    svg = re.sub(r'<rect width="[\d.]+" height="[\d.]+" fill="(?:#ffffff|white)"/>', "", svg, count=1)
    svg = svg.replace(f' font-family="{CODE}"', " data-code").replace(f' font-family="{escape(CODE)}"', " data-code")
    svg = re.sub(r' (?:role|aria-roledescription|aria-hidden|class|xmlns:xlink|version|font-family)="[^"]*"', "", svg)
    svg = re.sub(r'(<g[^>]*?) aria-label="[^"]*"', r"\1", svg)
    svg = re.sub(
        r'<(path|rect|circle|line)((?: [\w:-]+="[^"]*")*?) aria-label="([^"]*)"((?: [\w:-]+="[^"]*")*)/>', _titled, svg
    )
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>p{number}-", svg)
    svg = re.sub(r"<g></g>", "", svg)
    svg = re.sub(r"<text (?![^>]*text-anchor=)", '<text text-anchor="start" ', svg).replace(' text-anchor="middle"', "")
    svg = re.sub(r' (?:opacity|stroke-width|fill-opacity|stroke-opacity)="1"| font-size="9px"', "", svg)
    svg = (
        re.sub(r'"rgb\((\d+), (\d+), (\d+)\)"', _hex, svg).replace('"#ffffff"', '"#fff"').replace('"#000000"', '"#000"')
    )
    for ours, theirs in _COLOURS.items():
        svg = svg.replace(f'"{ours}"', f'"{theirs}"')
    svg = re.sub(r' (?:d|transform|x|y|x1|x2|y1|y2)="[^"]*"', lambda one: re.sub(r"\d+\.\d{3,}", _short, one[0]), svg)
    svg = re.sub(r'(<svg [^>]*?)width="([\d.]+)" height="([\d.]+)"', _larger, svg, count=1)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" font-size="9" text-anchor="middle" ', 1)


def _hex(found: re.Match[str]) -> str:
    return '"#{:02x}{:02x}{:02x}"'.format(*map(int, found.groups()))


def _short(found: re.Match[str]) -> str:
    """A coordinate to a hundredth of a pixel. Numbers that are read stay as they are."""
    return f"{float(found[0]):.2f}"


def _larger(found: re.Match[str]) -> str:
    """On a screen figures are larger than in a paper; on a narrow one they shrink as long as they can be read."""
    wide, high = (_LARGER * float(found[n]) for n in (2, 3))
    return f'{found[1]}width="{wide:.0f}" height="{high:.0f}" style="min-width:{_LEAST * wide:.0f}px"'


def _titled(found: re.Match[str]) -> str:
    return f"<{found[1]}{found[2]}{found[4]}><title>{found[3]}</title></{found[1]}>"


__all__ = ["drawn", "page_svg", "svg_of"]
