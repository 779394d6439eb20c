"""The text of a spec as HTML, in the colours of the notebook's own editor."""

from __future__ import annotations

from html import escape

_BLOCK = '<pre style="white-space:pre-wrap; line-height:1.35; margin:.4em 0">{}</pre>'


def highlighted(text: str) -> str:
    """A spec as HTML that stands for itself; its text is escaped."""
    return _BLOCK.format(escape(text))
