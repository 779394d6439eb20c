"""Measures that are taken at a place, in each cell of a test: what is read there, at which token, and of how many places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.measures.context import TestScores
from causal_dsl.measures.quantities import Asked
from causal_dsl.program.components import missing
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Alignment, Cell, PlaceRead
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place

#: What `cell` stands for: the values of the parameters in one cell, as expressions.
Environment = Mapping[str, tree.Expr]


def located(members: Sequence[tree.Node], metrics: Mapping[str, tree.Expr]) -> Iterator[tree.Located]:
    """The measures at places in the lines of a test, and in the metrics that they name."""
    seen: set[str] = set()
    stack: list[tree.Node] = [m for m in members if isinstance(m, tree.Expect | tree.Report)]
    while stack:
        for node in stack.pop().walk():
            if isinstance(node, tree.Located):
                yield node
            elif isinstance(node, tree.Name) and node.name in metrics and node.name not in seen:
                seen.add(node.name)
                stack.append(metrics[node.name])


def words_of(members: Sequence[tree.Node], metrics: Mapping[str, tree.Expr]) -> frozenset[str]:
    """The words of the places that are read, and of what is read there: parameters may be among them."""
    words: set[str] = set()
    for node in located(members, metrics):
        for part in node.walk():
            words |= {part.name} if isinstance(part, tree.Name | tree.Ident) else set()
    return frozenset(words)


def with_looks(
    cells: Sequence[Cell],
    environments: Sequence[Environment],
    scores: TestScores,
    alignment: Alignment,
    found: Diagnostics,
) -> tuple[Cell, ...] | None:
    """The cells with what is read at places in each; None where a fault was reported."""
    every = (quantity for quantities in scores.quantities.values() for quantity in sorted(quantities, key=str))
    asked = dict.fromkeys(quantity.place for quantity in every if quantity.place is not None)
    if not asked:
        return tuple(cells)
    made = []
    for cell, environment in zip(cells, environments, strict=True):
        reader = LookReader(alignment, environment, found)
        looks = [reader.read(what) for what in asked]
        if any(look is None for look in looks):
            return None
        made.append(replace(cell, looks=tuple(look for look in looks if look is not None)))
    return tuple(made)


@dataclass(frozen=True)
class LookReader:
    """Makes :class:`PlaceRead` of what a test reads at a place, in one cell."""

    alignment: Alignment
    cell: Environment
    found: Diagnostics = field(repr=False)

    def read(self, asked: Asked) -> PlaceRead | None:
        """What is read; None where a fault was reported."""
        about = self.alignment
        sites = SiteReader(about.network.facts, about.templates, self.found, self.cell, about.model)
        spread = sites.spread(asked.site, whole=True)
        if spread is None:
            return None
        places = spread.places
        if _without_position(asked.site, places[0]):
            places = tuple(replace(place, position=None) for place in places)
        span, kind = asked.site.span, COMPONENTS[places[0].site.component].logit
        if not kind or not self.alignment.network.facts.has_tokens:
            facts = self.alignment.network.facts
            there = [name for name, c in COMPONENTS.items() if c.logit and missing(name, facts) is None]
            self._report(
                "E833",
                f"`{places[0].site}` gives no logits",
                span,
                "logits are read from the residual stream",
                "this network has " + ", ".join(f"`{name}`" for name in there)
                if there
                else "read the logits at the read-out",
            )
            return None
        if any(place.site.dims is not None for place in places):
            self._report(
                "E835",
                "a logit is made of the whole vector, not of some coordinates",
                span,
                "",
                "leave the coordinates out",
            )
            return None
        if not self._single(places, span) or not self._alone(places, span):
            return None
        return PlaceRead(asked, kind, places, span)

    # ── faults ──────────────────────────────────────────────────────────────────────────────────

    def _single(self, places: tuple[Place, ...], span: Span) -> bool:
        position = next((p.position for p in places if p.position is not None and not p.position.single), None)
        if position is None:
            return True
        self._report(
            "E836",
            f"`{position}` is not one token in every prompt",
            span,
            "a measure at a place is of the vector at one token",
            "name one token",
        )
        return False

    def _alone(self, places: tuple[Place, ...], span: Span) -> bool:
        if len(places) == 1:
            return True
        self._report(
            "E837",
            f"{len(places)} places are named",
            span,
            "a logit is read at one place",
            "name one place, or sweep over a parameter",
        )
        return False

    def _report(self, code: str, title: str, span: Span, note: str, help: str) -> None:
        self.found.report(code, title, span, notes=(note,) if note else (), help=help)


def _without_position(site: tree.Expr, place: Place) -> bool:
    """Whether no token is named: then the one is meant at which the answer is read."""
    path = steps(site)
    if place.position is None or not path:
        return False
    last = path[-1]
    return last.name == "head" or last.indices is None


__all__ = ["LookReader", "located", "with_looks", "words_of"]
