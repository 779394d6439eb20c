"""pytest collects ``*.causal``: every ``test`` is an item at its own line, and fails with its diagnostic.

This module is loaded in every pytest run of an environment that has the package: nothing heavy is imported at its top.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from causal_dsl.tools.spec_items import SpecFile

SUFFIX = ".causal"
#: A group as :class:`~causal_dsl.tools.spec_items.SpecItem` names it and xdist writes it.
_GROUP = re.compile(r"@[\w.-]+-[0-9a-f]{8}$")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("causal", "causal specs (*.causal)")
    group.addoption("--causal-trust", action="store_true", help="allow code that specs name: Python files, pickles")
    group.addoption(
        "--causal-allow",
        action="append",
        default=[],
        type=_folder,
        metavar="DIR",
        help="let specs read files in this folder too, beside their project",
    )
    group.addoption(
        "--causal-network",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="take the network that specs declare as NAME from another folder",
    )


def _folder(text: str) -> Path:
    """A folder to read from; what is none is a fault of the command line."""
    from causal_dsl.tools.command_line import folder_that_is_there

    return folder_that_is_there(text)


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("xdist"):
        config.addinivalue_line("markers", "xdist_group(name): tests on one network, for `pytest -n`")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Nothing in a folder of ``--out`` is collected: no spec that is kept there, and none of the files beside it."""
    from causal_dsl.store.out import MARKER

    return True if (collection_path / MARKER).is_file() else None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    if file_path.suffix != SUFFIX or (_kept(file_path) and not parent.session.isinitpath(file_path)):
        return None
    from causal_dsl.tools.spec_items import SpecFile

    found: SpecFile = SpecFile.from_parent(parent, path=file_path)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    """A network that no spec has is a fault of the command line. A worker of xdist tells it of the tests: it has no other voice."""
    if not session.config.getoption("--causal-network") or hasattr(session.config, "workerinput"):
        return
    from causal_dsl.diagnostics import SpecError
    from causal_dsl.tools.spec_items import refuse_unknown_networks

    try:
        refuse_unknown_networks(session.config)
    except SpecError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A fault that comes before a test of a spec is run is a diagnostic, too: pytest asks an item only of its own failures."""
    report = yield
    if getattr(item, "tells_by_diagnostics", False):
        if report.failed and call.excinfo is not None:
            report.longrepr = item.repr_failure(call.excinfo)
        if report.nodeid != item.nodeid:  # it lacks the group (see SpecItem.nodeid)
            report.nodeid = item.nodeid
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """xdist writes the group of a test behind its name, by which it hands tests out; what is reported goes without it, so that a
    test has one name in every run."""
    file, _, name = report.nodeid.partition("::")
    if file.endswith(SUFFIX) and hasattr(report, "node"):
        report.nodeid = f"{file}::{_GROUP.sub('', name)}"


def _kept(file: Path) -> bool:
    """Whether a file is a copy among the results of ``--out``: it is collected only if the file itself is named."""
    from causal_dsl.store.out import MARKER

    return any((folder / MARKER).is_file() for folder in file.parents if folder != folder.parent)
