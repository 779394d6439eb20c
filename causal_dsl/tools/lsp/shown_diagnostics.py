"""Diagnostics as the protocol has them."""

from __future__ import annotations

from pathlib import Path

from lsprotocol import types

from causal_dsl.base.options_shown import EDITOR
from causal_dsl.diagnostics import Diagnostic, Source, Span, printable
from causal_dsl.tools.lsp.open_texts import OpenText, OpenTexts
from causal_dsl.tools.lsp.text_positions import TextLines

SOURCE = "causal-dsl"
_SEVERITY = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "failed": types.DiagnosticSeverity.Information,
}


def shown(found: Diagnostic, text: OpenText, texts: OpenTexts, imports: dict[str, Span]) -> types.Diagnostic:
    """One diagnostic of an open text. One that lies in a file which it imports is shown where it is imported."""
    lines, found = text.text, found.told_in(EDITOR)
    own = found.span.source.text == lines.text
    others = [(span, said) for span, said in found.others if span.source.text]
    if own:
        span, title = found.span, found.title
    else:
        span = imports.get(real_name(found.span.source.path)) or Span(Source("", lines.text), 0, 0)
        title = f"in {found.span.source.path}: {found.title}" if found.span.source.path else found.title
        if found.span.source.text:
            others.insert(0, (found.span, found.title))
    end = span.end
    if end <= span.start:  # a place between two characters cannot be seen
        end = span.start + 1 if span.start < len(lines.text) and lines.text[span.start] not in "\r\n" else span.start
    said = [title, *([found.label] if found.label else []), *(f"note: {note}" for note in found.notes)]
    said += [f"help: {found.help}"] if found.help else []
    return types.Diagnostic(
        range=lines.range(span.start, end),
        message=printable("\n".join(said)),
        severity=_SEVERITY[found.severity],
        code=found.code,
        source=SOURCE,
        related_information=[related(place, about, text, texts) for place, about in others] or None,
    )


def related(span: Span, said: str, text: OpenText, texts: OpenTexts) -> types.DiagnosticRelatedInformation:
    """A further place of a diagnostic."""
    uri = text.uri if span.source.text == text.text.text else texts.address(Path(real_name(span.source.path)))
    place = TextLines(span.source.text, texts.encoding).range(span.start, span.end)
    return types.DiagnosticRelatedInformation(types.Location(uri, place), printable(said or "here"))


def real_name(path: str) -> str:
    """A path that messages show, in full."""
    try:
        return str(Path(path).resolve())
    except (OSError, ValueError, RuntimeError):
        return path


__all__ = ["SOURCE", "real_name", "shown"]
