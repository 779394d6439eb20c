"""The plan as text, Mermaid and JSON."""

from __future__ import annotations

from typing import Any

import networkx as nx

from causal_dsl.planning import graph as g
from causal_dsl.planning.cost import Work, cost_of, stop_layer, work_of
from causal_dsl.planning.lower import Plan

#: Nodes that the text shows; sweeps beyond this are folded to their first and last cells.
MOST_CELLS = 6


def to_text(plan: Plan, explain: bool = False) -> str:
    """The work in the order in which it is done, with its cost; long sweeps are folded."""
    work = work_of(plan)
    cost = cost_of(plan)
    lines = []
    for test in plan.tests:
        nodes = plan.scores[test.name]
        drawn = plan.draw_of(test)
        lines.append(
            f"test {test.name}  ({drawn.n:,} rows{', every pair' if drawn.exhaustive else ''}, {len(nodes)} cell{'s' * (len(nodes) > 1)})"
        )
        shown = nx.DiGraph()
        kept = nodes if len(nodes) <= MOST_CELLS else [*nodes[: MOST_CELLS // 2], *nodes[-(MOST_CELLS // 2) :]]
        for node in kept:
            g.add(shown, node)
        for number, node in enumerate(nx.topological_sort(shown)):
            shown.nodes[node]["label"] = _label(plan, node, work)
            shown.nodes[node]["order"] = number
        lines += list(nx.generate_network_text(shown, sources=_roots(shown), ascii_only=False))
        if len(kept) < len(nodes):
            lines.append(f"… and {len(nodes) - len(kept)} cells between them")
        lines.append("")
    lines.append(
        f"{cost.rows:,} rows of forwards, {cost.layer_tokens:,} layer-tokens, {_flops(cost.flops)}, "
        f"{cost.bytes / 1e6:,.1f} MB kept; base, source and patched run of every pair and cell would be "
        f"{cost.naive_layer_tokens:,} layer-tokens ({cost.ratio:.2f} times as many)"
    )
    if explain:
        lines += ["", *explain_sharing(plan, work)]
    return "\n".join(lines)


def _roots(graph: nx.DiGraph) -> list[g.Node]:
    return [node for node in graph.nodes if not list(graph.predecessors(node))]


def _label(plan: Plan, node: g.Node, work: dict[g.Node, Work]) -> str:
    text = str(node)
    if isinstance(node, g.Forward):
        done = work[node]
        layers = stop_layer(plan, node)
        return f"{text}  [{done.rows:,} inputs, {layers} layers, {done.layer_tokens:,} layer-tokens]"
    if isinstance(node, g.Resume):
        return f"{text}  [{work[node].rows:,} rows, {work[node].layer_tokens:,} layer-tokens]"
    if isinstance(node, g.Capture):
        return f"{text}  [{work[node].bytes / 1e6:.2f} MB]"
    return text


def _flops(flops: float) -> str:
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if flops >= size:
            return f"{flops / size:,.1f} {unit}"
    return f"{flops / 1e6:,.2f} MFLOP"


def explain_sharing(plan: Plan, work: dict[g.Node, Work]) -> list[str]:
    """What the plan saves against running every test by itself, and how it is executed."""
    lines = []
    asked = ran = saved_layers = 0
    for node in g.of_kind(plan.graph, g.Forward):
        assert isinstance(node, g.Forward)
        rows = len(plan.rows[node])
        uses = sum(1 for _ in plan.graph.successors(node))
        asked += rows * uses
        ran += work[node].rows
        facts = plan.inputs[node.network].facts
        whole = facts.layers or max(1, len(facts.widths) - 1)
        saved_layers += work[node].rows * (whole - stop_layer(plan, node))
    lines.append(f"share forwards: {asked:,} unpatched rows are asked for, {ran:,} are run")
    lines.append(f"stop early: {saved_layers:,} layer-rows above the deepest site are left out")
    lines.append("executor: reference (whole forwards with hooks, one batch a cell)")
    return lines


def to_json(plan: Plan) -> dict[str, Any]:
    """The graph in node-link form: nodes have an id, a kind, a text, and their predicted work."""
    work = work_of(plan)
    numbers = {node: number for number, node in enumerate(plan.graph.nodes)}
    out = nx.DiGraph()
    for node, number in numbers.items():
        done = work.get(node, Work())
        out.add_node(
            number, kind=g.kind(node), text=str(node), rows=done.rows, layer_tokens=done.layer_tokens, bytes=done.bytes
        )
    out.add_edges_from((numbers[a], numbers[b]) for a, b in plan.graph.edges)
    return {"path": plan.program.path, "cost": cost_of(plan).to_json(), "graph": nx.node_link_data(out, edges="edges")}


def to_mermaid(plan: Plan) -> str:
    """The graph as a Mermaid flowchart, left to right."""
    numbers = {node: f"n{number}" for number, node in enumerate(plan.graph.nodes)}
    lines = ["flowchart LR"]
    for node, name in numbers.items():
        text = str(node).replace('"', "'").replace("<", "&lt;").replace(">", "&gt;")
        lines.append(f'  {name}["{text}"]:::{g.kind(node)}')
    lines += [f"  {numbers[a]} --> {numbers[b]}" for a, b in plan.graph.edges]
    colours = {
        "draw": "#e8e8e8",
        "forward": "#cfe3ff",
        "capture": "#e3f6e3",
        "write": "#ffe9c7",
        "resume": "#ffd6cc",
        "read": "#eadcff",
        "score": "#fff6b3",
    }
    lines += [f"  classDef {name} fill:{colour},stroke:#555;" for name, colour in colours.items()]
    return "\n".join(lines)
