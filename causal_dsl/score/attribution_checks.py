"""The sums beside attributions: whether all terms of the stream add up to the logit, and what each kind of them adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.measures.quantities import PARTS, SUMS, Columns, Quantity
from causal_dsl.program.program import Test
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult
from causal_dsl.score.results_beside import AttributionCheck
from causal_dsl.vocabulary.components import COMPONENTS

#: What the parts are called.
NAMES = dict(zip(PARTS, ("embeddings", "attention", "MLPs", "biases"), strict=True))


def with_attributions(result: TestResult, test: Test, cells: Sequence[Columns], kept: np.ndarray | None) -> TestResult:
    """The result with what its attributions add up to in the runs that a spec names; ``kept`` [n] are the pairs that are scored (None: all)."""
    if not any(look.kind == "attribution" for cell in test.cells for look in cell.looks):
        return result
    written = any(
        COMPONENTS[place.site.component].logit in ("stream", "normed")
        for cell in test.cells
        for intervention in cell.interventions
        for place in intervention.places
    )
    runs: dict[str, list[Mapping[Quantity, np.ndarray]]] = {}
    for columns in cells:
        for run, own in (("base", columns.base), ("patched", columns.patched), *columns.sources.items()):
            if run.startswith("@"):  # beside a circuit
                continue
            runs.setdefault(run, []).append(own)
    checks = []
    for run, every in runs.items():
        for of in dict.fromkeys(str(q.of) for own in every for q in own if q.kind == "of_all"):
            checks.append(_check(run, of, every, kept, written and run == "patched"))
    failed = tuple(_finding(check) for check in checks if not check.holds)
    return replace(result, attributions=tuple(checks), findings=(*result.findings, *failed))


def _check(
    run: str, of: str, every: Sequence[Mapping[Quantity, np.ndarray]], kept: np.ndarray | None, written: bool
) -> AttributionCheck:
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in SUMS}
    for own in every:
        for quantity, values in own.items():
            if quantity.kind in SUMS and str(quantity.of) == of:
                found[quantity.kind].append(values if kept is None else values[kept])
    numbers = {kind: np.concatenate(values) for kind, values in found.items()}
    apart = np.abs(numbers["of_all"] - numbers["own_logit"])

    def most(values: np.ndarray) -> float:
        return float("inf") if np.isnan(values).any() else float(values.max(initial=0.0))

    return AttributionCheck(
        run,
        f"logit({of})",
        {name: float(numbers[kind].mean()) for kind, name in NAMES.items()},
        float(numbers["of_all"].mean()),
        float(numbers["own_logit"].mean()),
        most(apart),
        most(numbers["heads_apart"]),
        most(np.abs(numbers["own_logit"])),
        written,
    )


def _finding(check: AttributionCheck) -> Finding:
    apart = max(check.heads_apart, 0.0 if check.written else check.apart)
    told = f"up to {show(apart)} apart" if math.isfinite(apart) else "not finite in every pair"
    return Finding(
        "attribution_check", f"The terms of `{check.of}` in the {check.run} runs do not add up to it: they are {told}."
    )


__all__ = ["with_attributions"]
