"""The items that pytest collects of a spec. Only their run imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter
from _pytest.outcomes import OutcomeException

from causal_dsl import api
from causal_dsl.base.options_shown import PYTEST
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Source, Span, SpecError, did_you_mean
from causal_dsl.messages.unexpected import OUTSIDE, origin, unexpected
from causal_dsl.planning.network_parts import weights_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.modules import Loader
from causal_dsl.program.naming import known_names
from causal_dsl.store.hashes import of_bytes
from causal_dsl.syntax import tree
from causal_dsl.tools.command_line import CommandLine, named_networks
from causal_dsl.tools.given_options import options_of
from causal_dsl.tools.junit import properties_of

if TYPE_CHECKING:
    from causal_dsl.running.session import Session
    from causal_dsl.score.spec_results import Results

#: What the names of this plugin's options begin with: `--causal-trust` is `trust`.
OWN = "causal_"
#: The networks that this process has loaded, for all files.
_SESSION: pytest.StashKey[Session] = pytest.StashKey()
#: The names of the networks that collected specs declare; None as soon as one could not be read.
_DECLARED: pytest.StashKey[set[str] | None] = pytest.StashKey()


def refuse_unknown_networks(config: pytest.Config) -> None:
    """Raise SpecError (E702) for a name of ``--causal-network`` that no collected spec has. Where none was collected, or one could not
    be read, nothing is known of names."""
    declared = config.stash.get(_DECLARED, None)
    if declared is None:
        return
    found = Diagnostics()
    line = _networks_line(config)
    for word in line.words:
        written = word.partition("=")[2]
        name = written.partition("=")[0]
        if name not in declared:
            title = f"no spec that was collected declares a network `{name}`"
            help = did_you_mean(name, declared, "`causal-dsl check` of a spec tells its networks")
            found.report("E702", title, line.place(written), help=help)
    found.raise_errors()


def _networks_line(config: pytest.Config) -> CommandLine:
    """The values that were typed as ``--causal-network``."""
    return CommandLine([f"--causal-network={word}" for word in config.getoption("--causal-network")], program="pytest")


class SpecFile(pytest.File):
    """One spec. Its selected tests run together, when the first of them is set up; where xdist spreads tests by their network
    (``--dist loadgroup``), those on one network run together."""

    spec: api.Spec

    def collect(self) -> Iterator[pytest.Item]:
        self.ran: dict[str, Results | SpecError] = {}
        try:
            self.spec = api.load(self.path)
            checked = api.check(self.spec, self._options(self.spec), beside=False)
            checked.raise_errors()
        except SpecError as error:
            self._declare(None)
            raise self.CollectError(_told(error.diagnostics)) from None
        except Exception as error:
            self._declare(None)
            raise self.CollectError(_told([_unforeseen(error, self.path)])) from None
        self._declare(self._names(self.spec))
        assert checked.program is not None
        for test in sorted(checked.program.tests, key=lambda test: test.span.start):
            yield SpecItem.from_parent(self, name=test.name, line=test.span.line, network=test.network.key)

    def results_of(self, item: SpecItem) -> Results:
        """The results of the tests that run with an item; raises :class:`SpecError` where they could not be run."""
        refuse_unknown_networks(self.config)  # in a worker of xdist nothing else has told
        group = item.group if _by_group(self.config) else ""
        if group not in self.ran:
            items = [one for one in self.session.items if one.parent is self and isinstance(one, SpecItem)]
            wanted = [one for one in items if group in ("", one.group)]
            try:
                self.ran[group] = self._run(wanted)
            except SpecError as error:
                self.ran[group] = error
        found = self.ran[group]
        if isinstance(found, SpecError):
            raise found
        return found

    def _run(self, items: list[SpecItem]) -> Results:
        from causal_dsl.running.running import run_specs
        from causal_dsl.running.session import Session

        session = self.config.stash.setdefault(_SESSION, Session())
        options = self._options(self.spec, tuple(one.name for one in items))
        return run_specs([self.spec], options, session, self._still(items))

    def _still(self, now: list[SpecItem]) -> set[NetworkKey]:
        """The weights that other files of this process may need, so that each network is loaded once."""
        others = [one for one in self.session.items if isinstance(one, SpecItem) and one not in now]
        groups = {one.group for one in now} if _by_group(self.config) else {one.group for one in others}
        return {weights_of(one.network) for one in others if one.group in groups and not one.done}

    def _options(self, spec: api.Spec, tests: tuple[str, ...] = ()) -> api.Options:
        """The options of this pytest run; of ``--causal-network``, what this spec and its imports declare."""
        found = Diagnostics()
        networks = named_networks(
            self.config.getoption("--causal-network"), _networks_line(self.config), found, "--causal-network"
        )
        found.raise_errors()
        known = self._names(spec)
        own = {
            name.removeprefix(OWN): value for name, value in vars(self.config.option).items() if name.startswith(OWN)
        }
        return options_of(own, networks={name: path for name, path in networks.items() if name in known}, tests=tests)

    @staticmethod
    def _names(spec: api.Spec) -> set[str]:
        """The names of the networks of a spec and its imports."""
        loader = Loader(Diagnostics())
        module = loader.tree(spec.tree, spec.source_text, spec.folder)
        return known_names(module, loader.modules.values())

    def _declare(self, names: set[str] | None) -> None:
        before = self.config.stash.get(_DECLARED, set())
        self.config.stash[_DECLARED] = None if names is None or before is None else before | names


def _by_group(config: pytest.Config) -> bool:
    """Whether this process is a worker of xdist that is given tests by their group."""
    return hasattr(config, "workerinput") and bool(config.getoption("loadgroup", False))


class ExpectationFailed(Exception):
    """A test of a spec did not hold; ``diagnostics`` say which expectations, and by how much."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]):
        self.diagnostics = diagnostics
        super().__init__("an expectation failed")


class SpecItem(pytest.Item):
    """One ``test`` of a spec."""

    parent: SpecFile
    tells_by_diagnostics = True

    def __init__(self, line: int, network: NetworkKey, **more: Any):
        super().__init__(**more)
        self.line, self.network = line, network
        self.done = False
        self.funcargs: dict[str, Any] = {}  # there are none; plugins such as pytest-lsp look for them in every item
        #: the network by its weights, as xdist names groups: tests with one run in one worker under ``--dist loadgroup``
        own = weights_of(network)
        named = re.sub(r"[^\w.-]", "_", Path(own.target).name)
        self.group = f"{named}-{of_bytes(repr(own).encode())[:8]}"
        self.add_marker(pytest.mark.xdist_group(self.group))

    @property
    def nodeid(self) -> str:
        """The address of the item, with its group where xdist put that there: pytest 9.2 keeps addresses elsewhere than xdist 3.8
        writes them."""
        return str(self.__dict__.get("_nodeid") or super().nodeid)

    def setup(self) -> None:
        results = self.parent.results_of(self)
        if results[self.name].status == "interrupted":  # a fault that showed as it was run
            raise SpecError(results.faults)

    def runtest(self) -> None:
        results = self.parent.results_of(self)
        result = results[self.name]
        self.done = True
        self.user_properties.extend(properties_of(result))
        warnings = [one for spec in results.specs for one in spec.warnings if not one.is_error and self.means(one)]
        if warnings:
            self.add_report_section("call", "causal-dsl", _told(warnings) + "\n")
        if not result.passed:
            raise ExpectationFailed(result.diagnostics)

    def means(self, warning: Diagnostic) -> bool:
        """Whether a warning is of this test, or of what no test has for itself."""
        declared = (one for one in self.parent.spec.tree.declarations if isinstance(one, tree.TestDecl))
        place = warning.span
        if place.source.path != self.parent.spec.name:
            return True
        around = next((one for one in declared if one.span.start <= place.start < one.span.end), None)
        return around is None or around.span.line == self.line

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        error = excinfo.value
        if isinstance(error, SpecError | ExpectationFailed):
            return DiagnosticRepr(error.diagnostics)
        ours = isinstance(error, Exception) and not isinstance(error, OutcomeException) and origin(error) != OUTSIDE
        if not ours:  # of pytest, or of another plugin
            return super().repr_failure(excinfo)
        assert isinstance(error, Exception)
        return DiagnosticRepr((_unforeseen(error, self.path),))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.line - 1, self.name


def _unforeseen(error: Exception, file: Path) -> Diagnostic:
    """E799; with CAUSAL_DSL_DEBUG its traceback is on stderr."""
    return unexpected(error, Span(Source(str(file), ""), 0, 0))


def _told(diagnostics: Iterable[Diagnostic]) -> str:
    """Diagnostics with the options that pytest has."""
    return "\n\n".join(one.render(PYTEST) for one in diagnostics)


class DiagnosticRepr(TerminalRepr):
    """Diagnostics in place of a traceback; their first line stands in pytest's summary, too."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]):
        self.text = _told(diagnostics)
        first = diagnostics[0]
        self.reprcrash = ReprFileLocation(first.span.source.path, first.span.line, self.text.partition("\n")[0])

    def __str__(self) -> str:
        return self.text

    def toterminal(self, tw: TerminalWriter) -> None:
        for line in self.text.split("\n"):
            head = line.startswith(("error[", "failed[", "warning["))
            tw.line(line, red=head, bold=head)


__all__ = ["SpecFile", "SpecItem", "refuse_unknown_networks"]
