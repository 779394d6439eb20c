"""The MLP of a layer."""

from __future__ import annotations

from collections.abc import Iterator

from causal_dsl.vocabulary.architectures.architecture import Architecture
from causal_dsl.vocabulary.components.component import Component, Identity, Layer
from causal_dsl.vocabulary.network_facts import Facts


def _fused(facts: Facts, architecture: Architecture) -> str | None:
    if architecture.neurons is not None:
        return None
    return f"the experts of `{facts.architecture}` are fused: there is no one vector of neurons"


def _whole(layer: Layer) -> Iterator[Identity]:
    got = layer.through("mlp_in", layer.read["mlp_in"][None])
    got = layer.ended(got[0] if isinstance(got, tuple) else got)
    given = layer.given["mlp"]
    yield "MLP(mlp_in) = MLP", got.reshape(given.shape), given, ("mlp_in",)


def _down(layer: Layer) -> Iterator[Identity]:
    got = layer.through("neurons", layer.read["neurons"])
    yield "down projection(neurons) = MLP", got, layer.given["mlp"], ("neurons", "mlp_in")


FAMILY = (
    Component(
        "mlp_in",
        12,
        "what the MLP reads, after its norm",
        11,
        11,
        module_input=True,
        place=lambda architecture: architecture.mlp + "<",
        identity=_whole,
        named_by=("mlp",),
    ),
    Component(
        "neurons",
        13,
        "what enters the down-projection of the MLP, gate included",
        12,
        12,
        width=lambda facts, site: facts.mlp_width,
        place=lambda architecture: architecture.neurons,
        absent=_fused,
        identity=_down,
        named_by=("mlp", "neurons"),
        node="neuron",
    ),
    Component(
        "mlp_out",
        14,
        "the term that the MLP adds to the residual stream",
        14,
        14,
        logit="term",
        place=lambda architecture: architecture.mlp_out,
        scale="scale",
        named_by=("attention", "mlp"),
        node="mlp",
    ),
)
