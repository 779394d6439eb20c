"""Code actions: a diagnostic's help, applied, where the help says what to write and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from lsprotocol import types

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Span
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.parsed_texts import ParsedText
from causal_dsl.tools.lsp.shown_diagnostics import shown

_MEANT = re.compile(r"did you mean `([^`]+)`\?")
_WRITTEN = re.compile(r"(?:^|: |; )write `([^`…]+)`")
_QUOTED = re.compile(r"`([^`]+)`")
#: Faults whose sign is replaced by what the help writes.
_SIGNS = ("E103", "E104", "E107", "E114")
#: A wrong word is at least so like the one that was meant.
_LIKE = 0.4


@dataclass(frozen=True)
class Fix:
    """A change of the text: what is done, where, and what stands there then."""

    title: str
    start: int
    end: int
    text: str


def register(server: SpecServer) -> None:
    """Answer requests for code actions."""

    def actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        known = server.known(params.text_document.uri)
        if known is None:
            return []
        text, state = known
        lines = text.text
        first, last = lines.offset(params.range.start), lines.offset(params.range.end)
        imports = state.imports(server.texts.folder_of(text))
        found = []
        for one in state.diagnostics:
            if one.span.source != state.parsed.source or one.span.start > last or one.span.end < first:
                continue
            for number, fix in enumerate(fixes_of(one, state.parsed)):
                edit = types.TextEdit(lines.range(fix.start, fix.end), fix.text)
                change = types.TextDocumentEdit(
                    types.OptionalVersionedTextDocumentIdentifier(text.uri, text.version), [edit]
                )
                found.append(
                    types.CodeAction(
                        fix.title,
                        types.CodeActionKind.QuickFix,
                        [shown(one, text, server.texts, imports)],
                        is_preferred=number == 0,  # of units none is likelier, but one has to be the first
                        edit=types.WorkspaceEdit(document_changes=[change]),
                    )
                )
        return found

    server.serve(types.TEXT_DOCUMENT_CODE_ACTION, actions, types.CodeActionOptions([types.CodeActionKind.QuickFix]))


def fixes_of(found: Diagnostic, parsed: ParsedText) -> Iterator[Fix]:
    """The changes that a diagnostic's help says in so many words. One of a fault of syntax leaves fewer of them, or is not
    offered."""
    meant = _MEANT.search(found.help)
    if meant is not None:
        place = wrong_word(found, meant[1])
        candidates = [] if place is None else [Fix(f"Change to `{meant[1]}`", place.start, place.end, meant[1])]
    else:
        candidates = list(_written(found))
    for fix in candidates:
        if found.code.startswith("E1") and not _helps(fix, parsed):
            continue
        yield fix


def _written(found: Diagnostic) -> Iterator[Fix]:
    """The edit that the help asks for: to write, to leave out, or to add."""
    span = found.span
    if found.code == "E104" and found.help == "a comment begins with `#`":
        block = _block(span) if span.text == "/*" else Fix("Begin the comment with `#`", span.start, span.end, "#")
        yield from [block] if block is not None else []
    elif found.code == "E603" and (units := _QUOTED.findall(found.help)):
        for written in units:
            yield Fix(f"Write `{written}`", span.start, span.end, written)
    elif found.code in ("E604", "E605") and (number := re.fullmatch(r"write `([\d.e+-]+%?)`", found.help)) is not None:
        yield Fix(f"Write `{number[1]}`", span.start, span.end, number[1])
    elif found.code == "E102" and found.others:
        after = found.others[0][0].start
        text = span.source.text
        end = len(text[:after].rstrip())
        yield Fix("Close it with `}`", end, end, "\n}")
    elif found.code in _SIGNS and found.help.startswith("leave it out"):
        yield Fix("Leave it out", span.start, span.end, "")
    elif found.code in _SIGNS and found.code != "E103" and (written := _WRITTEN.search(found.help)) is not None:
        yield Fix(f"Write `{written[1]}`", span.start, span.end, _apart(span, written[1]))
    elif found.code == "E103" and (quoted := re.search(r'^write `("[^`…]*")`$', found.help)) is not None:
        yield Fix(f"Write {quoted[1]}", span.start, span.end, quoted[1])
    elif found.code == "E455":
        yield Fix("Read it at the last token: `[last]`", span.end, span.end, "[last]")


def _block(span: Span) -> Fix | None:
    """A comment of `/*` and `*/` as lines that begin with `#`; None where it does not end, or where more follows in its last line."""
    text = span.source.text
    end = text.find("*/", span.end)
    if end < 0 or text[end + 2 :].partition("\n")[0].strip():
        return None
    lines = text[span.end : end].strip().split("\n")
    written = "\n".join(f"# {line.strip().removeprefix('*').strip()}".rstrip() for line in lines)
    return Fix("Begin its lines with `#`", span.start, end + 2, written)


def _apart(span: Span, word: str) -> str:
    """A word in the place of a sign, with spaces where it would touch its neighbours."""
    text = span.source.text
    before = " " if word.isidentifier() and span.start > 0 and not text[span.start - 1].isspace() else ""
    after = " " if word.isidentifier() and span.end < len(text) and not text[span.end].isspace() else ""
    return f"{before}{word}{after}"


def wrong_word(found: Diagnostic, meant: str) -> Span | None:
    """The word of a diagnostic's place that stands for another: one that its title names, and the likest."""
    span, text = found.span, found.span.text
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        inner = text[1:-1]
        folder = inner.rpartition("/")[0] + "/" if "/" in inner and "/" not in meant else ""
        return Span(span.source, span.start + 1 + len(folder), span.end - 1)
    named = [word for word in _QUOTED.findall(found.title) if word in text and word != meant]
    if text.isidentifier():
        named.append(text)
    like = {word: difflib.SequenceMatcher(None, word.casefold(), meant.casefold()).ratio() for word in named}
    best = max(like, key=lambda word: like[word], default="")
    if not best or like[best] < _LIKE:
        return None
    places = [one.start() for one in re.finditer(rf"(?<!\w){re.escape(best)}(?!\w)", text)]
    if len(places) != 1:
        return None
    start = span.start + places[0]
    return Span(span.source, start, start + len(best))


def _helps(fix: Fix, parsed: ParsedText) -> bool:
    """Whether a text has fewer faults of syntax after a change."""
    changed = parsed.text[: fix.start] + fix.text + parsed.text[fix.end :]
    return len(ParsedText.of(parsed.source.path, changed).faults) < len(parsed.faults)


__all__ = ["fixes_of", "register"]
