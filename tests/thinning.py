"""Which cases run always: the others of a long list are `slow`, so that `pytest` alone is quick and `.ci/run` leaves none out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings


def some(cases: Iterable[str], always: Collection[str]) -> list[Any]:
    """Cases of a parametrised test: those named run always, the others are slow."""
    every = list(cases)
    assert set(always) <= set(every), f"no such cases: {set(always) - set(every)}"
    return [case if case in always else pytest.param(case, marks=pytest.mark.slow) for case in every]


def spread(cases: Iterable[Any], step: int) -> list[Any]:
    """The same, where each ``step``-th runs always. A tuple is a case of several arguments."""
    every = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*case, marks=[] if number % step == 0 else pytest.mark.slow) for number, case in enumerate(every)
    ]


def law(*drawn: Any, few: int, many: int) -> Callable[[Callable[..., None]], Any]:
    """A test that holds a law on examples of the strategies ``drawn``: always on a few, and as a slow test on many."""

    def of(holds: Callable[..., None]) -> Any:
        def test(examples: int) -> None:
            told = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
            told(given(*drawn)(holds))()

        test.__name__, test.__qualname__, test.__doc__ = holds.__name__, holds.__qualname__, holds.__doc__
        test.__module__ = holds.__module__
        return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])(test)

    return of
