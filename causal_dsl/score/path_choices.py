"""The six choices of a patched edge or path, or of one of several ablated circuits (Miller et al. 2024), beside the numbers that stand
on them."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.program.program import Test
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import TestResult


def with_choices(result: TestResult, test: Test) -> TestResult:
    """The result with the choices of every cell that patches edges or a path, or ablates a circuit beside something else: a circuit that
    is ablated alone says its own."""
    by_cell = {cell.values: cell.interventions for cell in test.cells}
    cells = []
    for cell in result.cells:
        done = by_cell.get(tuple(cell.cell.items()), ())
        said = [f"{one.choices}." for one in done if one.choices is not None]
        if len(done) > 1:
            said += [f"`{one.circuit.name}`: {one.circuit.choices}." for one in done if one.circuit is not None]
        told = [Finding("choices", text) for text in dict.fromkeys(said)]
        cells.append(replace(cell, findings=(*cell.findings, *told)))
    return replace(result, cells=tuple(cells))


__all__ = ["with_choices"]
