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

from benchmarks.ioi_search import SEARCH, Searched, spec
from causal_dsl import api
from causal_dsl.discovery.part_scores import Way
from causal_dsl.running.session import Session


def main() -> None:
    """Time all ways on one network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="smollm2-135m-instruct-q4")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    checked = api.check(api.parse(spec(SEARCH, given.network, given.pairs)))
    checked.raise_errors()
    assert checked.searches is not None
    searched = Searched(checked, Session().networks(checked.searches.networks.values()))
    network, batch = searched.network, searched.batch

    def scored(edges: bool, way: Way) -> Callable[[], object]:
        of = searched.scorer()
        return lambda: of.score_edges(way) if edges else of.score_nodes(way)

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
