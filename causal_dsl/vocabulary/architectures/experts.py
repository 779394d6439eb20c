"""Mixtures of experts: there is no one vector of neurons."""

from __future__ import annotations

from typing import Any

from causal_dsl.vocabulary.architectures.architecture import Architecture, Get


def _plain(get: Get) -> Any:
    return get("num_experts_per_tok") * get("intermediate_size")


def _own_width(get: Get) -> Any:
    return get("num_experts_per_tok") * get("moe_intermediate_size")


def _shared(get: Get) -> Any:
    """One more expert is for every token."""
    return _own_width(get) + get("shared_expert_intermediate_size")


def _number(get: Get) -> Any:
    return get("num_experts")


def _dense(get: Get) -> tuple[int, ...]:
    """Layers that are named, and all but each so-manieth."""
    step, named = get("decoder_sparse_step") or 1, set(get("mlp_only_layers") or ())
    return tuple(layer for layer in range(get("num_hidden_layers")) if layer in named or (layer + 1) % step)


_FOUR = {"num_experts_per_tok": 2, "num_experts": 4}

FAMILY = (
    Architecture(
        "mixtral",
        neurons=None,
        inner=_plain,
        count=lambda get: get("num_local_experts"),
        router="mlp.gate",
        experts="mlp.experts",
        checkpoints=("mixtral",),
        tiny={"num_experts_per_tok": 2, "num_local_experts": 4},
    ),
    Architecture(
        "qwen2_moe",
        neurons=None,
        inner=_shared,
        count=_number,
        dense=_dense,
        router="mlp.gate",
        experts="mlp.experts",
        checkpoints=("qwen",),
        tiny={**_FOUR, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24},
    ),
    Architecture(
        "qwen3_moe",
        neurons=None,
        inner=_own_width,
        count=_number,
        dense=_dense,
        router="mlp.gate",
        experts="mlp.experts",
        checkpoints=("qwen", "qwen-?3"),
        tiny={**_FOUR, "moe_intermediate_size": 24, "head_dim": 8},
    ),
    Architecture(
        "olmoe", neurons=None, inner=_plain, count=_number, router="mlp.gate", experts="mlp.experts", tiny=_FOUR
    ),
)
