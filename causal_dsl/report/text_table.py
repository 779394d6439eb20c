"""Tables of numbers in the terminal: however long a text is, the numbers beside it and their heads stand whole."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def table_of(text: str, *numbers: str, meaning: bool = False) -> Table:
    """An empty table: a column of texts under the head ``text``, columns of ``numbers``, and where asked for one of what
    they mean, without a head. Where the width does not suffice the texts are wrapped, and no number is cut.

    Heads that end in ``interval`` are of texts that begin at the left.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(Text(text, style="dim"), overflow="fold", min_width=min(12, len(text)))
    for name in numbers:
        left = name.endswith("interval")
        table.add_column(Text(name, style="dim"), justify="left" if left else "right", no_wrap=True)
    if meaning:
        table.add_column(overflow="fold")
    return table
