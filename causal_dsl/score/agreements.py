"""The measures of one alignment in the tests of a spec, side by side: interchanges, measures of the whole alignment, and circuits, and
where they part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.ablations import AblationChoices
from causal_dsl.score.agreement import below
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.vocabulary.circuit_scores import CIRCUIT_SCORES
from causal_dsl.vocabulary.measures import MEASURES, given

#: What each measure asks, in the order of the table; those of circuits are functions of a metric.
_ASKED = sorted(
    (asks[0], name, asks[1])
    for name, asks in (
        *((name, measure.asks) for name, measure in MEASURES.own.items()),
        *((name, score.asks) for name, score in CIRCUIT_SCORES.items()),
    )
    if asks is not None
)
ASKS = {name: asks for _, name, asks in _ASKED} | {
    "faithfulness_written": "how far the metric goes where the circuit is written, of how far it goes where all is (no share of right answers)",
}
#: A table stands where there are so many of these; accuracy is in every test.
_LEAST = 2


@dataclass(frozen=True)
class Judged:
    """A measure of an alignment: its name in the table, its value, and the test that has it."""

    kind: str
    name: str
    score: Estimate
    test: str
    #: what a number of a circuit stands on
    choices: AblationChoices | None = None

    @property
    def measure(self) -> str:
        """The name of the measure, whichever way round."""
        return self.kind.removesuffix("_written")

    def to_json(self) -> dict[str, Any]:
        return {"measure": self.name, "test": self.test, "asks": ASKS[self.kind], **self.score.to_json()}


@dataclass(frozen=True)
class AgreementOfMeasures:
    """All that the tests of a spec measure of one alignment: its ``model``, and where its variables are."""

    model: str
    places: tuple[tuple[str, str], ...]
    judged: tuple[Judged, ...]

    def __str__(self) -> str:
        return f"{self.model}: {', '.join(f'{variable} @ {place}' for variable, place in self.places)}"

    @property
    def partings(self) -> tuple[str, ...]:
        """Where its measures part, and what that means."""
        return tuple(partings(self.judged))

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "places": dict(self.places),
            "measures": [one.to_json() for one in self.judged],
            "partings": list(self.partings),
        }


def agreements(tests: Sequence[TestResult]) -> list[AgreementOfMeasures]:
    """The alignments of which several tests, or one test by several measures, say something."""
    groups: dict[tuple[str, str, frozenset[tuple[str, str]]], list[Judged]] = {}
    for test in tests:
        if test.setting is None:
            continue
        for cell in test.cells:
            spots = [one for one in test.setting.places if one.variable and dict(one.cell) == dict(cell.cell)]
            placed = frozenset((one.variable, one.place) for one in spots)
            written = ", ".join(dict.fromkeys(one.variable for one in spots if one.written))
            if placed:
                key = test.network, test.setting.model, placed
                groups.setdefault(key, []).extend(_of_cell(test, cell, written))
    found = []
    for (_, model, placed), judged in groups.items():
        if len({one.measure for one in judged} - {*given("answer")}) >= _LEAST:
            order = list(ASKS)
            rest = [one for one in judged if one.kind not in given("answer")]
            told = sorted(rest, key=lambda one: order.index(one.kind))
            every = tuple(dict.fromkeys([*_accuracies(judged, {one.test for one in rest}), *told]))
            found.append(AgreementOfMeasures(model, tuple(sorted(placed)), every))
    return found


def _accuracies(judged: Sequence[Judged], tests: set[str]) -> list[Judged]:
    """The accuracy in the draws of each test that measures something else: of tests that have the same, the first."""
    found: dict[Estimate, Judged] = {}
    for one in judged:
        if one.kind in given("answer") and one.test in tests:
            found.setdefault(one.score, one)
    return list(found.values())


def _of_cell(test: TestResult, cell: CellResult, written: str) -> Iterator[Judged]:
    for name, score in cell.scores.items():
        kind = "faithfulness" if name.startswith("faithfulness(") else name
        if kind not in ASKS or score.value is None or (kind == "iia" and not written):
            continue
        told = {"iia": f"iia of {written}"}.get(kind, name)
        choices = None
        if kind == "faithfulness":
            if cell.circuit is None:
                continue  # what was not run says nothing
            told, choices = f"{name} of {cell.circuit.name}", cell.circuit.choices
            kind = "faithfulness" if choices.outside else "faithfulness_written"
        yield Judged(kind, told, score, test.name, choices)


def partings(judged: Sequence[Judged]) -> Iterator[str]:
    """Where interchanges and scrubbing part, and what that means: of scores whose intervals do not overlap; and which numbers of circuits
    are of different things."""
    every = [one for one in judged if one.kind == "scrubbed"]
    for one in judged:
        if one.kind != "iia" or not every:
            continue
        scrubbed = next((other for other in every if other.test == one.test), every[0])
        values = f"`{one.name}` is {show(one.score.value)}, and `scrubbed` {show(scrubbed.score.value)}"
        if scrubbed.test != one.test:
            values += f" in the draws of `{scrubbed.test}`"
        if below(one.score, scrubbed.score):
            yield (
                f"{values}: an interchange writes values that the base does not have, and scrubbing none but those of its reference, "
                "so it cannot see whether a place changes the answer."
            )
        elif below(scrubbed.score, one.score):
            yield (
                f"{values}: an interchange leaves the rest of the base run as it is. Scrubbing takes all that is not placed from other "
                "inputs, and each place from another input with the same value."
            )

    of_circuits = [one for one in judged if one.choices is not None]
    for one, other in pairwise(of_circuits):
        assert one.choices is not None and other.choices is not None
        differ = one.choices.differ(other.choices)
        if differ:
            told = "; ".join(
                f"{name} {getattr(one.choices, name)}, and {getattr(other.choices, name)}" for name in differ
            )
            yield (
                f"`{one.name}` ({one.test}) and `{other.name}` ({other.test}) are not to be compared, for they stand on other choices "
                f"({told})."
            )


__all__ = ["ASKS", "AgreementOfMeasures", "Judged", "agreements", "partings"]
