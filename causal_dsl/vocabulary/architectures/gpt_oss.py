"""gpt_oss: experts, attention with sinks, of which every second layer looks back a few tokens only."""

from __future__ import annotations

from causal_dsl.vocabulary.architectures.architecture import Architecture

FAMILY = (
    Architecture(
        "gpt_oss",
        neurons=None,
        inner=lambda get: get("num_experts_per_tok") * get("intermediate_size"),
        count=lambda get: get("num_local_experts"),
        router="mlp.router",
        experts="mlp.experts",
        checkpoints=("gpt-oss",),
        tiny={"num_experts_per_tok": 2, "num_local_experts": 4, "sliding_window": 4},
    ),
)
