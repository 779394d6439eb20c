"""The record of an architecture of transformers: how its config is read, and where its sites are in its modules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass

#: The value that a config has under a name: the file's, else that of its configuration class.
Get = Callable[[str], Any]

#: The names that one size goes by in configs, in the order in which they are looked up.
SIZES: Mapping[str, tuple[str, ...]] = {
    "layers": ("decoder_layers", "num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("decoder_attention_heads", "num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv": ("num_key_value_heads", "num_kv_heads"),
    "head": ("head_dim",),
    "width": ("hidden_size", "n_embd", "n_embed", "d_model", "dim"),
    "mlp": ("decoder_ffn_dim", "intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "hidden_dim"),
    "context": ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"),
    "vocabulary": ("vocab_size",),
    "embed": ("embedding_size",),
}
#: The names that the activation of the MLP goes by in configs, in the order in which they are looked up.
ACTIVATIONS = ("hidden_activation", "hidden_act", "activation_function", "activation")
#: Components that are of heads; that are seen where attention is run apart; and all that a layout says where to find.
HEADS = ("q", "k", "v", "q_rot", "k_rot", "pattern", "z")
COMPARED = ("q_rot", "k_rot", "pattern")
STREAM = (
    "embed",
    "resid_pre",
    "attn_in",
    *HEADS,
    "attn_out",
    "resid_mid",
    "mlp_in",
    "neurons",
    "mlp_out",
    "resid_post",
    "final_norm",
)
_GENERATED = Path(__file__).parent / "defaults.json"
#: Two names of one number: which of them a file has depends on the version of transformers that wrote it.
_SAME = {"num_experts": "num_local_experts", "num_local_experts": "num_experts"}


@dataclass(frozen=True)
class Architecture:
    """``name`` is its ``model_type``. The rest says how it differs from llama. Nothing of it is believed: it is tested on
    each network at load.

    Of the config: ``text`` is the ``model_type`` of the part that reads text, where that is a part. ``defaults`` is what
    the configuration class says where a file says nothing; empty for what was generated (``defaults.json``).
    ``computed_head``: a head is as wide as the stream divided by the heads, whatever a file says. ``kv``: as many heads of
    keys as the ``config`` says, ``one`` for all queries, or ``all``, one for each. ``late``: positions are counted from
    the padding token's id + 1. ``settle`` gives the record of one config.

    ``parallel``: attention and MLP read the same residual stream. ``both_ways``: every token looks at every other, and the
    network fills in a masked token. ``gated``: the MLP multiplies what it reads by a gate.
    ``inner``, of experts: how many inner numbers a token has in those that it goes through; ``count``: how many there are, and
    ``dense``: the layers that have none. ``obeyed``: transformers takes
    the tokenizer class that the files name. ``checkpoints``: patterns of the names of such networks, ``same``: two names of one network.

    Of the modules, as transformers names them: ``<`` is what enters one, ``>`` what leaves it. Paths in a layer start at
    the layer, the others at the model. ``split`` says how q, k, v lie in the output of their module: ``apart`` (a module
    each), ``blocks`` (all q, all k, all v), ``heads`` (q, k, v of head 0, then of head 1, …), ``groups`` (the query heads
    of a group, its k, its v). ``scale`` is the attribute of a layer that multiplies what attention and MLP add,
    ``embed_scale`` that of the base model. ``mid`` is None in parallel blocks, ``neurons`` for fused experts.
    ``interface``: attention goes through the interface of transformers, which shows q, k and weights after rotary angles.
    ``router`` and ``experts`` are modules of a layer: what scores experts (and gives scores, weights and the chosen ones), and what runs those
    that were chosen; empty where they are not known.
    ``head`` are the modules from the final norm to the logits, one after the other, and ``unembed`` is the one among (or
    in) them that has a row a token.

    ``norms``, where the stream is normed after each addition: the modules that do it, in the middle and at the end of a
    layer; ``norm`` is then None, and ``mid`` what the first of them gives: the stream itself. ``ends``: the modules that
    attention and MLP end in, where ``attention`` and ``mlp`` do not hold them. ``beside`` are the modules whose outputs
    are added to ``embed``, and ``enter`` those that their sum goes through; empty where positions alone are added.

    Of a network that no record describes the modules are found as it is loaded (``inferred``,
    :mod:`causal_dsl.network.inferred`), or named in its declaration: ``absent`` says why a component has no place, ``each`` are the records of its layers
    where they are of several kinds, ``tail`` the modules from the MLP's first to its last, and ``scale`` and ``embed_scale``
    may be the numbers themselves. ``right``: what is padded at the left is not what it is alone, so the right side is padded.
    ``pattern`` is the module of a layer that attention weights [rows, heads, queries, keys] leave.

    ``tiny`` are the settings, beside its sizes, of a small network that has all that is special about it (a function of
    the number of layers where they depend on it), and ``forms`` those of others whose sites lie elsewhere: tests hold
    every one of them against hooks."""

    name: str
    text: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False)
    computed_head: bool = False
    kv: Literal["config", "one", "all"] = "config"
    late: bool = False
    settle: Callable[[Architecture, Get], Architecture] | None = None
    parallel: bool = False
    both_ways: bool = False
    gated: bool = True
    inner: Callable[[Get], Any] | None = None
    count: Callable[[Get], Any] | None = None
    dense: Callable[[Get], tuple[int, ...]] | None = None
    obeyed: bool = False
    checkpoints: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict, compare=False)
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
    router: str = ""
    experts: str = ""
    norm: str | None = "model.norm>"
    unembed: str = "lm_head"
    head: tuple[str, ...] = ("lm_head",)
    norms: tuple[str, str] | None = None
    ends: tuple[str, str] | None = None
    beside: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    scale: str | float | None = None
    embed_scale: str | float | None = None
    interface: bool = True
    inferred: bool = False
    right: bool = False
    absent: Mapping[str, str] = field(default_factory=dict, compare=False)
    each: tuple[Architecture, ...] = ()
    pattern: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict, compare=False)
    forms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)

    @property
    def said(self) -> Mapping[str, Any]:
        """The defaults of its configuration class, for what a file does not say."""
        return self.defaults or generated().get(self.name, {})

    def of(self, get: Get) -> Architecture:
        """The record of one config."""
        found = self if self.settle is None else self.settle(self, get)
        return replace(found, mid=None) if found.parallel else found

    def of_config(self, config: Mapping[str, Any] | object) -> Architecture:
        """:meth:`of` what ``config.json`` holds, or of a config of transformers."""
        if isinstance(config, Mapping):
            return self.of(self.reads(config))
        said = self.said
        return self.of(lambda name: getattr(config, name, said.get(name)))

    def reads(self, config: Mapping[str, Any]) -> Get:
        """The value in ``config.json`` under a name, else the default of its configuration class."""

        def get(name: str) -> Any:
            other = _SAME.get(name, name)
            for found in (config, self.said):
                for known in (name, other):
                    if known in found:
                        return found[known]
            return None

        return get

    def at(self, layer: int | None) -> Architecture:
        """The record of one layer; without one, of the whole."""
        return self.each[layer] if self.each and layer is not None else self

    def called(self, size: str) -> str | None:
        """The name of a size in its configs; None where they do not have it."""
        return next((name for name in SIZES[size] if name in self.said), None)


@cache
def decoders() -> Mapping[str, Mapping[str, Any]]:
    """The same of the other causal language models of transformers, whose layout is inferred as they are loaded."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(
        _GENERATED.with_name("decoders.json").read_text(encoding="utf-8")
    )
    return found


@cache
def generated() -> Mapping[str, Mapping[str, Any]]:
    """The defaults of the configuration classes of transformers, by model type (written by ``docs/generate.py``)."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(_GENERATED.read_text(encoding="utf-8"))
    return found


__all__ = ["ACTIVATIONS", "COMPARED", "HEADS", "SIZES", "STREAM", "Architecture", "Get", "decoders", "generated"]
