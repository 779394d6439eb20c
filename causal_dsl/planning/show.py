"""The plan as text, Mermaid and JSON."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.circuit_run_names import CUT, KEEP, inflated, is_random
from causal_dsl.planning import graph as g
from causal_dsl.planning.cost import Cost, Work, cost_of, stop_layer, work_of
from causal_dsl.planning.gradient_passes import gradient_passes
from causal_dsl.planning.memory import PROCESS
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import EDGES, Step, captures, runs_of_tree
from causal_dsl.planning.streaming import streamed_bytes
from causal_dsl.planning.switches import CHUNKS, all_off, turned_on, without
from causal_dsl.program.components import trims
from causal_dsl.program.probed import AlignmentRuns, CircuitRuns
from causal_dsl.program.program import Test
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.values.optimal import Optimal

if TYPE_CHECKING:
    import networkx as nx


#: Nodes that the text shows; sweeps beyond this are folded to their first and last cells.
MOST_CELLS = 6


@dataclass(frozen=True, eq=False, repr=False)
class PrintedPlan(Plan):
    """A plan that prints itself."""

    def text(self, explain: bool = False) -> str:
        """The plan as a person reads it, with its cost; ``explain`` adds what is saved and how it is run."""
        return to_text(self, explain)

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return to_mermaid(self)

    def to_json(self) -> dict[str, Any]:
        """The graph as data (networkx node-link form) with its cost."""
        return to_json(self)


def printed(plan: Plan) -> PrintedPlan:
    """A plan as one that prints itself."""
    if isinstance(plan, PrintedPlan):
        return plan
    return PrintedPlan(**{one.name: getattr(plan, one.name) for one in fields(plan)})


def to_text(plan: Plan, explain: bool = False) -> str:
    """The work in the order in which it is done, with its cost; long sweeps are folded."""
    work = work_of(plan)
    import networkx as nx  # the command line imports this module for `check` too

    cost = cost_of(plan)
    lines = []
    lines += [*_fits(plan), *_constants(plan), *_gradients(plan)]
    for test in plan.tests:
        if test.control[0]:
            continue
        nodes = plan.scores[test.name]
        drawn = plan.draw_of(test)
        lines.append(
            f"test {test.name}  ({drawn.n:,} rows{', every pair' if drawn.exhaustive else ''}, {len(nodes)} cell{'s' * (len(nodes) > 1)})"
        )
        kept = nodes if len(nodes) <= MOST_CELLS else [*nodes[: MOST_CELLS // 2], *nodes[-(MOST_CELLS // 2) :]]
        shown = g.graph_of(kept)
        for number, node in enumerate(nx.topological_sort(shown)):
            shown.nodes[node]["label"] = _label(plan, node, work)
            shown.nodes[node]["order"] = number
        lines += list(nx.generate_network_text(shown, sources=_roots(shown), ascii_only=False))
        if len(kept) < len(nodes):
            lines.append(f"… and {len(nodes) - len(kept)} cells between them")
        mine = [other for other in plan.tests if other.control[0] == test.name]
        controls = [other.control[1] for other in mine if other.probe is None]
        if controls:
            lines.append(f"and the same with other writes, as controls: {', '.join(controls)}")
        lines += _probes(plan, [other for other in mine if other.probe is not None], work)
        lines.append("")
    lines.append(
        f"{cost.rows:,} rows in {cost.passes:,} pass{'es' * (cost.passes != 1)}, {cost.layer_tokens:,} layer-tokens, "
        f"{_flops(cost.flops)}, {cost.peak_bytes / 1e6:,.0f} MB held at the peak ({cost.process_bytes / 1e6:,.0f} MB of a CPU process); base, source and patched run of every pair and cell would be "
        f"{cost.naive_layer_tokens:,} layer-tokens ({cost.ratio:.2f} times as many)"
    )
    lines += _beyond(plan.asked, cost.process_bytes)
    lines += map(str, streamed_bytes(plan))
    if not explain and not plan.without:
        lines += [executor(plan, step) for step in plan.steps if step.why]
    else:
        lines += ["", *explained(plan)]
    return "\n".join(lines)


def _beyond(asked: int | None, process: int) -> list[str]:
    """That a process takes more than it was to take, where it does."""
    if asked is None or process <= asked:
        return []
    why = (
        f"a process takes {PROCESS / 1e6:.0f} MB beside its tensors, and below {2 * PROCESS / 1e6:.0f} MB blocks are cut for half of what is given"
        if asked < 2 * PROCESS
        else "blocks are cut by those of them that are counted, and hold at least one pair of one intervention"
    )
    return [f"a CPU process takes more than the {asked / 1e6:,.6g} MB that it was given: {why}"]


def _probes(plan: Plan, probes: list[Test], work: dict[g.Node, Work]) -> list[str]:
    """The tests that ride beside a test, with their cost."""
    lines = []
    titles = {
        "unmapped": "units that no variable claims, taken from other inputs",
        "apart": "its variables one by one and from different sources",
        "replaced": "other values at the same places",
        "circuits": _beside_circuits(probes),
    }
    for what, title in titles.items():
        runs = [
            read.run
            for probe in probes
            if probe.control[1] == what
            for node in plan.scores[probe.name]
            if (read := node.read("patched")) is not None
        ]
        if runs:
            rows, tokens = (sum(getattr(work[run], name) for run in runs) for name in ("rows", "layer_tokens"))
            lines.append(f"and beside it, as a control, {title}: {rows:,} rows, {tokens:,} layer-tokens")
    return lines + _trees(plan, [probe for probe in probes if isinstance(probe.probe, AlignmentRuns)], work)


def _beside_circuits(probes: list[Test]) -> str:
    """The runs beside circuits, in words."""
    names: set[str] = set()
    for one in probes:
        if isinstance(one.probe, CircuitRuns):
            names |= {name for _, name in one.probe.names}
    own = {name for name in names if not is_random(name)}
    told = ["the ends of each circuit with its self-checks"]
    if own & {KEEP, CUT}:
        told.append("the circuit by itself and the network without it")
    if any(name.startswith(("@keep ", "@cut ")) for name in own):
        told.append("parts of it")
    if inflated(0, False) in own:
        told.append("what is inflated by a path")
    if own != names:
        told.append("random circuits")
    return " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))


def _trees(plan: Plan, probes: list[Test], work: dict[g.Node, Work]) -> list[str]:
    """The runs of measures of a whole alignment: every run of every tree, and of these what is run once."""
    written, nodes = 0, dict[g.Node, None]()
    for probe in probes:
        n = plan.draw_of(probe).n
        for score in plan.scores[probe.name]:
            for _, read in score.reads:
                tree = [read.run] if isinstance(read.run, g.Forward) else runs_of_tree(read.run)
                written += n * len(tree)
                nodes |= dict.fromkeys(tree)
    if not nodes:
        return []
    resumes, inputs = (sum(work[n].rows for n in nodes if isinstance(n, kind)) for kind in (g.Resume, g.Forward))
    tokens = sum(work[n].layer_tokens for n in nodes)
    return [
        f"and beside it, for measures of the whole alignment, {written:,} runs, equal ones once: {resumes:,} rows with places set "
        f"and {inputs:,} more inputs, {tokens:,} layer-tokens"
    ]


def _fits(plan: Plan) -> list[str]:
    """The fits before the plan is run."""
    if plan.fits is None:
        return []
    lines = []
    for unit in plan.fits.units:
        drawn = [plan.fits.plan.drawn[e.fit.base.draw].n for e in unit.experiments]
        runs = [run for e in unit.experiments for resume in (e.fit, e.validation) for run in _runs(resume)]
        inputs = len(np.unique(np.concatenate([plan.fits.plan.rows[run] for run in runs])))
        fitting, whose = unit.fitting, f" ({unit.maps[0].variant})" if unit.maps[0].variant else ""
        if fitting.file:
            lines.append(f"taken from a file: {unit}")
            continue
        trained = any(ref.trained for ref in unit.maps)
        steps = -(-sum(drawn) // fitting.batch) * fitting.epochs
        told = f", at most {steps:,} steps of {fitting.batch} pairs" if trained else ", without steps"
        told += f", {fitting.restarts} times" if fitting.restarts > 1 else ""
        lines.append(f"fit{whose} {unit}")
        lines.append(f"    on {unit.network.name}: {sum(drawn):,} pairs{told}; {inputs:,} inputs run once")
    return [*lines, ""] if lines else []


def _gradients(plan: Plan) -> list[str]:
    """The readings by gradients, and the searches for circuits: in passes of their own, after or before those of the plan."""
    lines = []
    for test in plan.tests:
        if test.control[0]:
            continue
        n = plan.draw_of(test).n
        for one in (passes for passes in gradient_passes(plan) if passes.test is test):
            places = f"{one.places} place{'s' * (one.places > 1)}" + (
                " of the run that is intervened on" if one.inside else ""
            )
            each = f"{one.forward:,} forward and as many backward" if one.forward > 1 else "1 forward and 1 backward"
            lines.append(
                f"gradients of {test.name} at {places}: {each} passes over {n:,} rows, beside {one.reads} for what stands there, and "
                f"{one.exact} for exact effects"
            )
        for kept in dict.fromkeys(one.discovery for one in test.discoveries):
            passes = METHODS[kept.method].passes(dict(kept.settings))
            lines.append(f"circuit of {test.name} by {kept.text}: {passes} over {kept.n or n:,} pairs of the fit part")
    return [*lines, ""] if lines else []


def _constants(plan: Plan) -> list[str]:
    """The constants that are found before the plan is run."""
    lines = []
    for test in plan.tests:
        asked = [
            next(write.value.find(Optimal))
            for node in plan.scores[test.name]
            if (read := node.read("patched")) is not None and isinstance(read.run, g.Resume)
            for write in read.run.writes[:1]
            if any(True for _ in write.value.find(Optimal))
        ]
        if asked:
            n = max((one.n or plan.draw_of(test).n for one in asked), default=0)
            lines.append(
                f"constants of {test.name}: {len(asked)} intervention{'s' * (len(asked) > 1)}, each in at most {max(one.steps for one in asked)} "
                f"steps, forwards and backwards over at most {n:,} inputs of the fit part"
            )
    return [*lines, ""] if lines else []


def _runs(resume: g.Resume) -> list[g.Forward]:
    return [resume.base, *(capture.forward for capture in captures(resume))]


def _roots(graph: nx.DiGraph) -> list[g.Node]:
    return [node for node in graph.nodes if not list(graph.predecessors(node))]


def _label(plan: Plan, node: g.Node, work: dict[g.Node, Work]) -> str:
    text = str(node)
    if isinstance(node, g.Forward):
        done = work[node]
        layers = stop_layer(plan, node)
        return f"{text}  [{done.rows:,} inputs, {layers} layers, {done.layer_tokens:,} layer-tokens]"
    if isinstance(node, g.Resume):
        done = work[node]
        if done.dead:
            return f"{text}  [cannot reach the read-out: not run, its effect is zero]"
        return f"{text}  [{done.rows:,} rows, {done.layer_tokens:,} layer-tokens]"
    if isinstance(node, g.Capture):
        return f"{text}  [{work[node].bytes / 1e6:.2f} MB]"
    return text


def _flops(flops: float) -> str:
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if flops >= size:
            return f"{flops / size:,.1f} {unit}"
    return f"{flops / 1e6:,.2f} MFLOP"


def explained(plan: Plan) -> list[str]:
    """The saving of each switch, from the plan as one would write it by hand to the one that is run."""
    now = all_off(plan)
    costs = [("as written", cost_of(now))]
    for switch in without(plan.without):
        now = switch.turn_on(now)
        costs.append((switch.name, cost_of(now)))
    if any(len(step.blocks) > 1 for step in plan.steps):
        blocks = {step.network: step.blocks for step in plan.steps}
        now = replace(now, steps=tuple(replace(step, blocks=blocks[step.network]) for step in now.steps))
        costs.append((CHUNKS.name, cost_of(now)))
    lines = [f"{'switch':<18}{'passes':>8}{'layer-tokens':>16}{'+ keys alone':>14}{'FLOPs':>14}{'peak':>11}   saved"]
    before = costs[0][1]
    for name, cost in costs:
        saved = 1 - cost.flops / before.flops if before.flops else 0.0
        told = "" if name == "as written" else f"{saved:.0%}" if abs(saved) >= 0.005 else _other(before, cost)
        lines.append(
            f"{name:<18}{cost.passes:>8,}{cost.layer_tokens:>16,}{cost.key_tokens:>14,}{_flops(cost.flops):>14}"
            f"{cost.peak_bytes / 1e6:>8,.0f} MB   {told}".rstrip()
        )
        before = cost
    if costs[-1][0] == CHUNKS.name:
        lines.append(CHUNKS.refusal)
    if not all(cost.exact for _, cost in costs):
        lines.append("(estimated from a part of the passes)")
    if plan.without:
        lines.append(_worth(plan, costs[-1][1]))
    lines.append("")
    lines += dict.fromkeys(executor(plan, step) for step in plan.steps)
    return lines


def _worth(plan: Plan, cost: Cost) -> str:
    """The savings of the switches that are off."""
    blocks = {step.network: step.blocks for step in plan.steps}
    best = turned_on(all_off(plan))
    full = cost_of(replace(best, steps=tuple(replace(step, blocks=blocks[step.network]) for step in best.steps)))
    flops = f"{cost.flops / full.flops:.2f} times the FLOPs" if full.flops else "as many FLOPs"
    return (
        f"without {' and '.join(plan.without)}: {flops}, {cost.passes:,} pass{'es' * (cost.passes != 1)} "
        f"(not {full.passes:,}) and a peak of {cost.peak_bytes / 1e6:,.0f} MB (not {full.peak_bytes / 1e6:,.0f} MB)"
    )


def _other(before: Cost, after: Cost) -> str:
    if after.passes != before.passes:
        return f"the weights are read {after.passes:,} times, not {before.passes:,}"
    change = before.peak_bytes - after.peak_bytes
    return f"{change / 1e6:,.0f} MB" if abs(change) > 5e5 else "-"


def executor(plan: Plan, step: Step) -> str:
    """How the steps of a network are executed, and why."""
    facts = plan.inputs[step.network].facts
    if step.why == EDGES:
        return f"executor of {step.network.name}: edges, whole forward passes of many interventions at once: {step.why}"
    if step.why:
        return f"executor of {step.network.name}: reference, whole forward passes cell by cell: {step.why}"
    kept = trims(facts)
    blocks = f", {len(step.blocks)} blocks" if len(step.blocks) > 1 else ""
    if kept is not None:
        return f"executor of {step.network.name}: sweep{blocks}, rows with all their tokens: {kept}"
    return f"executor of {step.network.name}: sweep{blocks}, single tokens (proved on the loaded network before it is used)"


def to_json(plan: Plan) -> dict[str, Any]:
    """The graph in node-link form: nodes have an id, a kind, a text, and their predicted work."""
    import networkx as nx

    work = work_of(plan)
    numbers = {node: number for number, node in enumerate(plan.graph.nodes)}
    out = nx.DiGraph()
    for node, number in numbers.items():
        done = work.get(node, Work())
        out.add_node(
            number, kind=g.kind(node), text=str(node), rows=done.rows, layer_tokens=done.layer_tokens, bytes=done.bytes
        )
    out.add_edges_from((numbers[a], numbers[b]) for a, b in plan.graph.edges)
    steps = [
        {
            "network": step.network.name,
            "interventions": len(step.resumes),
            "blocks": len(step.blocks),
            "reference": step.why,
        }
        for step in plan.steps
    ]
    return {
        "path": plan.program.path,
        "cost": cost_of(plan).to_json(),
        "steps": steps,
        "fits": [line.strip() for line in (*_fits(plan), *_constants(plan), *_gradients(plan)) if line],
        "streamed": [read.to_json() for read in streamed_bytes(plan)],
        "graph": nx.node_link_data(out, edges="edges"),
    }


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
