"""The templates of pages. Whatever is put into one is escaped, and control characters and marks that reorder a line are shown
as escapes, unless it is `Markup` that a template of ours has made."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from causal_dsl.diagnostics import printable
from causal_dsl.score.format_numbers import show


@cache
def environment() -> Environment:
    """Jinja2 with the templates of `parts/`."""
    made = Environment(
        loader=PackageLoader("causal_dsl.report.html", "parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_final,
    )
    made.filters["explained"] = explained
    made.filters["coded"] = coded
    made.filters["numeral"] = numeral
    return made


def _final(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable(str(value))


def numeral(value: float | None) -> str:
    """A number of a table; nothing where there is none."""
    return show(value, missing="")


def safe(text: object) -> Markup:
    """A text as HTML shows it."""
    return escape(printable(str(text)))


def coded(text: object) -> Markup:
    """The same, with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", printable(str(text)))
    return Markup().join(Markup("<code>{}</code>").format(one) if n % 2 else escape(one) for n, one in enumerate(parts))


def made_of(template: str, **values: Any) -> Markup:
    """A template with its values."""
    return Markup(environment().get_template(template).render(**values))


def own_text(name: str) -> Markup:
    """A file of ours as it is: a style sheet or a script."""
    loader = environment().loader
    assert loader is not None
    return Markup(loader.get_source(environment(), name)[0])


@cache
def explained(code: str) -> Markup:
    """The page of a finding, a verdict or a measure, as HTML; empty where there is none."""
    from markdown_it import MarkdownIt

    from causal_dsl.report.word_pages import of_word

    text = of_word(code)
    body = "\n".join(line for line in text.splitlines() if not line.startswith("# "))
    return Markup(MarkdownIt("commonmark", {"html": False}).render(body)) if body.strip() else Markup()


__all__ = ["coded", "environment", "explained", "made_of", "numeral", "own_text", "safe"]
