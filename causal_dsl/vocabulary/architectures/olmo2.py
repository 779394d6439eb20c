"""olmo from its second on: attention and MLP read the stream itself, and are normed before they are added."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.architecture import Architecture

_OLMO2 = Architecture(
    "olmo2",
    attn_out="post_attention_layernorm>",
    mid="mlp<",
    mlp_out="post_feedforward_layernorm>",
    checkpoints=("olmo-?2",),
)

FAMILY = (_OLMO2, replace(_OLMO2, name="olmo3", tiny={"sliding_window": 4}))
