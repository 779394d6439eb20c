"""What a plan costs, predicted: rows of forwards, layer-tokens, FLOPs, and the ratio to whole forwards cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import Plan
from causal_dsl.program.components import depth, width
from causal_dsl.program.facts import Facts


@dataclass(frozen=True)
class Work:
    """Of one node: ``rows`` of inputs, ``layer_tokens`` (tokens x layers run), ``bytes`` that it leaves behind."""

    rows: int = 0
    layer_tokens: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Cost:
    """Of a plan. ``naive_layer_tokens``: base, source and patched run of every pair and cell as whole forwards."""

    rows: int
    layer_tokens: int
    naive_layer_tokens: int
    bytes: int
    flops: float

    @property
    def ratio(self) -> float:
        """How many times the layer-tokens of the naive way are those of the plan."""
        return self.naive_layer_tokens / self.layer_tokens if self.layer_tokens else 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "layer_tokens": self.layer_tokens, "naive_layer_tokens": self.naive_layer_tokens,
            "bytes": self.bytes, "flops": self.flops,
        }  # fmt: skip


def work_of(plan: Plan) -> dict[g.Node, Work]:
    """The work of every node. A prompt that two Forward nodes share is counted at the first that runs it whole."""
    found: dict[g.Node, Work] = {}
    stops = {node: stop_layer(plan, node) for node in g.of_kind(plan.graph, g.Forward)}
    deepest: dict[tuple[str, int], int] = {}
    for node in sorted(stops, key=lambda node: -stops[node]):
        assert isinstance(node, g.Forward)
        inputs = plan.inputs[node.network]
        rows = tokens = 0
        for index in np.unique(plan.rows[node]).tolist():
            key = (node.network, inputs.run_of(index))
            if key not in deepest:
                deepest[key] = stops[node]
                rows += 1
                tokens += inputs.length(index)
        found[node] = Work(rows, tokens * stops[node], 0)
    for node in plan.graph.nodes:
        if isinstance(node, g.Capture):
            inputs, facts = plan.inputs[node.run.network], plan.inputs[node.run.network].facts
            distinct = np.unique(plan.rows[node.run]).tolist()
            vectors = sum(len(inputs.where(node.place.position, index)) for index in distinct)
            found[node] = Work(0, 0, vectors * (width(node.place.site, facts) or facts.width or 0) * 4)
        elif isinstance(node, g.Resume):
            inputs = plan.inputs[node.base.network]
            indices = plan.rows[node.base]
            tokens = int(sum(inputs.length(index) for index in indices.tolist()))
            found[node] = Work(len(indices), tokens * _layers(inputs.facts), 0)
    return found


def stop_layer(plan: Plan, node: g.Node) -> int:
    """How many layers of a Forward are run: to the deepest site that is read, or all where its answer is read."""
    assert isinstance(node, g.Forward)
    facts = plan.inputs[node.network].facts
    needed = 0
    for after in plan.graph.successors(node):
        if isinstance(after, g.Read):
            return _layers(facts)
        if isinstance(after, g.Capture):
            place = depth(after.place.site)
            if place is None or place[0] == float("inf"):
                return _layers(facts)
            needed = max(needed, int(place[0]) + (after.place.site.component != "resid_pre"))
    return needed


def _layers(facts: Facts) -> int:
    return facts.layers or max(1, len(facts.widths) - 1)


def cost_of(plan: Plan) -> Cost:
    """The cost of the whole plan."""
    work = work_of(plan)
    naive = 0
    flops = 0.0
    for test in plan.tests:
        inputs = plan.inputs[test.network.name]
        for node in plan.scores[test.name]:
            read = node.read("patched")
            base = node.read("base")
            runs = {base.run} if base is not None else set()
            if read is not None and isinstance(read.run, g.Resume):
                runs |= {read.run.base, *_sources(read.run)}
            tokens = sum(
                inputs.length(i) for run in runs if isinstance(run, g.Forward) for i in plan.rows[run].tolist()
            )
            patched = (
                sum(inputs.length(i) for i in plan.rows[read.run.base].tolist())
                if read and isinstance(read.run, g.Resume)
                else 0
            )
            naive += (tokens + patched) * _layers(inputs.facts)
    for run, done in work.items():
        if isinstance(run, (g.Forward, g.Resume)):
            network = run.network if isinstance(run, g.Forward) else run.base.network
            flops += done.layer_tokens * layer_flops(plan.inputs[network].facts)
    return Cost(
        sum(w.rows for w in work.values()), sum(w.layer_tokens for w in work.values()), naive,
        sum(w.bytes for w in work.values()), flops,
    )  # fmt: skip


def _sources(resume: g.Resume) -> set[g.Forward]:
    found: set[g.Forward] = set()
    stack: list[Any] = list(resume.inputs)
    while stack:
        node = stack.pop()
        if isinstance(node, g.Forward):
            found.add(node)
        elif not isinstance(node, g.Draw):
            stack.extend(node.inputs)
    return found - {resume.base}


def layer_flops(facts: Facts) -> float:
    """Multiplications and additions of one layer for one token, attention's own products aside."""
    if facts.kind == "vector":
        pairs = zip(facts.widths, facts.widths[1:], strict=False)
        return 2.0 * sum(a * b for a, b in pairs) / max(1, len(facts.widths) - 1)
    width_, head = facts.width or 0, facts.head_dim or 0
    heads, shared = facts.heads or 0, facts.kv_heads or 0
    gated = 2 if facts.architecture in ("gpt2", "gpt_neox", "gptj", "phi", "falcon") else 3
    return 2.0 * width_ * (2 * heads * head + 2 * shared * head + gated * (facts.mlp_width or 0))
