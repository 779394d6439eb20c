"""The published code of EAP-IG (Hanna et al. 2024; MIT licence) on ``HookedTransformer``, which TransformerLens had up to version 3.

Its functions are called as they are. They make their score tensors on a GPU: here these are made on the CPU. It tokenizes texts, and
is given the ids of the task. It needs query heads that each have a key of their own: the scores of those that share one are added up.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from eap import attribute as scoring
from eap import evaluate, utils
from eap.graph import Graph
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM

from benchmarks.circuit_peers.task import ALONE, EVERY, POINTS, Peer, Task, Work

#: So many pairs are run forwards and backwards at once: with 4 the process takes 7.5 GiB, and with 16 it was killed.
BATCH = 4


def peer(folder: Path, task: Task) -> Peer:
    """The network of a folder in this package."""
    _zeros = torch.zeros
    torch.zeros = lambda *size, device=None, **more: _zeros(  # type: ignore[assignment, misc]
        *size, device="cpu" if device == "cuda" else device, **more
    )
    model, plain = load(folder)
    ids = {role: torch.from_numpy(own) for role, own in (("base", task.base), ("source", task.source))}

    def tokens(_: Any, texts: list[str], max_length: int | None = None) -> tuple[Tensor, Tensor, Tensor, int]:
        rows = [text.split() for text in texts]
        found = torch.stack([ids[role][int(number), int(pair)] for role, number, pair in rows])
        return found, torch.ones_like(found), torch.full((len(found),), found.shape[1]), found.shape[1]

    utils.tokenize_plus = evaluate.tokenize_plus = scoring.tokenize_plus = tokens

    def pairs(number: int, size: int) -> list[Any]:
        """A set of pairs in batches: the texts are the names of the ids."""
        wanted = torch.from_numpy(task.wanted[number])
        which = [range(start, min(start + size, task.pairs)) for start in range(0, task.pairs, size)]
        return [
            (*([f"{role} {number} {i}" for i in own] for role in ("base", "source")), wanted[list(own)])
            for own in which
        ]

    def differences(logits: Tensor, _: Any, __: Any, wanted: Tensor) -> Tensor:
        picked = logits[:, -1].gather(1, wanted)
        return picked[:, 0] - picked[:, 1]

    def total(*given: Any) -> Tensor:
        return differences(*given).sum()

    def scored(method: str, steps: int | None = None) -> np.ndarray:
        graph = Graph.from_model(model)
        scoring.attribute(model, graph, pairs(0, BATCH), total, method=method, ig_steps=steps, quiet=True)
        model.zero_grad()
        return -edges_of(task, graph.scores.numpy())

    def judged(numbers: list[int]) -> np.ndarray:
        found = []
        for number in numbers:
            graph = Graph.from_model(model)
            graph.in_graph |= members(task, graph, task.circuits[number])
            graph.nodes_in_graph[:] = True
            found.append(evaluate.evaluate_graph(model, graph, pairs(1, task.pairs), differences, quiet=True).numpy())
        return np.stack(found)

    @torch.no_grad()
    def forward(on: bool) -> None:
        split(model, on)
        model(ids["base"][0])
        split(model, True)

    @torch.no_grad()
    def usual() -> None:
        plain(ids["base"][0], logits_to_keep=1)

    some = list(range(0, len(task.circuits), EVERY))
    return Peer(
        {"own": partial(forward, False), "own, split": partial(forward, True), "transformers": usual},
        {
            "eap": Work(lambda: scored("EAP"), once=True),
            "eap_ig": Work(lambda: scored("EAP-IG-inputs", POINTS), once=True),
            "circuit": Work(lambda: judged([ALONE]), once=True),
            "circuits": Work(lambda: judged(some), len(task.circuits) / len(some), once=True),
        },
    )


def load(folder: Path) -> tuple[HookedTransformer, Any]:
    """The network as this package runs it, as its documentation asks for, and as transformers does."""
    # transformers 4 looks for the base of the rotations at another place than 5, and takes 10,000 where it finds none
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    base = written.get("rope_theta") or written["rope_parameters"]["rope_theta"]
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, rope_theta=base)
    plain.eval().requires_grad_(False)
    own = plain.config
    config = HookedTransformerConfig(
        n_layers=own.num_hidden_layers,
        d_model=own.hidden_size,
        d_head=own.hidden_size // own.num_attention_heads,
        n_heads=own.num_attention_heads,
        n_key_value_heads=own.num_key_value_heads,
        d_mlp=own.intermediate_size,
        d_vocab=own.vocab_size,
        n_ctx=64,
        act_fn="silu",
        gated_mlp=True,
        normalization_type="RMS",
        eps=own.rms_norm_eps,
        positional_embedding_type="rotary",
        rotary_dim=own.hidden_size // own.num_attention_heads,
        rotary_base=int(base),
        rotary_adjacent_pairs=False,
        final_rms=True,
        original_architecture="LlamaForCausalLM",
        device="cpu",
        default_prepend_bos=False,
    )
    model = HookedTransformer(config)
    model.load_and_process_state_dict(
        convert_llama_weights(plain, config),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    split(model, True)
    return model.eval(), plain


def split(model: HookedTransformer, on: bool) -> None:
    """Whether heads have inputs and results of their own, which the scores and circuits of this package need."""
    model.set_use_attn_result(on)
    model.set_use_split_qkv_input(on)
    model.set_use_hook_mlp_in(on)
    model.set_ungroup_grouped_query_attention(on)


def edges_of(task: Task, scores: np.ndarray) -> np.ndarray:
    """The scores [senders, receivers] of this package as those of the task's edges."""
    shape = {"n_layers": task.layers, "n_heads": task.heads}
    found = []
    for *sender, kind, layer, head in task.edges():
        row = _row(shape, *sender)
        found.append(sum(float(scores[row, column]) for column in _columns(task, shape, kind, layer, head)))
    return np.array(found)


def members(task: Task, graph: Graph, kept: np.ndarray) -> Tensor:
    """Which edges of this package are those of a circuit."""
    found = torch.zeros_like(graph.in_graph)
    shape = {"n_layers": task.layers, "n_heads": task.heads}
    for inside, (*sender, kind, layer, head) in zip(kept, task.edges(), strict=True):
        if inside:
            for column in _columns(task, shape, kind, layer, head):
                found[_row(shape, *sender), column] = True
    return found


def _row(shape: dict[str, int], kind: str, layer: int, head: int) -> int:
    if kind == "embed":
        return 0
    return 1 + layer * (shape["n_heads"] + 1) + (shape["n_heads"] if kind == "mlp" else head)


def _columns(task: Task, shape: dict[str, int], kind: str, layer: int, head: int) -> list[int]:
    """Where a receiver is: in as many columns as query heads share the key."""
    heads = shape["n_heads"]
    first = layer * (3 * heads + 1)
    if kind == "logits":
        return [shape["n_layers"] * (3 * heads + 1)]
    if kind == "mlp":
        return [first + 3 * heads]
    own = [head] if kind == "q" else range(head * task.shared, (head + 1) * task.shared)
    return [first + "qkv".index(kind) * heads + one for one in own]
