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


_FOUR = {"num_experts_per_tok": 2, "num_experts": 4}

FAMILY = (
    Architecture(
        "mixtral",
        neurons=None,
        inner=_plain,
        checkpoints=("mixtral",),
        tiny={"num_experts_per_tok": 2, "num_local_experts": 4},
    ),
    Architecture(
        "qwen2_moe",
        neurons=None,
        inner=_shared,
        checkpoints=("qwen",),
        tiny={**_FOUR, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24},
    ),
    Architecture(
        "qwen3_moe",
        neurons=None,
        inner=_own_width,
        checkpoints=("qwen", "qwen-?3"),
        tiny={**_FOUR, "moe_intermediate_size": 24, "head_dim": 8},
    ),
    Architecture("olmoe", neurons=None, inner=_plain, tiny=_FOUR),
)
