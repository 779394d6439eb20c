"""Attributions of tiny networks, ready to be scored: what tests of this folder look at."""

from __future__ import annotations

from typing import Any

from causal_dsl.discovery.exact_effects import Exact
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.part_scores import PartScorer
from causal_dsl.measures.per_pair import Change
from causal_dsl.planning.memory import Budget
from causal_dsl.vocabulary.locations import Position
from tests.engine.tiny import execution_of, spec_of

TEST = """
metric gap = METRIC
test t on a(l=0, p=last) {
  base, source ~ m(n=4, seed=3) where base.template == source.template
  do(layer[0].head[0].z[last] <- source)
  report change(gap)
}
"""


class Searched:
    """A network, in float64 where it can be, with pairs of prompts of several lengths."""

    def __init__(
        self,
        name: str,
        padding: str = "right",
        metric: str = "logit(o) - logit(source.o)",
        kinds: tuple[str, ...] = ("embed", "head", "mlp"),
        memory: int = 2**30,
        places: tuple[Position, ...] = (),
        instead: str = "run",
    ):
        text = spec_of(name, TEST.replace("METRIC", metric), padding=padding)
        if name != "gemma2":  # the scale of its embedding is a number in float32
            text = text.replace("padding=", "dtype=float64, padding=")
        execution, _ = execution_of(text)
        self.plan = execution.plan
        (test,) = self.plan.tests
        self.network: Any = execution.networks[test.network.key]
        draw = self.plan.scores["t"][0].label.draw
        rows = {run.role: self.plan.rows[run] for run in self.plan.rows if run.draw == draw}
        change = test.scores.reports[0].value
        pair = change.pair  # type: ignore[attr-defined]
        pair = pair.metric if isinstance(pair, Change) else pair
        self.objective = MetricGradient(pair, test, execution.answers["t"], execution.targets)
        # a mean is that of the base runs, of one template where it is taken token by token
        base, source = rows["base"], rows["source"] if instead == "run" else rows["base"]
        if instead == "mean":
            lengths = self.plan.inputs[test.network.key].lengths[base]
            base = source = base[lengths == lengths[0]]
        self.pairs = Pairs(self.plan.inputs[test.network.key], base, source, instead)
        budget = Budget(memory, 8)
        self.of = PartScorer(self.network, self.pairs, self.objective, budget, kinds, padding, places)
        self.exact = Exact(self.network, self.pairs, self.objective, budget, padding)
