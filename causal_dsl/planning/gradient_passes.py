"""The passes of readings of gradients: they are run after those of the plan, each over all pairs from the first layer to the logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.program import GradientWay, Test
from causal_dsl.vocabulary.discovery_methods import SAMPLED
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.readings import READINGS

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


@dataclass(frozen=True)
class GradientPasses:
    """Of one way of taking gradients at ``places`` of the base run of a test (``inside``: of runs that are intervened on): how many passes
    over all pairs read what stands there, go ``forward`` and as many backward, and have an ``exact`` effect."""

    test: Test
    places: int
    inside: bool
    reads: int
    forward: int
    exact: int

    def tokens(self, plan: Plan) -> int:
        """The tokens of all pairs of the test."""
        run = g.Forward(self.test.network.key, plan.scores[self.test.name][0].label.draw, "base")
        lengths = plan.inputs[run.network].lengths
        return int(lengths[plan.rows[run]].sum())

    @property
    def forwards(self) -> int:
        """All passes forward."""
        return self.reads + self.forward + self.exact

    def layer_tokens(self, plan: Plan) -> int:
        """Tokens times layers of all passes forward."""
        return self.forwards * self.tokens(plan) * max(1, layers_of(self.facts(plan)))

    def facts(self, plan: Plan) -> Facts:
        """The network, as far as it is known."""
        return plan.inputs[self.test.network.key].facts


def gradient_passes(plan: Plan) -> Iterator[GradientPasses]:
    """The passes of every way of taking gradients, in the order in which tests ask for them."""
    for test in plan.tests:
        if test.control[0]:
            continue
        wanted = test.scores.quantities
        ways: dict[tuple[GradientWay, g.Forward | g.Resume | None], dict[object, None]] = {}
        for number, cell in enumerate(test.cells):
            read = plan.scores[test.name][number].read("patched")
            for look in cell.looks:
                if look.kind not in READINGS or READINGS[look.kind].of != "gradients":
                    continue
                for name, own in (("base", None), ("patched", None if read is None else read.run)):
                    if any(quantity.place == look.asked for quantity in wanted.get(name, ())):
                        ways.setdefault((look.arguments[0], own), {})[look.places[0]] = None
        for (way, run), places in ways.items():
            count = len(places)
            reads = 2 * (1 + (way.baseline in test.roles)) + (way.baseline == "mean")
            forward = way.steps * count if way.steps else 1
            exact = count if way.steps else min(count, SAMPLED)
            yield GradientPasses(test, count, run is not None, reads, forward, exact)


__all__ = ["GradientPasses", "gradient_passes"]
