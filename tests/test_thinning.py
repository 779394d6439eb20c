"""Which cases the marker ``thinned`` leaves by default, by day, and for the night: each runs in exactly one of the three."""

from __future__ import annotations

import pytest

CONFTEST = """
from tests.thinning import thin

def pytest_configure(config):
    for name in ("slow", "nightly", "thinned"):
        config.addinivalue_line("markers", name)

def pytest_collection_modifyitems(items):
    thin(items)
"""
CASES = """
import pytest

late = pytest.mark.slow

@pytest.mark.thinned(always=2)
@pytest.mark.parametrize("x", range(6))
def test_always(x): ...

@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("x", [0, 1, 2])
@pytest.mark.parametrize("y", [0, 1])
def test_values(x, y): ...

@pytest.mark.slow
@pytest.mark.thinned(slow=2)
@pytest.mark.parametrize("x", range(5))
def test_slow(x): ...

@pytest.mark.parametrize("x", [0, pytest.param(1, marks=late)])
def test_plain(x): ...
"""
PARTS = {
    "not slow and not nightly": {"always[0]", "always[3]", "values[0-0]", "plain[0]"},
    "slow": {"always[1]", "always[2]", "always[4]", "always[5]", "values[0-1]", "values[0-2]", "values[1-0]"}
    | {"slow[0]", "slow[3]", "plain[1]"},
    "nightly": {"values[1-1]", "values[1-2]", "slow[1]", "slow[2]", "slow[4]"},
}


@pytest.mark.parametrize("part", PARTS)
def test_each_case_is_in_one_part(part: str, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_cases=CASES)
    told = pytester.inline_run("--collect-only", "-q", "-m", part, "-p", "no:cacheprovider")
    found = {
        item.name.removeprefix("test_")
        for call in told.getcalls("pytest_collection_finish")
        for item in call.session.items
    }
    assert found == PARTS[part]
