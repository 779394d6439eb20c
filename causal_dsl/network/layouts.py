"""Where the sites of each architecture are, as transformers 5.23 names its modules. One row an architecture.

``<`` is what enters a module, ``>`` what leaves it. Paths in a layer start at the layer, the others at the model. Rows
say how they differ from LLAMA. The table is not believed: :mod:`causal_dsl.network.prove` tests it at load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Layout:
    """``split`` says how q, k, v lie in the output of their module: ``apart`` (a module each), ``blocks`` (all q, all
    k, all v), ``heads`` (q, k, v of head 0, then of head 1, …), ``groups`` (the query heads of a group, its k, its v).
    ``scale`` is the attribute of a layer that multiplies what attention and MLP add, ``embed_scale`` that of the base
    model. ``mid`` is None in parallel blocks, ``neurons`` for fused experts. ``interface``: attention goes through the
    interface of transformers, which shows q, k and weights after rotary angles. ``head`` are the modules from the final
    norm to the logits, one after the other, and ``unembed`` is the one among (or in) them that has a row a token.

    ``norms``, where the stream is normed after each addition: the modules that do it, in the middle and at the end of a
    layer; ``norm`` is then None, and ``mid`` what the first of them gives: the stream itself. ``ends``: the modules that
    attention and MLP end in, where ``attention`` and ``mlp`` do not hold them. ``beside`` are the modules whose outputs
    are added to ``embed``, and ``enter`` those that their sum goes through; empty where positions alone are added."""

    base: str = "model"
    layers: str = "model.layers"
    embed: str = "model.embed_tokens>"
    attention: str = "self_attn"
    q: str = "self_attn.q_proj>"
    k: str = "self_attn.k_proj>"
    v: str = "self_attn.v_proj>"
    split: Literal["apart", "blocks", "heads", "groups"] = "apart"
    z: str = "self_attn.o_proj<"
    attn_out: str = "self_attn>"
    mid: str | None = "post_attention_layernorm<"
    mlp: str = "mlp"
    neurons: str | None = "mlp.down_proj<"
    mlp_out: str = "mlp>"
    norm: str | None = "model.norm>"
    unembed: str = "lm_head"
    head: tuple[str, ...] = ("lm_head",)
    norms: tuple[str, str] | None = None
    ends: tuple[str, str] | None = None
    beside: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()
    scale: str | None = None
    embed_scale: str | None = None
    interface: bool = True


LLAMA = Layout()

_GPT2 = replace(
    LLAMA,
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
_GPT_NEOX = replace(
    LLAMA,
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
)
_GPTJ = replace(
    _GPT2,
    q="attn.q_proj>",
    k="attn.k_proj>",
    v="attn.v_proj>",
    split="apart",
    z="attn.out_proj<",
    mid=None,
    neurons="mlp.fc_out<",
    interface=False,
)
_FALCON = replace(
    _GPT2,
    embed="transformer.word_embeddings>",
    attention="self_attention",
    q="self_attention.query_key_value>",
    k="self_attention.query_key_value>",
    v="self_attention.query_key_value>",
    z="self_attention.dense<",
    attn_out="self_attention>",
    mid="post_attention_layernorm<",
    neurons="mlp.dense_4h_to_h<",
    interface=False,
)
_PHI3 = replace(LLAMA, q="self_attn.qkv_proj>", k="self_attn.qkv_proj>", v="self_attn.qkv_proj>", split="blocks")
_GEMMA2 = replace(
    LLAMA,
    attn_out="post_attention_layernorm>",
    mid="pre_feedforward_layernorm<",
    mlp_out="post_feedforward_layernorm>",
)
_OLMO2 = replace(LLAMA, attn_out="post_attention_layernorm>", mid="mlp<", mlp_out="post_feedforward_layernorm>")
_EXPERTS = replace(LLAMA, neurons=None)


def _bert(base: str, unembed: str, *head: str) -> Layout:
    """bert and those that share its code; ``base`` is what the encoder is called."""
    return Layout(
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
    )


_ROBERTA = _bert("roberta", "lm_head.decoder", "lm_head")
_DISTILBERT = Layout(
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
)

LAYOUTS: Mapping[str, Layout] = {
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "smollm3": LLAMA,
    "gemma": LLAMA,
    "olmo": LLAMA,
    "granite": replace(LLAMA, scale="residual_multiplier", embed_scale="embedding_multiplier"),
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "gemma3": replace(
        _GEMMA2,
        base="model.language_model",
        layers="model.language_model.layers",
        embed="model.language_model.embed_tokens>",
        norm="model.language_model.norm>",
    ),
    "phi3": _PHI3,
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "mixtral": _EXPERTS,
    "qwen2_moe": _EXPERTS,
    "qwen3_moe": _EXPERTS,
    "olmoe": _EXPERTS,
    "gptj": _GPTJ,
    "phi": replace(LLAMA, z="self_attn.dense<", mid=None, neurons="mlp.fc2<", norm="model.final_layernorm>"),
    "cohere": replace(LLAMA, mid=None),
    "falcon": _FALCON,
    "bert": _bert("bert", "cls.predictions.decoder", "cls"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _bert("electra", "generator_lm_head", "generator_predictions", "generator_lm_head"),
    "distilbert": _DISTILBERT,
}


def layout_of(architecture: str, config: object) -> Layout | None:
    """The row of an architecture, settled for a config (parallel blocks, how falcon packs its heads, narrow embeddings)."""
    layout = LAYOUTS.get(architecture)
    if layout is None:
        return None
    if architecture == "gpt_neox" and getattr(config, "use_parallel_residual", True):
        return replace(layout, mid=None)
    if architecture == "electra" and getattr(config, "embedding_size", None) != getattr(config, "hidden_size", None):
        return replace(layout, enter=(*layout.enter, "electra.embeddings_project"))
    if architecture == "falcon":
        new = bool(getattr(config, "new_decoder_architecture", False))
        if not new and not getattr(config, "multi_query", True):
            layout = replace(layout, split="heads")
        elif new:
            layout = replace(layout, split="groups")
        if new or getattr(config, "parallel_attn", True):
            layout = replace(layout, mid=None)
    return layout
