"""The predicted cost of a plan: rows, layer-tokens, FLOPs, peak memory, and the ratio to whole forward passes cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.ranks import distinct_count
from causal_dsl.planning import graph as g
from causal_dsl.planning.flops import layer_flops
from causal_dsl.planning.gradient_passes import gradient_passes
from causal_dsl.planning.memory import PROCESS, Budget, default_bytes
from causal_dsl.planning.peak import MOST_ROWS, Peaks, Sized
from causal_dsl.planning.steps import Block, Step, early_means, in_tree, late_captures, layers_of
from causal_dsl.program.components import depth, width

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.planning.plan import Plan


@dataclass(frozen=True)
class Work:
    """Of one node: ``rows`` of inputs, ``layer_tokens`` (tokens x layers run), ``bytes`` that it leaves behind.
    ``dead``: nothing of it can reach a read-out, so it is not run."""

    rows: int = 0
    layer_tokens: int = 0
    bytes: int = 0
    dead: bool = False


@dataclass(frozen=True)
class Cost:
    """Of a plan, with its readings of gradients, which both it and the naive way run whole. ``key_tokens`` are tokens x layers of which keys and values alone are computed; ``passes`` how often
    the layers' weights are met; ``bytes`` what is kept for later, ``peak_bytes`` the most that the tensors of a pass hold
    beside the weights, ``process_bytes`` what a process on a CPU takes for them. ``naive_layer_tokens``: base, source and patched run of every pair and cell as whole forward passes. ``exact``:
    counted, not estimated from a part."""

    rows: int
    layer_tokens: int
    key_tokens: int
    naive_layer_tokens: int
    passes: int
    bytes: int
    peak_bytes: int
    process_bytes: int
    flops: float
    exact: bool = True

    @property
    def ratio(self) -> float:
        """How many times the layer-tokens of the naive way are those of the plan."""
        return self.naive_layer_tokens / self.layer_tokens if self.layer_tokens else 1.0

    def to_json(self) -> shapes.CostJson:
        return {
            "rows": self.rows,
            "layer_tokens": self.layer_tokens,
            "key_tokens": self.key_tokens,
            "naive_layer_tokens": self.naive_layer_tokens,
            "passes": self.passes,
            "bytes": self.bytes,
            "peak_bytes": self.peak_bytes,
            "process_bytes": self.process_bytes,
            "flops": self.flops,
            "exact": self.exact,
        }


T = TypeVar("T")

#: Blocks and steps beyond which some are counted and the others taken to be like them.
MOST_COUNTED = 48


def sizes(plan: Plan) -> Iterator[tuple[Step, Sized, float]]:
    """The passes of a plan, each with how many it stands for; of those that are laid out alike one stands for all."""
    peaks = Peaks(plan)
    chosen, stands_for = _counted(plan)
    for step, own in groupby(chosen, key=itemgetter(0)):
        blocks = [block for _, block in own]
        # Where each stands for others already, these are rounded one by one.
        for block, count in peaks.alike(step, blocks) if stands_for == 1 else ((block, 1) for block in blocks):
            sized = peaks.size(step, block)
            yield step, sized, stands_for * sized.share * count
    for step, sized, stands_for in _before(plan, peaks):
        yield step, sized, stands_for


def _counted(plan: Plan) -> tuple[list[tuple[Step, Block]], float]:
    """The blocks of a plan that are counted, and how many each of them stands for."""
    every = [(step, block) for step in plan.steps for block in step.blocks]
    rows = sum(plan.drawn[r.base.draw].n for step in plan.steps for r in step.resumes)
    few = len(every) <= MOST_COUNTED or rows <= MOST_ROWS
    return every if few else _spread(every), len(every) / max(1, len(every) if few else min(len(every), MOST_COUNTED))


def _spread(every: Sequence[T]) -> list[T]:
    """At most so many of some as are counted."""
    if len(every) <= MOST_COUNTED:
        return list(every)
    return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, MOST_COUNTED).astype(int)).tolist()]


def _before(plan: Plan, peaks: Peaks) -> Iterator[tuple[Step, Sized, float]]:
    """The passes in which means and late vectors are taken before a step, each with how many it stands for: means once for each part
    of the pairs, late vectors for each block."""
    for step in plan.steps:
        layers = layers_of(plan.inputs[step.network].facts)
        parts = list(dict.fromkeys(replace(block, first=0, last=None) for block in step.blocks))
        means = [capture for node in early_means(step) for capture in node.captures]
        for early, blocks in ((means, parts), (late_captures(step), step.blocks)):
            chosen = _spread(blocks) if early else []
            for block in chosen:
                layout = peaks.layouts.make(step, block, only=early)
                if len(layout.inputs):
                    yield step, Sized(layout, layout.schedule(step, layers, False), 1.0), len(blocks) / len(chosen)


def work_of(plan: Plan) -> dict[g.Node, Work]:
    """The work of every node. A prompt that several runs share is counted at the first of them."""
    found: dict[g.Node, Work] = {}
    for _, sized, times in sizes(plan):
        layout, levels = sized.layout, sized.schedule.levels
        tokens = np.zeros(len(sized.schedule.home), np.int64)
        for live in levels[:-1]:
            tokens += np.bincount(live.rows, minlength=len(tokens))
        reached = np.zeros(len(tokens), bool)
        for live in levels:
            reached[live.rows] = True
        counted = np.zeros(len(tokens), bool)
        users: list[tuple[g.Node, np.ndarray]] = [(forward, rows) for (_, forward), rows in layout.prompt.items()]
        for node, rows in [*users, *((f.resume, f.rows) for f in layout.families)]:
            mine = np.unique(rows)
            mine = mine[~counted[mine]]
            counted[mine] = True
            before = found.get(node, Work())
            dead = isinstance(node, g.Resume) and not reached[rows].any() and (before.dead or not before.rows)
            found[node] = Work(
                before.rows + round(len(mine) * times),
                before.layer_tokens + round(int(tokens[mine].sum()) * times),
                0,
                dead,
            )
    for node in plan.graph.nodes:
        if isinstance(node, g.Capture):
            inputs = plan.inputs[node.forward.network]
            distinct = np.unique(plan.rows[node.forward])
            vectors = int(inputs.sizes(node.place.position, distinct).sum())
            each = width(node.place.site, inputs.facts) or inputs.facts.width or 0
            found[node] = Work(0, 0, vectors * each * 4)
    return found


def stop_layer(plan: Plan, node: g.Node) -> int:
    """How many layers of a Forward are run: to the deepest site that is read, or all where its answer is read."""
    assert isinstance(node, g.Forward)
    layers = layers_of(plan.inputs[node.network].facts)
    needed = 0
    for after in plan.graph.successors(node):
        if isinstance(after, g.ReadNode):
            return layers
        if isinstance(after, g.Capture):
            place = depth(after.place.site)
            if place is None or place[0] == float("inf"):
                return layers
            needed = max(needed, int(place[0]) + (after.place.site.component != "resid_pre"))
    return needed


def cost_of(plan: Plan) -> Cost:
    """The cost of the whole plan as its steps stand."""
    rows = tokens = keys = passes = kept = flops = 0.0
    peak = process = 0.0
    exact = True
    peaks = Peaks(plan)
    budget = Budget(default_bytes())
    chosen, stands_for = _counted(plan)
    blocks = ((step, *peaks.figures(step, block, budget), stands_for) for step, block in chosen)
    means = ((step, *peaks.figures_of(step, sized, budget), many) for step, sized, many in _before(plan, peaks))
    for _, size, found, many in chain(blocks, means):
        times = many * size.share
        exact = exact and times == 1
        rows += size.rows * times
        tokens += size.layer_tokens * times
        keys += size.key_tokens * times
        passes += times / size.share
        flops += size.flops * times
        peak, process = max(peak, found.tensors), max(process, found.taken)
    of_gradients = 0
    for one in gradient_passes(plan):
        count, facts = one.layer_tokens(plan), one.facts(plan)
        rows += one.forwards * plan.draw_of(one.test).n
        passes += one.forwards + one.forward
        of_gradients += count
        # a pass backward takes twice what one forward does
        flops += layer_flops(facts) * count * (1 + 2 * one.forward / max(1, one.forwards))
    tokens += of_gradients
    distinct: dict[g.Forward, int] = {}
    for node in plan.graph.nodes:
        if isinstance(node, g.Capture):
            facts, run = plan.inputs[node.forward.network].facts, node.forward
            if run not in distinct:
                distinct[run] = distinct_count(plan.rows[run])
            kept += distinct[run] * (width(node.place.site, facts) or facts.width or 0) * 4
    return Cost(
        round(rows),
        round(tokens),
        round(keys),
        _naive(plan) + of_gradients,
        round(passes),
        round(kept),
        round(peak),
        round(process) + PROCESS,
        flops,
        exact,
    )


def _naive(plan: Plan) -> int:
    naive = 0
    lengths = {run: int(plan.inputs[run.network].lengths[rows].sum()) for run, rows in plan.rows.items()}
    for test in plan.tests:
        layers = max(1, layers_of(plan.inputs[test.network.key].facts))
        for node in plan.scores[test.name]:
            read, base = node.read("patched"), node.read("base")
            runs = {base.run} if base is not None else set()
            patched = 0
            if read is not None and isinstance(read.run, g.Resume):
                runs |= {read.run.base, *_sources(read.run)}
                patched = sum(lengths[run.base] for run in in_tree(read.run))
            naive += (sum(lengths[run] for run in runs if isinstance(run, g.Forward)) + patched) * layers
    return naive


def _sources(resume: g.Resume) -> set[g.Forward]:
    found: set[g.Forward] = set()
    stack: list[Any] = list(resume.inputs)
    while stack:
        node = stack.pop()
        if isinstance(node, g.Forward):
            found.add(node)
        elif not isinstance(node, g.DrawNode):
            stack.extend(node.inputs)
    return found - {resume.base}
