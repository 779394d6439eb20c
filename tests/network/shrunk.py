"""A tiny random network of any model type that transformers calls a causal language model, or that reads text beside pictures
or sound.

Its configuration is the default one of its class with every size that goes by a known name made small, in the parts of it
as well; ``_OVERRIDES`` says what a family needs beside that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

#: Every model type of the tables of transformers; those of the second are run on text alone.
TEXT: tuple[str, ...] = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
MULTIMODAL: tuple[str, ...] = tuple(
    sorted(MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.keys() - MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys())
)
FAMILIES = TEXT + MULTIMODAL
LAYERS, WIDTH, HEADS, SHARED, INNER, CONTEXT, VOCABULARY = 2, 32, 4, 2, 40, 64, 101
_LARGEST = 5_000_000
_NAMES: dict[int | tuple[int, str], tuple[str, ...]] = {
    (LAYERS, "layers"): (
        "num_hidden_layers",
        "n_layer",
        "num_layers",
        "n_layers",
        "num_blocks",
        "decoder_layers",
        "num_decoder_layers",
        "encoder_layers",
        "depth",
    ),
    (HEADS, "heads"): (
        "num_attention_heads",
        "n_head",
        "n_heads",
        "num_heads",
        "decoder_attention_heads",
        "encoder_attention_heads",
    ),
    (SHARED, "shared"): ("num_key_value_heads", "num_kv_heads"),
    (WIDTH, "width"): ("hidden_size", "n_embd", "n_embed", "d_model", "dim", "embedding_size", "word_embed_proj_dim"),
    (WIDTH // HEADS, "head"): ("head_dim",),
    (INNER, "inner"): (
        "intermediate_size",
        "ffn_hidden_size",
        "ffn_dim",
        "hidden_dim",
        "decoder_ffn_dim",
        "encoder_ffn_dim",
        "dff",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
    ),
    (CONTEXT, "context"): ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len"),
    (VOCABULARY, "vocabulary"): ("vocab_size",),
    (4, "experts"): ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    (2, "chosen"): ("num_experts_per_tok", "moe_k", "moe_topk", "moe_top_k", "top_k"),
}
_SIZES = {name: size[0] for size, names in _NAMES.items() for name in names}  # type: ignore[index]
#: Sizes that only some families have: of compressed attention, of state spaces, of groups of experts.
_SIZES |= {
    **{"kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8},
    **{"index_n_heads": 2, "index_head_dim": 8, "index_topk": 8, "n_group": 1, "topk_group": 1, "num_expert_group": 1},
    **{"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8},
    **{"mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    **{"vocab_size_per_layer_input": 101, "hidden_size_per_layer_input": 8, "global_head_dim": 8},
    **{"num_kv_shared_layers": 0, "expert_ffn_hidden_size": 40, "zero_expert_num": 2, "rotary_dim": 4},
    **{"pronunciation_vocab_size": 40, "shape_vocab_size": 40, "emb_dim": 32, "n_words": 101},
}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_COMPRESSED = {"num_key_value_heads": HEADS, "head_dim": 4, "first_k_dense_replace": 1}
#: Positions of text, height and width share the numbers of a head.
_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
_OVERRIDES: dict[str, dict[str, Any]] = {
    "blip": {"vision_config": {"image_size": 16, "patch_size": 8}},
    "qwen2_vl": {"text_config": {"rope_parameters": _ROPE}, "vision_config": {"embed_dim": 32}},
    "qwen2_5_vl": {"text_config": {"rope_parameters": _ROPE}, "vision_config": {"out_hidden_size": 32}},
    **dict.fromkeys(
        ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "youtu"),
        _COMPRESSED,
    ),
    **{key: {"num_key_value_heads": HEADS} for key in ("minicpm3", "kimi_linear")},
    **{
        key: {"num_key_value_heads": HEADS, "swa_num_key_value_heads": HEADS}
        for key in ("dots3_note", "dots3_note_text")
    },
    **{key: {"head_dim": 8} for key in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    "nemotron": {"head_dim": 8, "num_key_value_heads": SHARED},
    "deepseek_v2": {**_COMPRESSED, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 64},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "longcat_flash": _COMPRESSED,
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (8, 8)},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}


def _small(default: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in default.items():
        if isinstance(value, dict) and name.endswith("config"):
            found[name] = _small(value, given.get(name, {}))
            if "model_type" in value:
                found[name]["model_type"] = value["model_type"]
        elif name in _SIZES and isinstance(value, int) and not isinstance(value, bool):
            found[name] = _SIZES[name]
        elif name in _TOKENS:
            found[name] = _TOKENS[name]
    return {
        **found,
        **{name: value for name, value in given.items() if name not in found or not isinstance(value, dict)},
    }


def tiny_config(family: str) -> Any:
    """The configuration of a tiny network of a model type."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    settings = _small(default.to_dict(), _OVERRIDES.get(family, {}))
    if getattr(default, "is_encoder_decoder", False):  # its decoder alone is the causal model
        settings["is_encoder_decoder"] = False
    if "is_decoder" in default.to_dict():
        settings["is_decoder"] = True
    return kind(**settings)


def tiny_model(family: str) -> nn.Module:
    """A tiny random network, in eval mode, whose weights are large enough that every site matters."""
    config = tiny_config(family)
    kind: Any = AutoModelForCausalLM if family in TEXT else AutoModelForMultimodalLM
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in kind.from_config(config).parameters())
    if count > _LARGEST:
        raise ValueError(f"its tiny configuration still has {count} parameters")
    torch.manual_seed(7)
    model: nn.Module = kind.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.15 * torch.randn_like(parameter))
    return model.eval()
