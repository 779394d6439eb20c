"""bert and its kin: tokens attend in both directions, and the stream is normed after each addition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from causal_dsl.vocabulary.architectures.architecture import Architecture, Get


def _decoder(record: Architecture, get: Get) -> Architecture:
    return replace(record, both_ways=not get("is_decoder"))


def _narrow(record: Architecture, get: Get) -> Architecture:
    if get("embedding_size") != get("hidden_size"):
        record = replace(record, enter=(*record.enter, "electra.embeddings_project"))
    return _decoder(record, get)


def _bert(name: str, base: str, unembed: str, head: tuple[str, ...], **more: Any) -> Architecture:
    """``base`` is what the encoder is called."""
    return Architecture(
        name,
        computed_head=True,
        both_ways=True,
        gated=False,
        base=base,
        layers=f"{base}.encoder.layer",
        embed=f"{base}.embeddings.word_embeddings>",
        attention="attention.self",
        q="attention.self.query>",
        k="attention.self.key>",
        v="attention.self.value>",
        z="attention.output.dense<",
        attn_out="attention.output.dense>",
        mid="attention.output.LayerNorm>",
        mlp="intermediate",
        neurons="output.dense<",
        mlp_out="output.dense>",
        norm=None,
        unembed=unembed,
        head=head,
        norms=("attention.output.LayerNorm", "output.LayerNorm"),
        ends=("attention.output.dense", "output.dense"),
        beside=(f"{base}.embeddings.position_embeddings", f"{base}.embeddings.token_type_embeddings"),
        enter=(f"{base}.embeddings.LayerNorm",),
        **{"settle": _decoder, **more},
    )


_ROBERTA = _bert(
    "roberta",
    "roberta",
    "lm_head.decoder",
    ("lm_head",),
    late=True,
    checkpoints=("roberta",),
    tiny={"pad_token_id": 1, "bos_token_id": 0},
)

FAMILY = (
    _bert("bert", "bert", "cls.predictions.decoder", ("cls",), forms={"decoder": {"is_decoder": True}}),
    _ROBERTA,
    replace(_ROBERTA, name="xlm-roberta"),
    replace(_ROBERTA, name="camembert", checkpoints=()),
    _bert(
        "electra",
        "electra",
        "generator_lm_head",
        ("generator_predictions", "generator_lm_head"),
        settle=_narrow,
        tiny={"embedding_size": 32},
        forms={"narrow": {"embedding_size": 12}},
    ),
    Architecture(
        "distilbert",
        computed_head=True,
        both_ways=True,
        gated=False,
        base="distilbert",
        layers="distilbert.transformer.layer",
        embed="distilbert.embeddings.word_embeddings>",
        attention="attention",
        q="attention.q_lin>",
        k="attention.k_lin>",
        v="attention.v_lin>",
        z="attention.out_lin<",
        attn_out="attention>",
        mid="sa_layer_norm>",
        mlp="ffn",
        neurons="ffn.lin2<",
        mlp_out="ffn>",
        norm=None,
        unembed="vocab_projector",
        head=("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
        norms=("sa_layer_norm", "output_layer_norm"),
        beside=("distilbert.embeddings.position_embeddings",),
        enter=("distilbert.embeddings.LayerNorm",),
    ),
)
