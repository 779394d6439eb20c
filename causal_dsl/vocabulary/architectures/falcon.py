"""falcon: three ways to share keys and to pack heads, by its config."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.architecture import Architecture, Get


def _settle(record: Architecture, get: Get) -> Architecture:
    new, shared, parallel = (bool(get(k)) for k in ("new_decoder_architecture", "multi_query", "parallel_attn"))
    if new:
        return replace(record, split="groups", parallel=True)
    kv, split = ("one", "blocks") if shared else ("all", "heads")
    return replace(record, kv=kv, split=split, parallel=parallel)  # type: ignore[arg-type]


FAMILY = (
    Architecture(
        "falcon",
        computed_head=True,
        settle=_settle,
        gated=False,
        checkpoints=("falcon",),
        base="transformer",
        layers="transformer.h",
        embed="transformer.word_embeddings>",
        attention="self_attention",
        q="self_attention.query_key_value>",
        k="self_attention.query_key_value>",
        v="self_attention.query_key_value>",
        z="self_attention.dense<",
        attn_out="self_attention>",
        mid="post_attention_layernorm<",
        neurons="mlp.dense_4h_to_h<",
        norm="transformer.ln_f>",
        interface=False,
        tiny={"ffn_hidden_size": 40, "num_kv_heads": None},
        forms={
            "new": {"new_decoder_architecture": True, "num_kv_heads": 2},
            "alibi": {"multi_query": False, "parallel_attn": False, "alibi": True},
        },
    ),
)
