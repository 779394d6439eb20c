"""Standard output that cannot lose a result: it may be closed, full, gone, or speak another encoding than UTF-8."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any, TextIO

from causal_dsl.diagnostics import Diagnostic, Span, printable
from causal_dsl.tools.terminal import painted


class OutputFault(Exception):
    """Standard output took no more; ``error`` is what the system said."""

    def __init__(self, error: OSError):
        self.error = error
        super().__init__(str(error))


def open_streams() -> None:
    """Make the standard streams usable: what is closed writes nowhere, and no character is one that cannot be written.

    A closed descriptor is taken first, or the next file that is opened would get what is printed.
    """
    for descriptor, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(descriptor)
            except OSError:
                _occupy(descriptor)
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, name, _Nowhere() if descriptor == 1 else open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _Nowhere(io.TextIOBase):
    """Standard output where there is none: whoever writes is told."""

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _occupy(descriptor: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)


def document_alone(asked: bool) -> AbstractContextManager[object]:
    """While a command works whose standard output is to be one document: what code of the user prints goes to standard error."""
    return redirect_stdout(sys.stderr) if asked else nullcontext()


def say(text: str = "", end: str = "\n") -> None:
    """Write to standard output. A reader that has gone (``| head``) is no fault; else OutputFault is raised."""
    try:
        sys.stdout.write(painted(text, sys.stdout) + end)
        sys.stdout.flush()
    except BrokenPipeError:
        mute(sys.stdout)
    except OSError as error:
        mute(sys.stdout)
        raise OutputFault(error) from error


def tell(text: str, end: str = "\n") -> None:
    """Write to standard error; where that is closed or full there is nobody to tell."""
    try:
        sys.stderr.write(painted(text, sys.stderr) + end)
        sys.stderr.flush()
    except OSError:
        mute(sys.stderr)


def mute(stream: TextIO) -> None:
    """From now on the stream writes nowhere: what is left in its buffer must not fail at exit either."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return  # the stream is not a file, as in tests that capture it


_json_indent: int | None = 2


def json_in_lines() -> None:
    """From now on each JSON document of this process is one line, for a reader of several (JSON Lines)."""
    global _json_indent
    _json_indent = None


def say_json(document: Any) -> None:
    """One JSON document; in an encoding that cannot write all of it, and for halves of characters, with escapes."""
    text = json.dumps(document, indent=_json_indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        text = json.dumps(document, indent=_json_indent, allow_nan=False)
    say(text)


def rescue(results: Any) -> str:
    """Where results that could not be printed were written instead; "" where that was not possible either."""
    try:
        handle, name = tempfile.mkstemp(prefix="causal-dsl-results-", suffix=".json")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(results.to_json(), file, indent=1, allow_nan=False)
        return name
    except OSError:
        return ""


def unwritten(fault: OutputFault, place: Span, kept: str = "") -> Diagnostic:
    """E765 for a fault of standard output; ``kept`` says where the results are."""
    notes = (printable(fault.error.strerror or str(fault.error)), *((kept,) if kept else ()))
    return Diagnostic(
        "E765",
        "standard output cannot be written",
        place,
        notes=notes,
        help="send it somewhere with room, or keep results with `--out DIR`",
    )
