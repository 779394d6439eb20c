"""How a value of this package is shown: one line at a prompt, a table in a notebook; and what is said of a name that it does not have.

What makes them (:mod:`causal_dsl.report`) comes after most of what is shown, and is imported when something is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from causal_dsl.diagnostics import NOWHERE, Diagnostic, SpecError, did_you_mean
from causal_dsl.messages.unexpected import unexpected


class NotThere(SpecError, KeyError):
    """A KeyError that a prompt and a notebook show as a diagnostic (E862): results have no such test, cell or score."""


class NoAttribute(SpecError, AttributeError):
    """An AttributeError that a prompt and a notebook show as a diagnostic (E862)."""


def not_there(title: str, note: str = "", help: str = "") -> NotThere:
    """The fault of a key that is not there."""
    return NotThere([Diagnostic("E862", title, NOWHERE, notes=(note,) if note else (), help=help)])


class Shown:
    """A base of what is shown in one line, and in a notebook as a table."""

    def __repr__(self) -> str:
        line: str = import_module("causal_dsl.report.one_line").one_line_of(self)
        return line

    def _repr_html_(self) -> str:
        """HTML for a notebook; everything that a spec or a network says in it is escaped."""
        try:
            html: str = import_module("causal_dsl.report.notebook_tables").html_of(self)
        except ModuleNotFoundError as error:
            raise SpecError([unexpected(error)]) from error
        return html

    def _asked_as(self, name: str) -> str:
        """How something is asked for that is no attribute, and has this name; empty where there is none."""
        return ""

    if not TYPE_CHECKING:  # to a type checker, an attribute that is not declared is none

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or hasattr(type(self), name):  # a property that failed says why
                return object.__getattribute__(self, name)
            asked = self._asked_as(name)
            known = [one for one in dir(type(self)) if not one.startswith("_")] + list(vars(self))
            help = f"ask for `{asked}`" if asked else did_you_mean(name, known)
            title = f"`{name}` is not an attribute of {type(self).__name__}"
            raise NoAttribute([Diagnostic("E862", title, NOWHERE, help=help)])


class NamedScores(dict[str, Any]):
    """Scores by their names; one that is not there is a diagnostic, which says what is."""

    def __missing__(self, name: object) -> NoReturn:
        known = ", ".join(f"`{one}`" for one in self)
        help = did_you_mean(str(name), self) if self else ""
        raise not_there(f"there is no score `{name}`", f"there is {known}" if known and known not in help else "", help)
