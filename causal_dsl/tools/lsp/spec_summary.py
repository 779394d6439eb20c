"""The summary of a spec by a check, as plain data: what hovers tell, and what completion offers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeVar

from causal_dsl.base.options_shown import EDITOR
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.model import CausalModel
from causal_dsl.checked import Checked
from causal_dsl.program.components import full_width, head_count, missing, takes_position
from causal_dsl.program.program import Alignment, NetworkRef, Test
from causal_dsl.score.chance import show_ceilings, show_distinct
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

#: Words of a prompt's literals that are offered as positions.
_MOST_WORDS = 40
_T = TypeVar("_T")


@dataclass(frozen=True)
class SiteSummary:
    """A component of one network. ``width`` is that of its vector (all heads together), None where it is not known; ``absent``
    says why the network has none."""

    name: str
    width: int | None
    heads: int | None
    position: bool
    absent: str = ""

    @property
    def shape(self) -> str:
        """The shape of what is read there, in words."""
        if self.absent:
            return f"not in this network: {self.absent}"
        width = "?" if self.width is None else f"{self.width:,}"
        if self.heads and self.width:
            width = f"{self.heads} heads x {self.width // self.heads:,}"
        return f"[tokens, {width}]" if self.position else f"[{width}]"


@dataclass(frozen=True)
class NetworkSummary:
    """A network: what is known of it without its weights."""

    name: str
    said: str
    told: tuple[str, ...]
    layers: int | None
    heads: int | None
    sites: Mapping[str, SiteSummary]


@dataclass(frozen=True)
class VariableSummary:
    """A variable of a causal model."""

    name: str
    kind: str
    domain: str
    output: bool


@dataclass(frozen=True)
class AlignmentSummary:
    """An alignment: what it joins, its parameters, and the words that stand for tokens of its prompts."""

    name: str
    model: str
    network: str
    parameters: Mapping[str, tuple[str, ...]]
    placeholders: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class TestSummary:
    """A test: its chance levels, what it draws, and how many cells it has."""

    __test__ = False  # not a pytest class

    name: str
    alignment: str
    network: str
    ceilings: str
    #: why there are none
    without_ceilings: str
    inputs: str
    cells: int


@dataclass(frozen=True)
class Summary:
    """All that a check learned of one text."""

    digest: str = ""
    networks: Mapping[str, NetworkSummary] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, VariableSummary]] = field(default_factory=dict)
    alignments: Mapping[str, AlignmentSummary] = field(default_factory=dict)
    tests: Mapping[str, TestSummary] = field(default_factory=dict)

    def updated(self, newer: Summary) -> Summary:
        """The summary after another check: names that it could not read are as they were."""
        return Summary(
            newer.digest,
            {**self.networks, **newer.networks},
            {**self.models, **newer.models},
            {**self.alignments, **newer.alignments},
            {**self.tests, **newer.tests},
        )


def summary_of(checked: Checked) -> Summary:
    """The summary of a check; what it could not read is left out. Members of a family stand under its name as well."""
    program = checked.program
    if program is None:
        return Summary(checked.digest)
    # what is imported may be on a network, or about a model, whose name is not
    every = program.alignments.values()
    networks = {**{one.network.name: one.network for one in every}, **program.networks}
    models = {**{one.model.name: one.model for one in every}, **program.models}
    return Summary(
        checked.digest,
        _by_family({name: _network(network) for name, network in networks.items()}),
        _by_family({name: _model(model) for name, model in models.items()}),
        _by_family({name: _alignment(name, alignment) for name, alignment in program.alignments.items()}),
        _by_family({test.name: _test(test, checked) for test in program.tests}),
    )


def _by_family(found: dict[str, _T]) -> dict[str, _T]:
    families: dict[str, _T] = {}
    for name, one in found.items():
        families.setdefault(name.partition("(")[0], one)
    return {**families, **found}


def _network(network: NetworkRef) -> NetworkSummary:
    facts = network.facts
    sites = {
        name: SiteSummary(
            name,
            full_width(Site(name), facts),
            head_count(name, facts) if component.by_heads else None,
            takes_position(name, facts),
            missing(name, facts)
            or ("the layout in its declaration does not give it" if name in facts.unproved else ""),
        )
        for name, component in COMPONENTS.items()
        if name != "module"
    }
    said = f'{network.kind}("{network.target}")' if network.kind != "train" else f"train({network.target})"
    layers = len(facts.widths) - 1 if facts.widths else facts.layers
    return NetworkSummary(network.name, said, tuple(_told(facts)), layers, facts.heads, sites)


def _told(facts: Facts) -> Iterable[str]:
    yield facts.traits.told.format(architecture=facts.architecture or "not known")
    if not facts.traits.seen:
        return
    if facts.widths:
        yield "widths " + " -> ".join(map(str, facts.widths))
    numbers = {
        "layers": None if facts.widths else facts.layers,
        "width": facts.width,
        "heads": facts.heads,
        "heads of keys": facts.kv_heads if facts.kv_heads != facts.heads else None,
        "width of a head": facts.head_dim,
        "neurons of an MLP": facts.mlp_width,
        "experts": facts.experts,
        "vocabulary": facts.vocabulary,
        "longest prompt": facts.context,
        "classes": facts.classes,
    }
    known = [f"{name} {number:,}" for name, number in numbers.items() if number is not None]
    if known:
        yield ", ".join(known)


def _model(model: CausalModel) -> dict[str, VariableSummary]:
    return {
        name: VariableSummary(name, variable.kind, str(variable.domain), variable.output)
        for name, variable in model.variables.items()
        if variable.kind != "template"
    }


def _alignment(name: str, alignment: Alignment) -> AlignmentSummary:
    names: dict[str, None] = {}
    words: dict[str, None] = {}
    for template in alignment.templates:
        names.update(dict.fromkeys(template.placeholders))
        literal = (segment.text for segment in template.segments if not segment.placeholder)
        words.update(dict.fromkeys(word for text in literal for word in re.findall(r"\w+", text)))
    parameters = {key: tuple(map(format_expr, values)) for key, values in alignment.parameters.items()}
    shown = tuple(words)[:_MOST_WORDS]
    return AlignmentSummary(name, alignment.model.name, alignment.network.name, parameters, tuple(names), shown)


def _test(test: Test, checked: Checked) -> TestSummary:
    found = checked.ceilings.get(test.name)
    return TestSummary(
        test.name,
        test.alignment.name,
        test.network.name,
        show_ceilings(found) if found else "",
        "" if found else EDITOR.told(checked.without_ceilings(test)),
        show_distinct(checked.distinct.get(test.name, {})),
        len(test.cells),
    )


__all__ = [
    "AlignmentSummary",
    "NetworkSummary",
    "SiteSummary",
    "Summary",
    "TestSummary",
    "VariableSummary",
    "summary_of",
]
