"""Which cases run always: the others of a long list are `slow`, so that `pytest` alone is quick and `.ci/run` leaves no kind out.

Of a product of lists, the cases that two of them make slow run at night (``tests/conftest.py``): each value of each list is then
among the slow ones, beside values of the others that run always. Of one list longer than that needs, ``slow_step`` leaves a part to
the night. `pytest -m "nightly or slow"` has all of them.

The marker ``thinned`` thins out what a parametrised test has got without these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings


def some(cases: Iterable[str], always: Collection[str], slow_step: int = 1) -> list[Any]:
    """Cases of a parametrised test: those named run always; of the others each ``slow_step``-th is slow, and the rest nightly."""
    every = list(cases)
    assert set(always) <= set(every), f"no such cases: {set(always) - set(every)}"
    return _marked([(case,) for case in every], [case in always for case in every], slow_step)


def spread(cases: Iterable[Any], step: int, slow_step: int = 1) -> list[Any]:
    """The same, where each ``step``-th runs always. A tuple is a case of several arguments."""
    every = [case if isinstance(case, tuple) else (case,) for case in cases]
    return _marked(every, [number % step == 0 for number in range(len(every))], slow_step)


def nightly_rest(cases: Iterable[tuple[Any, ...]], kind: Callable[[tuple[Any, ...]], Any]) -> list[Any]:
    """Cases of a slow test: of each ``kind`` the last is that, and those before it are nightly."""
    every = list(cases)
    of = [kind(case) for case in every]
    ends = {len(of) - 1 - of[::-1].index(one) for one in of}
    return [
        pytest.param(*case, marks=pytest.mark.slow if number in ends else pytest.mark.nightly)
        for number, case in enumerate(every)
    ]


def _marked(cases: list[tuple[Any, ...]], always: list[bool], slow_step: int) -> list[Any]:
    found, others = [], 0
    for case, runs_always in zip(cases, always, strict=True):
        late = pytest.mark.nightly if others % slow_step else pytest.mark.slow
        found.append(pytest.param(*case, marks=[] if runs_always else late))
        others += not runs_always
    return found


def thin(items: Sequence[pytest.Item]) -> None:
    """Heed the marker ``thinned``. ``always=n``: of the cases that would run always, ``n`` do, and the others are slow.

    ``values=True``: of the slow cases those stay that have a value of some argument which no case before them has, and no
    case that runs always; the others are nightly. ``slow=n``: of those, ``n`` stay.
    """
    tests: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("thinned") and hasattr(item, "callspec"):
            tests.setdefault((item.nodeid.partition("[")[0], item.name.partition("[")[0]), []).append(item)
    for cases in tests.values():
        (asked,) = [mark.kwargs for mark in cases[0].iter_markers("thinned")]
        early = [case for case in cases if not _LATE & {mark.name for mark in case.iter_markers()}]
        step = -(-len(early) // asked.get("always", len(early) or 1)) or 1
        for number, case in enumerate(early):
            if number % step:
                case.add_marker("slow")
        if asked.get("values"):
            seen = {value for case in early[::step] for value in _values(case)}
            for case in cases:
                if case.get_closest_marker("slow"):
                    if _values(case) <= seen:
                        _at_night(case)
                    seen |= _values(case)
        late = [case for case in cases if case.get_closest_marker("slow")]
        step = -(-len(late) // asked.get("slow", len(late) or 1)) or 1
        for number, case in enumerate(late):
            if number % step:
                _at_night(case)


def _at_night(case: pytest.Item) -> None:
    case.own_markers = [mark for mark in case.own_markers if mark.name != "slow"]
    case.add_marker("nightly")


_LATE = {"slow", "nightly", "tools", "real"}


def _values(case: Any) -> set[tuple[str, str]]:
    return {(name, repr(value)) for name, value in case.callspec.params.items()}


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
