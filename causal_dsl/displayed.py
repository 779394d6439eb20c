"""How a value of this package is shown: one line at a prompt, a table in a notebook.

What makes them (:mod:`causal_dsl.report`) comes after most of what is shown, and is imported when something is.
"""

from __future__ import annotations

from importlib import import_module


class Shown:
    """A base of what is shown in one line, and in a notebook as a table."""

    def __repr__(self) -> str:
        line: str = import_module("causal_dsl.report.one_line").one_line_of(self)
        return line

    def _repr_html_(self) -> str:
        """HTML for a notebook; everything that a spec or a network says in it is escaped."""
        html: str = import_module("causal_dsl.report.notebook_tables").html_of(self)
        return html
