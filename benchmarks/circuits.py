"""What the runs of circuits of edges cost beside a plain forward of the same batch, on a random llama.

    python -m benchmarks.circuits [--layers 12 | --zoo smollm2-135m-instruct-q4] [--pairs 16] [--circuits 1 8 32] [--rounds 3]

With ``--zoo`` the network is one of the zoo, whose tokenizer then makes of each word a token or more.

Timed is the execution of each spec's plan, from the clean and the corrupt forward to columns, in CPU time of one process. The circuits
are random sets of edges of several sizes, what is outside of them is written from the corrupt run, and no others are run beside them.
The plain forward is that of transformers on the base prompts, with the logits of the last token alone. Rounds are interleaved;
printed are the ratios to the plain forward of the same round, their median, and the least and the most, and the largest resident
memory of the process.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.rounds import PLAIN, cpu_times, print_ratios
from causal_dsl import api
from causal_dsl.diagnostics import NOWHERE, Diagnostics
from causal_dsl.engine.execute import Execution
from causal_dsl.program.edge_sets import edge_name, every_edge
from causal_dsl.program.zoo_entries import facts_of_zoo
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids
from causal_dsl.vocabulary.network_facts import Facts

#: Of the networks made here, whose tokens are words, and of those of the zoo.
PROMPT = "w1 w2 {a} w3 w4 w5 {b} w6 w7 {c} w8 w9 {d} w10 ="
NAMES = [
    "Mary",
    "John",
    "Tom",
    "James",
    "Paul",
    "Anna",
    "Kate",
    "Mark",
    "Adam",
    "Jack",
    "Laura",
    "Peter",
    "Sarah",
    "Emma",
    "David",
    "Alice",
    "Bob",
    "Carl",
    "Dan",
    "Eric",
]

_SPEC = """\
domain Word = WORDS

causal m {
  a, b, c, d ~ Word

  output first := a
}

network net = NETWORK

align al : m -> net {
  prompt "PROMPT"

  first @ next_token
}

circuit found(k in [SHARES]) : net = json("scores.json", keep=k, by=signed)

test judged on al {
  base, source ~ m(n=PAIRS, seed=0, controls=none) where base.a != source.a
  do(outside(found) <- source)
  report change(logit(first) - logit(source.first))
}
"""


def shares(count: int) -> list[float]:
    """Sizes of so many circuits, from a thirtieth to nearly all edges."""
    return [0.5] if count == 1 else [round(1 / 30 + n * (0.95 - 1 / 30) / (count - 1), 4) for n in range(count)]


def write_scores(folder: Path, facts: Facts) -> None:
    """Random scores of all edges."""
    every = every_edge(facts, ("embed", "head", "mlp"))
    assert every is not None
    drawn = random.Random(0)
    scores = {edge_name(node, port): drawn.random() for node, port, _ in every}
    (folder / "scores.json").write_text(json.dumps({"edges": scores}))


def write(folder: Path, layers: int) -> None:
    """The network, and random scores of all of its edges."""
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "=", *(f"w{i}" for i in range(64))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "net")
    tokenizer.save(str(folder / "net" / "tokenizer.json"))
    write_scores(
        folder, Facts("language", "llama", layers=layers, heads=9, kv_heads=3, head_dim=64, width=576, mlp_width=1536)
    )


def executions(folder: Path, counts: list[int], pairs: int, zoo: str | None = None) -> dict[str, Callable[[], None]]:
    """What runs so many circuits once, and a plain forward."""
    found: dict[str, Callable[[], None]] = {}
    session = Session(api.Options())
    plain: Callable[[], None] | None = None
    for count in counts:
        words = ", ".join(f'"w{i}"' for i in range(11, 64)) if zoo is None else ", ".join(f'"{name}"' for name in NAMES)
        prompt = PROMPT if zoo is None else "Then {a} and {b} went to see {c}, and {d} gave a book to"
        text = _SPEC.replace("NETWORK", f'zoo("{zoo}")' if zoo else 'hf("net")').replace("PROMPT", prompt)
        text = text.replace("WORDS", f"{{{words}}}").replace("PAIRS", str(pairs))
        (folder / "circuits.causal").write_text(text.replace("SHARES", ", ".join(map(str, shares(count)))))
        checked = api.check(api.load(folder / "circuits.causal"), api.Options())
        checked.raise_errors()
        plan = checked.plan
        assert plan is not None
        networks = session.networks(plan.networks.values())
        targets = target_ids(plan, checked.answers, networks)

        def run(plan=plan, checked=checked, networks=networks, targets=targets) -> None:  # type: ignore[no-untyped-def]
            for _ in Execution(plan, networks, checked.answers, targets).run():
                pass

        found[f"{count} circuit{'s' if count > 1 else ''}"] = run
        if plain is None:
            (network,), (inputs,) = networks.values(), plan.inputs.values()
            (rows,) = [rows for run, rows in plan.rows.items() if run.role == "base"]
            batch = network.given.batch(network, inputs.rows(np.asarray(rows)), "right")

            def plain(model=network.model, batch=batch) -> None:  # type: ignore[no-untyped-def, no-redef]
                with torch.no_grad():
                    model(*batch.arguments, **batch.named, logits_to_keep=1)

    assert plain is not None
    return {"plain forward": plain, **found}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--layers", type=int, default=12)
    kind.add_argument("--zoo", metavar="NAME")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--circuits", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.zoo:
            facts = facts_of_zoo(given.zoo, NOWHERE, Diagnostics())
            assert facts is not None, f"no language model of the zoo is called {given.zoo}"
            write_scores(Path(folder), facts)
        else:
            write(Path(folder), given.layers)
        runs = executions(Path(folder), given.circuits, given.pairs, given.zoo)
        times = cpu_times(runs, given.rounds)
    plain = times[PLAIN]
    print(
        f"{given.zoo or f'{given.layers} layers'}, {given.pairs} pairs, plain forward {statistics.median(plain):.3f} s CPU"
    )
    print_ratios(times, 16)
    print(f"largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
