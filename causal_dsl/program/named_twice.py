"""Nodes that a circuit names more than once: a circuit is a set, so the second time adds nothing."""

from __future__ import annotations

from causal_dsl.program.circuit_sites import CircuitSites
from causal_dsl.program.nodes import OutputNode
from causal_dsl.program.paths import steps
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr


def warn_of_twice(declaration: tree.CircuitDecl, sites: CircuitSites) -> None:
    """W832 where a site of a group has nodes that one before it has. A group that is named within another one is meant to be in it, and
    what depends on parameters may be the same in one of their values alone."""
    groups = [member for member in declaration.members if isinstance(member, tree.Group)]
    names = {group.name.name for group in groups}
    seen: dict[tuple[OutputNode, str], tuple[tree.Group, tree.Expr]] = {}
    for group in groups if not declaration.parameters else ():
        for site in group.sites:
            path = steps(site)
            spots = () if path and path[0].name in names else sites.nodes_of((site,), {}, edge=False) or ()
            own = [(node, _tokens(site)) for node, _ in spots]
            twice = [one for one in own if one in seen]
            if twice:
                first, before = seen[twice[0]]
                where = "" if first is group else f" of `{first.name.name}`"
                count = f", and {len(twice) - 1} more" if len(twice) > 1 else ""
                sites.diagnostics.report(
                    "W832",
                    f"`{declaration.name.name}` names `{twice[0][0]}` twice{count}",
                    site.span,
                    others=((before.span, f"`{format_expr(before)[:60]}`{where} has it already"),),
                    notes=("a circuit is a set of nodes, in which each stands once",),
                    help="leave one of them out",
                )
            seen |= {one: (group, site) for one in own if one not in seen}


def _tokens(site: tree.Expr) -> str:
    """The tokens that a site names, as they are written: where a circuit is declared, they are looked up in no prompt."""
    outer = site.value if isinstance(site, tree.Subscript) else None
    if outer is None or (isinstance(outer, tree.Attribute) and outer.name.name == "head"):
        return ""
    return format_expr(site).removeprefix(format_expr(outer))


__all__ = ["warn_of_twice"]
