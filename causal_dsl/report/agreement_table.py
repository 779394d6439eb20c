"""One table for each alignment that several tests judge: interchanges, measures of the whole alignment, and circuits, and where they
part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from causal_dsl.report.text_table import table_of
from causal_dsl.score.agreement import below
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import show, show_estimate
from causal_dsl.score.results import CellResult, TestResult

#: What each measure asks, in the order of the table; that of circuits is a function of a metric.
_ASKS = {
    "accuracy": "is the network right by itself",
    "iia": "does the place change the answer as the causal model says",
    "carried": "is the answer kept with the rest of the network from other inputs",
    "scrubbed": "can inputs that the alignment calls alike stand for each other",
    "local_consistency": "is each place computed from those of its parents",
    "abstraction_error": "how many values are wrong under interventions",
    "abstraction_error_resampled": "the same, with the rest of the network from other inputs",
    "faithfulness": "how much of the metric the circuit keeps alone (no share of right answers)",
}
#: A table stands where there are so many of these; accuracy is in every test.
_LEAST = 2
_MOST = 10


@dataclass(frozen=True)
class Judged:
    """A measure of an alignment: its name in the table, its value, and the test that has it."""

    kind: str
    name: str
    score: Estimate
    test: str


def agreements(tests: Sequence[TestResult]) -> list[tuple[str, list[Judged]]]:
    """The alignments of which several tests, or one test by several measures, say something: each as its places, with the measures."""
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
        if len({one.kind for one in judged} - {"accuracy"}) >= _LEAST:
            places = ", ".join(f"{variable} @ {place}" for variable, place in sorted(placed))
            order = list(_ASKS)
            own = next((one for one in judged if one.kind == "accuracy"), None)  # of one test, for it is in each
            rest = [one for one in judged if one.kind != "accuracy"]
            told = sorted(rest, key=lambda one: order.index(one.kind))
            found.append((f"{model}: {places}", told if own is None else [own, *told]))
    return found


def _of_cell(test: TestResult, cell: CellResult, written: str) -> Iterator[Judged]:
    for name, score in cell.scores.items():
        kind = "faithfulness" if name.startswith("faithfulness(") else name
        if kind not in _ASKS or score.value is None or (kind == "iia" and not written):
            continue
        told = {"iia": f"iia of {written}"}.get(kind, name)
        if kind == "faithfulness" and cell.circuit is not None:
            told = f"{name} of {cell.circuit.name}"
        yield Judged(kind, told, score, test.name)


def agreement(places: str, judged: Sequence[Judged]) -> Iterator[RenderableType]:
    """What is said of one alignment."""
    yield Text.assemble(("agreement ", "dim"), (places, "bold"))
    table = table_of("measure", "value", meaning=True)
    for one in dict.fromkeys(judged):
        table.add_row(f"{one.name}  ({one.test})", show_estimate(one.score), _ASKS[one.kind])
    yield Padding(table, (1, 0, 0, 2))
    for line in partings(judged):
        yield Padding(Text(line), (0, 0, 0, 2))


def partings(judged: Sequence[Judged]) -> Iterator[str]:
    """Where interchanges and scrubbing part, and what that means: of scores whose intervals do not overlap."""
    scrubbed = next((one for one in judged if one.kind == "scrubbed"), None)
    for one in judged:
        if one.kind != "iia" or scrubbed is None:
            continue
        values = f"`{one.name}` is {show(one.score.value)}, and `scrubbed` {show(scrubbed.score.value)}"
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


def agreement_tables(tests: Sequence[TestResult]) -> Iterator[list[RenderableType]]:
    """The tables of some tests, of a sweep over places those of the first settings."""
    for places, judged in agreements(tests)[:_MOST]:
        yield list(agreement(places, judged))


__all__ = ["Judged", "agreement", "agreement_tables", "agreements", "partings"]
