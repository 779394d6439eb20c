"""From a name to where it is declared, to all that use it, and to another name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from causal_dsl.diagnostics import Span
from causal_dsl.measures.names import RESERVED
from causal_dsl.syntax import tree
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.tools.lsp.checker import CheckerGone
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.symbols import GROUP, LOCAL, PARAMETER, PYTHON, RUN, VARIABLE, NameUse, SpecSymbol
from causal_dsl.tools.lsp.text_positions import TextLines

#: What only one file speaks of.
_OF_ONE_FILE = (RUN, LOCAL)
_NAME = re.compile(r"[^\W\d]\w*")


class Refused(JsonRpcException):
    """A name cannot be another; the editor shows why."""

    CODE = -32803
    MESSAGE = "refused"


def register(server: SpecServer) -> None:
    """Answer requests about one name."""

    def definition(params: types.DefinitionParams) -> list[types.Location]:
        opened = _opened_file(server, params)
        if opened is not None:
            return [opened]
        use = use_at(server, params.text_document.uri, params.position)
        return [] if use is None else [place for symbol in use.means for place in declared_at(server, symbol)]

    def references(params: types.ReferenceParams) -> list[types.Location]:
        use = use_at(server, params.text_document.uri, params.position)
        found = uses_everywhere(server, use.means) if use is not None else []
        wanted = [(file, one) for file, one in found if params.context.include_declaration or not one.declares]
        return [location(server, file, one.span) for file, one in wanted]

    def highlights(params: types.DocumentHighlightParams) -> list[types.DocumentHighlight]:
        use, known = use_at(server, params.text_document.uri, params.position), server.known(params.text_document.uri)
        if use is None or known is None or not use.means:
            return []
        lines, kinds = known[0].text, (types.DocumentHighlightKind.Read, types.DocumentHighlightKind.Write)
        return [
            types.DocumentHighlight(lines.range(one.span.start, one.span.end), kinds[one.declares])
            for one in server.uses(server.files.key(known[0]))
            if set(one.means) & set(use.means)
        ]

    def renameable(params: types.PrepareRenameParams) -> types.PrepareRenamePlaceholder:
        use = _renamed(server, params.text_document.uri, params.position)
        known = server.known(params.text_document.uri)
        assert known is not None
        return types.PrepareRenamePlaceholder(known[0].text.range(use.span.start, use.span.end), use.span.text)

    async def renamed(params: types.RenameParams) -> types.WorkspaceEdit:
        use = _renamed(server, params.text_document.uri, params.position)
        assert use.symbol is not None
        edit = await rename(server, use.symbol, params.new_name)
        if use.symbol.kind in (VARIABLE, RUN) and params.new_name != use.span.text:
            told = (
                f"Inputs are drawn by the seed and by names: where `{use.span.text}` is drawn, other inputs are drawn for "
                f"`{params.new_name}`, and scores change as they do with another seed."
            )
            server.window_show_message(types.ShowMessageParams(types.MessageType.Info, told))
        return edit

    server.serve(types.TEXT_DOCUMENT_DEFINITION, definition)
    server.serve(types.TEXT_DOCUMENT_REFERENCES, references)
    server.serve(types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT, highlights)
    server.serve(types.TEXT_DOCUMENT_PREPARE_RENAME, renameable)
    server.serve(types.TEXT_DOCUMENT_RENAME, renamed, types.RenameOptions(prepare_provider=True))


def use_at(server: SpecServer, uri: str, position: types.Position) -> NameUse | None:
    """The name at a position, or right before it."""
    known = server.known(uri)
    if known is None:
        return None
    at = known[0].text.offset(position)
    touching = [one for one in server.uses(server.files.key(known[0])) if one.span.start <= at <= one.span.end]
    return max(touching, key=lambda one: (bool(one.means), one.span.start), default=None)


def location(server: SpecServer, file: str, span: Span) -> types.Location:
    lines = TextLines(span.source.text, server.texts.encoding)
    return types.Location(server.address(file), lines.range(span.start, span.end))


def declared_at(server: SpecServer, symbol: SpecSymbol) -> Iterable[types.Location]:
    """Where a symbol is declared."""
    if symbol.kind == PYTHON:
        return _python(server, symbol)
    uses = server.uses(symbol.file)
    return [location(server, symbol.file, one.span) for one in uses if one.declares and one.symbol == symbol]


def _python(server: SpecServer, symbol: SpecSymbol) -> list[types.Location]:
    """Where a Python file defines a function; its text is searched, and nothing of it is run."""
    try:
        text = Path(symbol.file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    found = re.search(rf"^(?:async\s+)?(?:def|class)\s+({re.escape(symbol.name)})\b", text, re.MULTILINE)
    start, end = found.span(1) if found is not None else (0, 0)
    return [types.Location(server.address(symbol.file), TextLines(text, server.texts.encoding).range(start, end))]


def _opened_file(server: SpecServer, params: types.DefinitionParams) -> types.Location | None:
    """The file of an import whose path the position is in."""
    known = server.known(params.text_document.uri)
    if known is None:
        return None
    at, file = known[0].text.offset(params.position), server.files.key(known[0])
    for one in known[1].parsed.tree.declarations:
        if isinstance(one, tree.Import) and one.path.span.start <= at <= one.path.span.end:
            path = server.files.imported(file, one)
            if path and Path(path).is_file():
                return types.Location(server.address(path), types.Range(types.Position(0, 0), types.Position(0, 0)))
    return None


def uses_everywhere(server: SpecServer, symbols: Iterable[SpecSymbol]) -> list[tuple[str, NameUse]]:
    """All places that name one of some symbols, in the files that can, each with its file."""
    wanted = set(symbols)
    found: dict[str, None] = {}
    for symbol in wanted:
        found.update(dict.fromkeys([symbol.file] if symbol.kind in _OF_ONE_FILE else server.files.users(symbol.file)))
    return [(file, use) for file in found for use in server.uses(file) if wanted & set(use.means)]


# ── renaming ──


def _renamed(server: SpecServer, uri: str, position: types.Position) -> NameUse:
    use = use_at(server, uri, position)
    if use is None or not use.means:
        word = f"`{use.span.text}` is a word of the language" if use is not None else "no name stands here"
        raise Refused(f"{word}: only what a spec declares can be renamed")
    if use.symbol is None:
        owners = " and ".join(f"`{one.owner}`" for one in use.candidates)
        raise Refused(f"`{use.span.text}` means variables of {owners}: rename it where one of them declares it")
    if use.symbol.kind == PYTHON:
        raise Refused(f"`{use.symbol.name}` is defined in {Path(use.symbol.file).name}: rename it there")
    return use


async def rename(server: SpecServer, symbol: SpecSymbol, new: str) -> types.WorkspaceEdit:
    """The edits that give a symbol another name in every file; raises Refused where that would change what a spec says."""
    grammar = load_grammar()
    if not _NAME.fullmatch(new):
        raise Refused(f"`{new}` is not a name: a name is letters, digits and `_`, and begins with no digit")
    if new in grammar.keywords:
        raise Refused(f"`{new}` is a keyword of the language")
    if symbol.kind == "metric" and new in RESERVED:
        raise Refused(f"`{new}` is a measure of the language")
    found = uses_everywhere(server, [symbol])
    for file, use in found:
        if use.symbol is None:
            owners = " and ".join(f"`{one.owner}`" for one in use.candidates)
            raise Refused(f"in {Path(file).name} line {use.span.line} the same word names variables of {owners}")
    clash = clash_of(server, symbol, new, {file for file, _ in found})
    if clash:
        raise Refused(clash)
    edits: dict[str, list[Span]] = {}
    for file in dict.fromkeys(file for file, _ in found):
        parsed = server.files.at(file)
        if parsed is not None and parsed.faults:
            raise Refused(
                f"{Path(file).name} has faults of syntax (line {parsed.faults[0].span.line}): mend them first"
            )
    for file, use in found:
        edits.setdefault(file, []).append(use.span)
    await _checked_edits(server, edits, new)
    return types.WorkspaceEdit(
        document_changes=[
            types.TextDocumentEdit(
                types.OptionalVersionedTextDocumentIdentifier(server.address(file), server.version_of(file)),
                [types.TextEdit(location(server, file, span).range, new) for span in spans],
            )
            for file, spans in edits.items()
        ]
    )


def clash_of(server: SpecServer, symbol: SpecSymbol, new: str, files: set[str]) -> str:
    """Why a symbol cannot have a name that something else has; empty where nothing is in the way."""
    meanings = server.meanings()
    if symbol.kind not in (VARIABLE, PARAMETER, RUN, GROUP, LOCAL):
        for file in sorted(files):
            other = meanings.declared(file).names.get(new)
            if other is not None and other != symbol:
                return f"{Path(file).name} already has a {other.kind} `{new}`"
    for file in sorted(files):
        for use in server.uses(file):
            for other in use.means:
                inside = other.owner == symbol.owner and other.file == symbol.file
                if other != symbol and other.name == new and (inside or symbol.owner == ""):
                    where = f" of `{other.owner}`" if other.owner else ""
                    return f"`{new}` is already a {other.kind}{where} ({Path(file).name} line {use.span.line})"
    return ""


async def _checked_edits(server: SpecServer, edits: dict[str, list[Span]], new: str) -> None:
    """Check every file as it would be: an error that was not there says why the name cannot be."""
    before, after = server.texts.unsaved(), {}
    for file, spans in edits.items():
        parsed = server.files.at(file)
        assert parsed is not None
        text = parsed.text
        for span in sorted(spans, key=lambda one: -one.start):
            text = text[: span.start] + new + text[span.end :]
        after[Path(file)] = text
    for file in edits:
        parsed = server.files.at(file)
        assert parsed is not None
        name, folder = parsed.source.path, server.files.folder(file)
        try:
            old = await server.checker.ask(name, parsed.text, folder, before)
            found = await server.checker.ask(name, after[Path(file)], folder, {**before, **after})
        except CheckerGone as error:
            raise Refused("the process that checks ended: try again") from error
        had = [one.code for one in old.diagnostics]
        for one in found.diagnostics:
            if one.code in had:
                had.remove(one.code)
            elif one.is_error:
                raise Refused(f"{one.title} ({one.span.source.path} line {one.span.line}, {one.code})")


__all__ = ["location", "register", "use_at"]
