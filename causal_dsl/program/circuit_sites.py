"""Sites in circuits: the nodes that each is the output of, and those of dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.nodes import OutputNode, Spot, nodes_of, together
from causal_dsl.program.paths import steps
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_dictionaries import read_through
from causal_dsl.program.read_sites import SITE_HEADS, SiteReader
from causal_dsl.program.templates import Template
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import HEAD_PORTS

PORTS = HEAD_PORTS


@dataclass(frozen=True)
class CircuitSites:
    """Reads the sites of circuits of one network, as one cell of a test has them. ``free``: positions are not looked up in prompts, as
    where a circuit is declared."""

    network: NetworkRef
    templates: tuple[Template, ...]
    diagnostics: Diagnostics
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)
    model: CausalModel | None = None
    free: bool = False
    #: the folder that paths of dictionaries start from
    folder: Path = Path()

    @property
    def facts(self) -> Facts:
        return self.network.facts

    def nodes_of(
        self, sites: Sequence[tree.Expr], groups: Mapping[str, tuple[Spot, ...]], edge: bool
    ) -> tuple[Spot, ...] | None:
        """The nodes of sites and groups; at an edge also what reads: `mover.q`, `logits`."""
        found: list[Spot] = []
        for site in sites:
            path = steps(site)
            if path and path[0].name in groups:
                if len(path) > 1 and not (edge and path[1].name in (*PORTS, "z", "out")):
                    self.diagnostics.report(
                        "E800",
                        f"`{format_expr(site)[:60]}` is not the output of a component",
                        path[1].span,
                        help=f"write `{path[0].name}`",
                    )
                    return None
                found += groups[path[0].name]
                continue
            if path and path[0].name not in SITE_HEADS and edge:
                self.diagnostics.report(
                    "E218",
                    f"no group `{path[0].name}` in this circuit",
                    path[0].span,
                    help=did_you_mean(path[0].name, groups, "write `name = layer[…].head[…]` above"),
                )
                return None
            spots = self._site(site, edge)
            if spots is None:
                return None
            found += spots
        return together(found)

    def through(self, member: tree.Through) -> tuple[Spot, ...] | None:
        """The nodes of a dictionary that a member names; None where a fault was reported."""
        return read_through(member, self.sites, self.network, self.cell, self.folder)

    def outputs(self, site: tree.Expr, edge: bool = False) -> tuple[Spot, ...] | None:
        """The nodes that a site is the output of; at the end of an ``edge`` also those that read there. None where a fault was reported."""
        return self._site(site, edge)

    def _site(self, site: tree.Expr, edge: bool) -> tuple[Spot, ...] | None:
        if isinstance(site, tree.Through):
            return self.through(site)
        spread = self.sites.spread(site, whole=True)
        if spread is None:
            return None
        found: list[Spot] = []
        for place in spread.places:
            component = place.site.component
            if edge and (component == "logits" or component in PORTS):
                heads = place.site.heads if component in PORTS else ()
                found += [(node, place.position) for node in _heads(place.site.layer, heads, component, self.facts)]
                continue
            reads = edge and component == "mlp_in" and place.site.dims is None
            nodes = nodes_of(replace(place.site, component="mlp_out") if reads else place.site, self.facts)
            if nodes is None:
                self.diagnostics.report(
                    "E800",
                    f"`{format_expr(site)[:60]}` is not the output of a component",
                    site.span,
                    notes=(
                        "a circuit is made of what components give: heads, `attn_out`, `mlp_out`, `neurons`, `embed`",
                        "the residual stream is the sum of them all",
                    ),
                    help="name the components that write there",
                )
                return None
            position = place.position
            found += [(node, position or self.facts.traits.everywhere) for node in nodes]
        return tuple(found)

    @property
    def sites(self) -> SiteReader:
        return SiteReader(self.facts, self.templates, self.diagnostics, self.cell, self.model, self.free)


def _heads(layer: int | None, heads: Sequence[int], port: str, facts: Facts) -> tuple[OutputNode, ...]:
    """The heads that read by a port: of keys and values all that share them."""
    if layer is None:
        return ()
    shared = 1 if port == "q" or not facts.kv_heads else (facts.heads or 1) // facts.kv_heads
    return tuple(OutputNode("head", layer, shared * head + turn) for head in heads for turn in range(shared))


__all__ = ["PORTS", "CircuitSites"]
