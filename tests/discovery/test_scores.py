"""Scores from gradients against finite differences by hand, exact effects, and sums that have to come out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl.discovery.part_scores import Way
from causal_dsl.program.nodes import OutputNode
from causal_dsl.vocabulary.ports import Port
from tests.discovery.searched import Searched
from tests.engine.test_edges import EDGES, FAMILIES, SAME, ByHand, parsed
from tests.thinning import spread


def named(sender: str, receiver: str) -> tuple[OutputNode, Port]:
    """An edge as scores name it."""
    kind, layer, head = parsed(sender)
    node = OutputNode("mlp" if kind == "mlp_out" else kind, layer, head)  # type: ignore[arg-type]
    what, number, index = parsed(receiver)
    port = {"mlp_in": "mlp"}.get(what, what)
    return node, Port(port, number, index)  # type: ignore[arg-type]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("name", "padding"), spread([("llama", "left"), *product(FAMILIES, ("right",))], 3))
@torch.no_grad()
def test_an_edge_has_the_slope_of_a_double_forward_by_hand(name: str, padding: str) -> None:
    """What a receiver is given is changed by a small part of what the sender would change, with hooks by hand. Steps are not
    tiny, since norms compute in float32; of two sizes of step what is left of the third order goes."""
    searched = Searched(name, padding)
    found = searched.of.score_edges(Way())
    scores = dict(zip(found.of, found.means, strict=True))
    network, hand = searched.network, ByHand(searched.network, name)
    edges = [*EDGES, *([] if network.facts.parallel else [SAME])]
    slopes: dict[tuple[str, str], list[float]] = {edge: [] for edge in edges}
    inputs, pairs = searched.pairs.inputs, searched.pairs
    assert len(set(pairs.lengths.tolist())) > 1, "prompts of several lengths"
    for pair, (one, other) in enumerate(zip(pairs.base, pairs.source, strict=True)):
        ids, ids_ = (torch.tensor(inputs.rows(np.array([i]))[0]) for i in (one, other))
        plain, base = hand.kept(ids)
        _, source = hand.kept(ids_)
        stream = stream_of(network, hand, ids)

        def metric(logits: Tensor, pair: int = pair, plain: Tensor = plain) -> float:
            return float(searched.objective.values(logits[None], plain[None], np.array([pair]))[0])

        for sender, receiver in edges:
            delta = hand.delta(parsed(sender), base, source, stream)
            near, far = (
                (
                    metric(hand.patched(ids, parsed(receiver), -h * delta))
                    - metric(hand.patched(ids, parsed(receiver), h * delta))
                )
                / (2 * h)
                for h in (0.01, 0.02)
            )
            slopes[sender, receiver].append((4 * near - far) / 3)
    for edge, numbers in slopes.items():
        assert scores[named(*edge)] == pytest.approx(np.mean(numbers), rel=3e-3, abs=3e-4), edge
    assert max(abs(np.mean(numbers)) for numbers in slopes.values()) > 1e-3


def stream_of(network: Any, hand: ByHand, ids: Tensor) -> Tensor:
    """What enters the first layer."""
    stream: list[Tensor] = []
    handle = hand.layers[0].register_forward_pre_hook(
        lambda m, a, k: stream.append(a[0] if a else k["hidden_states"]), with_kwargs=True
    )
    network.model(ids[None])
    handle.remove()
    return stream[0]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_gradients_along_a_path_add_up_to_the_whole_effect(name: str) -> None:
    """Completeness (Sundararajan et al. 2017): the scores of a stage add up to what the metric loses where all of it is taken
    from the counterfactual run; of the embedding that is all."""
    searched = Searched(name)
    found = searched.of.score_nodes(Way(8, "activations"))
    for stage in searched.of.senders:
        whole = float(found.means[searched.of.at[stage]].sum())
        exact = float(searched.exact.effects([[searched.of.nodes[number] for number in searched.of.at[stage]]]).mean())
        assert whole == pytest.approx(exact, rel=0.02, abs=5e-3), stage
    along = searched.of.score_nodes(Way(12))
    assert along.means[0] == pytest.approx(along.ends[0] - along.ends[1], rel=0.05, abs=5e-3)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("metric", ["logit(o)", "log_prob(o) / 2 - 3 * log_prob(source.o)", "entropy"])
def test_nodes_and_edges_of_one_sender_tell_the_same(metric: str) -> None:
    """All that reads a sender together has the gradient of the sender: its edges add up to it where the gradient is taken at the
    base run, and at every point of a path."""
    searched = Searched("llama", metric=metric)
    for way in (Way(), Way(3)):
        nodes, edges = searched.of.score_nodes(way), searched.of.score_edges(way)
        sums = dict.fromkeys(nodes.of, 0.0)
        for (node, _), score in zip(edges.of, edges.means, strict=True):  # type: ignore[misc]
            sums[node] += score
        assert list(sums.values()) == pytest.approx(nodes.means, rel=1e-4, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama"])
def test_batches_change_nothing(name: str) -> None:
    whole, parts = Searched(name), Searched(name, memory=1)
    for way in (Way(), Way(1, "activations")):
        one, other = (searched.of.score_edges(way) for searched in (whole, parts))
        assert one.means == pytest.approx(other.means, rel=1e-8, abs=1e-12)
        assert one.passes == pytest.approx(other.passes)


@pytest.mark.slow
def test_the_exact_effects_of_edges_are_near_for_small_changes() -> None:
    """Where a counterfactual differs little, first order is all: embeddings of all words are brought together."""
    searched = Searched("llama")
    embed = searched.network.model.get_input_embeddings().weight
    before = embed.detach().clone()
    try:
        with torch.no_grad():
            embed.copy_(before.mean(dim=0) + 1e-3 * (before - before.mean(dim=0)) + 0.1 * before[:1])
        found = searched.of.score_edges(Way())
        exact = searched.exact.effects([[edge] for edge in found.of]).mean(axis=1)
    finally:
        with torch.no_grad():
            embed.copy_(before)
    assert np.corrcoef(exact, found.means)[0, 1] > 0.99


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", spread(FAMILIES, 3))
@torch.no_grad()
def test_a_node_has_the_slope_of_writes_by_hand(name: str) -> None:
    """What a node gives is moved by a small part of its change, by hooks of the test's own; and the self-check says the same."""
    searched = Searched(name)
    found = searched.of.score_nodes(Way())
    hand, pairs = ByHand(searched.network, name), searched.pairs
    sums = np.zeros((len(found.of), 2))
    for pair, (one, other) in enumerate(zip(pairs.base, pairs.source, strict=True)):
        ids, ids_ = (torch.tensor(pairs.inputs.rows(np.array([i]))[0]) for i in (one, other))
        plain, base = hand.kept(ids)
        _, source = hand.kept(ids_)
        for number, node in enumerate(found.of):
            falls = []
            for step in (0.01, 0.02):
                ends = [moved_by_hand(hand, name, ids, node, base, source, sign * step) for sign in (-1, 1)]
                back, on = (
                    float(searched.objective.values(logits[None], plain[None], np.array([pair]))[0]) for logits in ends
                )
                falls.append((back - on) / (2 * step))
            sums[number, 0] += (4 * falls[0] - falls[1]) / 3 / len(pairs)
            sums[number, 1] += float(found.groups[pair, number]) / len(pairs)
    assert sums[:, 1] == pytest.approx(sums[:, 0], rel=3e-3, abs=2e-3 if name == "gemma2" else 3e-4)
    assert np.abs(sums).max() > 1e-2
    assert searched.exact.slopes(found.of) == pytest.approx(sums[:, 0], rel=3e-3, abs=3e-3)


def moved_by_hand(
    hand: ByHand,
    name: str,
    ids: Tensor,
    node: OutputNode,
    base: dict[Any, Tensor],
    source: dict[Any, Tensor],
    by: float,
) -> Tensor:
    """The logits where a node's output is moved by a part of its change."""
    if node.kind == "head":
        at = slice(node.index * hand.size, (node.index + 1) * hand.size)
        given = base["z", node.layer].clone()
        given[..., at] += by * (source["z", node.layer] - base["z", node.layer])[..., at]
        module = hand.layers[node.layer].get_submodule(hand.out)
        handle = module.register_forward_pre_hook(lambda m, a: (given, *a[1:]))
    else:
        key = "embed" if node.kind == "embed" else ("mlp", node.layer)
        given = base[key] + by * (source[key] - base[key])
        after = "post_feedforward_layernorm" if name == "gemma2" else hand.mlp
        module = hand.embed if node.kind == "embed" else hand.layers[node.layer].get_submodule(after)
        handle = module.register_forward_hook(lambda m, a, o: given)
    logits: Tensor = hand.model(ids[None]).logits[0, -1]
    handle.remove()
    return logits
