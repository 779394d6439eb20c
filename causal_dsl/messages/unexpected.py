"""The last resort: an exception that no stage foresaw becomes a diagnostic that asks for a report."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path

from causal_dsl.base.faults import raise_if_stopped, raise_if_strict
from causal_dsl.diagnostics import NOWHERE, Diagnostic, Span, SpecError, real_path

DEBUG = "CAUSAL_DSL_DEBUG"
#: What :func:`origin` says of an exception that came from none of our lines.
OUTSIDE = "outside the package"
_PACKAGE = real_path(__file__).parents[1]


def unexpected(error: BaseException, span: Span = NOWHERE) -> Diagnostic:
    """E799 for an exception: what it says, and where in this package it came from. E872 where a package is not installed.

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
    if isinstance(error, ModuleNotFoundError) and (lacking := missing_package(error, span)) is not None:
        return lacking
    said = str(error).strip().split("\n")[0][:300]
    return Diagnostic(
        "E799",
        "causal_dsl failed where it should not: this is a defect of causal_dsl, not of your spec",
        span,
        notes=(f"{type(error).__name__}: {said}" if said else type(error).__name__, "raised " + origin(error)),
        help=f"please report it with the spec and this message; {DEBUG}=1 shows the traceback",
    )


def of_one_spec(error: Exception, span: Span) -> SpecError:
    """The fault of one of several specs, of which the others are told all the same. Where mistakes of this package are looked for, an
    exception that no stage foresaw is raised."""
    raise_if_stopped()
    if isinstance(error, SpecError):
        return error
    raise_if_strict(error)
    return SpecError([unexpected(error, span)])


def origin(error: BaseException) -> str:
    """The innermost line of this package in the traceback: ``in syntax/parse.py, line 12 (parse)``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    if not own:
        return OUTSIDE
    frame = own[-1]
    return f"in {Path(frame.filename).relative_to(_PACKAGE)}, line {frame.lineno} ({frame.name})"


#: Extras that are for work on this package; each has what others have, too.
_FOR_WORK = ("dev", "test", "tools")


def missing_package(error: ModuleNotFoundError, span: Span = NOWHERE) -> Diagnostic | None:
    """E872 for the import of a package that is one of ours to need, and is not installed; None for any other import that failed."""
    module = (error.name or "").partition(".")[0]
    extras = [extra for name, extra in _needed() if _is_of(module, name) and extra not in _FOR_WORK]
    if not extras:
        return None
    return Diagnostic(
        "E872",
        f"the package `{module}` is not installed",
        span,
        notes=(str(error),),
        help=f"pip install 'causal-dsl[{extras[0]}]'" if extras[0] else f"pip install {module}",
    )


def _needed() -> list[tuple[str, str]]:
    """The packages that this one needs, each with the extra that it belongs to; an empty one is always installed."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        written = requires("causal-dsl") or []
    except PackageNotFoundError:  # the sources, not installed
        return []
    found = []
    for one in written:
        name, extra = re.match(r"[\w.-]+", one), re.search(r"""extra == ["']([\w-]+)["']""", one)
        if name is not None:
            found.append((name[0], extra[1] if extra else ""))
    return found


def _is_of(module: str, package: str) -> bool:
    """Whether a module has the name of a package, or one that begins or goes on alike: `vl_convert` is of `vl-convert-python`."""
    ours, theirs = module.casefold(), re.sub(r"[-.]+", "_", package).casefold()
    return bool(ours) and (ours == theirs or ours.startswith(f"{theirs}_") or theirs.startswith(f"{ours}_"))
