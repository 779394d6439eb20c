"""Completion: what may stand at the cursor, taken from the records of the language, the file, and the network."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol import types

from causal_dsl.program.networks import NETWORKS
from causal_dsl.program.positions import PARTS_OF_PLACES
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.hints import DECLARATIONS
from causal_dsl.tools.lsp.keyword_pages import keyword_page
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.offered_in_text import importable, in_text
from causal_dsl.tools.lsp.offered_kinds import Offer, OfferedKinds
from causal_dsl.tools.lsp.settings_of_words import (
    draw_settings,
    settings_of,
)
from causal_dsl.tools.lsp.spec_summary import AlignmentSummary
from causal_dsl.tools.lsp.text_positions import TextLines
from causal_dsl.tools.lsp.writing_places import Bracket, writing_at
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.settings import Setting

_KIND = types.CompletionItemKind
#: What may begin a statement of each kind of block.
_STATEMENTS = {
    "CAUSAL": ("output",),
    "ALIGN": ("prompt",),
    "CIRCUIT": (),
    "FIT": ("do",),
    "TEST": ("do", "expect", "report"),
}
_OPERATORS = ("if", "not", "true", "false")


def register(server: SpecServer) -> None:
    """Answer requests for completion."""

    def complete(params: types.CompletionParams) -> types.CompletionList:
        known = server.known(params.text_document.uri)
        if known is None:
            return types.CompletionList(False, [])
        text, state = known
        at = text.text.offset(params.position)
        writing = writing_at(state.parsed, at)
        reader = Offers(server.meanings(), server.files.key(text), writing, state.summary)
        offers = {offer.word: offer for offer in reversed(list(reader.offers()))}
        ordered = enumerate(reversed(offers.values()))
        items = [_item(offer, number, text.text, writing.start, at) for number, offer in ordered]
        return types.CompletionList(False, items)

    options = types.CompletionOptions(trigger_characters=[".", "@", "(", "[", '"', "/", "="])
    server.serve(types.TEXT_DOCUMENT_COMPLETION, complete, options)


def _item(offer: Offer, number: int, lines: TextLines, start: int, end: int) -> types.CompletionItem:
    told = types.MarkupContent(types.MarkupKind.Markdown, offer.told) if offer.told else None
    edit = types.TextEdit(lines.range(start, end), offer.written or offer.word)
    return types.CompletionItem(
        offer.word,
        kind=offer.kind,
        detail=offer.detail or None,
        documentation=told,
        text_edit=edit,
        sort_text=f"{number:04}",
        filter_text=offer.written if offer.written.startswith('"') or "{" in offer.written else None,
    )


class Offers(OfferedKinds):
    """The words that may stand at one place of a file."""

    def offers(self) -> Iterator[Offer]:
        """The offers at this place, the likeliest first."""
        at = self.at
        if at.text is not None:
            yield from in_text(self, at.text)
        elif not at.kind or at.done or (at.in_block is False and at.kind not in _STATEMENTS and at.before() == ""):
            yield from self.keywords(text for text, kind in load_grammar().keywords.items() if kind in DECLARATIONS)
        elif at.before() == "DOT":
            yield from self.behind_dot(at.path)
        elif at.bracket is not None:
            yield from self.in_bracket()
        elif not at.in_block:
            yield from self.in_header()
        else:
            yield from self.in_block()

    def in_header(self) -> Iterator[Offer]:
        match self.at.kind, self.at.before():
            case (("TEST" | "FIT"), "ON"):
                yield from self.of_kind("alignment")
            case (("TEST" | "FIT"), "NAME"):
                yield from self.keywords(["on"])
            case "ALIGN", "COLON":
                yield from self.of_kind("causal model", "alignment")
            case ("ALIGN", "RARROW") | ("CIRCUIT", "COLON"):
                yield from self.of_kind("network")
            case "NETWORK", "EQUAL":
                yield from (Offer(name, _KIND.Function, "a network", self.settings_told(name)) for name in NETWORKS)
            case "CIRCUIT", "EQUAL":
                yield from self.of_kind("circuit")
                yield Offer("discover", _KIND.Function, "", self.settings_told("discover"))
                yield Offer("json", _KIND.Function, "", self.settings_told("json"))
            case "METRIC", _:
                yield from self.expression()
            case "DOMAIN" | "TABLE", _:
                yield from self.of_kind("domain", "table")
            case "FROM", "STRING":
                yield from self.keywords(["import"])
            case "FROM", ("IMPORT" | "COMMA"):
                yield from importable(self)

    def in_block(self) -> Iterator[Offer]:
        kind, before = self.at.kind, self.at.before()
        if before == "VIA":
            yield from self.features()
        elif before == "AT":
            yield from self.sites()
        elif before == "TILDE":
            yield from self.of_kind("causal model" if kind in ("TEST", "FIT") else "domain", "table")
        elif kind == "TEST" and before == "NUMBER" and any(one.type == "EXPECT" for one in self.at.last):
            yield from self.units()
            yield from self.statements()
        elif kind == "TEST" and any(one.type in ("EXPECT", "REPORT") for one in self.at.last):
            yield from self.expression()
            yield from self.statements()
        elif before in ("WHERE", "DEFINE", "AND", "OR", "NOT", "IF", "THEN", "ELSE", "COMPARE", "PLUS", "MINUS", "IN"):
            yield from self.scope()
            yield from self.of_kind("domain", "table", "Python function")
            yield from self.keywords(_OPERATORS)
        else:
            yield from self.statements()

    def units(self) -> Iterator[Offer]:
        """The units of the measure that a number is compared with; of one that is not known, all."""
        start = max(i for i, one in enumerate(self.at.last) if one.type == "EXPECT")
        words = [one.text for one in self.at.last[start:]]
        units = {measure.unit for measure in MEASURES.own.values() if measure.name in words}
        if units <= {"nats"} or not units:
            yield Offer("nats", _KIND.Unit, "information", keyword_page("nats"))
            yield Offer("bits", _KIND.Unit, "information", keyword_page("bits"))
        if units & {"share", "ratio"} or not units:
            yield Offer("%", _KIND.Unit, "of the whole")

    def statements(self) -> Iterator[Offer]:
        """The words that may begin a statement, or go on with the one before."""
        kind = self.at.kind
        yield from self.keywords(_STATEMENTS.get(kind, ()))
        if kind == "ALIGN":
            yield from self.variables(self.model)
            yield from self.keywords(["via"])
        if kind == "CIRCUIT":
            yield from self.sites()
        yield from self.keywords(["where"] if kind in ("CAUSAL", "ALIGN", "FIT", "TEST") else [])

    def in_bracket(self) -> Iterator[Offer]:
        one = self.at.bracket
        assert one is not None
        if not self.at.in_block and self.at.brackets[0].path == (self.at.name,) and self.at.kind != "NETWORK":
            yield from self.in_parameters()
            return
        if one.token.type == "LSQB":
            yield from self.in_square(one.path)
            return
        called = self.summary.alignments.get(one.called)
        if called is not None:
            yield from self.in_alignment(one, called)
            return
        if self.at.before() == "EQUAL":
            yield from self.values_of(one.called, self._setting(one.called, one.behind, one.inside))
            return
        if one.behind == "DO":
            yield from self.in_do()
            return
        draws = one.behind == "TILDE" and self.at.kind in ("TEST", "FIT")
        table = draw_settings() if draws else settings_of(one.called, one.behind == "VIA")
        given = {token.text for token, sign in zip(one.inside, one.inside[1:], strict=False) if sign.type == "EQUAL"}
        yield from (self.setting(name, setting) for name, setting in table.items() if name not in given)
        yield from self.parameters(self.names.get(one.called))
        if one.called == "train":
            yield from self.of_kind("alignment")
        if not table or one.called in MEASURES:
            yield from self.expression()

    def in_parameters(self) -> Iterator[Offer]:
        """In the brackets behind the name that is declared: what a parameter ranges over."""
        own = self.at.brackets[0].inside
        if not any(token.type == "IN" for token in own):
            yield from self.keywords(["in"] if own else [])
            return
        listed = self.at.bracket is not None and self.at.bracket.token.type == "LSQB"
        if self.at.before() == "IN":
            yield Offer("0:layers", _KIND.Value, "each layer")
            yield Offer("0:heads", _KIND.Value, "each head")
        yield from self.counts()
        if listed:
            yield from self.positions()
            yield from (self.site(name) for name, component in COMPONENTS.items() if self.has(name, component.layer))

    def in_alignment(self, one: Bracket, called: AlignmentSummary) -> Iterator[Offer]:
        """In the brackets of an alignment that a test is on: its parameters, and the values of each."""
        if self.at.before() == "EQUAL" and len(one.inside) > 1:
            for value in called.parameters.get(one.inside[-2].text, ()):
                yield Offer(value, _KIND.Value, f"a value of `{one.inside[-2].text}`")
            return
        given = {token.text for token, sign in zip(one.inside, one.inside[1:], strict=False) if sign.type == "EQUAL"}
        for name, values in called.parameters.items():
            if name not in given:
                yield Offer(name, _KIND.TypeParameter, f"a parameter of {len(values)} values", "", f"{name}=")

    def in_square(self, path: tuple[str, ...]) -> Iterator[Offer]:
        """In the brackets of a site: a position of the prompt, or a parameter."""
        yield from self.parameters(self.symbol)
        yield from self.parameters(self.names.get(self.at.name))
        if path and path[-1] in ("layer", "head", "expert", "input", "logits", "q", "k", "v", "z"):
            if path[-1] in ("layer", "head"):
                yield from self.keywords(["all"])
                yield from self.counts(f"{path[-1]}s")
            if path[-1] in ("layer", "head", "expert", "input"):
                return
        yield from self.positions()
        if not path:
            yield from self.scope()

    def _setting(self, called: str, behind: str, inside: tuple) -> Setting | None:  # type: ignore[type-arg]
        name = inside[-2].text if len(inside) > 1 else ""
        draws = behind == "TILDE" and self.at.kind in ("TEST", "FIT")
        return (draw_settings() if draws else settings_of(called, behind == "VIA")).get(name)

    def in_do(self) -> Iterator[Offer]:
        """In `do(…)`: what is written, what is taken, and how."""
        before = self.at.before()
        if before == "LARROW":
            yield from self.runs()
        elif before == "VIA":
            yield from self.features()
        elif before in ("EQUAL", "PLUS_EQUAL"):
            yield from self.written()
        elif before in ("LPAR", "COMMA", "RARROW"):
            yield from self.variables(self.model)
            yield from self.sites()
            yield from self.of_kind("circuit")
            yield Offer("outside", _KIND.Function, "all that is not in a circuit")
        else:
            yield from self.keywords(["via"])

    def behind_dot(self, path: tuple[str, ...]) -> Iterator[Offer]:
        """The words that a path goes on with."""
        if path[:1] == ("layer",):
            inside = path[-1] == "head"
            for name, component in COMPONENTS.items():
                if self.has(name, component.layer) and (component.heads or not inside):
                    yield self.site(name)
            if path == ("layer",):
                yield Offer("head", _KIND.Field, "one head, or some")
                if self.network is None or not self.network.sites["expert_out"].absent:
                    yield Offer("expert", _KIND.Field, "one expert")
            return
        head = path[0] if path else ""
        runs = self.drawn()
        yield from self.variables(runs.get(head))
        yield from (Offer(name, _KIND.Field, "a group") for name in self.meanings.groups(self.names.get(head)))
        if head not in runs and self.at.bracket is not None and self.at.bracket.token.type == "LSQB":
            yield from (Offer(part, _KIND.Field, "tokens of a placeholder") for part in PARTS_OF_PLACES)


__all__ = ["register"]
