"""Python functions that models call, where their code may not be run: a test of such a model has no draws, so no plan."""

from __future__ import annotations

from collections.abc import Iterable

from causal_dsl.diagnostics import SpecError
from causal_dsl.program.program import Test


def needs_trust(test: Test) -> bool:
    """Whether a model of the test calls Python code that is not trusted."""
    return any(model.needs_trust for model in (test.model, *test.design.models.values()))


def refuse_untrusted(tests: Iterable[Test]) -> None:
    """Raise E346 for every function that models of the tests call and that is not trusted."""
    models = [model for test in tests for model in (test.model, *test.design.models.values())]
    functions = [function for model in models for function in model.needs_trust]
    faults = [fault for function in functions for fault in function.refusal().diagnostics]
    if faults:
        raise SpecError(list(dict.fromkeys(faults)))


__all__ = ["needs_trust", "refuse_untrusted"]
