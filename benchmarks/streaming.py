"""How fast a network runs whose weights stay in their files, beside how fast the files are read by nothing but reads.

python -m benchmarks.streaming [--layers 18] [--rounds 3] [--folder DIR]

A llama of random weights is written to a folder, 0.2 GB a layer, and removed at the end. In each round the files are dropped from
the system's cache, read once from end to end, dropped again, and then a small sweep runs on them. The table has the bytes
that each read, its bandwidth, their ratio, and the most memory that the process had of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path

SPEC = """domain W = {{{words}}}

causal m {{
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}}

network net = hf("{folder}", weights=stream)

align a(l in [0, {last}]) : m -> net {{
  prompt "{{x}} w1 {{y}} w2 {{z}} w3"
  same @ layer[l].resid_post[x]
  o    @ next_token(among=W)
}}

test t on a {{
  base, source ~ m(n=2, seed=0)
  do(same <- source)
  report iia
}}
"""
WIDTH, INNER, VOCABULARY = 2048, 5632, 16384


def write(folder: Path, layers: int) -> None:
    """A llama of random weights, one file a layer, drawn a layer at a time."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=16,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )
    config.save_pretrained(folder)
    words = {word: i for i, word in enumerate([*(f"w{i}" for i in range(60)), "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    drawn, index = torch.Generator().manual_seed(0), dict[str, str]()

    def matrix(*shape: int) -> torch.Tensor:
        return torch.empty(*shape).normal_(0, 0.02, generator=drawn)

    def put(name: str, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})
        index.update(dict.fromkeys(tensors, f"{name}.safetensors"))

    ends = {"model.embed_tokens.weight": matrix(VOCABULARY, WIDTH), "lm_head.weight": matrix(VOCABULARY, WIDTH)}
    put("ends", {**ends, "model.norm.weight": torch.ones(WIDTH)})
    for layer in range(layers):
        path = f"model.layers.{layer}"
        own = {f"{path}.self_attn.{name}_proj.weight": matrix(WIDTH, WIDTH) for name in "qkvo"}
        own |= {f"{path}.mlp.{name}_proj.weight": matrix(INNER, WIDTH) for name in ("gate", "up")}
        own[f"{path}.mlp.down_proj.weight"] = matrix(WIDTH, INNER)
        own |= {f"{path}.{name}_layernorm.weight": torch.ones(WIDTH) for name in ("input", "post_attention")}
        put(f"layer-{layer}", own)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def drop(folder: Path) -> None:
    """Let the system forget the files."""
    for path in folder.glob("*.safetensors"):
        number = os.open(path, os.O_RDONLY)
        os.fdatasync(number)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def plain(folder: Path) -> float:
    """Bytes a second of reading all files from end to end, and nothing else."""
    room, done, started = memoryview(bytearray(1 << 24)), 0, time.perf_counter()
    for path in sorted(folder.glob("*.safetensors")):
        number, at = os.open(path, os.O_RDONLY), 0
        while got := os.preadv(number, [room], at):
            at += got
        os.close(number)
        done += at
    return done / (time.perf_counter() - started)


def own_memory() -> int:
    """Bytes of memory that are this process's own; what the system keeps of files is not among them."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    return 0 if found is None else int(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the network is made (default: the folder for temporary files)"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as made:
        measure(Path(made), asked.layers, asked.rounds)


def measure(folder: Path, layers: int, rounds: int) -> None:
    """Print the table."""
    from causal_dsl import api
    from causal_dsl.engine.execute import Execution
    from causal_dsl.running.session import Session
    from causal_dsl.score.targets import target_ids

    write(folder, layers)
    words = ", ".join(f'"w{i}"' for i in range(10, 15))
    checked = api.check(api.parse(SPEC.format(words=words, folder=folder, last=layers - 1)))
    checked.raise_errors()
    assert checked.plan is not None
    networks = Session().networks(checked.plan.networks.values())
    (network,) = networks.values()
    assert network.stream is not None
    files, most, running = network.stream.files, [0], [True]

    def watch() -> None:
        while running[0]:
            most[0] = max(most[0], own_memory())
            time.sleep(0.02)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    targets = target_ids(checked.plan, checked.answers, networks)
    ratios = []
    print(f"{'GB':>8}{'GB/s':>8}{'plain GB/s':>12}{'ratio':>8}")
    for _ in range(rounds):
        execution = Execution(checked.plan, networks, checked.answers, targets)
        drop(folder)
        alone = plain(folder)
        drop(folder)
        before, started = files.bytes, time.perf_counter()
        list(execution.run())
        read = files.bytes - before
        speed = read / (time.perf_counter() - started)
        ratios.append(speed / alone)
        print(f"{read / 1e9:8.2f}{speed / 1e9:8.2f}{alone / 1e9:12.2f}{speed / alone:8.2f}", flush=True)
    running[0] = False
    print(f"median ratio {statistics.median(ratios):.2f}; at most {most[0] / 1e9:.2f} GB of memory of its own")


if __name__ == "__main__":
    main()
