"""A whole page of sections: one file with its style and its script within."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.report.html.environment import made_of, own_text


@dataclass(frozen=True)
class Section:
    """A part of a page: ``id`` is where links lead, ``body`` is HTML (text that is not `Markup` is escaped). Sections with a
    ``parent`` (an id) are listed below it in the contents."""

    id: str
    title: str
    body: Markup | str
    parent: str = ""


def page(title: str, sections: Sequence[Section], lead: Markup | str = "", contents: bool = True) -> str:
    """One self-contained HTML file of ``sections``: it asks nothing of anywhere and is readable without JavaScript.

    ``lead`` stands below the title; ``contents``: with a list of the sections. Text is escaped; HTML is given as `Markup`.
    """
    return made_of(
        "page.html.j2",
        title=title,
        lead=lead,
        sections=sections,
        contents=contents,
        css=own_text("page.css"),
        script=own_text("page.js"),
    )


def style() -> str:
    """The style sheet of pages and fragments; it touches only what is within an element of the class `causal-dsl`."""
    return str(own_text("page.css"))


def styled(body: Markup) -> str:
    """A fragment with its style, for a place that has none."""
    return Markup('<div class="causal-dsl fragment"><style>{}</style>{}</div>').format(own_text("page.css"), body)


__all__ = ["Section", "page", "style", "styled"]
