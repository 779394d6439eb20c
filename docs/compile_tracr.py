"""Compile RASP programs to transformers, for ``zoo("tracr-reverse")`` and the others of its kind.

Run in an environment of its own, which has the compiler: ``pip install tracr-pypi safetensors``, then
``python docs/compile_tracr.py causal_dsl/zoo``. It writes a folder for each program: ``model.safetensors`` and
``program.json``. Each is held against the compiler's own run on every input before it is written.

Lindner, Kramár, Farquhar, Rahtz, McGrath and Mikulik 2023, "Tracr: Compiled Transformers as a Laboratory for
Interpretability".
"""

from __future__ import annotations

import itertools
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tracr.compiler import compiling, lib
from tracr.rasp import rasp

BOS, PAD = "BOS", "compiler_pad"
#: name -> the program, the tokens, the longest input, and the values of its output where that is a number
PROGRAMS: dict[str, tuple[Any, set[Any], int, list[Fraction]]] = {
    "tracr-reverse": (lambda: lib.make_reverse(rasp.tokens), {"a", "b", "c"}, 4, []),
    "tracr-hist": (lib.make_hist, {"a", "b", "c"}, 4, []),
    "tracr-sort": (lambda: lib.make_sort_unique(rasp.tokens, rasp.tokens), {1, 2, 3, 4, 5}, 3, []),
    "tracr-frac-prevs": (
        lambda: lib.make_frac_prevs(rasp.tokens == "a"),
        {"a", "b"},
        4,
        sorted({Fraction(k, n) for n in range(1, 5) for k in range(n + 1)}),
    ),
    "tracr-previous": (lambda: lib.shift_by(1, rasp.tokens).named("previous"), {"a", "b", "c"}, 4, []),
    "tracr-dyck": (lambda: lib.make_shuffle_dyck(["()"]), {"(", ")"}, 4, []),
}
#: How far apart the logits of two answers are.
SCALE = 10.0


def word(value: Any) -> str:
    """How a prompt writes a value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def variable_of(label: str) -> str:
    """What a basis direction is of: ``opp_idx_4:-3`` is a value of ``opp_idx``. The compiler numbers what it names."""
    name = label.split(":")[0]
    for suffix in ("_selector_width_attn_output",):
        if name.endswith(suffix):
            return variable_of(name[: -len(suffix)]) + "_attn"
    head, _, number = name.rpartition("_")
    return (head if number.isdigit() and head else name).replace("-1", "_1").replace("_()", "")


def weights_of(model: Any, words: list[str], inputs: list[Any], numbers: list[Fraction]) -> dict[str, np.ndarray]:
    """The weights as a module of torch holds them: [out, in]."""
    params = {key: {k: np.asarray(v, np.float32) for k, v in group.items()} for key, group in model.params.items()}
    encode, labels = model.input_encoder.encoding_map, model.residual_labels
    embed = np.zeros((len(words), len(labels)), np.float32)
    for row, value in enumerate(inputs):
        embed[row] = params["token_embed"]["embeddings"][encode[value]]
    found = {"embed.weight": embed, "positions.weight": params["pos_embed"]["embeddings"]}
    for layer in range(model.model_config.num_layers):
        of = f"transformer/layer_{layer}"
        names = {"q": "attn/query", "k": "attn/key", "v": "attn/value", "out": "attn/linear"}
        parts = {f"attn.{own}": theirs for own, theirs in names.items()}
        parts |= {"mlp.up": "mlp/linear_1", "mlp.down": "mlp/linear_2"}
        for own, theirs in parts.items():
            found[f"blocks.{layer}.{own}.weight"] = params[f"{of}/{theirs}"]["w"].T
            found[f"blocks.{layer}.{own}.bias"] = params[f"{of}/{theirs}"]["b"]
    unembed, bias = np.zeros_like(embed), np.full(len(words), -SCALE, np.float32)
    if numbers:  # the nearest value: -(x - c)^2, but for what all of them share
        direction = next(i for i, label in enumerate(labels) if variable_of(label) == "frac_prevs")
        for value in numbers:
            row = words.index(word(value))
            unembed[row, direction], bias[row] = 200 * SCALE * float(value), -100 * SCALE * float(value) ** 2
        bias[[row for row in range(len(words)) if words[row] not in {word(v) for v in numbers}]] = -1e4
    else:
        for value in model.output_encoder.encoding_map:
            row = words.index(word(value))
            unembed[row, _output(labels, value)], bias[row] = SCALE, 0.0
    return found | {"unembed.weight": unembed, "unembed.bias": bias}


OUTPUTS = {"reverse", "hist", "sort", "previous", "shuffle_dyck"}


def _output(labels: list[str], value: Any) -> int:
    own = [i for i, label in enumerate(labels) if variable_of(label) in OUTPUTS and label.split(":")[-1] == str(value)]
    (index,) = own
    return index


def places_of(weights: dict[str, np.ndarray], labels: list[str], layers: int) -> dict[str, Any]:
    """Where each variable of the program is: its coordinates of the stream, the values that they stand for, what writes
    them, and what reads them. A block writes what it has weights to, and reads what it has weights from."""
    variables: dict[str, Any] = {}
    called: dict[str, str] = {}
    for index, label in enumerate(labels):
        raw, _, value = label.partition(":")
        if raw not in called:  # two maps of one name: map, map_2
            times = sum(variable_of(f"{other}:") == variable_of(label) for other in called)
            called[raw] = variable_of(label) + (f"_{times + 1}" if times else "")
        about = variables.setdefault(called[raw], {"coordinates": [], "values": []})
        about["coordinates"].append(index)
        about["values"].append(value)
    for about in variables.values():
        own = about["coordinates"]
        assert own == list(range(own[0], own[0] + len(own)))
        written, read = [], []
        if np.abs(weights["embed.weight"][:, own]).any() or np.abs(weights["positions.weight"][:, own]).any():
            written.append(["embed", -1])
        for layer in range(layers):
            block = f"blocks.{layer}"
            if any(np.abs(weights[f"{block}.attn.{part}.weight"][:, own]).any() for part in "qkv"):
                read.append(["attention", layer])
            if np.abs(weights[f"{block}.attn.out.weight"][own]).any():
                written.append(["attention", layer])
            if np.abs(weights[f"{block}.mlp.up.weight"][:, own]).any():
                read.append(["mlp", layer])
            if np.abs(weights[f"{block}.mlp.down.weight"][own]).any():
                written.append(["mlp", layer])
        if np.abs(weights["unembed.weight"][:, own]).any():
            read.append(["unembed", layers])
        about.update(written=written, read=read)
    return variables


def run(weights: dict[str, np.ndarray], ids: list[int], layers: int, heads: int) -> np.ndarray:
    """Logits [tokens, words] in plain numpy."""
    tokens = len(ids)
    x = weights["embed.weight"][ids] + weights["positions.weight"][:tokens]

    def linear(name: str, value: np.ndarray) -> np.ndarray:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    for layer in range(layers):
        q, k, v = (linear(f"blocks.{layer}.attn.{p}", x).reshape(tokens, heads, -1).transpose(1, 0, 2) for p in "qkv")
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        x = x + linear(f"blocks.{layer}.attn.out", mixed.transpose(1, 0, 2).reshape(tokens, -1))
        x = x + linear(f"blocks.{layer}.mlp.down", np.maximum(linear(f"blocks.{layer}.mlp.up", x), 0))
    return linear("unembed", x)


def compiled(name: str, folder: Path) -> None:
    """Compile one program, hold it against the compiler's own run, and write it."""
    make, tokens, longest, numbers = PROGRAMS[name]
    model = compiling.compile_rasp_to_model(make(), vocab=tokens, max_seq_len=longest, compiler_bos=BOS)
    inputs = [BOS, *sorted(tokens)]
    outputs = numbers or list(model.output_encoder.encoding_map)
    words = [word(value) for value in inputs]
    words += [word(value) for value in outputs if word(value) not in words]
    config = model.model_config
    weights = weights_of(model, words, inputs, numbers)
    checked = 0
    for length in range(1, longest + 1):
        for row in itertools.product(sorted(tokens), repeat=length):
            if name == "tracr-sort" and len(set(row)) < length:
                continue
            said = run(weights, [0, *(inputs.index(t) for t in row)], config.num_layers, config.num_heads)
            expected = model.apply([BOS, *row]).decoded[1:]
            got = [words[i] for i in said[1:].argmax(-1)]
            want = [word(min(numbers, key=lambda c: abs(float(c) - v)) if numbers else v) for v in expected]
            assert got == want or (name == "tracr-previous" and got[1:] == want[1:]), (row, got, want)
            checked += 1
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    program = {
        "words": words,
        "inputs": len(inputs),
        "layers": config.num_layers,
        "heads": config.num_heads,
        "head": config.key_size,
        "neurons": config.mlp_hidden_size,
        "width": len(model.residual_labels),
        "context": longest + 1,
        "variables": places_of(weights, model.residual_labels, config.num_layers),
    }
    (folder / "program.json").write_text(json.dumps(program, indent=1) + "\n", encoding="utf-8")
    size = sum(value.size for value in weights.values())
    print(
        name,
        f"{size} parameters, {checked} inputs",
        {k: (v["coordinates"], v["written"], v["read"]) for k, v in program["variables"].items()},
    )


if __name__ == "__main__":
    for each in PROGRAMS:
        compiled(each, Path(sys.argv[1]) / each)
