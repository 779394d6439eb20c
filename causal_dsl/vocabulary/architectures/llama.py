"""llama, and those whose layers are built as its are."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.architecture import Architecture

LLAMA = Architecture("llama", obeyed=True, checkpoints=("smollm", "llama", "vicuna"))
_PHI3 = replace(LLAMA, obeyed=False, q="self_attn.qkv_proj>", k="self_attn.qkv_proj>", v="self_attn.qkv_proj>")

FAMILY = (
    LLAMA,
    Architecture("mistral", checkpoints=("mistral",), tiny={"sliding_window": 4}),
    Architecture("qwen2", checkpoints=("qwen",)),
    Architecture("qwen3", checkpoints=("qwen", "qwen-?3")),
    Architecture("smollm3", checkpoints=("smollm3",)),
    Architecture("olmo"),
    Architecture(
        "granite",
        scale="residual_multiplier",
        embed_scale="embedding_multiplier",
        tiny={"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "logits_scaling": 2.0},
    ),
    replace(_PHI3, name="phi3", split="blocks", checkpoints=("phi-?[34]",)),
    Architecture(
        "phi",
        parallel=True,
        gated=False,
        z="self_attn.dense<",
        neurons="mlp.fc2<",
        norm="model.final_layernorm>",
        tiny={"qk_layernorm": True},
    ),
    Architecture("cohere", parallel=True, tiny={"use_qk_norm": True}),
)
