"""gemma: from its second on, attention and MLP are normed before they are added."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.architecture import Architecture

_TINY = {"query_pre_attn_scalar": 8, "sliding_window": 4}
_GEMMA2 = Architecture(
    "gemma2",
    attn_out="post_attention_layernorm>",
    mid="pre_feedforward_layernorm<",
    mlp_out="post_feedforward_layernorm>",
    checkpoints=("gemma", "gemma-?2(?![b0-9])"),
    tiny=_TINY,
)
_GEMMA3 = replace(_GEMMA2, name="gemma3_text", checkpoints=("gemma", "gemma-?3"))

FAMILY = (
    Architecture("gemma", checkpoints=("gemma",)),
    _GEMMA2,
    _GEMMA3,
    replace(
        _GEMMA3,
        name="gemma3",
        text="gemma3_text",
        base="model.language_model",
        layers="model.language_model.layers",
        embed="model.language_model.embed_tokens>",
        norm="model.language_model.norm>",
        tiny={
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 8,
            },
            "image_token_index": 60,
            "boi_token_index": 58,
            "eoi_token_index": 59,
        },
    ),
)
