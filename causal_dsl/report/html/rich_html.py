"""The print of the terminal as HTML: the tables and lines of the report are made once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from causal_dsl.report.html.environment import safe

#: Longer tables scroll in a frame of their own.
_TALL = 24
#: Letters up to which a column keeps each of its texts in one line, and from which on it has room for a sentence.
_SHORT, _LONG = 24, 36


def html_of(renderables: Iterable[RenderableType]) -> Markup:
    """Texts as paragraphs and tables as tables; empty lines are left out. Raises TypeError for anything else."""
    return Markup("\n").join(part for one in renderables if (part := _one(one)))


def _one(what: RenderableType) -> Markup:
    if isinstance(what, Padding):
        return _one(what.renderable)
    if isinstance(what, Group):
        return html_of(what.renderables)
    if isinstance(what, Table):
        return _table(what)
    if isinstance(what, Text | str):
        return _paragraph(what) if str(what).strip() else Markup()
    raise TypeError(f"{type(what).__name__} has no HTML")


def _paragraph(text: Text | str) -> Markup:
    dim = isinstance(text, Text) and str(text.style) == "dim"
    return Markup('<p class="{}">{}</p>').format("dim" if dim else "line", safe(text))


def _table(table: Table) -> Markup:
    """Ends of cells and rows are left out, as HTML allows: a page has thousands of them."""
    heads, columns = [], []
    for column in table.columns:
        cells = [str(cell) for cell in column.cells]
        kind = Markup(" class=n") if column.justify == "right" else _wide(cells)
        heads.append(Markup("<th scope=col{}>{}</th>").format(kind, safe(column.header)))
        columns.append([Markup("<td{}>{}").format(kind, safe(cell)) for cell in cells])
    head = Markup("<thead><tr>{}</tr></thead>").format(Markup().join(heads)) if table.show_header else Markup()
    rows = [Markup("<tr>{}").format(Markup().join(row)) for row in zip(*columns, strict=True)]
    tall = " tall" if len(rows) > _TALL else ""
    told = str(table.title or "table")
    body = Markup("<tbody>{}</tbody>").format(Markup("\n").join(rows))
    frame = Markup(
        '<div class="scroll{}" tabindex="0" role="group" aria-label="{}"><table class="sortable">{}{}</table></div>'
    )
    return frame.format(tall, safe(told), head, body)


def _wide(cells: Sequence[str]) -> Markup:
    """The class of a column that would be broken where it should not be."""
    letters = max(map(len, cells), default=0)
    if letters <= _SHORT:
        return Markup(" class=s") if any(" " in cell for cell in cells) else Markup()
    return Markup(" class=w") if letters >= _LONG else Markup()


__all__ = ["html_of"]
