"""Small specs that read every kind of file, and what a run of them did: which steps were run, which numbers it found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

import causal_dsl as cd
from causal_dsl.features.sae_file import CONFIG, WEIGHTS
from causal_dsl.store import stopping_points

NAMES = ["ann", "bob", "cid", "dot"]
WORDS = ["[UNK]", *NAMES, "saw", "and", "said", "to", "it"]
WIDTH = 8

LANGUAGE = """
from "lib/roles.causal" import Name
from "code/pick.py" import pick

table T = csv("likes.csv", key=who)
table P = parquet("ages.parquet", key=who)
table D = dataset("kept", key=row)

causal who {
  a, b ~ Name where a != b

  liked := T[a].whom
  output answer : Name := pick(a, b)
}

network net = hf("model")

align at(l in 0:2) : who -> net {
  prompt "{a} saw {b} and said to it"

  a      @ layer[l].resid_post[a]
  answer @ next_token(among=Name)
}

align sparse : who -> net {
  prompt "{a} saw {b} and said to it"

  a      @ layer[0].resid_post[a] via sae("sae", latents=[0, 1, 2], controls=none)
  answer @ next_token(among=Name)
}

align given : who -> net {
  prompt "{a} saw {b} and said to it"

  a      @ layer[0].resid_post[a] via subspace("directions.safetensors", controls=none)
  answer @ next_token(among=Name)
}

test swap on at {
  base, source ~ who(n=8, seed=0)
  do(a <- source)
  report iia
  report kl
}

test latents on sparse {
  base, source ~ who(n=6, seed=1)
  do(a <- source)
  report kl
}

test directions on given {
  base, source ~ who(n=6, seed=1)
  do(a <- source)
  report kl
}

test steered on at {
  base ~ who(n=6, seed=2)
  do(layer[1].resid_post[last] = vector("steer.safetensors"))
  report kl
}
"""

FACTORY = """
from shapes import HIDDEN
import json
from pathlib import Path
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gain = json.loads((Path(__file__).parent / "gain.json").read_text())["gain"]
        self.in_features = 8
        self.layers = nn.ModuleList([nn.Linear(8, HIDDEN), nn.Linear(HIDDEN, HIDDEN)])
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(self.gain * layer(x))
        return self.head(x)

def build():
    return Net()
"""

VECTOR = """
causal parity {
  a, b ~ 0..3

  left := a mod 2 == 0
  output y := left == (b mod 2 == 0)
}

network net = torch("net.py:build", weights="net.safetensors")

align at(i in 0:2) : parity -> net {
  a    @ input[0:4] via onehot()
  b    @ input[4:8] via onehot()
  left @ layer[i].out VIA
  y    @ logits
}

test swap on at {
  base, source ~ parity(n=16, seed=0)
  do(left <- source)
  report iia
  report kl
}
"""


def language(folder: Path) -> Path:
    """A spec on a tiny language model, with every kind of file that a spec can name; gives its path."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "model")
    words(WORDS).save(str(folder / "model" / "tokenizer.json"))
    for name in ("lib", "code", "sae"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "lib" / "roles.causal").write_text('domain Name = lines("names.txt")\n')
    (folder / "lib" / "names.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "code" / "pick.py").write_text("def pick(a: str, b: str) -> str:\n    return a\n")
    (folder / "likes.csv").write_text(
        "who,whom\n" + "".join(f"{a},{b}\n" for a, b in zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    )
    ages = pa.table({"who": NAMES, "age": list(range(len(NAMES)))})
    pq.write_table(ages, folder / "ages.parquet")
    (folder / "kept").mkdir(exist_ok=True)
    with pa.OSFile(str(folder / "kept" / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, ages.schema) as stream:
        stream.write_table(ages)
    (folder / "kept" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    torch.manual_seed(1)
    save_file({"v": torch.randn(WIDTH)}, folder / "steer.safetensors")
    save_file({"d": torch.randn(2, WIDTH)}, folder / "directions.safetensors")
    sizes = {"W_enc": (WIDTH, 16), "W_dec": (16, WIDTH), "b_enc": (16,), "b_dec": (WIDTH,)}
    save_file({name: torch.randn(*size) for name, size in sizes.items()}, folder / "sae" / WEIGHTS)
    (folder / "sae" / CONFIG).write_text(json.dumps({"architecture": "standard", "d_in": WIDTH, "d_sae": 16}))
    (folder / "s.causal").write_text(LANGUAGE)
    return folder / "s.causal"


def words(known: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def vector(folder: Path, via: str = "") -> Path:
    """A spec on a network that code makes: a module of its own, a settings file, a weights file; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(FACTORY)
    (folder / "shapes.py").write_text("HIDDEN = 6\n")
    (folder / "gain.json").write_text('{"gain": 1.5}')
    torch.manual_seed(3)
    sizes = {
        "layers.0.weight": (6, 8),
        "layers.0.bias": (6,),
        "layers.1.weight": (6, 6),
        "layers.1.bias": (6,),
        "head.weight": (2, 6),
        "head.bias": (2,),
    }
    save_file({name: torch.randn(*size) for name, size in sizes.items()}, folder / "net.safetensors")
    (folder / "v.causal").write_text(VECTOR.replace("VIA", via))
    return folder / "v.causal"


def add_to(path: Path, name: str, at: int, amount: float) -> None:
    """Change one number of one tensor of a safetensors file."""
    tensors = load_file(path)
    tensors[name].reshape(-1)[at] += amount
    save_file(tensors, path)


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


ROTATION = "via rotation(dim=2, n=8, epochs=2, controls=none)"


class Ran:
    """What a run did: ``steps`` by kind, and ``numbers``, all scores of all cells."""

    def __init__(self, spec: Path, monkeypatch: pytest.MonkeyPatch, **more: Any):
        heard: list[str] = []
        monkeypatch.setattr(stopping_points, "reached", heard.append)
        self.results = cd.run(cd.load(spec), cd.Options(**{"trust": True, **more}))
        self.steps = Counter(heard)
        (self.spec,) = self.results.specs
        self.numbers = numbers_of(self.spec.to_json())
        self.codes = [d.code for d in self.spec.warnings]
        self.notes = [note for d in self.spec.warnings for note in d.notes if d.code == "W658"]


def numbers_of(spec: dict[str, Any]) -> dict[str, Any]:
    """Every score of every cell, as text that has all digits."""
    return {
        f"{t['name']} {json.dumps(c['cell'])} {name}": repr(score["value"])
        for t in spec["tests"]
        for c in t["cells"]
        for name, score in c["scores"].items()
    }


Change = Callable[[Path], None]
