"""Of sites that are written in the numbers of a feature: what stays as it is."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef, family
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import TestResult


def with_rest_kept(result: TestResult, test: Test) -> TestResult:
    """The result, told what an intervention leaves where it writes parts of vectors through features of files."""
    refs = [(i, ref) for cell in test.cells for i in cell.interventions for ref in i.inside]
    dictionaries = dict.fromkeys(_named(ref) for _, ref in refs if family(ref.chain[0]).encoder)
    directions = dict.fromkeys(_named(ref) for _, ref in refs if not family(ref.chain[0]).encoder)
    found = []
    if dictionaries:
        found.append(
            "The other latents of "
            f"{_several(list(dictionaries))}, and what the reconstruction leaves out, stay as they are in the patched run."
        )
    if directions:
        found.append(
            f"The part of the vector at right angles to {_several(list(directions))} stays as it is in the patched run."
        )
    made = tuple(Finding("rest_kept", text) for text in found)
    return replace(result, findings=(*result.findings, *made)) if made else result


def _named(ref: FeatureRef) -> str:
    return ref.chain[0].shown


def _several(names: list[str]) -> str:
    first = ", ".join(f"`{name}`" for name in names[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


__all__ = ["with_rest_kept"]
