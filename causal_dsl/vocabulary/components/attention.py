"""Attention: what it reads, its heads, and the term that it adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from causal_dsl.vocabulary.architectures.architecture import Architecture
from causal_dsl.vocabulary.components.component import Component, Identity, Layer, head_width, key_width
from causal_dsl.vocabulary.network_facts import Facts


def _projected(name: str, layer: Layer) -> Iterator[Identity]:
    got = layer.columns(name, layer.through(name, layer.read["attn_in"]))
    yield f"projection(attn_in) = {name}", got, layer.read[name], ("attn_in", name)


def _output(layer: Layer) -> Iterator[Identity]:
    got = layer.through("z", layer.read["z"])
    yield "output projection(z) = attention", got, layer.given["attention"], ("z", "attn_in")


def _own(name: str) -> Callable[[Facts, Architecture], str | None]:
    def why(facts: Facts, architecture: Architecture) -> str | None:
        if architecture.interface or (name == "pattern" and architecture.pattern):
            return None
        return f"`{facts.architecture}` computes attention in its own code, which does not expose `{name}`"

    return why


FAMILY = (
    Component(
        "attn_in",
        2,
        "what the attention reads, after its norm",
        1,
        1,
        acts="keys",
        module_input=True,
        place=lambda architecture: architecture.attention + "<",
        named_by=("attention",),
    ),
    Component(
        "q",
        3,
        "queries, before rotary angles and norms",
        2,
        2,
        heads=True,
        width=head_width,
        packed=0,
        place=lambda architecture: architecture.q,
        identity=partial(_projected, "q"),
        more="A norm of queries and keys is that of qwen3, gemma3 or olmo2.",
        named_by=("attention", "q"),
    ),
    Component(
        "k",
        4,
        "keys, before rotary angles and norms",
        3,
        3,
        heads=True,
        acts="keys",
        width=key_width,
        packed=1,
        place=lambda architecture: architecture.k,
        identity=partial(_projected, "k"),
        named_by=("attention", "k"),
    ),
    Component(
        "v",
        5,
        "values",
        4,
        4,
        heads=True,
        acts="keys",
        width=key_width,
        packed=2,
        place=lambda architecture: architecture.v,
        identity=partial(_projected, "v"),
        named_by=("attention", "v"),
    ),
    Component(
        "q_rot",
        6,
        "queries as they are compared, after rotary angles and norms",
        5,
        5,
        heads=True,
        width=head_width,
        compared=True,
        absent=_own("q_rot"),
        named_by=("layers",),
    ),
    Component(
        "k_rot",
        7,
        "keys as they are compared, after rotary angles and norms",
        6,
        6,
        heads=True,
        acts="keys",
        width=key_width,
        compared=True,
        absent=_own("k_rot"),
        named_by=("layers",),
    ),
    Component(
        "pattern",
        8,
        "attention weights from the token to every token of its prompt",
        7,
        7,
        heads=True,
        width=lambda facts, site: None,  # as long as the prompt is
        compared=True,
        absent=_own("pattern"),
        named_by=("attention", "pattern", "v", "out"),
    ),
    Component(
        "z",
        9,
        "a head's output, before the output projection",
        8,
        8,
        heads=True,
        width=head_width,
        logit="head",
        place=lambda architecture: architecture.z,
        identity=_output,
        named_by=("attention", "out"),
        node="head",
    ),
    Component(
        "attn_out",
        10,
        "the term that attention adds to the residual stream",
        9,
        9,
        logit="term",
        place=lambda architecture: architecture.attn_out,
        scale="scale",
        named_by=("attention",),
        node="head",
    ),
)
