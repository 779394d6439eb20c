"""Greedy search (ACDC) against the loop of the paper by hand, and on a program whose edges are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.discovery.greedy_search import GreedySearch
from causal_dsl.discovery.stability import name_of
from causal_dsl.program.discovery import pruned
from causal_dsl.report.text import text
from causal_dsl.vocabulary.network_facts import Facts
from tests.discovery.searched import Searched
from tests.discovery.test_discover import judged
from tests.engine.tiny import spec_of

TRUE = {"embed -> layer[0].mlp_in", "layer[0].mlp_out -> layer[1].head[0].v", "layer[1].head[0] -> logits"}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("loss", ["kl", "fall"])
def test_the_true_edges_are_found(loss: str) -> None:
    cell: Any = judged("frac_prevs", "edges", f"acdc(threshold=0.001, loss={loss})")
    (found,) = cell.circuit.found
    assert {name for name, score in found.scores.items() if score >= 0.001} == TRUE
    assert set(cell.circuit.lines) == TRUE
    assert (found.by, found.keep, found.correlation, found.stability) == ("threshold", 0.001, None, None)
    assert found.metric == ("kl" if loss == "kl" else "gained")
    assert cell.scores["faithfulness(gained)"].value == pytest.approx(1.0, abs=1e-3)


class Gpt2Edges:
    """A gpt2 model in which every receiver reads a sum of its own: of what each sender gives in this run, or gave in another one."""

    def __init__(self, model: Any):
        self.model = model
        self.heads, self.width = model.config.n_head, model.config.n_embd
        self.size = self.width // self.heads

    def run(self, ids: Tensor, other: dict[str, Tensor], dropped: set[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits at the last token, and what each sender gives to the stream."""
        body = self.model.transformer
        given: dict[str, Tensor] = {"embed": body.wte(ids)}
        rest = body.wpe(torch.arange(len(ids)))  # what no sender gives: positions and biases

        def read(receiver: str) -> Tensor:
            parts = [other[s] if f"{s} -> {receiver}" in dropped else own for s, own in given.items()]
            return rest + torch.stack(parts).sum(dim=0)

        mask = torch.ones(len(ids), len(ids)).tril().bool()
        for n, layer in enumerate(body.h):
            weight, bias = layer.attn.c_attn.weight, layer.attn.c_attn.bias
            made = {}
            for head in range(self.heads):
                q, k, v = (
                    nn.functional.linear(layer.ln_1(read(f"layer[{n}].head[{head}].{kind}")), weight[:, at].T, bias[at])
                    for turn, kind in enumerate("qkv")
                    for at in [slice(turn * self.width + head * self.size, turn * self.width + (head + 1) * self.size)]
                )
                pattern = (q @ k.T / self.size**0.5).masked_fill(~mask, -torch.inf).softmax(dim=-1)
                out = layer.attn.c_proj.weight[head * self.size : (head + 1) * self.size]
                made[f"layer[{n}].head[{head}]"] = pattern @ v @ out
            given |= made
            rest = rest + layer.attn.c_proj.bias
            given[f"layer[{n}].mlp_out"] = layer.mlp(layer.ln_2(read(f"layer[{n}].mlp_in")))
        return self.model.lm_head(body.ln_f(read("logits")))[-1], given


def receivers(layers: int, heads: int) -> list[str]:
    """From the logits backwards."""
    found = ["logits"]
    for n in reversed(range(layers)):
        found.append(f"layer[{n}].mlp_in")
        found += [f"layer[{n}].head[{head}].{kind}" for kind in "vkq" for head in reversed(range(heads))]
    return found


@pytest.mark.slow
@torch.no_grad()
def test_the_search_is_the_loop_of_the_paper() -> None:
    """Each edge from the last one on is dropped where KL then rises by less than the threshold, in a network of loops."""
    searched = Searched("gpt2")
    hand, network, pairs = Gpt2Edges(searched.network.model), searched.network, searched.pairs
    runs = []
    for pair in zip(pairs.base, pairs.source, strict=True):
        base, source = (torch.tensor(pairs.inputs.rows(np.array([number]))[0]) for number in pair)
        logits = hand.run(base, {}, set())[0]
        assert logits.numpy() == pytest.approx(network.model(base[None]).logits[0, -1].numpy(), abs=1e-5)
        runs.append((base, logits.log_softmax(-1), hand.run(source, {}, set())[1]))

    def kl(dropped: set[str]) -> float:
        found = [
            float((plain.exp() * (plain - hand.run(ids, other, dropped)[0].log_softmax(-1))).sum())
            for ids, plain, other in runs
        ]
        return float(np.mean(found))

    search = GreedySearch(searched.exact, searched.of.edges, 0.002, "kl")
    found = search.search()
    scores = {name_of(edge): score for edge, score in zip(found.of, found.means, strict=True)}
    dropped: set[str] = set()
    tried, now = [], 0.0
    computed = list(runs[0][2])
    assert computed.index("layer[0].mlp_out") < computed.index("layer[1].head[0]")
    for receiver in receivers(len(network.layers), hand.heads):
        for sender in reversed(computed):
            edge = f"{sender} -> {receiver}"
            if edge not in scores:
                continue
            new = kl(dropped | {edge})
            assert scores[edge] == pytest.approx(new - now, abs=1e-6), edge
            tried.append(edge)
            if new - now < 0.002:
                dropped.add(edge)
                now = new
    assert sorted(tried) == sorted(scores) and 0 < len(dropped) < len(scores)
    assert found.ends == pytest.approx((0.0, search.exact.objective.values(*_ends(search)).mean()), abs=1e-9)
    assert found.passes[0] < 2 + len(scores), "what a component reads that gives nothing on is not run"


def _ends(search: GreedySearch) -> tuple[Tensor, Tensor, np.ndarray]:
    assert search.held is not None
    (runs,) = search.held
    return runs.source, runs.base, runs.which


@pytest.mark.slow
def test_memory_changes_nothing() -> None:
    results = []
    for memory in (2**30, 1):
        searched = Searched("llama", memory=memory)
        results.append(GreedySearch(searched.exact, searched.of.nodes, 0.01, "fall").search().means)
    assert results[0] == pytest.approx(results[1], abs=1e-9)
    assert (results[0] >= 0.01).any() and (results[0] < 0.01).any()


def test_thresholds_are_swept_over_and_told(tmp_path: Path) -> None:
    more = """
circuit found(t in [0.0, 0.002, 100]) : net = discover(nodes, method=acdc(threshold=t, loss=fall))
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=8, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    result = api.run(api.parse(spec_of("llama", more)), Options(out=tmp_path))
    circuits = [cell.circuit for cell in result.tests[0].cells]
    sizes = [circuit.size.nodes for circuit in circuits if circuit is not None]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1] == 0
    told = text(result)
    assert f"acdc(threshold=0.002, loss=fall) of gap on 8 pairs of the fit part: {sizes[1]} of" in " ".join(
        told.split()
    )
    assert len(list(tmp_path.rglob("circuits/*.json"))) == 3


def test_edges_of_some_senders_lie_on_paths_through_the_others() -> None:
    facts = Facts("language", layers=2, heads=2, kv_heads=2)
    edges = [
        "layer[0].head[0] -> layer[1].mlp_in",
        "layer[0].head[1] -> layer[1].head[0].q",
        "layer[1].head[1] -> logits",
    ]
    # the MLP gives its output on, and the embedding reaches all; the head that reads by `q` gives nothing on
    assert pruned(edges, facts, ["head"]) == [edges[0], edges[2]]
    assert pruned(edges, facts) == []
