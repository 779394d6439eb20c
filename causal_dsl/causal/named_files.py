"""Reading the files that a spec names, without trusting them to be there, regular or text."""

from __future__ import annotations

from pathlib import Path

from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, did_you_mean, shown_path
from causal_dsl.store import reads
from causal_dsl.store.reading import may_read, no_file
from causal_dsl.store.reads import LARGEST as LARGEST_TEXT


def folder_of(span: Span) -> Path:
    """The folder of the spec that a span lies in; the working directory for what was made in Python."""
    return Path() if span.source is NOWHERE.source else Path(span.source.path).parent


def read_text(name: str, folder: Path, span: Span, diagnostics: Diagnostics, code: str) -> str | None:
    """The text of the file ``name`` (relative to ``folder``), or None with a diagnostic of that code."""
    data = read_file(name, folder, span, diagnostics, code)
    try:
        return None if data is None else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        note = f"byte {error.start} cannot be decoded"
        diagnostics.report(code, f"`{name}` is not UTF-8 text", span, notes=(note,))
    return None


def read_file(name: str, folder: Path, span: Span, diagnostics: Diagnostics, code: str) -> bytes | None:
    """The bytes of the file ``name`` (relative to ``folder``), or None with a diagnostic of that code."""
    try:
        path = folder / name
        if not may_read(path, name, span, diagnostics, LARGEST_TEXT, folder=False):
            return None
        if not path.is_file():
            beside = sorted(p.name for p in path.parent.iterdir())[:10000] if path.parent.is_dir() else []
            close = did_you_mean(path.name, beside) if beside else ""
            note = f"looked for {shown_path(path)}"
            notes = () if path.exists() else (note,)
            diagnostics.report(code, no_file(path, name), span, notes=notes, help=close)
            return None
        return reads.read_bytes(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        diagnostics.report(code, f"`{name}` cannot be read", span, label=why)
    return None
