"""The pictures of a test, as data: which picture the shape of its sweep asks for, and the rows behind it.

Numbers that cannot be compared are never in one picture: scores have one each, and of circuits whose ablations make unlike
choices (Miller et al. 2024) each kind of choices has its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.report.figures.axis_titles import axis_title
from causal_dsl.report.heatmap import axes, marks
from causal_dsl.report.report_lines import (
    apart,
    ceiling_of,
    fewer,
    interval,
    is_share,
    mapped,
    marks_said,
    of_output,
    unit_name,
    unit_of,
    varying,
)
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import counted, show, show_cell
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.vocabulary.measures import of_score

#: A map over two parameters, a curve over a number, or points with their intervals beside names.
Kind = Literal["map", "curve", "points"]
#: Of more maps beside each other, and of more lines in one picture, none could be read.
MOST_MAPS, MOST_LINES = 24, 8


@dataclass(frozen=True)
class Picture:
    """One figure. ``rows`` have ``value``, ``low``, ``high``, ``method`` (how these ends were made), ``n``, ``ceiling`` and ``told``
    (all of it in words), and under ``x``, ``y``, ``part`` and ``line`` where they are drawn; ``columns`` names these four as the parameters that they are.

    ``x``, ``y`` are the titles of the axes. ``ceiling`` (least and greatest value of the rule that knows the answers alone) is a
    band, None where the score has none. ``share``: the score lies in [0, 1]. ``joined``: points of a line are joined. ``score`` and
    ``unit`` (by its name: ``share``, ``nats``) are those of all rows; where they are more than one, each row has its own. ``apart``: each part has an axis of its own,
    whose title it is. ``spec``: the file that it is of, where there are several."""

    name: str
    title: str
    kind: Kind
    rows: tuple[Mapping[str, Any], ...]
    x: str
    y: str
    part: str = ""
    line: str = ""
    ceiling: tuple[float, float] | None = None
    share: bool = False
    joined: bool = True
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    score: str = ""
    unit: str = ""
    apart: bool = False
    spec: str = ""

    @property
    def key(self) -> str:
        """The meaning of its marks that no label names: intervals, and ceilings of single rows."""
        lines = len({row.get("line") for row in self.rows}) if self.line else 1
        told, sort = [], ""
        if self.kind == "curve" and self.joined and lines == 1:
            sort = "shaded"
        elif self.kind == "points" or (self.kind == "curve" and (not self.joined or lines <= 4)):
            sort = "bars"
        around = [row for row in self.rows if row["low"] is not None and row["low"] < row["high"]]
        drawn = [row for row in around if row.get("method") == "draws"]
        if sort and len(around) > len(drawn):
            told.append(f"{sort}: 95% intervals")
        if sort and drawn:
            names = ", ".join(dict.fromkeys(row["which"] for row in drawn))
            told.append(f"{sort} of {names}: smallest and largest draw")
        if self.kind == "points" and not self.banded and any(row["ceiling"] is not None for row in self.rows):
            told.append("brown marks: ceilings, which a rule that sees only the answers can reach")
        return "; ".join(told)

    @property
    def banded(self) -> bool:
        """Whether its ceiling is that of all rows, and so drawn once across all of them."""
        return self.ceiling is not None and not self.apart and len({row["ceiling"] for row in self.rows}) == 1

    @property
    def beside(self) -> bool:
        """Whether its numbers are no scores of the test's own cells, but of controls, fits or several tests."""
        return bool({"control", "fit"} & set(self.columns.values()))

    @property
    def one_number(self) -> bool:
        """Whether it is the one score of a test of one cell: beside the text that gives it, it says nothing more."""
        return len(self.rows) == 1 and self.columns == {"y": "score"}

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows under the names of their parameters, as a CSV file has them."""
        found = []
        for row in self.rows:
            own = {self.columns[key]: row[key] for key in ("part", "y", "x", "line") if key in self.columns}
            score = {"score": row.get("score", self.score), "unit": row.get("unit", self.unit)}
            numbers = {key: row[key] for key in ("value", "low", "high", "method", "n", "ceiling")}
            found.append({**({"spec": self.spec} if self.spec else {}), **own, **score, **numbers})
        return found


def pictures(test: TestResult) -> list[Picture]:
    """The figures of a test, the most telling first; none for a test of which no cell was measured."""
    if not test.cells:
        return []
    test = replace(test, cells=test.shown_cells)
    found = list(_scores(test)) if len(test.cells) == 1 else [p for score in mapped(test) for p in _sweep(test, score)]
    return [*found, *_controls(test), *_losses(test)]


def picture_of(test: TestResult, score: str) -> list[Picture]:
    """The figures of one score of a test. Raises KeyError for a score that it does not have."""
    if not any(score in cell.scores for cell in test.cells):
        raise KeyError(f"`{test.name}` has no score `{score}`; it has {', '.join(test.cells[0].scores) or 'none'}")
    test = replace(test, cells=test.shown_cells)
    if len(test.cells) == 1:
        return [_points(test, f"{test.name}-{score}", [(score, score)], test.name)]
    return list(_sweep(test, score))


# ── of one cell ─────────────────────────────────────────────────────────────────────────────────


def _scores(test: TestResult) -> Iterator[Picture]:
    """The scores of a test of one cell beside each other, on an axis for each unit; those without a unit on axes of their own."""
    known = test.cells[0].scores
    scores = {
        name: one
        for name, one in known.items()
        if one.value is not None and not (name.endswith("_unfiltered") and test.kept == test.n)
    }
    if not scores:
        return
    axes_of: dict[str, list[str]] = {}
    for name in scores:
        axes_of.setdefault(_axis(name, test), []).append(name)
    shown = [name for names in axes_of.values() for name in names]
    told = [(name, name) for name in shown]
    if len(axes_of) == 1:
        yield _points(test, f"{test.name}-scores", told, test.name)
        return
    one = _points(test, f"{test.name}-scores", told, test.name)
    parts = {name: axis for axis, names in axes_of.items() for name in names}
    rows = tuple({**row, "part": parts[row["y"]], "share": is_share(row["score"], test)} for row in one.rows)
    yield replace(one, rows=rows, apart=True, x="", share=False, part="")


def _axis(score: str, test: TestResult) -> str:
    """The title of the axis on which a score stands beside others of its kind; of one without a kind, its name."""
    unit, measure = test.units.get(score.removesuffix("_unfiltered"), ""), of_score(score)
    if unit == "share":
        own = "" if measure is None or measure.name == "iia_star" else measure.interval
        return {"share": "share of pairs", "mean": "mean probability"}.get(own, score.removesuffix("_unfiltered"))
    return unit_of(score, test) or ("ratio" if unit == "ratio" else score)


def _points(test: TestResult, name: str, scores: Sequence[tuple[str, str]], title: str) -> Picture:
    cell = test.cells[0]
    rows = []
    for score, shown in scores:
        at, unit = ceiling_of(score, test), unit_of(score, test)
        told = row_of(cell.scores[score], shown, at, "", unit=unit)
        rows.append({**told, "y": shown, "score": score, "unit": unit_name(score, test)})
    share = all(is_share(score, test) for score, _ in scores)
    return Picture(
        figure_name(name),
        title,
        "points",
        tuple(rows),
        _axis(scores[0][0], test),
        "",
        ceiling=band_of(test, "iia") if any(score == "iia" for score, _ in scores) else None,
        share=share,
        joined=False,
        columns={"y": "score"},
    )


# ── of a sweep ──────────────────────────────────────────────────────────────────────────────────


def _sweep(test: TestResult, score: str) -> Iterator[Picture]:
    whose, own = of_output(test, score)
    groups = apart([cell for cell in whose.cells if own in cell.scores])
    for number, (choices, cells) in enumerate(groups, 1):
        title = f"{test.name}: {score}"
        name = f"{test.name}-{score}"
        if len(groups) > 1:
            title, name = f"{title} ({choices})", f"{name}-{number}"
        names = varying(whose, cells) or list(whose.parameters)
        if len(names) > 1:
            yield from _map(whose, own, score, cells, names, name, title)
        elif names:
            yield _along(whose, own, score, cells, names[0], name, title)


def _map(
    test: TestResult, own: str, score: str, cells: list[CellResult], names: list[str], name: str, title: str
) -> Iterator[Picture]:
    down, across = axes(cells, names)
    others = [one for one in names if one not in (down, across)]
    settings = {tuple(cell.cell[other] for other in others) for cell in cells}
    if len(settings) > MOST_MAPS:
        return
    at, unit = ceiling_of(own, test), unit_of(own, test)
    rows = []
    for cell in cells:
        part = ", ".join(f"{other}={cell.cell[other]}" for other in others)
        row = row_of(cell.scores[own], score, at, show_cell(cell.cell), _jointly(cell, own), unit)
        rows.append(
            {**row, "x": cell.cell[across], "y": cell.cell[down], "part": part, "mark": marks(cell, own, at).strip()}
        )
    columns = {"x": across, "y": down, **({"part": ", ".join(others)} if others else {})}
    note = "; ".join(filter(None, (marks_said(own, cells, at), fewer(own, cells, test))))
    yield Picture(
        figure_name(name),
        f"{title} ({unit})" if unit else title,
        "map",
        tuple(rows),
        axis_title(test, own, across),
        axis_title(test, own, down),
        ", ".join(others),
        ceiling=band_of(test, own),
        share=is_share(own, test),
        joined=False,
        note=note,
        columns=columns,
        score=score,
        unit=unit_name(own, test),
    )


def _along(
    test: TestResult, own: str, score: str, cells: list[CellResult], along: str, name: str, title: str
) -> Picture:
    at, unit = ceiling_of(own, test), unit_of(own, test)
    rows = [
        {
            **row_of(cell.scores[own], score, at, show_cell(cell.cell), _jointly(cell, own), unit),
            "x": cell.cell[along],
            "y": str(cell.cell[along]),
        }
        for cell in cells
    ]
    share, band, axis = is_share(own, test), band_of(test, own), f"{score} ({unit})" if unit else score
    curve, parameter = all_numbers(row["x"] for row in rows), axis_title(test, own, along)
    return Picture(
        figure_name(name),
        title,
        "curve" if curve else "points",
        tuple(rows),
        parameter if curve else axis,
        axis if curve else parameter,
        ceiling=band,
        share=share,
        joined=curve,
        note=fewer(own, cells, test),
        columns={"x": along} if curve else {"y": along},
        score=score,
        unit=unit_name(own, test),
    )


# ── what stands beside ──────────────────────────────────────────────────────────────────────────


def _controls(test: TestResult) -> Iterator[Picture]:
    """The iia of learned features beside that of their controls on the same pairs."""
    cells = [cell for cell in test.cells if cell.learned is not None and cell.learned.controls and "iia" in cell.scores]
    if not cells:
        return
    at, rows = ceiling_of("iia", test), []
    names = varying(test, cells)
    for cell in cells:
        assert cell.learned is not None
        beside = {"the feature": cell.scores["iia"]} | {n: c.iia for n, c in cell.learned.controls.items()}
        for name, estimate in beside.items():
            where = ", ".join(part for part in (name, show_cell(cell.cell)) if part)
            rows.append({**row_of(estimate, "iia", at, where), "cell": cell.cell, "which": name})
    title, name, band = (
        f"{test.name}: iia of the feature and its controls",
        f"{test.name}-controls",
        band_of(test, "iia"),
    )
    along = names[0] if len(names) == 1 else ""
    if along and len(cells) > 6 and all(isinstance(cell.cell[along], int | float) for cell in cells):
        curve = tuple({**row, "x": row["cell"][along], "line": row["which"]} for row in rows)
        columns = {"x": along, "line": "control"}
        yield Picture(
            *(
                figure_name(name),
                title,
                "curve",
                curve,
                axis_title(test, "iia", along),
                "iia",
                "",
                "control",
                band,
                True,
            ),
            columns=columns,
            score="iia",
            unit=unit_name("iia", test),
        )
    elif len(cells) <= MOST_MAPS:
        points = tuple({**row, "y": row["which"], "part": show_cell(row["cell"])} for row in rows)
        part = ", ".join(names) or ("cell" if len(cells) > 1 else "")
        columns = {"y": "control", **({"part": "cell"} if part else {})}
        yield Picture(
            *(figure_name(name), title, "points", points, "iia", "", part, "", band, True),
            joined=False,
            columns=columns,
            score="iia",
            unit=unit_name("iia", test),
        )


def _losses(test: TestResult) -> Iterator[Picture]:
    """How the loss of each fit fell, epoch by epoch."""
    rows = []
    lines: set[str] = set()
    for cell in test.cells:
        for feature in cell.learned.features if cell.learned is not None else ():
            line = ", ".join(part for part in (show_cell(cell.cell), feature.place) if part)
            if len(feature.losses) < 2 or line in lines:
                continue
            lines.add(line)
            for epoch, loss in enumerate(feature.losses, 1):
                row = row_of(Estimate(loss, n=feature.pairs), "loss", None, f"{line}, epoch {epoch}", unit="nats")
                rows.append({**row, "x": epoch, "line": line})
    if 0 < len(lines) <= MOST_LINES:
        columns = {"x": "epoch", "line": "fit"}
        title = f"{test.name}: loss of the fits"
        yield Picture(
            figure_name(f"{test.name}-losses"),
            title,
            "curve",
            tuple(rows),
            "epoch",
            "cross-entropy (nats)",
            line="fit",
            columns=columns,
            score="loss",
            unit="nats",
        )


# ── rows ────────────────────────────────────────────────────────────────────────────────────────


def row_of(
    estimate: Estimate, score: str, ceiling: float | None, where: str, more: str = "", unit: str = ""
) -> dict[str, Any]:
    """A number with all that is told of it: where, value, interval, pairs, ceiling."""
    around = interval(estimate)
    called = "smallest and largest draw" if estimate.method == "draws" else "95% interval"
    parts = [
        where,
        f"{score} {show(estimate.value)}"
        + (f" {unit}" if unit and estimate.value is not None else "")
        + (f", {called} {around}" if around.startswith("[") else f", {around}" if around == "exact" else ""),
        more,
        counted(estimate.n) if estimate.n else "",
        f"ceiling {show(ceiling)}" if ceiling is not None else "",
    ]
    told = " · ".join(part for part in parts if part)
    numbers = {name: getattr(estimate, name) for name in ("value", "low", "high", "method", "n")}
    return {**numbers, "ceiling": ceiling, "told": told, "shown": show(estimate.value, missing="–")}


def _jointly(cell: CellResult, score: str) -> str:
    if score != "iia" or cell.together is None:
        return ""
    return f"for all cells together [{show(cell.together[0])}, {show(cell.together[1])}]"


def band_of(test: TestResult, score: str) -> tuple[float, float] | None:
    at = ceiling_of(score, test)
    ceiling = (test.ceilings_kept or test.ceilings).get("output_only")
    if at is None or ceiling is None or at != at:
        return None
    return (0.0, 0.0) if score == "iia_star" else (ceiling.low, ceiling.high)


def all_numbers(values: Iterator[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def figure_name(name: str) -> str:
    """A file name of a picture: `held(seed=0)-iia` is `held_seed_0-iia`."""
    return re.sub(r"_*-_*", "-", re.sub(r"[^\w.-]+", "_", name)).strip("_.-")[:120] or "figure"


__all__ = [
    "MOST_LINES",
    "MOST_MAPS",
    "Picture",
    "all_numbers",
    "band_of",
    "figure_name",
    "picture_of",
    "pictures",
    "row_of",
]
