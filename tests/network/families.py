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

from causal_dsl.vocabulary.architectures import ARCHITECTURES, Architecture

LAYERS, VOCABULARY, HEAD = 3, 61, 8

#: The sizes of every tiny network; a config that does not speak of one of them has it from the others.
_SIZES = {"layers": LAYERS, "heads": 4, "kv": 2, "head": HEAD, "width": 32, "mlp": 40, "context": 64}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def settings_of(record: Architecture, form: str = "", layers: int = LAYERS) -> dict[str, Any]:
    """The settings of a tiny network of an architecture: its sizes by the names that its config has for them."""
    found: dict[str, Any] = {}
    for size, number in {**_SIZES, "vocabulary": VOCABULARY, "layers": layers}.items():
        name = record.called(size)
        if name is not None and (size == "kv" or record.said[name] is not None):
            found[name] = number
    found |= {name: number for name, number in _TOKENS.items() if name in record.said}
    found |= {**record.tiny, **(record.forms[form] if form else {})}
    found = {name: value(layers) if callable(value) else value for name, value in found.items()}
    return {name: value for name, value in found.items() if value is not None}


def config_of(name: str, layers: int = LAYERS) -> Any:
    """The config of a tiny network: "falcon", or "falcon new" of one of its forms."""
    model_type, _, form = name.partition(" ")
    record = ARCHITECTURES[model_type]
    settings = settings_of(record, form, layers)
    if record.text:
        text = CONFIG_MAPPING[record.text](**settings_of(ARCHITECTURES[record.text], layers=layers))
        settings["text_config"] = text.to_dict()
    return CONFIG_MAPPING[model_type](**settings)


#: name -> the architecture of every row of the package's table, and of each of its forms
CONFIGS: dict[str, Architecture] = {
    f"{record.name} {form}".strip(): record for record in ARCHITECTURES.usable() for form in ("", *record.forms)
}
_SETTLED = {name: record.of_config(config_of(name)) for name, record in CONFIGS.items()}
#: One family of each way in which attention, norms, experts and tokens can be: tests of all families always run these.
SAMPLE = (
    "gpt2",
    "llama",
    "gemma2",
    "olmo2",
    "qwen3_moe",
    "gptj",
    "falcon",
    "gpt_neox",
    "gpt_neox sequential",
    "bert",
    "distilbert",
)
#: Families whose tokens attend in both directions; these and the decoders among their kin norm the stream after each addition.
BOTH_WAYS = tuple(name for name, record in _SETTLED.items() if record.both_ways)
POST_NORM = tuple(name for name, record in _SETTLED.items() if record.norms is not None)


@cache
def model_of(name: str) -> nn.Module:
    """A random model of a family, large enough weights that every site matters; shared between tests.

    ``llama:2`` is one of two layers.
    """
    name, _, count = name.partition(":")
    config = config_of(name, int(count or LAYERS))
    torch.manual_seed(7)
    kind = AutoModelForMaskedLM if name in BOTH_WAYS else AutoModelForCausalLM
    model = kind.from_config(config)
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
_EXPERTS = {
    **{name: place for name, place in _LLAMA.items() if name != "neurons"},
    "router": ("model.layers.{l}.mlp.gate", "out", None, 1.0),
    "expert_out": ("model.layers.{l}.mlp.experts", "out", None, 1.0),
}
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
_GPT_NEO = {
    **_GPT2,
    "q": ("transformer.h.{l}.attn.attention.q_proj", "out", None, 1.0),
    "k": ("transformer.h.{l}.attn.attention.k_proj", "out", None, 1.0),
    "v": ("transformer.h.{l}.attn.attention.v_proj", "out", None, 1.0),
    "z": ("transformer.h.{l}.attn.attention.out_proj", "in", None, 1.0),
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


def derived_places(name: str) -> dict[str, tuple[str, str, list[int] | None, float]]:
    """The places of a row of the table that nobody wrote down here, from the row itself."""
    record, config = _SETTLED[name], config_of(name).get_text_config()
    heads, kv = config.num_attention_heads, getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    group = heads // kv
    starts = {
        "groups": {
            "q": [(h // group) * (group + 2) + h % group for h in range(heads)],
            "k": [h * (group + 2) + group for h in range(kv)],
            "v": [h * (group + 2) + group + 1 for h in range(kv)],
        },
        "blocks": {"q": range(heads), "k": range(heads, heads + kv), "v": range(heads + kv, heads + 2 * kv)},
        "heads": {"q": range(0, 3 * heads, 3), "k": range(1, 3 * heads, 3), "v": range(2, 3 * heads, 3)},
    }
    of_layer = {
        "attn_in": f"{record.attention}<",
        **{name: getattr(record, name) for name in ("q", "k", "v", "z", "attn_out")},
        "resid_mid": record.mid,
        "mlp_in": f"{record.mlp}<",
        **{name: getattr(record, name) for name in ("neurons", "mlp_out")},
        "router": f"{record.router}>" if record.router else None,
        "expert_out": f"{record.experts}>" if record.experts else None,
    }
    paths = {"embed": record.embed, "final_norm": record.norm, "resid_pre": "<", "resid_post": ">", **of_layer}
    found = {}
    for component, place in paths.items():
        if place is None:
            continue
        path, side = place[:-1], "in" if place.endswith("<") else "out"
        if component not in ("embed", "final_norm"):
            path = f"{record.layers}.{{l}}.{path}".rstrip(".")
        picked = None
        if record.split != "apart" and component in ("q", "k", "v"):
            picked = columns(*((HEAD * h, HEAD * (h + 1)) for h in starts[record.split][component]))
        attribute = {"embed": record.embed_scale, "attn_out": record.scale, "mlp_out": record.scale}.get(component)
        found[component] = (path, side, picked, float(getattr(config, attribute)) if attribute else 1.0)
    return found


#: name -> component -> place, by hand
_PLACES: dict[str, dict[str, tuple[str, str, list[int] | None, float]]] = {
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
    "gpt_neo": _GPT_NEO,
    "gpt_oss": {**_EXPERTS, "router": ("model.layers.{l}.mlp.router", "out", None, 1.0)},
}


class HookPlaces(dict[str, tuple[str, str, list[int] | None, float]]):
    """Component -> place in one family; of a component that has none here, an error says where to write it."""

    def __init__(self, family: str, places: dict[str, tuple[str, str, list[int] | None, float]]):
        super().__init__(places)
        self.family = family

    def __missing__(self, component: str) -> Any:
        raise LookupError(
            f"nobody wrote down where a hook for `{component}` goes in {self.family}: `_PLACES` of tests/network/families.py has the "
            f"places of each family ({', '.join(self)}), and `derived_places` those of families that are not listed there"
        )


PLACES = {name: HookPlaces(name, _PLACES.get(name) or derived_places(name)) for name in CONFIGS}


def changed(module: nn.Module, output: Any, change: Any) -> Any:
    """What a module gives, with a change of it: as one row [1, tokens, width] also where it gives tokens alone, as experts do."""
    first = output[0] if isinstance(output, tuple) else output
    new = change(first[None])[0] if first.ndim == 2 else change(first)
    if type(module).__name__.endswith("Router"):
        return rescored(module, new)
    return (new, *output[1:]) if isinstance(output, tuple) else new


def rescored(module: Any, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a router gives for scores of the experts [tokens, experts], written down family by family."""
    if type(module).__name__ == "GptOssTopKRouter":
        best, chosen = scores.topk(module.top_k, dim=-1)
        return scores, best.softmax(dim=-1), chosen
    best, chosen = scores.softmax(dim=-1).topk(module.top_k, dim=-1)
    if getattr(module, "norm_topk_prob", True):
        best = best / best.sum(dim=-1, keepdim=True)
    return scores, best, chosen


def layer_path(name: str, layer: int) -> str:
    return PLACES[name]["resid_post"][0].format(l=layer)


def rest_of_layer(name: str, layer: nn.Module, mid: torch.Tensor) -> torch.Tensor:
    """What a layer gives for a residual stream between its attention and its MLP, family by family."""
    if name in ("gemma2", "gemma3_text", "gemma3"):
        return mid + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(mid)))
    if name in ("olmo2", "olmo3"):
        return mid + layer.post_feedforward_layernorm(layer.mlp(mid))
    if name in ("gpt2", "gpt_neo"):
        return mid + layer.mlp(layer.ln_2(mid))
    if name == "gpt_oss":
        return mid + layer.mlp(layer.post_attention_layernorm(mid))[0]
    if name == "granite":
        return mid + 0.5 * layer.mlp(layer.post_attention_layernorm(mid))
    if name == "distilbert":
        return layer.output_layer_norm(mid + layer.ffn(mid))
    if name in POST_NORM:
        return layer.output.LayerNorm(mid + layer.output.dense(layer.intermediate(mid)))
    if name not in _PLACES:
        record = _SETTLED[name]
        read = mid if record.mid == "mlp<" else layer.get_submodule((record.mid or "")[:-1])(mid)
        added = layer.get_submodule(record.mlp)(read)
        added = added[0] if isinstance(added, tuple) else added
        return mid + (added if record.mlp_out == "mlp>" else layer.get_submodule(record.mlp_out[:-1])(added))
    return mid + layer.mlp(layer.post_attention_layernorm(mid))


def hooks_of(model: Any) -> list[tuple[dict[int, Any], dict[int, Any]]]:
    """The hooks of each module. transformers leaves its own on a model that was asked for its hidden states."""
    return [(dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in model.modules()]
