"""What reads cost beside a plain forward of the same batch: lens, attributions, attention and probes of all layers.

    python -m benchmarks.reads [--network smollm2-135m-instruct-q4] [--pairs 32] [--rounds 3]

Timed is the execution of each spec's plan, from the forward to columns, in CPU time of one process; the plain forward is that of
transformers, with the logits of the last token alone. Rounds are interleaved; printed are the ratios to the plain forward of the same
round, their median, and the least and the most.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.ioi_search import spec
from benchmarks.rounds import PLAIN, cpu_times, print_ratios
from causal_dsl import api
from causal_dsl.engine.execute import Execution
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids

_TEST = """
test reads on sites {
  base ~ ioi(n=PAIRS, seed=0)
  report LINES
}
"""
#: What is read, and whether of each head.
READS = {
    "nothing": "logit(answer)",
    "lens: one logit of each layer": "logit(answer) @ layer[l].resid_post",
    "lens: rank and log_prob of each layer": "rank(answer) @ layer[l].resid_post, log_prob(answer) @ layer[l].resid_post",
    "attribution of each head": "attribution(logit(answer) - logit(subject)) @ layer[l].head[h]",
    "attribution of attention and MLPs": "attribution(logit(answer)) @ layer[l].attn_out, attribution(logit(answer)) @ layer[l].mlp_out",
    "lens and attribution of heads": "logit(answer) @ layer[l].resid_post, attribution(logit(answer)) @ layer[l].head[h]",
    "attention of each head": "attention(last, subject) @ layer[l].head[h]",
    "norm of each layer": "norm @ layer[l].resid_post[last]",
}


def executions(network: str, layers: int, heads: int, pairs: int) -> tuple[dict[str, Callable[[], None]], object]:
    """For each read what runs it once, and the loaded network with its prompts."""
    found: dict[str, Callable[[], None]] = {}
    loaded, rows = None, None
    session = Session(api.Options())
    for name, lines in READS.items():
        test = _TEST.replace("LINES", lines)
        text = spec(test, network, pairs, (layers, heads), "next_token(among=Name)")
        checked = api.check(api.parse(text), api.Options())
        checked.raise_errors()
        plan = checked.plan
        assert plan is not None
        networks = session.networks(plan.networks.values())
        (loaded,) = networks.values()
        (inputs,) = plan.inputs.values()
        rows = inputs.rows(np.unique(inputs.runs[next(iter(plan.rows.values()))]))
        targets = target_ids(plan, checked.answers, networks)

        def run(plan=plan, checked=checked, networks=networks, targets=targets) -> None:  # type: ignore[no-untyped-def]
            for _ in Execution(plan, networks, checked.answers, targets).run():
                pass

        found[name] = run
    assert loaded is not None
    model = loaded.model
    batch = loaded.given.batch(loaded, rows, "right")

    def plain() -> None:
        with torch.no_grad():
            model(*batch.arguments, **batch.named, logits_to_keep=1)

    return {"plain forward": plain, **found}, loaded


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="smollm2-135m-instruct-q4")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--heads", type=int, default=9)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    runs, _ = executions(given.network, given.layers, given.heads, given.pairs)
    times = cpu_times(runs, given.rounds)
    plain = times[PLAIN]
    print(
        f"{given.network}, {given.pairs} pairs, {torch.get_num_threads()} threads; plain forward {statistics.median(plain):.2f} s CPU"
    )
    print_ratios(times, 40)


if __name__ == "__main__":
    main()
