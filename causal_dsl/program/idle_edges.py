"""Edges of a circuit that lie on no path of it: where everything outside is written, they change nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.edge_sets import SENDERS, EdgeSet, edge_name, every_edge, ports_at
from causal_dsl.program.nodes import OutputNode, kinds_of
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Port

#: What an edge begins at, by the kind of its sender.
_BEGINS = {"embed": "the embedding", "head": "a head", "mlp": "an MLP"}
#: So many edges are named.
_NAMED = 4


def idle_edges(edges: EdgeSet, facts: Facts, kinds: Iterable[str], source: bool) -> list[tuple[OutputNode, Port]]:
    """The edges from which no path of the circuit goes on to the logits. ``source``: what is written are the values of a run, so
    that a component that nothing of the base run reaches gives the written values by itself, and an edge that begins there is idle,
    too. Edges from other ``kinds`` of components are never written. Tokens are not told apart."""
    masks: dict[OutputNode, int] = defaultdict(int)
    for (node, _), mask in edges.senders:
        masks[node] |= mask
    own = dict(masks)
    others = every_edge(facts, [kind for kind in SENDERS if kind not in kinds])
    for (node, _), mask in others.senders if others is not None else ():
        masks[node] |= mask
    ports = edges.ports
    logits = 1 << ports.number(Port("logits"))
    read = {node: ports.mask(ports_at(node, ports)) for node in masks}
    while True:
        left, given = logits, 0
        for node, mask in masks.items():
            left |= read[node] if mask else 0
            given |= mask
        found = {
            node: 0 if source and node.kind != "embed" and not given & read[node] else mask & left
            for node, mask in masks.items()
        }
        if found == masks:
            return [(node, port) for node, mask in own.items() for port in ports.of(mask & ~found[node])]
        masks = defaultdict(int, found)


def warn_of_idle_edges(
    edges: EdgeSet,
    facts: Facts,
    kinds: Iterable[str],
    source: bool,
    name: str,
    span: Span,
    cell: Mapping[str, tree.Expr],
    found: Diagnostics,
) -> None:
    """W804 where some edges lie on no path. ``cell``: the parameters of the test in the cell of a sweep that they are of."""
    kinds = list(kinds)
    idle = idle_edges(edges, facts, kinds, source)
    if not idle:
        return
    count = len(idle)
    path = "from the embedding to the logits" if source else "to the logits"
    named = ", ".join(edge_name(*edge) for edge in idle[:_NAMED])
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    there = kinds_of(facts)
    written = [_BEGINS[kind] for kind in kinds if kind in _BEGINS]
    free = [_BEGINS[kind] for kind in SENDERS if kind in there and kind not in kinds]
    of_it = "of it and of the edges that are not looked at," if free else "of it"
    others = "all other edges are written"
    if free:
        others = f"all other edges that begin at {_or(written)} are written, and those at {_or(free)} are as they are"
    where = ", ".join(f"{name}={format_expr(value)}" for name, value in cell.items())
    found.report(
        "W804",
        f"{count} edge{'s' if count > 1 else ''} of `{name}` lie{'' if count > 1 else 's'} on no path {of_it} {path}"
        + (f" ({where})" if where else ""),
        span,
        notes=(f"{named}{more}", f"{others}, so what flows along such an edge changes nothing"),
        help="add the edges that lead to it and on from it, or leave it out",
    )


def _or(words: Sequence[str]) -> str:
    *some, last = words
    return f"{', '.join(some)} or {last}" if some else last


__all__ = ["idle_edges", "warn_of_idle_edges"]
