"""One table for each alignment that several tests judge, and where its measures part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from causal_dsl.report.text_table import table_of
from causal_dsl.score.agreements import ASKS, AgreementOfMeasures, agreements
from causal_dsl.score.format_numbers import show_estimate
from causal_dsl.score.results import TestResult

_MOST = 10


def agreement(found: AgreementOfMeasures) -> Iterator[RenderableType]:
    """The lines on one alignment."""
    yield Text.assemble(("agreement ", "dim"), (str(found), "bold"))
    table = table_of("measure", "value", meaning=True)
    for one in found.judged:
        table.add_row(f"{one.name}  ({one.test})", show_estimate(one.score), ASKS[one.kind])
    yield Padding(table, (1, 0, 0, 2))
    for line in found.partings:
        yield Padding(Text(line), (0, 0, 0, 2))


def agreement_tables(tests: Sequence[TestResult]) -> Iterator[list[RenderableType]]:
    """The tables of some tests, of a sweep over places those of the first settings."""
    for found in agreements(tests)[:_MOST]:
        yield list(agreement(found))


__all__ = ["agreement", "agreement_tables"]
