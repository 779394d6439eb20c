"""gpt2 and gptj."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.architecture import Architecture

GPT2 = Architecture(
    "gpt2",
    computed_head=True,
    gated=False,
    obeyed=True,
    checkpoints=("gpt-?2",),
    same={"gpt2-small": "gpt2"},
    base="transformer",
    layers="transformer.h",
    embed="transformer.wte>",
    attention="attn",
    q="attn.c_attn>",
    k="attn.c_attn>",
    v="attn.c_attn>",
    split="blocks",
    z="attn.c_proj<",
    attn_out="attn>",
    mid="ln_2<",
    neurons="mlp.c_proj<",
    norm="transformer.ln_f>",
)

FAMILY = (
    GPT2,
    replace(
        GPT2,
        name="gptj",
        obeyed=False,
        parallel=True,
        checkpoints=("gpt-?j",),
        same={},
        q="attn.q_proj>",
        k="attn.k_proj>",
        v="attn.v_proj>",
        split="apart",
        z="attn.out_proj<",
        neurons="mlp.fc_out<",
        interface=False,
        tiny={"rotary_dim": 4},
    ),
)
