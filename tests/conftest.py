"""pytest's own fixture for testing plugins."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker, for torch and for what tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from causal_dsl.base import faults
from tests.extras import without_extras as without_extras  # a fixture of every test
from tests.thinning import thin

faults.fall_back = False  # a mistake of the package is no reason for another way here: it fails the test

pytest_plugins = ["pytester"]

#: Specs under tests/ are material, many of them broken on purpose: the package's own pytest plugin leaves them alone.
collect_ignore_glob = ["*.causal"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The client of the language server is not installed with the other tests: its tests are left alone there, unless they
    are asked for. Then they fail without it."""
    expression = str(config.getoption("markexpr"))
    asked = "tools" in expression and "not tools" not in expression
    if collection_path.name == "test_language_server.py" and not asked and find_spec("lsprotocol") is None:
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A case that two lists of a product make slow, or that one makes nightly, runs at night (``tests/thinning.py``)."""
    for item in items:
        given = [mark.name for mark in getattr(getattr(item, "callspec", None), "marks", ())]
        if "nightly" in given or given.count("slow") > 1:
            item.own_markers = [mark for mark in item.own_markers if mark.name not in ("slow", "nightly")]
            item.add_marker("nightly")
    thin(items)
