"""Mixtures of experts: the scores by which experts are chosen for a token, and the term that each of them adds."""

from __future__ import annotations

from collections.abc import Iterator

from causal_dsl.vocabulary.architectures.architecture import Architecture
from causal_dsl.vocabulary.components.component import Component, Identity, Layer
from causal_dsl.vocabulary.network_facts import Facts


def _no_experts(facts: Facts, architecture: Architecture) -> str | None:
    if architecture.router and architecture.experts:
        return "all its layers are dense: it has no experts" if len(facts.dense) == facts.layers else None
    return f"no experts are known in `{facts.architecture}`"


def _dense(facts: Facts, layer: int) -> str | None:
    return f"the MLP of layer {layer} is dense: it has no experts" if layer in facts.dense else None


def _routed(layer: Layer) -> Iterator[Identity]:
    found = layer.through("router", layer.read["mlp_in"])
    got = found[0] if isinstance(found, tuple) else found
    yield "router(mlp_in) = router", got, layer.read["router"], ("router", "mlp_in")


def _added(layer: Layer) -> Iterator[Identity]:
    vectors, expected = layer.read["mlp_in"], layer.read["expert_out"]
    routed = layer.through("router", vectors)
    if not isinstance(routed, tuple) or len(routed) != 3:
        raise ValueError("its router gives scores alone, and not the experts that are chosen")
    _, weights, chosen = routed
    whole = layer.through("expert_out", vectors, chosen, weights)
    yield "experts(mlp_in) = expert_out", whole, expected, ("expert_out",)
    terms = [layer.through("expert_out", vectors, chosen, weights * (chosen == e)) for e in chosen.unique().tolist()]
    yield "sum of the experts' terms = expert_out", sum(terms[1:], terms[0]), expected, ("expert_out",)


FAMILY = (
    Component(
        "router",
        12.5,
        "the scores of all experts, by which those of a token are chosen and weighted",
        12,
        12,
        width=lambda facts, site: facts.experts,
        place=lambda architecture: f"{architecture.router}>" if architecture.router else None,
        absent=_no_experts,
        absent_in=_dense,
        identity=_routed,
        more="It is of a mixture of experts. If the scores are written, experts are chosen and weighted by the new ones.",
    ),
    Component(
        "expert_out",
        12.7,
        "what the experts of a token add together, weighted; of one expert: expert[e].out",
        13,
        13,
        place=lambda architecture: f"{architecture.experts}>" if architecture.experts else None,
        absent=_no_experts,
        absent_in=_dense,
        identity=_added,
        more="The term of an expert is its output times its weight, 0 if it is not chosen; what is written takes the place of that term.",
        path="`layer[l].expert_out[p]`, `layer[l].expert[e].out[p]`",
    ),
)
