"""Tiny random models of every family, and where a person would put the hooks: written out, apart from the package.

A place is (path of a module, "in" or "out", columns of the last axis or None, factor). ``{l}`` is the layer. Widths:
32 with 4 heads of 8 unless a family says otherwise, 2 heads of keys and values where they are shared.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMaskedLM

LAYERS, VOCABULARY, HEAD = 3, 61, 8

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SHARED = {**_COMMON, "num_key_value_heads": 2}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}
_SLIDING = {**_SHARED, "head_dim": HEAD, "query_pre_attn_scalar": HEAD, "sliding_window": 4}
_FALCON = {**{k: v for k, v in _COMMON.items() if k != "intermediate_size"}, "ffn_hidden_size": 40}
_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}

_ROBERTA = {**_COMMON, "pad_token_id": 1, "bos_token_id": 0}
_DISTIL = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "hidden_dim": 40,
    "n_layers": LAYERS,
    "n_heads": 4,
    "max_position_embeddings": 64,
}

#: What the number of layers is called.
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers")

#: Families whose tokens look both ways; these and the decoders among their kin norm the stream after each addition.
BOTH_WAYS = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "electra narrow", "distilbert")
POST_NORM = (*BOTH_WAYS, "bert decoder")

#: name -> (model_type, settings of its configuration class)
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", _GPT),
    "gpt_neox": ("gpt_neox", _COMMON),
    "gpt_neox sequential": ("gpt_neox", {**_COMMON, "use_parallel_residual": False}),
    "llama": ("llama", _SHARED),
    "mistral": ("mistral", {**_SHARED, "sliding_window": 4}),
    "qwen2": ("qwen2", _SHARED),
    "qwen3": ("qwen3", {**_SHARED, "head_dim": HEAD}),
    "gemma": ("gemma", {**_SHARED, "head_dim": HEAD}),
    "gemma2": ("gemma2", _SLIDING),
    "gemma3_text": ("gemma3_text", _SLIDING),
    "gemma3": (
        "gemma3",
        {
            "vision_config": {**_VISION, "image_size": 16, "patch_size": 8},
            "image_token_index": 60,
            "boi_token_index": 58,
            "eoi_token_index": 59,
        },
    ),
    "phi3": ("phi3", _SHARED),
    "olmo": ("olmo", _SHARED),
    "olmo2": ("olmo2", _SHARED),
    "olmo3": ("olmo3", {**_SHARED, "sliding_window": 4}),
    "smollm3": ("smollm3", _SHARED),
    "granite": (
        "granite",
        {**_SHARED, "residual_multiplier": 0.5, "embedding_multiplier": 3.0, "logits_scaling": 2.0},
    ),
    "mixtral": ("mixtral", {**_SHARED, "num_experts_per_tok": 2, "num_local_experts": 4}),
    "qwen2_moe": (
        "qwen2_moe",
        {
            **_SHARED,
            "num_experts_per_tok": 2,
            "num_experts": 4,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
    "qwen3_moe": (
        "qwen3_moe",
        {**_SHARED, "num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 24, "head_dim": HEAD},
    ),
    "olmoe": ("olmoe", {**_SHARED, "num_experts_per_tok": 2, "num_experts": 4}),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 4}),
    "phi": ("phi", {**_SHARED, "qk_layernorm": True}),
    "cohere": ("cohere", {**_SHARED, "use_qk_norm": True}),
    "falcon": ("falcon", _FALCON),
    "falcon new": ("falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon alibi": ("falcon", {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True}),
    "bert": ("bert", _COMMON),
    "bert decoder": ("bert", {**_COMMON, "is_decoder": True}),
    "roberta": ("roberta", _ROBERTA),
    "xlm-roberta": ("xlm-roberta", _ROBERTA),
    "camembert": ("camembert", _ROBERTA),
    "electra": ("electra", {**_COMMON, "embedding_size": 32}),
    "electra narrow": ("electra", {**_COMMON, "embedding_size": 12}),
    "distilbert": ("distilbert", _DISTIL),
}


@cache
def model_of(name: str) -> nn.Module:
    """A random model of a family, large enough weights that every site matters; shared between tests.

    ``llama:2`` is one of two layers.
    """
    name, _, count = name.partition(":")
    model_type, settings = CONFIGS[name]
    if count:
        settings = {**settings, **{key: int(count) for key in _DEPTHS if key in settings}}
    if model_type == "gemma3":
        text = CONFIG_MAPPING["gemma3_text"](**{**_SLIDING, **({"num_hidden_layers": int(count)} if count else {})})
        settings = {**settings, "text_config": text.to_dict()}
    torch.manual_seed(7)
    kind = AutoModelForMaskedLM if name in BOTH_WAYS else AutoModelForCausalLM
    model = kind.from_config(CONFIG_MAPPING[model_type](**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model.eval()


def columns(*blocks: tuple[int, int]) -> list[int]:
    """The columns of (start, stop) blocks."""
    return [column for start, stop in blocks for column in range(start, stop)]


_LLAMA: dict[str, Any] = {
    "embed": ("model.embed_tokens", "out", None, 1.0),
    "resid_pre": ("model.layers.{l}", "in", None, 1.0),
    "attn_in": ("model.layers.{l}.input_layernorm", "out", None, 1.0),
    "q": ("model.layers.{l}.self_attn.q_proj", "out", None, 1.0),
    "k": ("model.layers.{l}.self_attn.k_proj", "out", None, 1.0),
    "v": ("model.layers.{l}.self_attn.v_proj", "out", None, 1.0),
    "z": ("model.layers.{l}.self_attn.o_proj", "in", None, 1.0),
    "attn_out": ("model.layers.{l}.self_attn", "out", None, 1.0),
    "resid_mid": ("model.layers.{l}.post_attention_layernorm", "in", None, 1.0),
    "mlp_in": ("model.layers.{l}.post_attention_layernorm", "out", None, 1.0),
    "neurons": ("model.layers.{l}.mlp.down_proj", "in", None, 1.0),
    "mlp_out": ("model.layers.{l}.mlp", "out", None, 1.0),
    "resid_post": ("model.layers.{l}", "out", None, 1.0),
    "final_norm": ("model.norm", "out", None, 1.0),
}
_GPT2: dict[str, Any] = {
    "embed": ("transformer.wte", "out", None, 1.0),
    "resid_pre": ("transformer.h.{l}", "in", None, 1.0),
    "attn_in": ("transformer.h.{l}.ln_1", "out", None, 1.0),
    "q": ("transformer.h.{l}.attn.c_attn", "out", columns((0, 32)), 1.0),
    "k": ("transformer.h.{l}.attn.c_attn", "out", columns((32, 64)), 1.0),
    "v": ("transformer.h.{l}.attn.c_attn", "out", columns((64, 96)), 1.0),
    "z": ("transformer.h.{l}.attn.c_proj", "in", None, 1.0),
    "attn_out": ("transformer.h.{l}.attn", "out", None, 1.0),
    "resid_mid": ("transformer.h.{l}.ln_2", "in", None, 1.0),
    "mlp_in": ("transformer.h.{l}.ln_2", "out", None, 1.0),
    "neurons": ("transformer.h.{l}.mlp.c_proj", "in", None, 1.0),
    "mlp_out": ("transformer.h.{l}.mlp", "out", None, 1.0),
    "resid_post": ("transformer.h.{l}", "out", None, 1.0),
    "final_norm": ("transformer.ln_f", "out", None, 1.0),
}
_NEOX: dict[str, Any] = {
    "embed": ("gpt_neox.embed_in", "out", None, 1.0),
    "resid_pre": ("gpt_neox.layers.{l}", "in", None, 1.0),
    "attn_in": ("gpt_neox.layers.{l}.input_layernorm", "out", None, 1.0),
    "q": ("gpt_neox.layers.{l}.attention.query_key_value", "out", columns((0, 8), (24, 32), (48, 56), (72, 80)), 1.0),
    "k": ("gpt_neox.layers.{l}.attention.query_key_value", "out", columns((8, 16), (32, 40), (56, 64), (80, 88)), 1.0),
    "v": ("gpt_neox.layers.{l}.attention.query_key_value", "out", columns((16, 24), (40, 48), (64, 72), (88, 96)), 1.0),
    "z": ("gpt_neox.layers.{l}.attention.dense", "in", None, 1.0),
    "attn_out": ("gpt_neox.layers.{l}.attention", "out", None, 1.0),
    "mlp_in": ("gpt_neox.layers.{l}.post_attention_layernorm", "out", None, 1.0),
    "neurons": ("gpt_neox.layers.{l}.mlp.dense_4h_to_h", "in", None, 1.0),
    "mlp_out": ("gpt_neox.layers.{l}.mlp", "out", None, 1.0),
    "resid_post": ("gpt_neox.layers.{l}", "out", None, 1.0),
    "final_norm": ("gpt_neox.final_layer_norm", "out", None, 1.0),
}
_GEMMA2 = {
    **_LLAMA,
    "attn_out": ("model.layers.{l}.post_attention_layernorm", "out", None, 1.0),
    "resid_mid": ("model.layers.{l}.pre_feedforward_layernorm", "in", None, 1.0),
    "mlp_in": ("model.layers.{l}.pre_feedforward_layernorm", "out", None, 1.0),
    "mlp_out": ("model.layers.{l}.post_feedforward_layernorm", "out", None, 1.0),
}
_OLMO2 = {
    **_LLAMA,
    "attn_in": ("model.layers.{l}.self_attn", "in", None, 1.0),
    "attn_out": ("model.layers.{l}.post_attention_layernorm", "out", None, 1.0),
    "resid_mid": ("model.layers.{l}.mlp", "in", None, 1.0),
    "mlp_in": ("model.layers.{l}.mlp", "in", None, 1.0),
    "mlp_out": ("model.layers.{l}.post_feedforward_layernorm", "out", None, 1.0),
}
_PHI3 = {
    **_LLAMA,
    "q": ("model.layers.{l}.self_attn.qkv_proj", "out", columns((0, 32)), 1.0),
    "k": ("model.layers.{l}.self_attn.qkv_proj", "out", columns((32, 48)), 1.0),
    "v": ("model.layers.{l}.self_attn.qkv_proj", "out", columns((48, 64)), 1.0),
}
_GRANITE = {
    **_LLAMA,
    "embed": ("model.embed_tokens", "out", None, 3.0),
    "attn_out": ("model.layers.{l}.self_attn", "out", None, 0.5),
    "mlp_out": ("model.layers.{l}.mlp", "out", None, 0.5),
}
_EXPERTS = {name: place for name, place in _LLAMA.items() if name != "neurons"}
_GPTJ = {
    **{name: place for name, place in _GPT2.items() if name != "resid_mid"},
    "attn_in": ("transformer.h.{l}.attn", "in", None, 1.0),
    "q": ("transformer.h.{l}.attn.q_proj", "out", None, 1.0),
    "k": ("transformer.h.{l}.attn.k_proj", "out", None, 1.0),
    "v": ("transformer.h.{l}.attn.v_proj", "out", None, 1.0),
    "z": ("transformer.h.{l}.attn.out_proj", "in", None, 1.0),
    "mlp_in": ("transformer.h.{l}.mlp", "in", None, 1.0),
    "neurons": ("transformer.h.{l}.mlp.fc_out", "in", None, 1.0),
}
_PARALLEL = {
    **{name: place for name, place in _LLAMA.items() if name != "resid_mid"},
    "attn_in": ("model.layers.{l}.self_attn", "in", None, 1.0),
    "mlp_in": ("model.layers.{l}.mlp", "in", None, 1.0),
}
_PHI = {
    **_PARALLEL,
    "z": ("model.layers.{l}.self_attn.dense", "in", None, 1.0),
    "neurons": ("model.layers.{l}.mlp.fc2", "in", None, 1.0),
    "final_norm": ("model.final_layernorm", "out", None, 1.0),
}
_FALCON_SITES = {
    **_GPTJ,
    "embed": ("transformer.word_embeddings", "out", None, 1.0),
    "attn_in": ("transformer.h.{l}.self_attention", "in", None, 1.0),
    "q": ("transformer.h.{l}.self_attention.query_key_value", "out", columns((0, 32)), 1.0),
    "k": ("transformer.h.{l}.self_attention.query_key_value", "out", columns((32, 40)), 1.0),
    "v": ("transformer.h.{l}.self_attention.query_key_value", "out", columns((40, 48)), 1.0),
    "z": ("transformer.h.{l}.self_attention.dense", "in", None, 1.0),
    "attn_out": ("transformer.h.{l}.self_attention", "out", None, 1.0),
    "neurons": ("transformer.h.{l}.mlp.dense_4h_to_h", "in", None, 1.0),
}
_BERT: dict[str, Any] = {
    "embed": ("bert.embeddings.word_embeddings", "out", None, 1.0),
    "resid_pre": ("bert.encoder.layer.{l}", "in", None, 1.0),
    "attn_in": ("bert.encoder.layer.{l}.attention.self", "in", None, 1.0),
    "q": ("bert.encoder.layer.{l}.attention.self.query", "out", None, 1.0),
    "k": ("bert.encoder.layer.{l}.attention.self.key", "out", None, 1.0),
    "v": ("bert.encoder.layer.{l}.attention.self.value", "out", None, 1.0),
    "z": ("bert.encoder.layer.{l}.attention.output.dense", "in", None, 1.0),
    "attn_out": ("bert.encoder.layer.{l}.attention.output.dense", "out", None, 1.0),
    "resid_mid": ("bert.encoder.layer.{l}.intermediate", "in", None, 1.0),
    "mlp_in": ("bert.encoder.layer.{l}.intermediate", "in", None, 1.0),
    "neurons": ("bert.encoder.layer.{l}.output.dense", "in", None, 1.0),
    "mlp_out": ("bert.encoder.layer.{l}.output.dense", "out", None, 1.0),
    "resid_post": ("bert.encoder.layer.{l}", "out", None, 1.0),
}


def _called(base: str) -> dict[str, Any]:
    return {name: (path.replace("bert.", base + ".", 1), *rest) for name, (path, *rest) in _BERT.items()}


_DISTILBERT: dict[str, Any] = {
    "embed": ("distilbert.embeddings.word_embeddings", "out", None, 1.0),
    "resid_pre": ("distilbert.transformer.layer.{l}", "in", None, 1.0),
    "attn_in": ("distilbert.transformer.layer.{l}.attention", "in", None, 1.0),
    "q": ("distilbert.transformer.layer.{l}.attention.q_lin", "out", None, 1.0),
    "k": ("distilbert.transformer.layer.{l}.attention.k_lin", "out", None, 1.0),
    "v": ("distilbert.transformer.layer.{l}.attention.v_lin", "out", None, 1.0),
    "z": ("distilbert.transformer.layer.{l}.attention.out_lin", "in", None, 1.0),
    "attn_out": ("distilbert.transformer.layer.{l}.attention", "out", None, 1.0),
    "resid_mid": ("distilbert.transformer.layer.{l}.ffn", "in", None, 1.0),
    "mlp_in": ("distilbert.transformer.layer.{l}.ffn", "in", None, 1.0),
    "neurons": ("distilbert.transformer.layer.{l}.ffn.lin2", "in", None, 1.0),
    "mlp_out": ("distilbert.transformer.layer.{l}.ffn", "out", None, 1.0),
    "resid_post": ("distilbert.transformer.layer.{l}", "out", None, 1.0),
}
_QKV = "transformer.h.{l}.self_attention.query_key_value"

#: name -> component -> place
PLACES: dict[str, dict[str, tuple[str, str, list[int] | None, float]]] = {
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    "gpt_neox sequential": {
        **_NEOX,
        "resid_mid": ("gpt_neox.layers.{l}.post_attention_layernorm", "in", None, 1.0),
    },
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "olmo": _LLAMA,
    "smollm3": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "gemma3": {
        name: (path.replace("model.", "model.language_model.", 1), *rest) for name, (path, *rest) in _GEMMA2.items()
    },
    "phi3": _PHI3,
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "granite": _GRANITE,
    "mixtral": _EXPERTS,
    "qwen2_moe": _EXPERTS,
    "qwen3_moe": _EXPERTS,
    "olmoe": _EXPERTS,
    "gptj": _GPTJ,
    "phi": _PHI,
    "cohere": _PARALLEL,
    "falcon": _FALCON_SITES,
    "falcon new": {
        **_FALCON_SITES,
        "q": (_QKV, "out", columns((0, 16), (32, 48)), 1.0),
        "k": (_QKV, "out", columns((16, 24), (48, 56)), 1.0),
        "v": (_QKV, "out", columns((24, 32), (56, 64)), 1.0),
    },
    "falcon alibi": {
        **_FALCON_SITES,
        "attn_in": ("transformer.h.{l}.input_layernorm", "out", None, 1.0),
        "q": (_QKV, "out", columns((0, 8), (24, 32), (48, 56), (72, 80)), 1.0),
        "k": (_QKV, "out", columns((8, 16), (32, 40), (56, 64), (80, 88)), 1.0),
        "v": (_QKV, "out", columns((16, 24), (40, 48), (64, 72), (88, 96)), 1.0),
        "resid_mid": ("transformer.h.{l}.post_attention_layernorm", "in", None, 1.0),
        "mlp_in": ("transformer.h.{l}.post_attention_layernorm", "out", None, 1.0),
    },
    "bert": _BERT,
    "bert decoder": _BERT,
    "roberta": _called("roberta"),
    "xlm-roberta": _called("roberta"),
    "camembert": _called("roberta"),
    "electra": _called("electra"),
    "electra narrow": _called("electra"),
    "distilbert": _DISTILBERT,
}


def layer_path(name: str, layer: int) -> str:
    return PLACES[name]["resid_post"][0].format(l=layer)


def rest_of_layer(name: str, layer: nn.Module, mid: torch.Tensor) -> torch.Tensor:
    """What a layer gives for a residual stream between its attention and its MLP, family by family."""
    if name in ("gemma2", "gemma3_text", "gemma3"):
        return mid + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(mid)))
    if name in ("olmo2", "olmo3"):
        return mid + layer.post_feedforward_layernorm(layer.mlp(mid))
    if name == "gpt2":
        return mid + layer.mlp(layer.ln_2(mid))
    if name == "granite":
        return mid + 0.5 * layer.mlp(layer.post_attention_layernorm(mid))
    if name == "distilbert":
        return layer.output_layer_norm(mid + layer.ffn(mid))
    if name in POST_NORM:
        return layer.output.LayerNorm(mid + layer.output.dense(layer.intermediate(mid)))
    return mid + layer.mlp(layer.post_attention_layernorm(mid))
