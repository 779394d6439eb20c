"""The settings of a network's declaration that say where its sites are in its modules."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.vocabulary.settings import Setting

#: Paths of modules that start at the network; ``layers`` holds the layers.
ENDS = ("layers", "norm", "embed", "unembed")
#: Paths of modules. Those that are no ends start at a layer.
PATHS = ("layers", "attention", "mlp", "middle", "q", "k", "v", "qkv", "out", "pattern", "neurons", *ENDS[1:])
#: Whole numbers: ``context`` is the longest prompt.
SIZES = ("heads", "kv_heads", "context")
_SAYS = {
    "layers": "the module that holds the layers, from which the paths of all sites start",
    "attention": "the attention of a layer",
    "mlp": "the MLP of a layer",
    "middle": "the module that is given the stream between attention and MLP; `mlp` where it is left out",
    "q": "the linear map to queries",
    "k": "the linear map to keys",
    "v": "the linear map to values",
    "qkv": "one linear map to queries, keys and values, in place of `q`, `k` and `v`",
    "out": "the output projection of attention",
    "pattern": "the module that gives the attention weights",
    "neurons": "the last linear map of the MLP",
    "norm": "the norm after the last layer",
    "embed": "the token embedding",
    "unembed": "the linear map to logits",
    "heads": "the number of heads",
    "kv_heads": "the number of heads of keys and values, where they are fewer",
    "context": "the longest prompt, in tokens",
}
LAYOUT: Mapping[str, Setting] = {
    **{name: Setting("string", says=_SAYS[name]) for name in PATHS},
    **{name: Setting("int", low=1, says=_SAYS[name]) for name in SIZES},
}
#: What is said of one's own network of tokens.
SEQUENCE: Mapping[str, Setting] = {
    "vocabulary": Setting(
        "texts", says="its tokens in their order, or a domain of them: white space parts the words of a prompt"
    ),
    **LAYOUT,
}

__all__ = ["ENDS", "LAYOUT", "PATHS", "SEQUENCE", "SIZES"]
