"""Circuits: their names and sites are checked; interventions on them are refused where they are written."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.definitions import meant
from causal_dsl.program.modules import Definition
from causal_dsl.program.paths import steps
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_sites import SITE_HEADS, SiteReader
from causal_dsl.syntax import tree


def check_circuit(definition: Definition, networks: Mapping[Definition, NetworkRef], diagnostics: Diagnostics) -> None:
    """Report sites that the network does not have, and groups that the circuit does not name."""
    declaration = definition.declaration
    assert isinstance(declaration, tree.CircuitDecl)
    network = meant(networks, definition.module, declaration.network, diagnostics, "network")
    if network is None:
        return
    reader = SiteReader(network.facts, (), diagnostics)
    groups: dict[str, tree.Group] = {}
    for member in declaration.members:
        if isinstance(member, tree.Group):
            if member.name.name in groups:
                diagnostics.report(
                    "E202",
                    f"`{member.name.name}` is declared twice",
                    member.name.span,
                    others=((groups[member.name.name].name.span, "first declared here"),),
                    help="give one of them another name",
                )
            groups[member.name.name] = member
            for site in member.sites:
                reader.spread(site, whole=True)
    for member in declaration.members:
        for end in member.stages if isinstance(member, tree.Edge) else ():
            for site in end.sites:
                path = steps(site)
                if path and path[0].name not in SITE_HEADS and path[0].name not in groups:
                    diagnostics.report(
                        "E218",
                        f"no group `{path[0].name}` in `{declaration.name.name}`",
                        path[0].span,
                        help=did_you_mean(path[0].name, groups, "write `name = layer[…].head[…]` above"),
                    )
                elif not path or path[0].name in SITE_HEADS:
                    reader.spread(site, whole=True)
