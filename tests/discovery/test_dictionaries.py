"""Latents of dictionaries that are scored by gradients: finite differences by hand, sums that come out, and circuits that are found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.discovery.exact_effects import AtToken, Exact
from causal_dsl.discovery.node_scores import NodeScorer
from causal_dsl.discovery.part_scores import Scored, Way
from causal_dsl.planning.memory import Budget
from causal_dsl.program.nodes import OutputNode
from causal_dsl.vocabulary.locations import Position
from tests.discovery.searched import Searched
from tests.engine.byhand import hook
from tests.engine.test_latents import COUNT, formula, numbers, sae
from tests.engine.test_transcoders import folder_of as transcoder
from tests.engine.tiny import spec_of
from tests.network.families import PLACES

pytestmark = pytest.mark.slow
FEATURES = f"""
circuit features : net {{
  heads   = layer[0].head[all]
  written = layer[1].mlp_out via sae("{transcoder("transcoder")}"), layer[1].mlp_out via sae("{transcoder("transcoder")}").error()
  stream  = layer[1].resid_post via sae("{sae("standard")}"), layer[1].resid_post via sae("{sae("standard")}").error()
}}
circuit found : net = discover(nodes, method=METHOD, among=featuresKEEP)
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {{
  base, source ~ m(n=6, seed=3, like=base, vary=[z])
  do(outside(found) <- source)
  report faithfulness(gap)
}}
"""


def spec(method: str, keep: str = ", keep=6, by=absolute") -> str:
    return spec_of("llama", FEATURES.replace("METHOD", method).replace("KEEP", keep))


def nodes_of() -> tuple[OutputNode, ...]:
    """The nodes of ``features``, as a check finds them."""
    checked = api.check(api.parse(spec("eap")), Options(trust=True))
    checked.raise_errors()
    assert checked.program is not None
    return checked.program.tests[0].discoveries[0].discovery.nodes


def scorers(
    places: tuple[Position, ...] = (), instead: str = "run", memory: int = 2**30
) -> tuple[Searched, NodeScorer, Exact]:
    searched = Searched("llama", "left", instead=instead)
    of = NodeScorer(searched.network, searched.pairs, searched.objective, Budget(memory, 8), nodes_of(), "left", places)
    return searched, of, searched.exact


def largest(scored: Scored) -> list[int]:
    """The numbers of the largest scores of nodes of the stream, whose changes are small beside it: finite differences take steps."""
    nodes = [part.part if isinstance(part, AtToken) else part for part in scored.of]
    here = [n for n, node in enumerate(nodes) if node.dictionary is not None and node.dictionary.count == COUNT]  # type: ignore[union-attr]
    return sorted(here, key=lambda number: -abs(scored.means[number]))[:8]


@torch.no_grad()
def test_a_latent_has_the_slope_of_hooks_by_hand() -> None:
    """The vector moves by a small part of what a latent changes times the direction that it decodes to; so does the error term."""
    searched, of, exact = scorers()
    found = of.score_nodes(Way())
    scores = {str(part): float(mean) for part, mean in zip(found.of, found.means, strict=True)}
    pairs, model = searched.pairs, searched.network.model
    path, side, *_ = PLACES["llama"]["resid_post"]
    module = model.get_submodule(path.format(l=1))

    def run(ids: Tensor, by: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The logits, and what is at the place; with ``by``, of a run for each of its rows, in which that is added there."""
        seen: list[Tensor] = []

        def act(tensor: Tensor) -> Tensor:
            seen.append(tensor[0].clone())
            return tensor if by is None else tensor + by.to(tensor)

        handle = hook(module, side, act)
        logits = model(input_ids=ids.expand(1 if by is None else len(by), -1)).logits[:, -1]
        handle.remove()
        return logits, seen[0]

    slopes = {node: 0.0 for node in of.nodes if node.dictionary is not None and node.dictionary.count == COUNT}
    decoder, bias = numbers("standard")["W_dec"], numbers("standard")["b_dec"]
    steps = torch.tensor([-0.02, -0.01, 0.01, 0.02], dtype=torch.float64)
    for pair, (one, other) in enumerate(zip(pairs.base, pairs.source, strict=True)):
        ids, ids_ = (torch.tensor(pairs.inputs.rows(np.array([i]))[0]) for i in (one, other))
        (plain, base), (_, source) = run(ids), run(ids_)
        f, g = (torch.stack([formula("standard", x)[0] for x in run_]) for run_ in (base, source))
        errors = [x.double() - (latents @ decoder + bias) for x, latents in ((base, f), (source, g))]
        gaps = torch.stack(
            [
                errors[1] - errors[0] if node.kind == "error" else (g - f)[:, node.index, None] * decoder[node.index]
                for node in slopes
            ]
        )
        by = (gaps[:, None] * steps[:, None, None]).flatten(0, 1)
        logits, _ = run(ids, by)
        values = searched.objective.values(logits, plain.expand(len(by), -1), np.full(len(by), pair))
        for node, (low, lower, higher, high) in zip(slopes, values.reshape(-1, len(steps)), strict=True):
            falls = (float(lower - higher) / 0.02, float(low - high) / 0.04)
            slopes[node] += (4 * falls[0] - falls[1]) / 3 / len(pairs)
    assert {node.kind for node in slopes} == {"latent", "error"}
    for node, slope in slopes.items():
        assert scores[str(node)] == pytest.approx(slope, rel=3e-3, abs=1e-5), node
    assert max(map(abs, slopes.values())) > 1e-2
    assert exact.slopes(list(slopes)) == pytest.approx(list(slopes.values()), rel=3e-3, abs=1e-5)


@pytest.mark.thinned(slow=1)
@pytest.mark.parametrize("instead", ["run", "pooled", "zero"])
def test_scores_of_a_site_add_up_to_its_effect(instead: str) -> None:
    """Along the way of its own vector (integrated gradients); and batches change nothing."""
    _, of, exact = scorers(instead=instead)
    plain = of.score_nodes(Way())
    some = largest(plain)
    assert plain.means[some] == pytest.approx(exact.slopes([plain.of[i] for i in some]), rel=3e-3, abs=1e-4)
    found = of.score_nodes(Way(24, "activations"))
    for group in of.groups if instead != "zero" else ():  # near a vector of zeros the gradient of a norm has no bound
        effect = float(exact.effects([[of.nodes[number] for number in group.numbers]]).mean())
        assert float(found.means[list(group.numbers)].sum()) == pytest.approx(effect, rel=0.02, abs=5e-3)
    _, parts, _ = scorers(instead=instead, memory=1)
    assert parts.score_nodes(Way(2)).means == pytest.approx(of.score_nodes(Way(2)).means, rel=1e-8, abs=1e-10)


def test_scores_at_tokens_are_slopes_and_sum_to_those_of_all() -> None:
    _, of, exact = scorers((Position("placeholder", "x", 0), Position("index", index=-1)))
    found = of.score_nodes(Way())
    some = largest(found)
    assert found.means[some] == pytest.approx(exact.slopes([found.of[i] for i in some]), rel=3e-3, abs=1e-4)
    assert all(isinstance(found.of[i], AtToken) for i in some)
    every = scorers((Position("all"),))[1].score_nodes(Way(3))
    assert every.means == pytest.approx(scorers()[1].score_nodes(Way(3)).means, abs=1e-8)


@pytest.mark.thinned(slow=2)
@pytest.mark.parametrize("method", ["eap", "eap_ig(steps=4, path=activations)", "exact", "acdc(threshold=0.001)"])
def test_a_circuit_of_latents_is_found_and_read_from_its_file(method: str, tmp_path: Path) -> None:
    keep = "" if "acdc" in method else ", keep=6, by=absolute"
    text = spec(method, keep)
    report = api.run(api.parse(text), Options(trust=True, out=tmp_path))
    (cell,) = report.tests[0].cells
    circuit = cell.circuit
    assert circuit is not None
    assert {check.says for check in circuit.checks if check.holds} >= {
        "the full circuit is the clean run",
        "the circuit and its complement, written together, are the empty circuit",
        "the empty circuit is the run of source",
    }
    assert not [finding for finding in cell.findings if finding.code == "circuit_check"]
    held = json.loads(json.dumps(circuit.to_json()))
    assert held["size"]["of_nodes"] == len(nodes_of())
    assert all(name in circuit.found[0].scores for name in held["members"])
    (file,) = tmp_path.rglob("circuits/*.json")
    how = "" if not keep else keep.removeprefix(", ")
    if keep:
        again = text[: text.index("circuit found")] + text[text.index("metric gap") :]
        again = again.replace("metric gap", f'circuit found : net = json("{file}", {how})\nmetric gap')
        again = again.replace("outside(found)", "outside(found, among=features)").replace(
            "like=base", "split=test, like=base"
        )
        other = api.run(api.parse(again), Options(trust=True)).tests[0].cells[0]
        assert other.circuit is not None
        assert sorted(other.circuit.lines) == sorted(circuit.lines)
        assert other.scores["faithfulness(gap)"].value == pytest.approx(
            cell.scores["faithfulness(gap)"].value, abs=1e-5
        )


def test_scores_that_are_kept_belong_to_what_the_file_of_a_dictionary_holds(tmp_path: Path) -> None:
    """The same spec and the same path with other weights in it: scores are taken anew."""
    folder = tmp_path / "dictionary"
    shutil.copytree(sae("standard"), folder)
    text = spec("eap").replace(sae("standard"), str(folder))

    def found(**more: Path) -> dict[str, float]:
        (cell,) = api.run(api.parse(text), Options(trust=True, **more)).tests[0].cells
        assert cell.circuit is not None
        return dict(cell.circuit.found[0].scores)

    first = found(out=tmp_path / "out")
    assert found(out=tmp_path / "out") == first
    changed = numbers("standard")
    changed["W_dec"] = changed["W_dec"].flip(0)
    save_file({name: one.contiguous() for name, one in changed.items()}, folder / "sae_weights.safetensors")
    assert found(out=tmp_path / "other") != first
