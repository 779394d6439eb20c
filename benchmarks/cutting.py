"""What it costs one process to run a sweep in smaller blocks: ``python -m benchmarks.cutting [--parts 1 2 4 8] [--rounds 3]``.

The sweep writes the residual stream after each layer of a llama of random weights at four tokens, as W1 does. The seconds are those of
the processor, so that other work on the machine counts for little. `planning/long_blocks.py` has the rule that follows from it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

LAYERS, WIDTH, INNER, VOCABULARY = 16, 512, 1408, 4096
SPEC = """domain W = {{{words}}}

causal m {{
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}}

network net = hf("{folder}")

align a(l in 0:{layers}, p in [2, 5, 8, 11]) : m -> net {{
  prompt "w1 w2 {{x}} w3 w4 {{y}} w5 w6 {{z}} w7 w8 w9 w10 w11 w12"
  o @ next_token(among=W)
}}

test t on a {{
  base, source ~ m(n={n}, seed=0)
  do(layer[l].resid_post[p] <- source)
  report moved
  report kl
}}
"""


def write(folder: Path) -> None:
    """A llama of random weights, small enough to be held, with a tokenizer of 60 words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {word: number for number, word in enumerate([*(f"w{i}" for i in range(60)), "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        write(Path(made))
        measure(Path(made), asked.pairs, asked.parts, asked.rounds)


def measure(folder: Path, pairs: int, parts: list[int], rounds: int) -> None:
    """Print the table."""
    import torch

    from causal_dsl import api
    from causal_dsl.engine.execute import Execution
    from causal_dsl.planning.steps import Block
    from causal_dsl.running.session import Session
    from causal_dsl.score.targets import target_ids

    torch.set_num_threads(1)
    words = ", ".join(f'"w{i}"' for i in range(20, 50))
    checked = api.check(api.parse(SPEC.format(words=words, folder=folder, layers=LAYERS, n=pairs)))
    checked.raise_errors()
    assert checked.plan is not None
    networks = Session().networks(checked.plan.networks.values())
    targets = target_ids(checked.plan, checked.answers, networks)
    taken: dict[int, list[float]] = {count: [] for count in parts}
    own = 0
    for _ in range(rounds):
        for count in parts:
            room = dict.fromkeys(networks, 8 * 10**9)
            execution = Execution(checked.plan, networks, checked.answers, targets, room)
            own = len(execution.blocks)
            blocks = tuple(Block(part, part + 1, count) for part in range(count))
            steps = tuple(replace(step, blocks=blocks) for step in execution.plan.steps)
            execution.plan = replace(execution.plan, steps=steps)
            started = time.process_time()
            list(execution.run())
            taken[count].append(time.process_time() - started)
    cells = sum(len(test.cells) for test in checked.plan.tests)
    print(f"{pairs} pairs x {cells} cells; the rule of the plan makes {own} block{'s' * (own != 1)} of it")
    least = min(taken[parts[0]])
    for count in parts:
        mean, best = statistics.median(taken[count]), min(taken[count])
        beside = (best - least) / max(1, count - parts[0]) / cells
        print(
            f"{count:>4} blocks: {best:7.2f} s of the processor at least, {mean:7.2f} s in the middle; {1000 * beside:5.2f} ms for each block and cell"
        )


if __name__ == "__main__":
    main()
