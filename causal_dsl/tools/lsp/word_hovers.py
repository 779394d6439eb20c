"""The meaning of a word: the page of a measure, the shape of a site in this network, the chance levels and the cost of a test."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol import types

from causal_dsl.diagnostics import Span, printable
from causal_dsl.program.counts import COUNTS
from causal_dsl.report.word_pages import of_word
from causal_dsl.syntax import tree
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.transform import Lexeme
from causal_dsl.tools.lsp.keyword_pages import keyword_page
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.navigation import use_at
from causal_dsl.tools.lsp.parsed_texts import ParsedText
from causal_dsl.tools.lsp.settings_of_words import (
    draw_settings,
    settings_of,
    told_component,
    told_count,
    told_feature,
    told_method,
    told_readout,
    told_setting,
    told_value,
    told_zoo,
)
from causal_dsl.tools.lsp.spec_summary import NetworkSummary, Summary
from causal_dsl.tools.lsp.symbols import PARAMETER, PYTHON, RUN, VARIABLE, NameUse, SpecSymbol
from causal_dsl.vocabulary.components import COMPONENTS

_LONGEST = 400


def register(server: SpecServer) -> None:
    """Answer hovers."""

    async def hover(params: types.HoverParams) -> types.Hover | None:
        known = server.known(params.text_document.uri)
        if known is None:
            return None
        text, state = known
        await server.first_check(state)
        use = use_at(server, params.text_document.uri, params.position)
        token = state.parsed.token_at(text.text.offset(params.position))
        span = use.span if use is not None else token.span if token is not None else None
        if use is None and token is not None and (zoo := _zoo_told(state.parsed, token)):
            content = types.MarkupContent(types.MarkupKind.Markdown, printable(zoo))
            return types.Hover(content, text.text.range(token.span.start, token.span.end))
        if span is None or not span.text.isidentifier():
            return None
        parts = [
            part for symbol in (use.means if use is not None else ()) for part in told(server, symbol, state.summary)
        ]
        for symbol in use.means if use is not None else ():
            if symbol.kind == "test" and (cost := await server.cost_of(text.uri, symbol.name)):
                parts.append(f"to run it: {cost}")
        if not parts:
            network = network_at(server, server.files.key(text), state.parsed, span, state.summary)
            parts = list(words_told(span.text, use, network))
        if not parts and use is None and token is not None and token.type in load_grammar().keywords.values():
            parts = [keyword_page(span.text)]
        if not parts:
            return None
        content = types.MarkupContent(types.MarkupKind.Markdown, printable("\n\n".join(parts)))
        return types.Hover(content, text.text.range(span.start, span.end))

    server.serve(types.TEXT_DOCUMENT_HOVER, hover)


def _zoo_told(parsed: ParsedText, token: Lexeme) -> str:
    """The network whose name a token is, as in ``zoo("equality-gpt2")``; empty for another token."""
    words = [one.text for one in parsed.before(token.span.start)[-2:]]
    return told_zoo(token.text[1:-1]) if words == ["zoo", "("] and token.text[:1] in ("'", '"') else ""


# ── what a spec declares ──


def told(server: SpecServer, symbol: SpecSymbol, summary: Summary) -> Iterator[str]:
    """The hover of a declared thing: how it is written, the comment above it, and what a check found."""
    if symbol.kind == PYTHON:
        yield f"`{symbol.name}`: a Python function of {symbol.file.rpartition('/')[2]}"
        return
    node = declaration_of(server, symbol)
    if node is not None:
        yield f"```causal\n{head(node)}\n```"
        if isinstance(node, tree.Declaration) and node.doc:
            yield node.doc
    yield from known_of(symbol, summary)


def declaration_of(server: SpecServer, symbol: SpecSymbol) -> tree.Node | None:
    """The declaration or the statement that declares a symbol."""
    meanings = server.meanings()
    own = meanings.node(symbol)
    if own is not None:
        return own
    declared = meanings.declared(symbol.file).names.get(symbol.owner)
    for member in getattr(meanings.node(declared), "members", ()):
        names = [name.name for name in (*getattr(member, "names", ()), *filter(None, [getattr(member, "name", None)]))]
        fits = isinstance(member, tree.Draw | tree.Mechanism | tree.Group)
        if fits and symbol.name in names and symbol.kind != PARAMETER:
            return member
    for parameter in getattr(meanings.node(declared), "parameters", ()):
        if parameter.name.name == symbol.name and symbol.kind == PARAMETER:
            return parameter
    return None


def head(node: tree.Node) -> str:
    """How a declaration is written: of one with a block, what stands before the block."""
    text = node.span.text
    if isinstance(node, tree.CausalDecl | tree.AlignDecl | tree.CircuitDecl | tree.FitDecl | tree.TestDecl):
        text = text.partition("{")[0].rstrip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def known_of(symbol: SpecSymbol, summary: Summary) -> Iterator[str]:
    """The lines of the last check on a symbol."""
    name = symbol.name
    if symbol.kind == VARIABLE:
        variable = summary.models.get(symbol.owner, {}).get(name)
        if variable is not None:
            kind = "drawn" if variable.kind == "exogenous" else "computed"
            yield f"{'an output, ' if variable.output else ''}{kind}; its values: {variable.domain}"
    elif symbol.kind == "network" and (network := summary.networks.get(name)) is not None:
        yield "  \n".join((network.said, *network.told))
    elif symbol.kind == "alignment" and (alignment := summary.alignments.get(name)) is not None:
        yield f"the causal model `{alignment.model}` in the network `{alignment.network}`"
        swept = [f"`{key}`: {len(values)} values" for key, values in alignment.parameters.items()]
        yield from [", ".join(swept)] if swept else []
    elif symbol.kind == "test" and (test := summary.tests.get(name)) is not None:
        yield f"chance: {test.ceilings}" if test.ceilings else test.without_ceilings
        yield "; ".join(part for part in (test.inputs, f"{test.cells} cell{'s' * (test.cells != 1)}") if part)
    elif symbol.kind == RUN:
        yield f"a run of the network, drawn in `{symbol.owner}`"


# ── words of the language ──


def words_told(word: str, use: NameUse | None, network: NetworkSummary | None) -> Iterator[str]:
    """The meaning of a word of the language, wherever it may stand."""
    if use is not None and use.setting:
        for table in (settings_of(use.of), settings_of(use.of, through=True), draw_settings()):
            if word in table:
                yield told_setting(word, table[word]) + f" (of `{use.of}`)"
                return
    page = of_word(word)
    if page:
        yield page.strip()
    if word in COMPONENTS:
        yield told_component(word)
        if network is not None and word in network.sites:
            yield f"in `{network.name}`: {network.sites[word].shape}" + _layers(word, network)
    if word in COUNTS:
        yield f"`{word}`: {told_count(word, network)}."
    yield from filter(None, (told_feature(word), told_value(word), told_method(word), told_readout(word)))
    table = settings_of(word) or settings_of(word, through=True)
    if table:
        yield "settings:\n\n" + "\n".join(f"- {told_setting(name, setting)}" for name, setting in table.items())


def _layers(word: str, network: NetworkSummary) -> str:
    if not COMPONENTS[word].layer or not network.layers or network.sites[word].absent:
        return ""
    return f" in each of {network.layers} layers" if network.layers > 1 else " in its layer"


def network_at(
    server: SpecServer, file: str, parsed: ParsedText, span: Span, summary: Summary
) -> NetworkSummary | None:
    """The network that the declaration around a place speaks of."""
    for one in parsed.tree.declarations:
        if one.span.start <= span.start < one.span.end and not isinstance(one, tree.Import):
            meanings = server.meanings()
            network = meanings.network_of(meanings.declared(file).names.get(one.name.name))
            return None if network is None else summary.networks.get(network.name)
    return None


__all__ = ["network_at", "register"]
