"""``--github``: diagnostics as workflow commands, which GitHub shows beside the lines of a pull request.

They go to stderr, which the runner reads as it reads stdout, so that ``--json`` stays one document. Outside of GitHub's runners
nothing is printed: the same command line serves everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from causal_dsl.diagnostics import Diagnostic, printable
from causal_dsl.tools.output import tell

#: How a severity is called there.
_LEVELS = {"error": "error", "failed": "error", "warning": "warning"}


def annotate(diagnostics: Iterable[Diagnostic], asked: bool) -> None:
    """Print an annotation for each diagnostic if they are ``asked`` for and this is a runner of GitHub."""
    if asked and os.environ.get("GITHUB_ACTIONS") == "true":
        for diagnostic in diagnostics:
            tell(workflow_command(diagnostic))


def workflow_command(diagnostic: Diagnostic) -> str:
    """A diagnostic as one line: ``::error file=…,line=…,col=…,title=…::message``."""
    span = diagnostic.span
    properties = {"title": f"{diagnostic.code}: {diagnostic.title}"}
    if span.source.text and not span.source.path.startswith("<"):
        properties = {
            "file": _in_workspace(span.source.path),
            "line": str(span.line),
            "endLine": str(span.end_line),
            **({"col": str(span.column), "endColumn": str(span.end_column)} if span.line == span.end_line else {}),
            **properties,
        }
    elif span.source.path and not span.source.path.startswith("<"):
        properties = {"file": _in_workspace(span.source.path), **properties}
    parts = [diagnostic.label, *diagnostic.notes, *([f"help: {diagnostic.help}"] if diagnostic.help else [])]
    message = "\n".join(part for part in parts if part) or diagnostic.title
    told = ",".join(f"{name}={_property(printable(value))}" for name, value in properties.items())
    return f"::{_LEVELS[diagnostic.severity]} {told}::{_data(printable(message))}"


def _in_workspace(path: str) -> str:
    """A path as GitHub knows it: from the folder of the checkout."""
    root = os.environ.get("GITHUB_WORKSPACE")
    if not root:
        return path
    whole, home = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else path


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


__all__ = ["annotate", "workflow_command"]
