"""What the scores of all edges cost beside a plain forward of the same batch.

    python -m benchmarks.discovery [--network smollm2-135m-instruct-q4] [--pairs 16] [--rounds 3]

Timed is the scoring alone, in CPU time of one process; the plain forward is that of transformers on the base prompts, with the logits
of the last token alone. Rounds are interleaved; printed are the ratios to the plain forward of the same round, their median, and the
least and the most, and the largest resident memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch

from causal_dsl import api
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.part_scores import PartScorer, Way
from causal_dsl.engine.budgets import budget_of
from causal_dsl.planning import graph as g
from causal_dsl.program.discovery import metric_of
from causal_dsl.score.targets import target_ids
from causal_dsl.session import Session

_SPEC = """\
domain Name  = {"Mary", "John", "Tom", "James", "Anna", "Alice", "Sarah", "David", "Emma", "Jack", "Paul", "Peter"}
domain Place = {"store", "park", "school", "office", "station", "garden"}

causal ioi {
  one, two ~ Name where one != two
  subject  ~ {one, two}
  place    ~ Place

  output answer := if subject == one then two else one
}

network net = zoo("NETWORK")

align sites : ioi -> net {
  prompt "Then, {one} and {two} went to the {place}. {subject} gave a ring to"

  answer @ next_token
}

circuit found : net = discover(edges, method=eap, keep=1%, by=absolute)

test judged on sites {
  base, source ~ ioi(n=PAIRS, seed=0) where base.answer != source.answer
  do(outside(found) <- source)
  report faithfulness(logit(answer) - logit(source.answer))
}
"""


def main() -> None:
    """Time all ways on one network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="smollm2-135m-instruct-q4")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    spec = api.parse(_SPEC.replace("NETWORK", given.network).replace("PAIRS", str(given.pairs)))
    checked = api.check(spec)
    checked.raise_errors()
    assert checked.searches is not None and checked.program is not None
    (test,), (search,), plan = checked.program.tests, checked.searches.tests, checked.searches
    network = Session().network(search.network)
    metric, draw = metric_of(test), plan.scores[search.name][0].label.draw
    assert metric is not None
    rows = [plan.rows[g.Forward(search.network.key, draw, role)] for role in ("base", "source")]
    pairs = Pairs(plan.inputs[search.network.key], *rows)
    targets = target_ids(plan, checked.answers, {search.network.key: network})
    objective = MetricGradient(metric, search, checked.answers[search.name], targets)

    def scored(edges: bool, way: Way) -> Callable[[], object]:
        of = PartScorer(network, pairs, objective, budget_of(network, None), ("embed", "head", "mlp"), network.padding)
        return lambda: of.score_edges(way) if edges else of.score_nodes(way)

    batch = network.given.batch(network, pairs.inputs.rows(pairs.base), network.padding)

    @torch.no_grad()
    def plain() -> None:
        network.model(*batch.arguments, **batch.named, logits_to_keep=1)

    ways = {
        "plain forward": plain,
        "attribution patching, all nodes": scored(False, Way()),
        "EAP, all edges": scored(True, Way()),
        "EAP-IG, five points, all edges": scored(True, Way(5)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, run in ways.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    for name, own in times.items():
        ratios = [one / base for one, base in zip(own, times["plain forward"], strict=True)]
        print(f"{name:34} {statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
