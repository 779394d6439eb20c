"""Mixtures of experts: there is no one vector of neurons."""

from __future__ import annotations

from causal_dsl.vocabulary.architectures.record import Architecture

_FOUR = {"num_experts_per_tok": 2, "num_experts": 4}

FAMILY = (
    Architecture(
        "mixtral", neurons=None, checkpoints=("mixtral",), tiny={"num_experts_per_tok": 2, "num_local_experts": 4}
    ),
    Architecture(
        "qwen2_moe",
        neurons=None,
        checkpoints=("qwen",),
        tiny={**_FOUR, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24},
    ),
    Architecture(
        "qwen3_moe",
        neurons=None,
        checkpoints=("qwen", "qwen-?3"),
        tiny={**_FOUR, "moe_intermediate_size": 24, "head_dim": 8},
    ),
    Architecture("olmoe", neurons=None, tiny=_FOUR),
)
