"""pytest collects ``*.causal``: every ``test`` is an item at its own line, and fails with its diagnostic.

This module is loaded in every pytest run of an environment that has the package: nothing heavy is imported at its top.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from causal_dsl.api import Options, Spec
    from causal_dsl.diagnostics import Diagnostic
    from causal_dsl.score.results import Results


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("causal", "causal specs (*.causal)")
    group.addoption("--causal-trust", action="store_true", help="allow code that specs name: Python files, pickles")
    group.addoption(
        "--causal-allow",
        action="append",
        default=[],
        type=Path,
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


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    if file_path.suffix != ".causal" or _among_results(file_path, parent.config):
        return None
    return SpecFile.from_parent(parent, path=file_path)


def _among_results(file: Path, config: pytest.Config) -> bool:
    """Whether a file is a copy among the results of ``--out``, and nobody asked for those by name."""
    from causal_dsl.store.out import MARKER

    asked = [config.invocation_params.dir / str(argument).partition("::")[0] for argument in config.args]
    results = [folder for folder in file.parents if folder != folder.parent and (folder / MARKER).is_file()]
    return any(not any(one.is_relative_to(folder) for one in asked) for folder in results)


class SpecFile(pytest.File):
    """One spec; its selected tests run together, once, when the first of them is set up."""

    spec: Spec
    results: Results

    def collect(self) -> Iterator[pytest.Item]:
        from causal_dsl import api
        from causal_dsl.diagnostics import SpecError, render_all

        try:
            self.spec = api.load(self.path)
            checked = api.check(self.spec, self._options(self.spec), beside=False)
            checked.raise_errors()
        except SpecError as error:
            raise self.CollectError(render_all(error.diagnostics)) from None
        assert checked.program is not None
        for test in sorted(checked.program.tests, key=lambda test: test.span.start):
            yield SpecItem.from_parent(self, name=test.name, line=test.span.line)

    def setup(self) -> None:
        from causal_dsl import api

        wanted = tuple(item.name for item in self.session.items if item.parent is self)
        self.results = api.run(self.spec, self._options(self.spec, wanted))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return _told(excinfo.value) or super().repr_failure(excinfo)

    def _options(self, spec: Spec, tests: tuple[str, ...] = ()) -> Options:
        """The options of this pytest run; of ``--causal-network``, what this spec and its imports declare."""
        from causal_dsl.api import Options
        from causal_dsl.diagnostics import Diagnostics
        from causal_dsl.program.modules import Loader
        from causal_dsl.program.naming import known_names
        from causal_dsl.tools.command_line import CommandLine, named_networks

        found = Diagnostics()
        written = self.config.getoption("--causal-network")
        line = CommandLine([f"--causal-network={word}" for word in written])
        networks = named_networks(written, line, found)
        found.raise_errors()
        trust = self.config.getoption("--causal-trust")
        loader = Loader(Diagnostics())
        module = loader.tree(spec.tree, spec.source_text, spec.folder)
        known = known_names(module, loader.modules.values())
        return Options(
            trust=trust,
            allow=tuple(self.config.getoption("--causal-allow")),
            networks={name: path for name, path in networks.items() if name in known},
            tests=tests,
        )


class ExpectationFailed(Exception):
    """A test of a spec did not hold; ``diagnostics`` say which expectations, and by how much."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]):
        self.diagnostics = diagnostics
        super().__init__("an expectation failed")


class SpecItem(pytest.Item):
    """One ``test`` of a spec."""

    parent: SpecFile

    def __init__(self, line: int, **more: Any):
        super().__init__(**more)
        self.line = line

    def runtest(self) -> None:
        result = self.parent.results[self.name]
        if not result.passed:
            raise ExpectationFailed(result.diagnostics)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return _told(excinfo.value) or super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.line - 1, self.name


def _told(error: BaseException) -> str | None:
    """What a person reads in place of a traceback; None for exceptions that no stage foresaw."""
    from causal_dsl.diagnostics import SpecError, render_all

    if isinstance(error, SpecError | ExpectationFailed):
        return render_all(error.diagnostics)
    return None
