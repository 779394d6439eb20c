"""gpt_neox, of which the Pythia networks are."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.architecture import Architecture, Get


def _settle(record: Architecture, get: Get) -> Architecture:
    return replace(record, parallel=bool(get("use_parallel_residual")))


FAMILY = (
    Architecture(
        "gpt_neox",
        computed_head=True,
        settle=_settle,
        gated=False,
        checkpoints=("pythia", "gpt-neox"),
        base="gpt_neox",
        layers="gpt_neox.layers",
        embed="gpt_neox.embed_in>",
        attention="attention",
        q="attention.query_key_value>",
        k="attention.query_key_value>",
        v="attention.query_key_value>",
        split="heads",
        z="attention.dense<",
        attn_out="attention>",
        neurons="mlp.dense_4h_to_h<",
        norm="gpt_neox.final_layer_norm>",
        forms={"sequential": {"use_parallel_residual": False}},
    ),
)
