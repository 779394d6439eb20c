"""Requests about a whole text: its layout, its outline, what can be folded, and the colours of its names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from lsprotocol import types

from causal_dsl.diagnostics import Span
from causal_dsl.program.modules import KINDS
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_tree
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.parsed_texts import ParsedText
from causal_dsl.tools.lsp.symbols import GROUP, LOCAL, PARAMETER, PYTHON, RUN, VARIABLE
from causal_dsl.tools.lsp.text_positions import TextLines

_KIND = types.SymbolKind
#: The symbol that stands for each kind of declaration, and the class of the colour of its names.
SYMBOLS = {
    "domain": (_KIND.Enum, "enum"),
    "table": (_KIND.Array, "enum"),
    "network": (_KIND.Module, "namespace"),
    "metric": (_KIND.Function, "function"),
    "causal model": (_KIND.Class, "class"),
    "alignment": (_KIND.Interface, "interface"),
    "circuit": (_KIND.Struct, "struct"),
    "fit": (_KIND.Event, "event"),
    "test": (_KIND.Method, "method"),
    PYTHON: (_KIND.Function, "function"),
    VARIABLE: (_KIND.Variable, "variable"),
    PARAMETER: (_KIND.TypeParameter, "parameter"),
    RUN: (_KIND.Variable, "parameter"),
    GROUP: (_KIND.Field, "property"),
    LOCAL: (_KIND.Variable, "parameter"),
}
COLOURS = tuple(dict.fromkeys([colour for _, colour in SYMBOLS.values()] + ["property"]))
LEGEND = types.SemanticTokensLegend(list(COLOURS), [types.SemanticTokenModifiers.Declaration.value])
#: Files that are told at once where symbols of all files are asked for.
MOST_FOUND = 500


def register(server: SpecServer) -> None:
    """Answer requests about whole texts."""

    def formatted(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        known = server.known(params.text_document.uri)
        if known is None or known[1].parsed.faults:
            return None  # what could not be read cannot be laid out; its faults are told
        return layout_edits(known[0].text, format_tree(known[1].parsed.tree))

    def outline(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        known = server.known(params.text_document.uri)
        return [] if known is None else list(symbols_of(known[1].parsed, known[0].text))

    def folds(params: types.FoldingRangeParams) -> list[types.FoldingRange]:
        known = server.known(params.text_document.uri)
        return [] if known is None else list(folds_of(known[1].parsed, known[0].text))

    def colours(params: types.SemanticTokensParams) -> types.SemanticTokens:
        known = server.known(params.text_document.uri)
        if known is None:
            return types.SemanticTokens([])
        return types.SemanticTokens(colours_of(server, server.files.key(known[0]), known[0].text))

    def everywhere(params: types.WorkspaceSymbolParams) -> list[types.WorkspaceSymbol]:
        return list(found_everywhere(server, params.query))

    server.serve(types.TEXT_DOCUMENT_FORMATTING, formatted)
    server.serve(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL, outline)
    server.serve(types.TEXT_DOCUMENT_FOLDING_RANGE, folds)
    server.serve(
        types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, colours, types.SemanticTokensRegistrationOptions(LEGEND, full=True)
    )
    server.serve(types.WORKSPACE_SYMBOL, everywhere)


def layout_edits(old: TextLines, laid_out: str) -> list[types.TextEdit]:
    """The lines to replace, so that a text is as it is laid out; it keeps the ends of lines that it has."""
    if "\r\n" in old.text:
        laid_out = laid_out.replace("\n", "\r\n")
    before, after = old.text.splitlines(keepends=True), laid_out.splitlines(keepends=True)
    starts = [0]
    for line in before:
        starts.append(starts[-1] + len(line))
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [
        types.TextEdit(old.range(starts[a], starts[b]), "".join(after[c:d]))
        for kind, a, b, c, d in changes
        if kind != "equal"
    ]


def symbols_of(parsed: ParsedText, lines: TextLines) -> Iterator[types.DocumentSymbol]:
    """The outline: each declaration, with what is declared in it."""
    for one in parsed.tree.declarations:
        if isinstance(one, tree.Import):
            continue
        kind = KINDS[type(one)]
        inside = [_symbol(lines, name, span, SYMBOLS[about][0], about) for name, span, about in _members(one)]
        yield _symbol(lines, one.name, one.span, SYMBOLS[kind][0], kind, inside)


def _symbol(
    lines: TextLines,
    name: tree.Ident,
    span: Span,
    kind: types.SymbolKind,
    detail: str,
    inside: list[types.DocumentSymbol] | None = None,
) -> types.DocumentSymbol:
    return types.DocumentSymbol(
        name.name,
        kind,
        lines.range(span.start, span.end),
        lines.range(name.span.start, name.span.end),
        detail=detail,
        children=inside or None,
    )


def _members(one: tree.AnyDeclaration) -> Iterator[tuple[tree.Ident, Span, str]]:
    for parameter in getattr(one, "parameters", ()):
        yield parameter.name, parameter.span, PARAMETER
    for member in getattr(one, "members", ()):
        match member:
            case tree.Draw(names=names):
                yield from ((name, name.span, VARIABLE if isinstance(one, tree.CausalDecl) else RUN) for name in names)
            case tree.Mechanism(name=name):
                yield name, member.span, VARIABLE
            case tree.Placement(name=name) if name.name:
                yield name, member.span, VARIABLE
            case tree.Group(name=name):
                yield name, member.span, GROUP


def folds_of(parsed: ParsedText, lines: TextLines) -> Iterator[types.FoldingRange]:
    """Declarations, runs of comments, and the imports."""

    def fold(start: int, end: int, kind: types.FoldingRangeKind | None) -> Iterator[types.FoldingRange]:
        first, last = lines.position(start).line, lines.position(end).line
        if last > first:
            yield types.FoldingRange(first, last, kind=kind)

    imports = [one for one in parsed.tree.declarations if isinstance(one, tree.Import)]
    if imports:
        yield from fold(imports[0].span.start, imports[-1].span.end, types.FoldingRangeKind.Imports)
    for one in parsed.tree.declarations:
        if not isinstance(one, tree.Import):
            yield from fold(one.span.start, one.span.end, None)
    run: list[tree.Comment] = []
    for comment in [*parsed.tree.comments, None]:
        if comment is not None and comment.alone and run and comment.span.line == run[-1].span.line + 1:
            run.append(comment)
            continue
        if len(run) > 1:
            yield from fold(run[0].span.start, run[-1].span.end, types.FoldingRangeKind.Comment)
        run = [comment] if comment is not None and comment.alone else []


def colours_of(server: SpecServer, file: str, lines: TextLines) -> list[int]:
    """Semantic tokens, as the protocol packs them: what each name is."""
    found: list[int] = []
    line, character = 0, 0
    for use in server.uses(file):
        means = use.means
        if means:
            colour = SYMBOLS[means[0].kind][1]
        elif use.setting:
            colour = "property"
        else:
            continue
        start = lines.position(use.span.start)
        wide = lines.units(use.span.text)
        found += [
            start.line - line,
            start.character - (character if start.line == line else 0),
            wide,
            COLOURS.index(colour),
            int(use.declares),
        ]
        line, character = start.line, start.character
    return found


def found_everywhere(server: SpecServer, query: str) -> Iterator[types.WorkspaceSymbol]:
    """The declarations of all files whose names hold the letters of a query, in their order."""
    wanted, told = query.casefold(), 0
    for file in server.files.every():
        parsed = server.files.at(file)
        if parsed is None:
            continue
        lines = TextLines(parsed.text, server.texts.encoding)
        for one in parsed.tree.declarations:
            if isinstance(one, tree.Import) or not _holds(one.name.name.casefold(), wanted):
                continue
            kind = KINDS[type(one)]
            place = types.Location(server.address(file), lines.range(one.name.span.start, one.name.span.end))
            yield types.WorkspaceSymbol(place, one.name.name, SYMBOLS[kind][0], container_name=kind)
            told += 1
            if told >= MOST_FOUND:
                return


def _holds(name: str, letters: str) -> bool:
    rest = iter(name)
    return all(letter in rest for letter in letters)


__all__ = ["register"]
