"""Pictures as Altair charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.diagnostics import NOWHERE, fail, printable
from causal_dsl.report.figures.figure_style import CEILING, CELL, CODE, HIGH, LINE, LINES, SMALL, WIDE, config, ink_on
from causal_dsl.report.figures.pictures import MOST_LINES, Picture, picture_of, pictures
from causal_dsl.report.heatmap import scale
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult

if TYPE_CHECKING:
    import altair as alt

#: An axis without bounds of its own ends here at least: what rounding leaves is not drawn as if it were much.
_LEAST = 1e-3
#: Points across: what the text of a paper in one column is at most, so that several panels stand beside each other within it.
_PAGE = 460
#: Points down: panels that are less high stand one below the other.
_TALL = 620
#: Letters of a title that stands upright beside its axis: turned, `l` would read as a dash.
_SHORT = 4
#: Points of the legend of a map, and the part of them that the name of a number takes.
_GRADIENT, _ROOM = 160, 0.35
#: Letters of a title that fit beside a curve in one line.
_BESIDE = 32


def charting() -> Any:
    """Altair. Raises SpecError (E860) where it is not installed."""
    try:
        import altair
        import vl_convert  # noqa: F401  it makes files and pages of charts
    except ImportError as error:
        raise fail(
            "E860",
            "charts need packages that are not installed",
            NOWHERE,
            notes=(f"{error}",),
            help="pip install 'causal-dsl[report]'",
        ) from error
    return altair


def plot(test: TestResult, score: str | None = None) -> alt.TopLevelMixin:
    """The chart of a test: the picture that the shape of its sweep asks for, of one ``score`` or of those that it speaks of.

    A sweep over a number is a curve, over two parameters a map, and a test of one cell has its scores beside each other.
    Raises SpecError where nothing can be drawn (E864) or Altair is missing (E860), KeyError for a score that it does not have.
    """
    charting()
    found = pictures(test) if score is None else picture_of(test, score)
    if not found and score is None and len(test.shown_cells) == 1 and test.shown_cells[0].scores:
        found = picture_of(test, next(iter(test.shown_cells[0].scores)))
    if not found:
        raise fail(
            "E864",
            f"nothing of `{test.name}` can be drawn",
            NOWHERE,
            notes=(
                "no cell of it was measured"
                if not test.cells
                else "its scores have units of their own, or its sweep has too many parameters",
            ),
            help="name a score: plot(score=…)" if test.cells else "run it to the end",
        )
    parts = [_bare(one, True) for one in found]
    return _offline(parts[0] if len(parts) == 1 else charting().vconcat(*parts).resolve_scale(color="independent"))


def _offline(chart: Any) -> Any:
    """The chart, which a notebook shows as SVG that is made here: Altair's own way fetches its scripts from the internet."""

    def shown(self: Any, *_: Any, **__: Any) -> dict[str, str]:
        import vl_convert

        drawn = self.to_dict()
        return {"image/svg+xml": vl_convert.vegalite_to_svg(drawn), "text/plain": repr(self)}

    kind = type(chart)
    own = type(kind.__name__, (kind,), {"_repr_mimebundle_": shown, "__module__": kind.__module__})
    object.__setattr__(chart, "__class__", own)  # assignments to a chart are parts of its specification
    return _configured(chart)


def chart(picture: Picture, titled: bool = True) -> alt.TopLevelMixin:
    """One picture as a chart in the style of all figures."""
    return _configured(_bare(picture, titled))


def _configured(chart: Any) -> Any:
    chart.config = config()
    return chart


def _bare(picture: Picture, titled: bool) -> Any:
    picture = _drawable(picture)
    made = {"map": _map, "curve": _curve, "points": _panels if picture.apart else _points}[picture.kind](picture)
    title: dict[str, Any] = {"text": picture.title}
    if told := "; ".join(filter(None, (picture.note, picture.key))):
        title["subtitle"] = _wrapped(told, 70)
    return made.properties(title=title) if titled else made


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)


def _data(picture: Picture, **more: Sequence[Any]) -> Any:
    alt = charting()
    rows = []
    for number, row in enumerate(picture.rows):
        own = {key: value for key, value in row.items() if key not in ("cell", "which", "share")}
        rows.append({**own, **{name: values[number] for name, values in more.items()}})
    return alt.Data(values=rows)


def _drawable(picture: Picture) -> Picture:
    """The picture with texts that an SVG may hold: control characters, which values and answers may have, are escaped."""
    rows = tuple(
        {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in picture.rows
    )
    return replace(picture, rows=rows, title=printable(picture.title), x=printable(picture.x), y=printable(picture.y))


def _titled(picture: Picture, axis: Literal["x", "y"]) -> dict[str, Any]:
    """How an axis has its title: the name of a parameter in letters of code, a short one on the left upright."""
    title = getattr(picture, axis)
    found: dict[str, Any] = {"titleFont": CODE} if axis in picture.columns else {}
    if axis == "y" and 0 < len(title) <= _SHORT:
        found |= {"titleAngle": 0, "titleAlign": "right", "titleBaseline": "middle"}
    return found


def _order(picture: Picture, key: str) -> list[str]:
    return list(dict.fromkeys(str(row[key]) for row in picture.rows))


# ── kinds ───────────────────────────────────────────────────────────────────────────────────────


def _map(picture: Picture) -> Any:
    """Rows upwards as layers are, columns across; blue above the ceiling and brown below it."""
    alt = charting()
    colours = scale(
        [Estimate(row["value"], row["low"], row["high"]) for row in picture.rows],
        picture.share,
        None if picture.ceiling is None else picture.ceiling[1],
    )
    words = [f"{row['shown']}{row['mark']}" for row in picture.rows]
    across, down = _order(picture, "x"), _order(picture, "y")
    numeric = all(isinstance(row["y"], int | float) for row in picture.rows)
    wide = max(CELL[0], 6 * max(map(len, words)) + 8)
    points = sorted({colours.bottom, colours.anchor, colours.top})
    # where the ceiling is an end of the scale, that end is grey: nothing lies beyond it
    named = {colours.bottom: "#ba8c5c", colours.top: "#1454a0", colours.anchor: "#ececec"}
    flat = len(points) == 1
    if flat:
        points = [points[0], points[0] + max(1.0, abs(points[0]))]
        named = {points[0]: "#ececec", points[1]: "#1454a0"}
    data = _data(
        picture,
        ink=[ink_on(row["value"], [(point, named[point]) for point in points]) for row in picture.rows],
        words=words,
        column=[str(row["x"]) for row in picture.rows],
        row=[str(row["y"]) for row in picture.rows],
    )
    angle = 0 if max(map(len, across)) * 6 <= wide else -40
    x = alt.X(
        "column:N",
        sort=across,
        title=picture.x,
        axis=alt.Axis(labelAngle=angle, orient="bottom", **_titled(picture, "x")),
    )
    y = alt.Y("row:N", sort=down[::-1] if numeric else down, title=picture.y, axis=alt.Axis(**_titled(picture, "y")))
    top = None if picture.ceiling is None else picture.ceiling[1]
    legend = alt.Legend(
        title=None,
        orient="bottom",
        gradientLength=_GRADIENT,
        gradientThickness=8,
        values=_labelled(points, colours.anchor),
        labelExpr=_legend_labels(points, colours.anchor, top, picture.share),
        labelOverlap=False,
    )
    fill = alt.Color(
        "value:Q",
        scale=alt.Scale(domain=points, range=[named[p] for p in points], clamp=True, interpolate="rgb"),
        legend=None if flat else legend,
    )
    several = len({row["part"] for row in picture.rows}) > 1
    base = (alt.Chart() if several else alt.Chart(data)).encode(x=x, y=y)
    cells = base.mark_rect(stroke="#ffffff", strokeWidth=1).encode(
        color=alt.condition("isValid(datum.value)", fill, alt.value("#f3f3f3")),
        tooltip=alt.Tooltip("told:N", title=" "),
        description="told:N",
    )
    # as values, and no scale: several maps have one legend between them
    inks = [{"test": f"datum.ink === '{one}'", "value": one} for one in ("#000000", "#ffffff")]
    ink = alt.ColorValue("#444444", condition=inks)
    text = base.mark_text(fontSize=SMALL, aria=False).encode(text="words:N", color=ink)
    made = alt.layer(cells, text)
    made = made.properties(width=wide * len(across), height=CELL[1] * len(down))
    if several:
        made = made.facet(
            facet=alt.Facet("part:N", title=None, sort=_order(picture, "part")),
            columns=max(1, min(3, _PAGE // (wide * len(across) + 60))),
            data=data,
        ).resolve_axis(x="independent", y="independent")
    return made


def _labelled(points: Sequence[float], anchor: float) -> list[float]:
    """The numbers of a scale that its legend names: the anchor, and the ends that leave room for the name of it."""
    wide = points[-1] - points[0]
    return [point for point in points if point == anchor or abs(point - anchor) >= _ROOM * wide]


def _legend_labels(points: Sequence[float], anchor: float, top: float | None, share: bool) -> str:
    """The labels of a map's legend at these numbers, as an expression: the numbers as the cells show them, and what grey is."""
    said = "''"
    for point in points:
        more = ""
        if top is not None and abs(point - top) < 1e-9:
            more = " ceiling"
        elif point == anchor != 0 and not share:
            more = " nearest to 0"
        said = f"abs(datum.value - {point!r}) <= {1e-9 * max(1.0, abs(point))!r} ? '{show(point)}{more}' : {said}"
    return said


def _domain(picture: Picture) -> Any:
    """The axis of a score: a share has all of [0, 1], another one what it takes."""
    alt = charting()
    known = [row[key] for row in picture.rows for key in ("value", "low", "high") if row[key] is not None]
    if picture.share:
        least = min(0.0, *known, 0.0)  # below 0 it goes on to the next tenth, so that no mark ends on the frame
        return alt.Scale(
            domain=[math.floor(least * 10 - 1e-9) / 10 if least else 0.0, max(1.0, *known, 1.0)], nice=False
        )
    if max(map(abs, known), default=0.0) < _LEAST:
        return alt.Scale(domain=[-_LEAST if min(known, default=0.0) < 0 else 0.0, _LEAST])
    return alt.Scale(zero=True, nice=True)


def _ceiling_marks(picture: Picture, axis: str) -> list[Any]:
    """The reach of a rule without the hypothesis, as a band from below, and its highest value as a line."""
    alt = charting()
    if picture.ceiling is None:
        return []
    low, high = picture.ceiling
    bottom = min(0.0, *(row["value"] for row in picture.rows if row["value"] is not None), 0.0)
    row = {
        "from": bottom,
        "low": low,
        "high": high,
        "told": f"the ceiling: a rule that knows the answers alone scores {high:.3f}",
    }
    row["words"] = f"ceiling {high:.3f}" if low == high else f"ceiling {low:.3f} to {high:.3f}"
    base = alt.Chart(alt.Data(values=[row]))
    one, two = (alt.Y, alt.Y2) if axis == "y" else (alt.X, alt.X2)
    names = (axis, f"{axis}2")
    marks = [
        base.mark_rect(color=CEILING, opacity=0.13, aria=False).encode(
            **{names[0]: one("from:Q"), names[1]: two("high:Q")}
        ),
        base.mark_rule(color=CEILING, strokeDash=[4, 3]).encode(**{names[0]: one("high:Q")}, description="told:N"),
    ]
    if low < high:
        marks.insert(
            1,
            base.mark_rect(color=CEILING, opacity=0.2, aria=False).encode(
                **{names[0]: one("low:Q"), names[1]: two("high:Q")}
            ),
        )
    # within the frame, so that a narrow screen does not cut it: at the end where the scores are farther away, away from the nearer edge
    if axis == "y":
        ends = [_nearest(picture, high, end) for end in (0, -1)]
        at_end = ends[1] >= ends[0]
        place = {"x": alt.value("width" if at_end else 0), "y": alt.Y("high:Q")}
        style = {"align": "right" if at_end else "left", "dx": -3 if at_end else 3, "dy": 7 if _upper(picture) else -5}
    else:
        place = {"x": alt.X("high:Q"), "y": alt.value(0)}
        style = {"align": "right" if _upper(picture) else "left", "dx": -3 if _upper(picture) else 3, "dy": -6}
    marks.append(base.mark_text(color=CEILING, fontSize=SMALL, aria=False, **style).encode(text="words:N", **place))
    return marks


def _upper(picture: Picture) -> bool:
    """Whether the ceiling is in the upper half of what the axis of the score shows."""
    assert picture.ceiling is not None
    known = [row[key] for row in picture.rows for key in ("value", "low", "high") if row[key] is not None]
    known += [0.0, 1.0] if picture.share else [0.0, *picture.ceiling]
    return picture.ceiling[1] > (min(known) + max(known)) / 2


def _nearest(picture: Picture, ceiling: float, end: int) -> float:
    """How near the scores at one end of a curve come to the ceiling."""
    place = sorted({row["x"] for row in picture.rows})[end]
    scores = [row["value"] for row in picture.rows if row["x"] == place and row["value"] is not None]
    return min((abs(score - ceiling) for score in scores), default=math.inf)


def _curve(picture: Picture) -> Any:
    """The score over a number: a line, its points, and the intervals as a band."""
    alt = charting()
    whole = all(float(row["x"]).is_integer() for row in picture.rows)
    span = sorted({row["x"] for row in picture.rows})
    if len(span) <= 12:
        ticks: dict[str, Any] = {"values": span, "format": "d" if whole else "~g"}
    else:
        ticks = {"tickMinStep": 1, "format": "d"} if whole else {}
    axis = alt.Axis(**ticks, **_titled(picture, "x"))
    x = alt.X(
        "x:Q",
        title=picture.x,
        axis=axis,
        scale=alt.Scale(zero=False, nice=False, domain=[span[0], span[-1]], padding=6),
    )
    title = _wrapped(picture.y, _BESIDE) if len(picture.y) > _BESIDE else picture.y
    y = alt.Y("value:Q", title=title, scale=_domain(picture), axis=alt.Axis(**_titled(picture, "y")))
    base = alt.Chart(_data(picture)).encode(x=x, y=y)
    named = _order(picture, "line") if picture.line else []
    colour: dict[str, Any] = {}
    dash: dict[str, Any] = {}
    if 1 < len(named) <= 2 * MOST_LINES:
        colours = [LINES[number % len(LINES)] for number in range(len(named))]
        legend = alt.Legend(orient="bottom", columns=max(1, 56 // (6 + max(map(len, named)))), symbolType="stroke")
        colour = {
            "color": alt.Color(
                "line:N", title=picture.line, sort=named, scale=alt.Scale(domain=named, range=colours), legend=legend
            )
        }
        if len(named) > MOST_LINES:  # colours come twice: the second time their lines are dashed
            dashes = [[1, 0] if number < MOST_LINES else [4, 2] for number in range(len(named))]
            scale = alt.Scale(domain=named, range=dashes)
            dash = {"strokeDash": alt.StrokeDash("line:N", title=picture.line, sort=named, scale=scale, legend=legend)}
    elif named:
        colour = {"detail": "line:N"}
    many = len(named) > 2 * MOST_LINES
    layers = _ceiling_marks(picture, "y")
    if len(named) < 2 and picture.joined:
        layers.append(
            base.mark_area(color=LINE, opacity=0.22, aria=False).encode(
                y=alt.Y("low:Q", scale=_domain(picture)), y2="high:Q"
            )
        )
    elif len(named) <= 4 or not picture.joined:
        layers.append(
            base.mark_rule(aria=False, color=LINE).encode(
                y=alt.Y("low:Q", scale=_domain(picture)), y2="high:Q", **colour
            )
        )
    if picture.joined:
        layers.append(
            base.mark_line(color=LINE, strokeWidth=1 if many else 1.6, aria=False, opacity=0.5 if many else 1).encode(
                **colour, **dash
            )
        )
    points = base.mark_circle(color=LINE, size=14 if many else 30, opacity=1)
    layers.append(points.encode(tooltip=alt.Tooltip("told:N", title=" "), description="told:N", **colour))
    return alt.layer(*layers).properties(width=WIDE, height=HIGH)


def _panels(picture: Picture) -> Any:
    """Scores of several units, one below the other: a panel for each, with an axis of its own."""
    parts: dict[str, list[Any]] = {}
    for row in picture.rows:
        parts.setdefault(row["part"], []).append({**row, "part": ""})
    made = []
    for axis, rows in parts.items():
        share = all(row["share"] for row in rows)
        title = "" if [row["y"] for row in rows] == [axis] else axis  # the row has that name
        made.append(_points(replace(picture, rows=tuple(rows), x=title, ceiling=None, share=share, apart=False)))
    return charting().vconcat(*made, spacing=48, bounds="flush").resolve_scale(x="independent", y="independent")


def _points(picture: Picture) -> Any:
    """Names one below the other, a point and its interval for each."""
    alt = charting()
    names = _order(picture, "y")
    x = alt.X(
        "value:Q",
        title=picture.x or None,
        scale=_domain(picture),
        axis=alt.Axis(labelOverlap="greedy", labelFlush=False, tickCount=5),
    )
    y = alt.Y(
        "y:N",
        sort=names,
        title=picture.y or None,
        axis=alt.Axis(grid=True, ticks=False, labelPadding=8, **_titled(picture, "y")),
    )
    data = _data(picture)
    panels = len({row.get("part", "") for row in picture.rows})
    several, columns = panels > 1, 1 if panels * (20 * len(names) + 60) <= _TALL else 2
    base = (alt.Chart() if several else alt.Chart(data)).encode(x=x, y=y)
    tops = {row["ceiling"] for row in picture.rows}
    ticks = base.mark_tick(color=CEILING, thickness=2, height=16, aria=False).encode(
        x=alt.X("ceiling:Q", scale=_domain(picture))
    )
    layers = [
        *(_ceiling_marks(picture, "x") if picture.banded else [ticks] if tops != {None} else []),
        base.mark_rule(color=LINE, strokeWidth=1.5, aria=False).encode(
            x=alt.X("low:Q", scale=_domain(picture)), x2="high:Q"
        ),
        base.mark_circle(color=LINE, size=42, opacity=1).encode(
            tooltip=alt.Tooltip("told:N", title=" "), description="told:N"
        ),
    ]
    made = alt.layer(*layers).properties(width=(WIDE - 60) if columns == 1 else 150, height=20 * len(names))
    if several:
        made = made.facet(
            facet=alt.Facet("part:N", title=None, sort=_order(picture, "part")), columns=columns, data=data
        )
    return made


__all__ = ["chart", "charting", "plot"]
