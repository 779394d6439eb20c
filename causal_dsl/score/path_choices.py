"""The six choices of a patched edge or path (Miller et al. 2024), beside the numbers that stand on them."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.program.program import Test
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import TestResult


def with_choices(result: TestResult, test: Test) -> TestResult:
    """The result with the choices of every cell that patches edges or a path."""
    by_cell = {cell.values: cell.interventions for cell in test.cells}
    cells = []
    for cell in result.cells:
        patched = [one.choices for one in by_cell.get(tuple(cell.cell.items()), ()) if one.choices is not None]
        said = [Finding("choices", f"{choices}.") for choices in dict.fromkeys(patched)]
        cells.append(replace(cell, findings=(*cell.findings, *said)))
    return replace(result, cells=tuple(cells))


__all__ = ["with_choices"]
