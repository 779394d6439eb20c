"""The results of a run for each file: tests by name, as text, as JSON, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, did_you_mean
from causal_dsl.messages.displayed import Shown, not_there
from causal_dsl.score.across_networks import FamilyResult, families_of
from causal_dsl.score.agreements import AgreementOfMeasures, agreements
from causal_dsl.score.as_json import number
from causal_dsl.score.results import TestResult
from causal_dsl.score.seal import sealed

if TYPE_CHECKING:
    import pandas

    from causal_dsl.score.setting import ModelVariable

#: Counts up when a field of `results.json` or of `run --json` changes its meaning; new fields do not count.
SCHEMA = 2


@dataclass(frozen=True, repr=False)
class SpecResult(Shown):
    """All tests of one file, with what is needed to repeat them, and what ``check`` warned of."""

    path: str
    digest: str
    tests: tuple[TestResult, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    networks: Any = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)
    #: what identifies the run: its key, and every input that is part of it
    identity: Mapping[str, Any] = field(default_factory=dict, compare=False)
    #: the machine that ran it, and when it ended (ISO 8601, UTC); empty where nothing was run
    machine: Mapping[str, Any] = field(default_factory=dict, compare=False)
    finished: str = field(default="", compare=False)
    #: the spec as it was written, and its causal models by name
    text: str = ""
    #: the texts of all files that it imports, by their paths from its folder, in the order in which ``digest`` has them
    imports: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Sequence[ModelVariable]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(test.passed for test in self.tests)

    @property
    def families(self) -> tuple[FamilyResult, ...]:
        """The tests that were written out of one declaration, side by side."""
        return families_of(self.tests)

    @property
    def agreements(self) -> tuple[AgreementOfMeasures, ...]:
        """The alignments of which several measures say something, and where these part."""
        return tuple(agreements(self.tests))

    def to_json(self) -> dict[str, Any]:
        agreed = [one.to_json() for one in self.agreements]
        families = [family.to_json() for family in self.families]
        document = {
            "schema": SCHEMA,
            "path": self.path,
            "digest": self.digest,
            "identity": dict(self.identity),
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "finished": self.finished,
            "text": self.text,
            **({"imports": dict(self.imports)} if self.imports else {}),
            "models": {name: [one.to_json() for one in model] for name, model in self.models.items()},
            "networks": self.networks,
            "tests": [test.to_json() for test in self.tests],
            **({"families": families} if families else {}),
            **({"agreements": agreed} if agreed else {}),
            "cost": number(self.cost),
            "diagnostics": [diagnostic.to_json() for diagnostic in self.warnings],
        }
        return sealed(document)


@dataclass(frozen=True, repr=False)
class Results(Shown):
    """The results of one or more specs: ``results["test name"]``, or ``results["path", "test name"]``."""

    specs: tuple[SpecResult, ...]

    @property
    def tests(self) -> tuple[TestResult, ...]:
        return tuple(test for spec in self.specs for test in spec.tests)

    @property
    def passed(self) -> bool:
        return all(spec.passed for spec in self.specs)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The failed expectations (F7…)."""
        return tuple(diagnostic for test in self.tests for diagnostic in test.diagnostics)

    @property
    def faults(self) -> tuple[Diagnostic, ...]:
        """Errors beside what was computed: results that could not be stored, specs that could not be run."""
        return tuple(diagnostic for spec in self.specs for diagnostic in spec.warnings if diagnostic.is_error)

    def __iter__(self) -> Iterator[TestResult]:
        return iter(self.tests)

    def __len__(self) -> int:
        return len(self.tests)

    def __getitem__(self, key: str | tuple[str, str]) -> TestResult:
        path, name = key if isinstance(key, tuple) else (None, key)
        pairs = [(s.path, t) for s in self.specs if path in (None, s.path) for t in s.tests if t.name == name]
        found, found_in = [test for _, test in pairs], [where for where, _ in pairs]
        if len(found) > 1:
            title = f"{len(found)} specs have a test `{name}`"
            raise not_there(title, help=f"ask for `results[path, name]`: `results[{found_in[0]!r}, {name!r}]`")
        if not found:
            help = did_you_mean(str(name), [test.name for test in self.tests], "`[t.name for t in results]` lists them")
            raise not_there(f"the results have no test `{name}`", help=help if self.tests else "there are no results")
        return found[0]

    def family(self, name: str) -> FamilyResult:
        """The tests of a declaration with parameters, side by side. Raises KeyError where there is none, or several."""
        every = [family for spec in self.specs for family in spec.families]
        found = [family for family in every if family.name == name]
        if len(found) != 1:
            known = did_you_mean(name, [family.name for family in every], "no test was written out to several")
            raise not_there(
                f"{len(found) or 'no'} declaration{'s' * bool(found)} with parameters: `{name}`", help=known
            )
        return found[0]

    def _asked_as(self, name: str) -> str:
        tests = (test for spec in vars(self).get("specs", ()) for test in spec.tests)
        return f'results["{name}"]' if any(test.name == name for test in tests) else ""

    def text(self, width: int = 100) -> str:
        """The text that ``causal-dsl run`` prints of them, in lines of at most ``width`` characters, without colours."""
        text: str = import_module("causal_dsl.report.text").text(self, width)
        return text

    def to_json(self) -> dict[str, Any]:
        """The document that ``run --json`` prints."""
        return {"schema": SCHEMA, "specs": [spec.to_json() for spec in self.specs]}

    def frame(self) -> pandas.DataFrame:
        """A table with a row for each spec x test x cell x score; the parameters of the sweeps are columns."""
        import pandas

        rows = []
        for spec in self.specs:
            for test in spec.tests:
                for cell in test.cells:
                    for score, estimate in cell.scores.items():
                        at = {**dict(test.variant), **cell.cell}
                        rows.append({"spec": spec.path, "test": test.name, **at, "score": score, **estimate.to_json()})
        columns = None if rows else ["spec", "test", "score", "value", "low", "high", "n", "method"]
        return pandas.DataFrame(rows, columns=columns)
