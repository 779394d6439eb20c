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
LAYOUT: Mapping[str, Setting] = {
    **{name: Setting("string") for name in PATHS},
    **{name: Setting("int", low=1) for name in SIZES},
}
#: What is said of one's own network of tokens.
SEQUENCE: Mapping[str, Setting] = {"vocabulary": Setting("texts"), **LAYOUT}

__all__ = ["ENDS", "LAYOUT", "PATHS", "SEQUENCE", "SIZES"]
