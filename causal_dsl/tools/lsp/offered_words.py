"""Completion: what may stand at the cursor, taken from the records of the language, the file, and the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lsprotocol import types

from causal_dsl.measures.names import FUNCTIONS
from causal_dsl.program.counts import COUNTS
from causal_dsl.program.encodings import ENCODINGS
from causal_dsl.program.facts import hub_cache
from causal_dsl.program.networks import NETWORKS
from causal_dsl.program.positions import EDGES, PARTS_OF_PLACES
from causal_dsl.program.read_settings import wanted
from causal_dsl.program.read_sites import SITE_HEADS
from causal_dsl.program.readouts import READOUTS
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.hints import DECLARATIONS
from causal_dsl.tools.lsp.keyword_pages import keyword_page
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.settings_of_words import (
    draw_settings,
    settings_of,
    told_component,
    told_count,
    told_feature,
    told_reading,
    told_setting,
    told_value,
)
from causal_dsl.tools.lsp.spec_files import SUFFIX
from causal_dsl.tools.lsp.spec_summary import AlignmentSummary, NetworkSummary, Summary
from causal_dsl.tools.lsp.symbols import RUN, Meanings, SpecSymbol
from causal_dsl.tools.lsp.text_positions import TextLines
from causal_dsl.tools.lsp.whole_texts import SYMBOLS
from causal_dsl.tools.lsp.writing_places import Bracket, Writing, writing_at
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import words as value_words

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


@dataclass(frozen=True)
class Offer:
    """A word that may stand at the cursor, and what it is."""

    word: str
    kind: types.CompletionItemKind
    detail: str = ""
    told: str = ""
    written: str = ""


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


class Offers:
    """What may stand at one place of a file."""

    def __init__(self, meanings: Meanings, file: str, writing: Writing, summary: Summary):
        self.meanings, self.file, self.at, self.summary = meanings, file, writing, summary
        self.names = meanings.declared(file).names
        self.symbol = self._symbol()
        self.model = meanings.model_of(self.symbol)

    def _symbol(self) -> SpecSymbol | None:
        """The declaration that is being written; what stands in its header decides where it cannot be parsed."""
        own = self.names.get(self.at.name)
        if own is not None and self.meanings.model_of(own) is not None:
            return own
        heads = [token.text for token in self.at.header if token.type == "NAME" and token.text != self.at.name]
        named = [self.names[head] for head in heads if head in self.names]
        return own or next((one for one in named if self.meanings.model_of(one) is not None), None)

    @property
    def network(self) -> NetworkSummary | None:
        """What is known of the network that the declaration speaks of."""
        symbol = self.meanings.network_of(self.names.get(self.at.name)) or self.meanings.network_of(self.symbol)
        if symbol is None:
            heads = (self.names.get(token.text) for token in self.at.header)
            symbol = next((one for one in heads if one is not None and one.kind == "network"), None)
        if symbol is None and self.alignment is not None:  # its header is being written, and was read before
            return self.summary.networks.get(self.alignment.network)
        return None if symbol is None else self.summary.networks.get(symbol.name)

    @property
    def alignment(self) -> AlignmentSummary | None:
        """What is known of the alignment that the declaration is, or is on."""
        for name in (self.at.name, *(token.text for token in self.at.header)):
            if name in self.summary.alignments:
                return self.summary.alignments[name]
        return None

    # ── by place ──

    def offers(self) -> Iterator[Offer]:
        """What may stand there, the likeliest first."""
        at = self.at
        if at.text is not None:
            yield from self.in_text(at.text)
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

    def keywords(self, words: Iterable[str]) -> Iterator[Offer]:
        return (Offer(word, _KIND.Keyword) for word in words)

    def of_kind(self, *kinds: str) -> Iterator[Offer]:
        """The declared or imported names of some kinds."""
        for name, symbol in self.names.items():
            if symbol.kind in kinds and name != self.at.name:
                yield self.named(symbol, name)

    def named(self, symbol: SpecSymbol, name: str) -> Offer:
        node = self.meanings.node(symbol)
        kind = _KIND(_AS_ITEM.get(SYMBOLS[symbol.kind][0].value, _KIND.Variable.value))
        return Offer(name, kind, symbol.kind, getattr(node, "doc", "") or "")

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
                yield from (Offer(name, _KIND.Function, "a network", self._settings_told(name)) for name in NETWORKS)
            case "CIRCUIT", "EQUAL":
                yield from self.of_kind("circuit")
                yield from self.keywords([])
                yield Offer("discover", _KIND.Function, "", self._settings_told("discover"))
                yield Offer("json", _KIND.Function, "", self._settings_told("json"))
            case "METRIC", _:
                yield from self.expression()
            case "DOMAIN" | "TABLE", _:
                yield from self.of_kind("domain", "table")
            case "FROM", "STRING":
                yield from self.keywords(["import"])
            case "FROM", ("IMPORT" | "COMMA"):
                yield from self.importable()

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
        """What may begin a statement, or go on with the one before."""
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
            yield from (self.site(name) for name, component in COMPONENTS.items() if self._has(name, component.layer))

    def counts(self, *words: str) -> Iterator[Offer]:
        """The words that stand for how many layers and heads the network has."""
        for word in words or COUNTS:
            yield Offer(word, _KIND.Constant, told_count(word, self.network))

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

    def positions(self) -> Iterator[Offer]:
        """The words that stand for tokens of the prompt."""
        alignment = self.alignment
        for name in alignment.placeholders if alignment is not None else self.meanings.variables(self.model):
            yield Offer(name, _KIND.Variable, "a placeholder of the prompt")
        for word in EDGES:
            yield Offer(word, _KIND.Constant, "tokens of any prompt")
        for word in alignment.words if alignment is not None else ():
            yield Offer(f'"{word}"', _KIND.Text, "a word of the prompt")

    def _setting(self, called: str, behind: str, inside: tuple) -> Setting | None:  # type: ignore[type-arg]
        name = inside[-2].text if len(inside) > 1 else ""
        draws = behind == "TILDE" and self.at.kind in ("TEST", "FIT")
        return (draw_settings() if draws else settings_of(called, behind == "VIA")).get(name)

    def values_of(self, called: str, setting: Setting | None) -> Iterator[Offer]:
        """What a setting may be."""
        if setting is None:
            yield from self.expression()
            return
        yield from (Offer(word, _KIND.EnumMember, wanted(setting)) for word in setting.choices)
        match setting.kind:
            case "bool":
                yield from self.keywords(["true", "false"])
            case "run":
                yield from self.runs()
            case "several" | "names":
                yield from self.scope()
            case "domain" | "texts":
                yield from self.of_kind("domain")
            case "alignment":
                yield from self.of_kind("alignment")
            case "word" if not setting.choices:
                yield from self.scope()
            case "value" if called == "discover":
                yield from (Offer(name, _KIND.Function, method.says) for name, method in METHODS.items())
            case "value":
                yield from self.written()
        default = setting.default
        if default is not None and default != "" and default not in setting.choices:
            told = str(default).lower() if isinstance(default, bool) else str(default)
            yield Offer(told, _KIND.Value, "where it is not given")

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
        """What a path goes on with."""
        if path[:1] == ("layer",):
            inside = path[-1] == "head"
            for name, component in COMPONENTS.items():
                if self._has(name, component.layer) and (component.heads or not inside):
                    yield self.site(name)
            if path == ("layer",):
                yield Offer("head", _KIND.Field, "one head, or some")
                if self.network is None or not self.network.sites["expert_out"].absent:
                    yield Offer("expert", _KIND.Field, "one expert")
            return
        head = path[0] if path else ""
        runs = self._runs()
        yield from self.variables(runs.get(head))
        yield from (Offer(name, _KIND.Field, "a group") for name in self.meanings.groups(self.names.get(head)))
        if head not in runs and self.at.bracket is not None and self.at.bracket.token.type == "LSQB":
            yield from (Offer(part, _KIND.Field, "tokens of a placeholder") for part in PARTS_OF_PLACES)

    def _has(self, name: str, in_layer: bool) -> bool:
        """Whether a component stands in the layers of the network, as far as that is known."""
        known = self.network.sites.get(name) if self.network is not None else None
        return in_layer and name != "module" and not (known is not None and known.absent)

    # ── by kind ──

    def setting(self, name: str, setting: Setting) -> Offer:
        if setting.positional and setting.kind in ("string", "file"):
            return Offer(name, _KIND.Property, wanted(setting), told_setting(name, setting), '""')
        return Offer(name, _KIND.Property, wanted(setting), told_setting(name, setting), f"{name}=")

    def _settings_told(self, word: str) -> str:
        return "\n".join(f"- {told_setting(name, setting)}" for name, setting in settings_of(word).items())

    def sites(self) -> Iterator[Offer]:
        """Where a path of the network begins, and where answers are read."""
        for head in SITE_HEADS:
            if head in ("layer", "module"):
                yield Offer(head, _KIND.Module, "a layer" if head == "layer" else "a module by its path")
            elif self.network is None or not self.network.sites[head].absent:
                yield self.site(head)
        if self.at.kind == "ALIGN":
            yield from (Offer(name, _KIND.Constant, "where the answer is read") for name in READOUTS)
        yield from self.parameters(self.symbol)

    def site(self, name: str) -> Offer:
        shape = self.network.sites[name].shape if self.network is not None and name in self.network.sites else ""
        return Offer(name, _KIND.Field, shape, told_component(name))

    def features(self) -> Iterator[Offer]:
        for name in FEATURES:
            yield Offer(name, _KIND.Function, "a feature", told_feature(name) + "\n\n" + self._settings_told(name))
        if self.at.kind == "ALIGN":
            yield from (Offer(name, _KIND.Function, "how a value enters the network") for name in ENCODINGS)

    def written(self) -> Iterator[Offer]:
        yield from (Offer(name, _KIND.Function, "a value", told_value(name)) for name in value_words())
        yield from self.runs()
        yield from self.keywords(["true", "false"])

    def _runs(self) -> dict[str, SpecSymbol | None]:
        """The runs that the test draws, as far as it can be read, and the model of each."""
        node = self.meanings.node(self.names.get(self.at.name))
        found: dict[str, SpecSymbol | None] = {}
        for member in getattr(node, "members", ()):
            if hasattr(member, "names") and self.at.kind in ("TEST", "FIT"):
                found.update(dict.fromkeys((name.name for name in member.names), self.model))
        if self.at.kind in ("TEST", "FIT"):
            found.setdefault("base", self.model)
            found.setdefault("source", self.model)
        return found

    def runs(self) -> Iterator[Offer]:
        return (Offer(name, _KIND.Variable, f"a {RUN}") for name in self._runs())

    def variables(self, model: SpecSymbol | None) -> Iterator[Offer]:
        about = self.summary.models.get(model.name, {}) if model is not None else {}
        for name in self.meanings.variables(model):
            yield Offer(name, _KIND.Variable, about[name].domain if name in about else "a variable")

    def parameters(self, symbol: SpecSymbol | None) -> Iterator[Offer]:
        names = self.meanings.parameters(symbol)
        called = self.at.bracket is not None and symbol is not None and self.at.bracket.called == symbol.name
        return (Offer(name, _KIND.TypeParameter, "a parameter", "", f"{name}=" if called else "") for name in names)

    def scope(self) -> Iterator[Offer]:
        """Variables, runs and parameters."""
        yield from self.variables(self.model or self.names.get(self.at.name))
        yield from self.runs()
        yield from self.parameters(self.symbol)

    def expression(self) -> Iterator[Offer]:
        """What a metric is made of."""
        for measure in MEASURES.usable():
            yield Offer(measure.name, _KIND.Function, measure.written, f"`{measure.written}` is {measure.says}.")
        yield from self.of_kind("metric")
        yield from (Offer(name, _KIND.Function, "a function of a metric") for name in FUNCTIONS)
        for name, reading in READINGS.items():
            yield Offer(name, _KIND.Function, told_reading(name), f"{reading.says}.")
        yield from self.scope()

    # ── in strings ──

    def in_text(self, written: str) -> Iterator[Offer]:
        bracket = self.at.bracket
        if self.at.kind == "FROM":
            yield from self.paths(written)
        elif bracket is not None and bracket.called == "zoo":
            for name, entry in catalogue().items():
                yield Offer(name, _KIND.Module, f"{entry.parameters:,} parameters", str(entry.task))
        elif bracket is not None and bracket.called == "hf" and self.at.before() in ("LPAR", "EQUAL"):
            if self.at.before() == "LPAR":
                yield from (Offer(name, _KIND.Module, "on this machine") for name in local_networks())
            yield from (offer for offer in self.paths(written) if offer.kind == _KIND.Folder)
        elif self.at.kind == "ALIGN" and (self.at.before() in ("PROMPT", "STRING") or bracket is not None):
            if "{" in written and "}" not in written[written.rindex("{") :]:
                start = written[: written.rindex("{") + 1]
                for offer in self.variables(self.model):
                    yield Offer(offer.word, offer.kind, offer.detail, "", start + offer.word)
        elif bracket is not None:
            yield from self.paths(written)

    def paths(self, written: str) -> Iterator[Offer]:
        """The files and folders that a path may go on with."""
        start, _, _ = written.rpartition("/")
        folder = self.meanings.files.folder(self.file) / start
        try:
            entries = sorted(folder.iterdir())[:500]
        except (OSError, ValueError):
            return
        for entry in entries:
            inner = entry.is_dir()
            if entry.name.startswith(".") or (
                self.at.kind == "FROM" and not inner and entry.suffix not in (SUFFIX, ".py")
            ):
                continue
            path = f"{start}/{entry.name}" if start else entry.name
            kind = _KIND.Folder if inner else _KIND.File
            yield Offer(path + "/" * inner, kind, "", "", path + "/" * inner)

    def importable(self) -> Iterator[Offer]:
        """What the file that is imported from declares."""
        path = next((token.text[1:-1] for token in self.at.header if token.type == "STRING"), "")
        taken = {token.text for token in self.at.header}
        file = str((self.meanings.files.folder(self.file) / path).resolve()) if "\0" not in path else ""
        for name, symbol in self.meanings.declared(file).names.items() if Path(file).is_absolute() else ():
            if symbol.kind != "test" and name not in taken:
                yield self.named(symbol, name)


def local_networks() -> list[str]:
    """The networks of the Hugging Face hub that were fetched to this machine."""
    try:
        found = sorted(entry.name for entry in hub_cache().iterdir() if entry.name.startswith("models--"))
    except (OSError, ImportError):
        return []
    return [name.removeprefix("models--").replace("--", "/") for name in found]


#: What completion calls the symbols of an outline.
_AS_ITEM = {
    types.SymbolKind.Enum.value: _KIND.Enum.value,
    types.SymbolKind.Array.value: _KIND.Enum.value,
    types.SymbolKind.Module.value: _KIND.Module.value,
    types.SymbolKind.Function.value: _KIND.Function.value,
    types.SymbolKind.Class.value: _KIND.Class.value,
    types.SymbolKind.Interface.value: _KIND.Interface.value,
    types.SymbolKind.Struct.value: _KIND.Struct.value,
}

__all__ = ["register"]
