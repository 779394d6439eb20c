"""Predicted against seen memory at the peak of a run, on networks built in place so that loading does not hide it.

python -m benchmarks.peaks [NETWORK …] [--budgets 64 256 1024]

Each row is a process of its own: it loads a network of random weights, gives back what is free, forgets the peak so far,
runs a sweep over layers and positions in several blocks, and compares what the process then took at most with what
`causal-dsl plan --load` predicts for that budget. The buffers of the library of matrix products are taken before: they
differ from processor to processor. "counted" are the tensors that were alive at once, seen one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: What makes each network: a model of transformers and a tokenizer of 68 words.
FACTORY = """
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, {config}


def make():
    torch.manual_seed(0)
    vocabulary = {{word: i for i, word in enumerate(["[UNK]", "=", "true", "false", *(f"w{{i}}" for i in range(64))])}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = {config}({settings})
    return AutoModelForCausalLM.from_config(config), tokenizer
"""

SPEC = """domain Word = {{{words}}}

causal m {{
  a, b, c, d ~ Word
  first       := a == b
  second      := c == d
  output same := first == second
}}
network net = torch("net.py:make")
align al(l in 0:{layers}, p in [a, b, c, d]) : m -> net {{
  prompt "{{a}} {{b}} {{c}} {{d}} ="
  first @ layer[l].resid_post[p]
  same @ next_token
}}
test sweep on al {{
  base, source ~ m(n={pairs}, seed=0)
  do(first <- source)
  report iia{more}
}}
"""


@dataclass(frozen=True)
class Shape:
    """A network and a sweep on it: ``pairs`` for a budget of 64 MB, in proportion for others."""

    config: str
    settings: str
    layers: int
    pairs: int
    more: str = ""


SHAPES = {
    "narrow": Shape(
        "GPT2Config",
        "vocab_size=68, n_positions=16, n_embd=128, n_layer=6, n_head=4, bos_token_id=None, eos_token_id=None",
        6,
        300,
    ),
    "wide": Shape(
        "LlamaConfig",
        "vocab_size=68, hidden_size=2560, intermediate_size=1024, num_hidden_layers=3, num_attention_heads=4, "
        "num_key_value_heads=2, head_dim=64, max_position_embeddings=16",
        3,
        60,
    ),
    "vocabulary": Shape(
        "LlamaConfig",
        "vocab_size=20000, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, "
        "num_key_value_heads=2, head_dim=64, max_position_embeddings=16",
        3,
        120,
        "\n  report kl",
    ),
    # No constant of the prediction was chosen on these.
    "held-out neox": Shape(
        "GPTNeoXConfig",
        "vocab_size=900, hidden_size=768, intermediate_size=3072, num_hidden_layers=5, num_attention_heads=12, "
        "max_position_embeddings=16",
        5,
        100,
    ),
    "held-out qwen2": Shape(
        "Qwen2Config",
        "vocab_size=6000, hidden_size=1280, intermediate_size=3456, num_hidden_layers=4, num_attention_heads=10, "
        "num_key_value_heads=2, max_position_embeddings=16",
        4,
        80,
        "\n  report kl",
    ),
}


def measure(shape: Shape, budget: int) -> dict[str, int]:
    """Run one sweep in this process: predicted and seen bytes, and in how many blocks."""
    from benchmarks import memory
    from causal_dsl import api
    from causal_dsl.engine.execute import Execution
    from causal_dsl.planning.cost import cost_of
    from causal_dsl.running import running

    found: dict[str, int] = {}
    whole = Execution.run

    def watched(self: Execution):  # type: ignore[no-untyped-def]
        cost = cost_of(self.plan)
        found["predicted"], found["tensors"] = cost.process_bytes, cost.peak_bytes
        found["blocks"] = sum(len(step.blocks) for step in self.plan.steps)
        memory.take_buffers(network.model for network in self.networks.values())
        before = memory.begin()
        with memory.Counted() as counted:
            results = list(whole(self))
        found["seen"], found["counted"] = memory.peak() - before, counted.most
        yield from results

    Execution.run = watched  # type: ignore[method-assign]
    spec = api.load(Path("sweep.causal"))
    running.run_specs([spec], api.Options(memory=budget * 10**6, trust=True))
    return found


def write(folder: Path, shape: Shape, budget: int) -> None:
    (folder / "net.py").write_text(FACTORY.format(config=shape.config, settings=shape.settings))
    words = ", ".join(f'"w{i}"' for i in range(64))
    pairs = shape.pairs * budget // 64
    (folder / "sweep.causal").write_text(SPEC.format(words=words, layers=shape.layers, pairs=pairs, more=shape.more))


def row(name: str, budget: int, **environment: str) -> dict[str, int]:
    """What :func:`measure` finds in a process of its own. Raises ChildProcessError with what it printed where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), SHAPES[name], budget)
        command = [sys.executable, "-m", "benchmarks.peaks", name, "--here", "--budgets", str(budget)]
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path, **environment}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(done.stdout + done.stderr)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(SHAPES)} (all)")
    parser.add_argument("--budgets", nargs="*", type=int, default=[64, 256, 1024], metavar="MB")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    names = given.networks or list(SHAPES)
    if unknown := [name for name in names if name not in SHAPES]:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(SHAPES)}", file=sys.stderr)
        return 2
    if given.here:
        print(json.dumps(measure(SHAPES[names[0]], given.budgets[0])))
        return 0
    print(
        f"{'network':<16}{'budget':>8}{'blocks':>8}{'tensors':>9}{'counted':>9}{'predicted':>11}{'seen':>8}  predicted/seen"
    )
    failed = False
    for name in names:
        for budget in given.budgets:
            try:
                found = row(name, budget)
            except ChildProcessError as failure:
                print(failure, file=sys.stderr)
                failed = True
                continue
            told = "".join(
                f"{found[key] / 1e6:>{wide}.0f}"
                for key, wide in (("tensors", 9), ("counted", 9), ("predicted", 11), ("seen", 8))
            )
            print(
                f"{name:<16}{budget:>8}{found['blocks']:>8}{told}  {found['predicted'] / found['seen']:.2f}", flush=True
            )
    return 2 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
