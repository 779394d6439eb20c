"""The task of the benchmarks of circuits and reads, who is given a ring, as a spec; and a search for a circuit of it, set up but not run."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.checked import Checked
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.part_scores import PartScorer
from causal_dsl.engine.budgets import budget_of
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.program.discovery import metric_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.score.targets import target_ids

_MODEL = """\
domain Name  = {"Mary", "John", "Tom", "James", "Anna", "Alice", "Sarah", "David", "Emma", "Jack", "Paul", "Peter"}
domain Place = {"store", "park", "school", "office", "station", "garden"}

causal ioi {
  one, two ~ Name where one != two
  subject  ~ {one, two}
  place    ~ Place

  output answer := if subject == one then two else one
}

network net = zoo("NETWORK")

align sitesPARAMETERS : ioi -> net {
  prompt "Then, {one} and {two} went to the {place}. {subject} gave a ring to"

  answer @ READOUT
}
"""
#: Scores of all edges, and the faithfulness of those that are kept.
SEARCH = """
circuit found : net = discover(edges, method=eap, keep=1%, by=absolute)

test judged on sites {
  base, source ~ ioi(n=PAIRS, seed=0) where base.answer != source.answer
  do(outside(found) <- source)
  report faithfulness(logit(answer) - logit(source.answer))
}
"""


def spec(
    tests: str, network: str, pairs: int, heads: tuple[int, int] | None = None, readout: str = "next_token"
) -> str:
    """The spec of some ``tests`` on a network of the zoo. ``heads``: the numbers of layers and of their heads, where the tests sweep over
    these as ``l`` and ``h``."""
    words = {
        "NETWORK": network,
        "PARAMETERS": "" if heads is None else f"(l in 0:{heads[0]}, h in 0:{heads[1]})",
        "READOUT": readout,
        "PAIRS": str(pairs),
    }
    text = _MODEL + tests
    for word, value in words.items():
        text = text.replace(word, value)
    return text


class Searched:
    """The one search of a spec, on its network: ``pairs`` of inputs, and the metric whose gradient scores its parts."""

    def __init__(self, checked: Checked, networks: Mapping[NetworkKey, Network]):
        assert checked.program is not None and checked.searches is not None
        (test,), (search,), plan = checked.program.tests, checked.searches.tests, checked.searches
        metric, draw = metric_of(test), plan.scores[search.name][0].label.draw
        assert metric is not None
        rows = [plan.rows[g.Forward(search.network.key, draw, role)] for role in ("base", "source")]
        self.network = networks[search.network.key]
        self.pairs = Pairs(plan.inputs[search.network.key], *rows)
        targets = target_ids(plan, checked.answers, networks)
        self.objective = MetricGradient(metric, search, checked.answers[search.name], targets)
        self.batch = self.network.given.batch(
            self.network, self.pairs.inputs.rows(self.pairs.base), self.network.padding
        )

    def scorer(self) -> PartScorer:
        """A new one: none of what it has computed is kept."""
        network = self.network
        kinds = ("embed", "head", "mlp")
        return PartScorer(network, self.pairs, self.objective, budget_of(network, None), kinds, network.padding)
