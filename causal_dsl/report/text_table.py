"""Tables of numbers in the terminal: however long a text is, the numbers beside it and their heads stand whole."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

#: Columns between two of a table.
_APART = 2


class WholeTable(Table):
    """A table that cuts nothing: where the width does not suffice for its numbers and heads, each row is a block of lines."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._least(console, options) <= options.max_width or len(self.columns) < 2:
            yield from super().__rich_console__(console, options)
            return
        heads = [column.header for column in self.columns]
        for row in zip(*(column.cells for column in self.columns), strict=True):
            for number, (head, cell) in enumerate(zip(heads, row, strict=True)):
                if str(cell) or not number:
                    name = Text(f"{head}: " if str(head) else "", style="dim")
                    yield Text.assemble("" if not number else "  ", name, cell if isinstance(cell, Text) else str(cell))

    def _least(self, console: Console, options: ConsoleOptions) -> int:
        """The width in which no number and no head is cut."""
        widths = []
        for column in self.columns:
            parts = [column.header, *column.cells]
            found = [Measurement.get(console, options.update(max_width=10_000), part) for part in parts]
            whole = max(one.maximum for one in found)
            widths.append(whole if column.no_wrap else min(column.min_width or 1, whole))
        return sum(widths) + _APART * (len(widths) - 1)


def table_of(text: str, *numbers: str, meaning: bool = False) -> Table:
    """An empty table: a column of texts under the head ``text``, columns of ``numbers``, and where asked for one of what
    they mean, without a head. Where the width does not suffice the texts are wrapped, and no number is cut.

    Heads that end in ``interval`` are of texts that begin at the left.
    """
    table = WholeTable(box=None, padding=(0, _APART, 0, 0), pad_edge=False)
    table.add_column(Text(text, style="dim"), overflow="fold", min_width=min(12, len(text)))
    for name in numbers:
        left = name.endswith("interval")
        table.add_column(Text(name, style="dim"), justify="left" if left else "right", no_wrap=True)
    if meaning:
        table.add_column(overflow="fold")
    return table
