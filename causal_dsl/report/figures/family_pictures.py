"""The pictures of a family: the scores of its tests, which differ in parameters, beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from causal_dsl.report.figures.axis_titles import axis_title
from causal_dsl.report.figures.pictures import Picture, all_numbers, band_of, figure_name, row_of
from causal_dsl.report.report_lines import ceiling_of, is_share, mapped, unit_name, unit_of, varying, with_unit
from causal_dsl.score.across_networks import FamilyResult
from causal_dsl.score.format_numbers import show_cell
from causal_dsl.score.results import TestResult


def family_pictures(family: FamilyResult) -> list[Picture]:
    """The scores of a family's tests: over what they sweep, a line for each test, or over what they differ in."""
    tests = [test for test in family.tests if test.cells]
    found: list[Picture] = []
    for score in mapped(tests[0]) if tests else ():
        if any(cell.circuit is not None for test in tests for cell in test.cells):
            continue  # sizes and choices may differ from test to test
        if len({cell.stands_on for test in tests for cell in test.cells}) > 1:
            continue
        swept = {tuple(varying(test, test.cells)) for test in tests}
        parameters = [n for n in family.parameters if len({dict(test.variant)[n] for test in tests}) > 1]
        if len(swept) != 1 or not parameters or any(score not in cell.scores for t in tests for cell in t.cells):
            continue
        along = next(iter(swept))
        ceilings = {ceiling_of(score, test) for test in tests}
        band = band_of(tests[0], score) if len(ceilings) == 1 else None
        common = {
            "ceiling": band,
            "share": is_share(score, tests[0]),
            "score": score,
            "unit": unit_name(score, tests[0]),
        }
        if len(along) == 1 and len(tests) > 1 and all_numbers(c.cell[along[0]] for t in tests for c in t.cells):
            found.append(_over_cells(family, tests, score, along[0], common))
        elif not along and len(parameters) <= 2:
            found += _over_tests(family, tests, score, parameters, common)
    return found


def _over_cells(
    family: FamilyResult,
    tests: list[TestResult],
    score: str,
    along: str,
    common: Mapping[str, Any],
) -> Picture:
    rows = []
    for test in tests:
        line = show_cell(dict(test.variant))
        for cell in test.cells:
            told = row_of(
                cell.scores[score],
                score,
                ceiling_of(score, test),
                f"{line}, {show_cell(cell.cell)}",
                unit=unit_of(score, test),
            )
            rows.append({**told, "x": cell.cell[along], "line": line})
    columns = {"x": along, "line": ", ".join(family.parameters)}
    return Picture(
        figure_name(f"{family.name}-{score}"),
        f"{family.name}: {score}",
        "curve",
        tuple(rows),
        axis_title(tests[0], score, along),
        with_unit(score, tests[0]),
        line=", ".join(family.parameters),
        columns=columns,
        **common,
    )


def _over_tests(
    family: FamilyResult,
    tests: list[TestResult],
    score: str,
    parameters: list[str],
    common: Mapping[str, Any],
) -> Iterator[Picture]:
    """A score over one parameter; of two, over the one that is a number, with a line for each value of the other. Seeds are lines."""
    numeric = [name for name in parameters if all_numbers(dict(test.variant)[name] for test in tests)]
    along = min(numeric or parameters, key=lambda name: "seed" in name)
    others = [name for name in parameters if name != along]
    if others and not numeric:
        return
    rows = []
    for test in tests:
        variant = dict(test.variant)
        unit, at = unit_of(score, test), ceiling_of(score, test)
        told = row_of(test.cells[0].scores[score], score, at, show_cell(variant), unit=unit)
        line = show_cell({name: variant[name] for name in others})
        rows.append({**told, "x": variant[along], "y": str(variant[along]), **({"line": line} if others else {})})
    name, title, axis = figure_name(f"{family.name}-{score}"), f"{family.name}: {score}", with_unit(score, tests[0])
    if numeric:
        joined = along not in family.over or "seed" not in along  # between two seeds there is nothing
        line = ", ".join(others)
        columns = {"x": along, **({"line": line} if others else {})}
        kept = tuple(sorted(rows, key=lambda row: row["x"]))
        yield Picture(name, title, "curve", kept, along, axis, "", line, joined=joined, columns=columns, **common)
    else:
        yield Picture(name, title, "points", tuple(rows), axis, along, joined=False, columns={"y": along}, **common)


__all__ = ["family_pictures"]
