"""Parts at tokens of a role, and means in the place of a counterfactual: against writes by hand, sums, and the test that judges them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.discovery.exact_effects import AtToken
from causal_dsl.discovery.learned_masks import LearnedMasks
from causal_dsl.discovery.part_scores import Way
from causal_dsl.discovery.stability import name_of
from causal_dsl.vocabulary.locations import Position
from tests.discovery.searched import Searched
from tests.discovery.test_masks import under
from tests.engine.test_edges import ByHand
from tests.engine.tiny import spec_of
from tests.thinning import some

X, Z, LAST = Position("placeholder", "x", 0), Position("placeholder", "z", 0), Position("index", index=-1)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("name", "padding"), [("llama", "left"), ("gpt2", "right"), ("gemma2", "right")])
def test_scores_at_tokens_are_slopes(name: str, padding: str) -> None:
    """Scores of nodes and edges at tokens are finite differences of writes at these tokens, and those at all tokens are their sum."""
    searched = Searched(name, padding, places=(X, Z))
    for scored in (searched.of.score_nodes(Way()), searched.of.score_edges(Way())):
        edges = isinstance(scored.of[0].part, tuple)  # type: ignore[union-attr]
        some = np.argsort(-np.abs(scored.means))[:6]
        if edges and name == "gemma2":
            continue  # the change of a head there does not move along a line
        slopes = searched.exact.slopes([scored.of[i] for i in some])
        assert scored.means[some] == pytest.approx(slopes, rel=3e-3, abs=2e-3 if name == "gemma2" else 1e-4)
        assert np.abs(slopes).max() > 1e-4
    every = Searched(name, padding, places=(Position("all"),)).of.score_nodes(Way(3))
    assert every.means == pytest.approx(Searched(name, padding).of.score_nodes(Way(3)).means, abs=1e-8)


@torch.no_grad()
def test_effects_at_tokens_are_writes_by_hand() -> None:
    """The vector at the role's token of the base is that at the role's token of the source, wherever these are."""
    searched = Searched("llama", places=(X, Z))
    hand, pairs = ByHand(searched.network, "llama"), searched.pairs
    node = next(one for one in searched.of.nodes if one.kind == "mlp" and one.layer == 1)
    effects = searched.exact.effects([[AtToken(node, X)], [AtToken(node, Z)]])
    spots = {
        (role, at): pairs.spots(role, at, np.arange(len(pairs)))[1] for role in ("base", "source") for at in (X, Z)
    }
    for pair in range(len(pairs)):
        ids, ids_ = (torch.tensor(pairs.inputs.rows(np.array([rows[pair]]))[0]) for rows in (pairs.base, pairs.source))
        plain, base = hand.kept(ids)
        _, source = hand.kept(ids_)
        for turn, at in enumerate((X, Z)):
            given = base["mlp", 1].clone()
            given[0, spots["base", at][pair]] = source["mlp", 1][0, spots["source", at][pair]]  # type: ignore[index]
            handle = hand.layers[1].mlp.register_forward_hook(lambda m, a, o, given=given: given)
            logits = hand.model(ids[None]).logits[0, -1]
            handle.remove()
            one = np.array([pair])
            fall = searched.objective.values(plain[None], plain[None], one) - searched.objective.values(
                logits[None], plain[None], one
            )
            assert effects[turn, pair] == pytest.approx(float(fall[0]), abs=1e-6)
    assert np.abs(effects).max() > 1e-3


@pytest.mark.parametrize("edges", [False, True])
@torch.no_grad()
def test_masks_at_tokens_are_patches(edges: bool) -> None:
    for name in ("llama", "gemma2"):
        searched = Searched(name, places=(X, Z))
        parts, which = searched.of.parts(edges), np.arange(len(searched.pairs))
        open_ = np.random.default_rng(0).random(len(parts)) < 0.5
        mine = under(searched, which, torch.from_numpy(open_.astype(np.float64)), edges)
        dropped = [part for part, there in zip(parts, open_, strict=True) if not there]
        plain = searched.exact.plain(which, dropped)
        assert torch.allclose(mine.double(), searched.exact.patched(plain, dropped).double(), atol=2e-5)
        assert float((mine - plain.base).abs().max()) > 1e-3


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("instead", some(["mean", "pooled", "zero"], ["mean"]))
def test_means_and_zeros_stand_for_a_counterfactual(instead: str) -> None:
    """Effects are those of writes by hand; gradients are their slopes; along a way they add up."""
    searched = Searched("llama", instead=instead)
    hand, pairs = ByHand(searched.network, "llama"), searched.pairs
    kept: list[tuple[Tensor, dict[Any, Tensor], Tensor]] = []
    with torch.no_grad():
        for rows in pairs.base:
            ids = torch.tensor(pairs.inputs.rows(np.array([rows]))[0])
            kept.append((*hand.kept(ids), ids))
        node = next(one for one in searched.of.nodes if one.kind == "mlp" and one.layer == 1)
        effects = searched.exact.effects([[node]])[0]
        vectors = [one[1]["mlp", 1][0] for one in kept]
        for pair, (plain, _, ids) in enumerate(kept):
            mean = {
                "mean": lambda: torch.stack(vectors).mean(dim=0),
                "pooled": lambda: torch.cat(vectors).mean(dim=0).expand(len(ids), -1),  # noqa: B023
                "zero": lambda: torch.zeros(len(ids), vectors[0].shape[1]).to(vectors[0]),  # noqa: B023
            }[instead]()
            handle = hand.layers[1].mlp.register_forward_hook(lambda m, a, o, mean=mean: mean[None])
            logits = hand.model(ids[None]).logits[0, -1]
            handle.remove()
            one = np.array([pair])
            values = [float(searched.objective.values(some[None], plain[None], one)[0]) for some in (plain, logits)]
            assert effects[pair] == pytest.approx(values[0] - values[1], abs=1e-6)
        assert np.abs(effects).max() > 1e-3
    scored = searched.of.score_nodes(Way())
    assert scored.means == pytest.approx(searched.exact.slopes(scored.of), rel=3e-3, abs=1e-4)
    edges = searched.of.score_edges(Way())
    assert edges.means[::9] == pytest.approx(searched.exact.slopes(edges.of[::9]), rel=3e-3, abs=1e-4)
    along = searched.of.score_nodes(Way(40))
    if instead != "zero":  # at a stream of zeros the gradient of a norm has no bound
        assert along.means[0] == pytest.approx(along.ends[0] - along.ends[1], rel=0.05, abs=5e-3)
    assert LearnedMasks(searched.of, False, 3, 0.1, 1.0, 2, 0).learn().ends == pytest.approx(along.ends, abs=1e-5)


@pytest.mark.slow
def test_a_circuit_at_tokens_is_found_and_judged(tmp_path: Path) -> None:
    more = """
circuit found(k in [4, 50%]) : net = discover(nodes, method=exact, keep=k, by=absolute, at=[x, y, last])
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=8, seed=3, controls=none) where base.template == source.template
  do(outside(found, at=[x, y, last]) <- source)
  report faithfulness(gap)
}
"""
    (test,) = api.run(api.parse(spec_of("llama", more)), Options(out=tmp_path)).tests
    four = test.cells[0].circuit
    assert (
        four is not None
        and len(four.lines) == 4
        and all(line.endswith((" [x]", " [y]", " [last]")) for line in four.lines)
    )
    (kept,) = tmp_path.rglob("circuits/*.json")
    scores = json.loads(kept.read_text())["nodes"]
    assert len(scores) % 3 == 0 and all(name.endswith(("[x]", "[y]", "[last]")) for name in scores)
    (tmp_path / kept.name).write_bytes(kept.read_bytes())
    again = more.replace("discover(nodes, method=exact, ", f'json("{kept.name}", ').replace(
        ", at=[x, y, last])\nmetric", ")\nmetric"
    )
    again = again.replace("controls=none", "controls=none, split=test")
    (same,) = api.run(api.parse(spec_of("llama", again), folder=tmp_path)).tests
    for mine, theirs in zip(test.cells, same.cells, strict=True):
        assert mine.scores["faithfulness(gap)"].value == theirs.scores["faithfulness(gap)"].value


@pytest.mark.slow
def test_a_circuit_is_found_by_means() -> None:
    more = """
circuit found(k in [4, 100%]) : net = discover(edges, method=eap, keep=k, by=absolute, at=[x, last])
metric gap = logit(o) - logit("w10")
test t on a(l=0, p=last) {
  base, other ~ m(n=8, seed=3, controls=none)
  do(outside(found, at=[x, last]) = mean(other, pooled=true))
  report faithfulness(gap)
}
"""
    (test,) = api.run(api.parse(spec_of("llama", more))).tests
    few, every = (cell.circuit for cell in test.cells)
    assert few is not None and every is not None and few.found[0].held is not None
    assert few.found[0].held[1] <= 0.02 * max(0.1, few.found[0].held[2])
    assert test.cells[1].scores["faithfulness(gap)"].value == pytest.approx(1.0, abs=1e-4)
    assert name_of(AtToken(every_node(), X)) == "embed[x]"


def every_node() -> Any:
    return Searched("llama").of.nodes[0]
