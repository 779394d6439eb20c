"""The words that completion can offer of each kind, from the records of the language, the file, and the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lsprotocol import types

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.names import FUNCTIONS
from causal_dsl.program.counts import COUNTS
from causal_dsl.program.encodings import ENCODINGS
from causal_dsl.program.positions import EDGES
from causal_dsl.program.read_settings import wanted
from causal_dsl.program.read_sites import SITE_HEADS
from causal_dsl.program.readouts import READOUTS
from causal_dsl.tools.lsp.settings_of_words import (
    settings_of,
    told_component,
    told_count,
    told_feature,
    told_reading,
    told_setting,
    told_value,
)
from causal_dsl.tools.lsp.spec_summary import AlignmentSummary, NetworkSummary, Summary
from causal_dsl.tools.lsp.symbols import RUN, Meanings, SpecSymbol
from causal_dsl.tools.lsp.whole_texts import SYMBOLS
from causal_dsl.tools.lsp.writing_places import Writing
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import words as value_words

_KIND = types.CompletionItemKind
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


@dataclass(frozen=True)
class Offer:
    """A word that may stand at the cursor, and what it is."""

    word: str
    kind: types.CompletionItemKind
    detail: str = ""
    told: str = ""
    written: str = ""


class OfferedKinds:
    """The words of each kind that may stand where ``writing`` is, in a file."""

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
        """The summary of the network that the declaration speaks of."""
        symbol = self.meanings.network_of(self.names.get(self.at.name)) or self.meanings.network_of(self.symbol)
        if symbol is None:
            heads = (self.names.get(token.text) for token in self.at.header)
            symbol = next((one for one in heads if one is not None and one.kind == "network"), None)
        if symbol is None and self.alignment is not None:  # its header is being written, and was read before
            return self.summary.networks.get(self.alignment.network)
        return None if symbol is None else self.summary.networks.get(symbol.name)

    @property
    def alignment(self) -> AlignmentSummary | None:
        """The summary of the alignment that the declaration is, or is on."""
        for name in (self.at.name, *(token.text for token in self.at.header)):
            if name in self.summary.alignments:
                return self.summary.alignments[name]
        return None

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

    def setting(self, name: str, setting: Setting) -> Offer:
        if setting.positional and setting.kind in ("string", "file"):
            return Offer(name, _KIND.Property, wanted(setting), told_setting(name, setting), '""')
        return Offer(name, _KIND.Property, wanted(setting), told_setting(name, setting), f"{name}=")

    def settings_told(self, word: str) -> str:
        return "\n".join(f"- {told_setting(name, setting)}" for name, setting in settings_of(word).items())

    def values_of(self, called: str, setting: Setting | None) -> Iterator[Offer]:
        """The values that a setting may have."""
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

    def counts(self, *words: str) -> Iterator[Offer]:
        """The words that stand for how many layers and heads the network has."""
        for word in words or COUNTS:
            yield Offer(word, _KIND.Constant, told_count(word, self.network))

    def positions(self) -> Iterator[Offer]:
        """The words that stand for tokens of the prompt."""
        alignment = self.alignment
        for name in alignment.placeholders if alignment is not None else self.meanings.variables(self.model):
            yield Offer(name, _KIND.Variable, "a placeholder of the prompt")
        for word in EDGES:
            yield Offer(word, _KIND.Constant, "tokens of any prompt")
        for word in alignment.words if alignment is not None else ():
            yield Offer(f'"{word}"', _KIND.Text, "a word of the prompt")

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

    def has(self, name: str, in_layer: bool) -> bool:
        """Whether a component stands in the layers of the network, as far as that is known."""
        known = self.network.sites.get(name) if self.network is not None else None
        return in_layer and name != "module" and not (known is not None and known.absent)

    def features(self) -> Iterator[Offer]:
        for name in FEATURES:
            yield Offer(name, _KIND.Function, "a feature", told_feature(name) + "\n\n" + self.settings_told(name))
        if self.at.kind == "ALIGN":
            yield from (Offer(name, _KIND.Function, "how a value enters the network") for name in ENCODINGS)

    def written(self) -> Iterator[Offer]:
        yield from (Offer(name, _KIND.Function, "a value", told_value(name)) for name in value_words())
        yield from self.runs()
        yield from self.keywords(["true", "false"])

    def drawn(self) -> dict[str, SpecSymbol | None]:
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
        return (Offer(name, _KIND.Variable, f"a {RUN}") for name in self.drawn())

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
        """The words that a metric is made of."""
        for measure in MEASURES.usable():
            yield Offer(measure.name, _KIND.Function, measure.written, f"`{measure.written}` is {measure.says}.")
        yield from self.of_kind("metric")
        yield from (
            Offer(name, _KIND.Function, "a function of a metric", f"{says}.") for name, says in FUNCTIONS.items()
        )
        for name, reading in READINGS.items():
            yield Offer(name, _KIND.Function, told_reading(name), f"{reading.says}.")
        yield from self.scope()


__all__ = ["Offer", "OfferedKinds"]
