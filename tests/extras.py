"""Packages that only tools need: the tests of the README's command have to pass without them."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Tests that are run where everything is installed.
WITH_ALL = ("real", "slow", "tools", "nightly")


def _needed(distribution: str, extra: str, known: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Distributions, with the extra of each, that an extra of one brings along."""
    asked = (canonicalize_name(distribution), extra)
    if asked in known:
        return known
    known.add(asked)
    try:
        requirements = requires(distribution) or []
    except PackageNotFoundError:
        return known
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for one in ("", *requirement.extras):
                _needed(requirement.name, one, known)
    return known


@cache
def of_tools() -> tuple[str, ...]:
    """Modules that the extra `tools` brings along, and `test` does not."""
    tools, test = ({name for name, _ in _needed("causal-dsl", extra, set())} for extra in ("tools", "test"))
    only = tools - test
    found = {name for name, of in packages_distributions().items() if {canonicalize_name(one) for one in of} <= only}
    return tuple(sorted(found - sys.stdlib_module_names))


@pytest.fixture(autouse=True)
def without_extras(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that only tools need is not there, unless something has imported it before."""
    if not any(request.node.get_closest_marker(name) for name in WITH_ALL):
        for name in of_tools():
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, None)
