"""Python functions that models call, where their code may not be run: a test of such a model has no draws, so no plan."""

from __future__ import annotations

from collections.abc import Iterable

from causal_dsl.causal.functions import PythonFunction
from causal_dsl.diagnostics import SpecError
from causal_dsl.program.program import Test


def untrusted_of(test: Test) -> tuple[PythonFunction, ...]:
    """The functions that models of the test call and that are not trusted."""
    models = (test.model, *test.design.models.values())
    return tuple(
        {(function.path, function.name): function for model in models for function in model.needs_trust}.values()
    )


def needs_trust(test: Test) -> bool:
    """Whether a model of the test calls Python code that is not trusted."""
    return bool(untrusted_of(test))


def refuse_untrusted(tests: Iterable[Test]) -> None:
    """Raise E346 for every function that models of the tests call and that is not trusted."""
    functions = [function for test in tests for function in untrusted_of(test)]
    faults = [fault for function in functions for fault in function.refusal().diagnostics]
    if faults:
        raise SpecError(list(dict.fromkeys(faults)))


__all__ = ["needs_trust", "refuse_untrusted", "untrusted_of"]
