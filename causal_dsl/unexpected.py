"""The last resort: an exception that no stage foresaw becomes a diagnostic that asks for a report."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from causal_dsl.diagnostics import NOWHERE, Diagnostic, Span, real_path

DEBUG = "CAUSAL_DSL_DEBUG"
#: What :func:`origin` says of an exception that came from none of our lines.
OUTSIDE = "outside the package"
_PACKAGE = real_path(__file__).parent


def unexpected(error: BaseException, span: Span = NOWHERE) -> Diagnostic:
    """E799 for an exception: what it says, and where in this package it came from.

    With ``CAUSAL_DSL_DEBUG=1`` in the environment the traceback is written to stderr as well.
    """
    if os.environ.get(DEBUG, "") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MemoryError):
        return Diagnostic(
            "E799",
            "this machine is out of memory",
            span,
            notes=("where " + origin(error),),
            help="run fewer pairs (`n=`), or a smaller batch (`--batch-memory 2GB`)",
        )
    said = str(error).strip().split("\n")[0][:300]
    return Diagnostic(
        "E799",
        "causal_dsl failed where it should not: this is a defect of causal_dsl, not of your spec",
        span,
        notes=(f"{type(error).__name__}: {said}" if said else type(error).__name__, "raised " + origin(error)),
        help=f"please report it with the spec and this message; {DEBUG}=1 shows the traceback",
    )


def origin(error: BaseException) -> str:
    """The innermost line of this package in the traceback: ``in syntax/parse.py, line 12 (parse)``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    if not own:
        return OUTSIDE
    frame = own[-1]
    return f"in {Path(frame.filename).relative_to(_PACKAGE)}, line {frame.lineno} ({frame.name})"
