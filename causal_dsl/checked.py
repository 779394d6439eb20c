"""The outcome of ``check``, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from causal_dsl.base.options_shown import here
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.memo import Memo
from causal_dsl.diagnostics import Diagnostic, SpecError, render_all, shown_path
from causal_dsl.messages.displayed import Shown
from causal_dsl.planning.plan import Fits, Plan
from causal_dsl.program.answers import Answers
from causal_dsl.program.lost_cells import told_together
from causal_dsl.program.modules import Definition
from causal_dsl.program.options import Refused
from causal_dsl.program.program import Program, Test
from causal_dsl.program.searches import Discovery
from causal_dsl.program.trust import untrusted_of
from causal_dsl.score.chance import show_ceilings, show_distinct
from causal_dsl.score.results import TestResult
from causal_dsl.store.reads import Reads
from causal_dsl.vocabulary.ceiling_rules import CEILINGS


@dataclass(repr=False)
class Checked(Shown):
    """The outcome of ``check``: every fault at once, and the chance level of every test."""

    path: str
    diagnostics: list[Diagnostic]
    program: Program | None
    ceilings: dict[str, dict[str, Ceiling]]
    #: how many distinct inputs each run of a test reads, by test and role
    distinct: dict[str, dict[str, int]] = field(default_factory=dict)
    plan: Plan | None = None
    #: what is fitted before the plan is run; None where nothing is
    fits: Fits | None = None
    #: the runs by which circuits are found before the plan is run; None where none is
    searches: Plan | None = None
    #: the test of each that is in this plan, by what is found
    searched: dict[Discovery, str] = field(default_factory=dict)
    #: the runs on which the constants of `optimal` are found; None where none is asked for
    constants: Plan | None = None
    #: the test of each that is in this plan, by the name of the test that asks for it
    fitted_on: dict[str, str] = field(default_factory=dict)
    #: what was found by them
    found: Mapping[Discovery, Any] = field(default_factory=dict)
    answers: dict[str, Answers] = field(default_factory=dict)
    digest: str = ""
    #: the texts of all files that it imports, by their paths from its folder, in the order in which the digest has them
    imports: Mapping[str, str] = field(default_factory=dict)
    #: where the tests of one declaration are on several networks: the tests on each, by the network's name
    by_network: Mapping[str, tuple[Definition, ...]] = field(default_factory=dict)
    #: the faults of networks whose tests were left out, each with the name of its network; and those tests, as they stand in the results
    faults: tuple[tuple[str, Diagnostic], ...] = ()
    lost: tuple[TestResult, ...] = ()
    #: why sites cannot be used in the networks that are loaded for the run
    refused: Refused = field(default_factory=dict)
    #: the files that were read to check it, or that the run will read
    reads: Reads = field(default_factory=Reads)
    #: draws and chance levels, for the next check of the spec; None where none is foreseen
    memo: Memo | None = field(default=None, repr=False, compare=False)

    @property
    def cells_lost(self) -> list[tuple[str, Diagnostic]]:
        """The faults of cells that are left out of their tests, each with the name of its network: those of several cells at one place
        as one."""
        tests = (*self.program.tests, *self.program.fits) if self.program is not None else ()
        lost: dict[str, dict[Diagnostic, None]] = {}
        for test in tests:
            for cell in test.lost:
                lost.setdefault(test.network.name, {}).update(dict.fromkeys(cell))
        return [(network, fault) for network, faults in lost.items() for fault in told_together(faults)]

    @property
    def errors(self) -> list[Diagnostic]:
        return [diagnostic for diagnostic in self.diagnostics if diagnostic.is_error]

    def raise_errors(self) -> None:
        if self.errors:
            raise SpecError(self.diagnostics)

    def to_json(self) -> dict[str, Any]:
        """One spec of ``check --json``."""
        tests = [
            {
                "name": test.name,
                "line": test.span.line,
                "ceilings": _ceilings_json(self.ceilings.get(test.name, {})),
                "distinct": self.distinct.get(test.name, {}),
                **({"outputs": self._outputs(test)} if test.parts else {}),
                **({"untrusted": [one.name for one in untrusted]} if (untrusted := untrusted_of(test)) else {}),
            }
            for test in (self.program.tests if self.program else [])
        ]
        return {"path": self.path, "diagnostics": [d.to_json() for d in self.diagnostics], "tests": tests}

    def _outputs(self, test: Test) -> dict[str, Any]:
        """The ceilings of each output by itself."""
        return {p.readout.variable: _ceilings_json(self.ceilings.get(p.name, {})) for p in test.parts}

    def without_ceilings(self, test: Test) -> str:
        """Why a test has no ceilings, in the words of the place where it is shown."""
        if untrusted := untrusted_of(test):
            of = ", ".join(f"`{function.name}` of {shown_path(function.path)}" for function in untrusted)
            return here().told(f"known only with --trust, since the model calls {of}")
        return "not known" if test.swaps else "no variable is interchanged"

    def text(self) -> str:
        """The print of the terminal: diagnostics, then the chance level of each test."""
        parts = [render_all(self.diagnostics)] if self.diagnostics else []
        lines = []
        shown: dict[int, str] = {}  # many tests have one set of ceilings
        for test in self.program.tests if self.program else []:
            found = self.ceilings.get(test.name)
            inputs = show_distinct(self.distinct.get(test.name, {}))
            if found and id(found) not in shown:
                shown[id(found)] = show_ceilings(found)
            told = shown[id(found)] if found else self.without_ceilings(test)
            lines.append(f"  {test.name}: {told}")
            for part in test.parts if found else ():
                lines.append(f"    {part.readout.variable}: {show_ceilings(self.ceilings.get(part.name, {}))}")
            if inputs:
                lines.append(f"    {inputs}")
        if lines and not self.errors:
            parts.append("\n".join([f"{self.path}: the score by chance of each test", *lines]))
        return "\n\n".join(parts)


def _ceilings_json(found: Mapping[str, Ceiling]) -> dict[str, Any]:
    return {name: found[name].to_json() for name in CEILINGS if name in found}
