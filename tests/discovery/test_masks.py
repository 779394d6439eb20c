"""Learned masks: runs under gates against whole patches and sums by hand, and programs whose circuit is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.discovery.learned_masks import LearnedMasks, edges_masked, nodes_masked
from causal_dsl.network.forward import forward
from causal_dsl.report.text import text
from tests.discovery.searched import Searched
from tests.discovery.test_acdc import TRUE, Gpt2Edges
from tests.discovery.test_discover import TRUE as NODES
from tests.discovery.test_discover import judged
from tests.engine.test_edges import FAMILIES
from tests.engine.tiny import spec_of


def under(searched: Searched, which: np.ndarray, gates: Tensor, edges: bool) -> Tensor:
    """The logits of some pairs under gates."""
    source = searched.of.run(which, "source")
    hooked = edges_masked if edges else nodes_masked
    with hooked(searched.of, searched.pairs, which, source, gates):
        found = forward(
            searched.network,
            searched.pairs.rows("base", which),
            readout=torch.arange(len(which)),
            positions=searched.pairs.read(which),
            stop=False,
            padding=searched.of.padding,  # type: ignore[arg-type]
        )
    assert found.logits is not None
    return found.logits


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize(("name", "padding"), [*((name, "right") for name in FAMILIES), ("llama", "left")])
@torch.no_grad()
def test_closed_gates_are_patches(name: str, padding: str, edges: bool) -> None:
    """Gates that are 0 or 1 are what the hooks of interventions do, on prompts of several lengths in one batch."""
    searched = Searched(name, padding)
    parts: Any = searched.of.edges if edges else searched.of.nodes
    which = np.arange(len(searched.pairs))
    for seed in range(2):
        open_ = np.random.default_rng(seed).random(len(parts)) < 0.6
        mine = under(searched, which, torch.from_numpy(open_.astype(np.float64)), edges)
        dropped = [part for part, there in zip(parts, open_, strict=True) if not there]
        other = searched.exact.patched(searched.exact.plain(which, dropped), dropped)
        assert torch.allclose(mine.double(), other.double(), atol=2e-5 if name == "gemma2" else 1e-9)
    plain = searched.exact.plain(which, [])
    one = under(searched, which, torch.ones(len(parts), dtype=torch.float64), edges)
    assert torch.allclose(one.double(), plain.base.double(), atol=1e-6)
    assert float((mine - plain.base).abs().max()) > 1e-3


@torch.no_grad()
def test_gates_between_are_shares_of_what_is_read() -> None:
    """Every receiver of a gpt2 reads a weighted sum of its own, by hand."""
    searched = Searched("gpt2")
    edges = searched.of.edges
    gates = torch.from_numpy(np.random.default_rng(1).random(len(edges)))
    shares = {f"{node} -> {port}": float(gate) for (node, port), gate in zip(edges, gates, strict=True)}
    which = np.arange(len(searched.pairs))
    found = under(searched, which, gates, True)

    class Soft(Gpt2Edges):
        def mixed(self, ids: Tensor, other: dict[str, Tensor]) -> Tensor:
            return _soft(self, ids, other, shares)

    hand, inputs = Soft(searched.network.model), searched.pairs.inputs
    for pair in which.tolist():
        ids, ids_ = (
            torch.tensor(inputs.rows(np.array([i]))[0])
            for i in (searched.pairs.base[pair], searched.pairs.source[pair])
        )
        _, other = hand.run(ids_, {}, set())
        assert torch.allclose(found[pair], hand.mixed(ids, other), atol=1e-8)


def _soft(hand: Gpt2Edges, ids: Tensor, other: dict[str, Tensor], shares: dict[str, float]) -> Tensor:
    body = hand.model.transformer
    given: dict[str, Tensor] = {"embed": body.wte(ids)}
    rest = body.wpe(torch.arange(len(ids)))

    def read(receiver: str) -> Tensor:
        parts = [
            shares[f"{s} -> {receiver}"] * own + (1 - shares[f"{s} -> {receiver}"]) * other[s]
            for s, own in given.items()
        ]
        return rest + torch.stack(parts).sum(dim=0)

    mask = torch.ones(len(ids), len(ids)).tril().bool()
    for n, layer in enumerate(body.h):
        weight, bias, made = layer.attn.c_attn.weight, layer.attn.c_attn.bias, {}
        for head in range(hand.heads):
            q, k, v = (
                layer.ln_1(read(f"layer[{n}].head[{head}].{kind}")) @ weight[:, at] + bias[at]
                for turn, kind in enumerate("qkv")
                for at in [slice(turn * hand.width + head * hand.size, turn * hand.width + (head + 1) * hand.size)]
            )
            pattern = (q @ k.T / hand.size**0.5).masked_fill(~mask, -torch.inf).softmax(dim=-1)
            made[f"layer[{n}].head[{head}]"] = (
                pattern @ v @ layer.attn.c_proj.weight[head * hand.size : (head + 1) * hand.size]
            )
        given |= made
        rest = rest + layer.attn.c_proj.bias
        given[f"layer[{n}].mlp_out"] = layer.mlp(layer.ln_2(read(f"layer[{n}].mlp_in")))
    found: Tensor = hand.model.lm_head(body.ln_f(read("logits")))[-1]
    return found


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(("name", "what"), [("frac_prevs", "edges"), ("frac_prevs", "nodes"), ("hist", "nodes")])
def test_the_true_circuit_is_learned(name: str, what: str) -> None:
    cell: Any = judged(name, what, "masks(steps=120, seed=3)")
    (found,) = cell.circuit.found
    true = TRUE if what == "edges" else set(NODES[name][0])
    assert {part for part, score in found.scores.items() if score >= 0.5} == true
    assert cell.scores["faithfulness(gained)"].value == pytest.approx(1.0, abs=1e-3)
    assert (found.by, found.keep, found.metric, found.correlation) == ("threshold", 0.5, "kl", None)


@pytest.mark.slow
def test_seeds_penalties_and_sizes() -> None:
    """The same seed gives the same mask; a larger penalty closes gates; one fit serves circuits of several sizes."""
    few, many = Searched("llama"), Searched("llama")

    def learned(searched: Searched, sparsity: float, seed: int = 0) -> np.ndarray:
        return LearnedMasks(searched.of, False, 60, 0.1, sparsity, 2, seed).learn().means

    one = learned(few, 0.01)
    assert np.array_equal(one, learned(Searched("llama"), 0.01)) and not np.array_equal(one, learned(many, 0.01, 1))
    assert learned(Searched("llama"), 30.0).max() < 0.5 < one.mean()
    more = """
circuit found(k in [3, 50%]) : net = discover(nodes, method=masks(steps=20), keep=k)
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=4, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    results = api.run(api.parse(spec_of("llama", more)))
    three, half = (cell.circuit for cell in results.tests[0].cells)
    assert three is not None and half is not None and three.found[0].scores == half.found[0].scores
    assert (three.size.nodes, three.found[0].by) == (3, "signed") and half.size.nodes > 3
    shown = text(results, 300)
    assert "masks(steps=20" in shown and "threshold" not in shown, "a number is kept, and no threshold decides it"


@pytest.mark.slow
def test_gates_that_no_step_moves_are_told_of() -> None:
    """Compiled programs attend so sharply that what their queries and keys read has no gradient; a random network has some everywhere."""
    cell: Any = judged("hist", "edges", "masks(steps=20, seed=3)")
    (said,) = [one.text for one in cell.findings if one.code == "masks_still"]
    assert " edges had no gradient in any step" in said and "`" in said
    assert "what the penalty alone made of them" in said and "closed" not in said  # in few steps they are open yet
    more = """
circuit found : net = discover(nodes, method=masks(steps=20), keep=3)
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=4, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    (test,) = api.run(api.parse(spec_of("llama", more))).tests
    assert not [one for one in test.cells[0].findings if one.code == "masks_still"]
