"""Constants that change least what a network says, held against what hooks by hand make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.diagnostics import SpecError
from causal_dsl.planning import graph as g
from causal_dsl.report.which_progress import progress
from causal_dsl.running.optimising import Constants, find_constants
from causal_dsl.store.tensors import load_tensors
from causal_dsl.vocabulary.values.optimal import FittedConstant
from tests.discovery.linear import made_linear
from tests.engine.test_circuits import CIRCUIT, EQUAL, ByHand
from tests.engine.tiny import folder_of, network_of
from tests.thinning import some

TEST = """
test t on a {
  base, source ~ m(n=24, seed=3, controls=none) where base.o != source.o
  do(ACTION)
  report SCORES
}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))


def spec(name: str, action: str, scores: str = "kl") -> str:
    text = EQUAL.replace("FOLDER", folder_of(name)).replace("PADDING", "right")
    return text + CIRCUIT + TEST.replace("ACTION", action).replace("SCORES", scores)


def found(text: str, network: Any = None) -> tuple[Constants, Any, g.Resume, dict[str, Tensor], np.ndarray]:
    """The constants of a spec's one intervention, and the tokens [n, length] of the inputs on which they were found."""
    checked = api.check(api.parse(text))
    checked.raise_errors()
    assert checked.plan is not None and checked.constants is not None
    networks = dict.fromkeys(checked.plan.networks, network or network_of(text))
    with progress(asked=False) as bar:
        constants = find_constants(checked, networks, Options(), bar, None)
    (resume,) = [run for run in constants.courses if run.writes]
    value = resume.writes[0].value
    assert isinstance(value, FittedConstant)
    fit = checked.constants
    (rows,) = [own for run, own in fit.rows.items() if run.role == "base"]
    (inputs,) = fit.inputs.values()
    tokens = np.array(inputs.rows(np.asarray(rows)))
    return constants, next(iter(networks.values())), resume, load_tensors(value.path)[0], tokens


def written(resume: g.Resume, tensors: dict[str, Tensor], size: int, length: int) -> dict[tuple[str, int, int], Tensor]:
    """The constants as :class:`ByHand` writes them: component, layer and head, each [1, length, columns of the site]."""
    made = {}
    for n, write in enumerate(resume.writes):
        site, tensor = write.place.site, tensors[str(n)].expand(length, -1)
        kind = {"embed": "embed", "z": "z", "mlp_out": "mlp"}[site.component]
        if kind != "z":
            made[kind, -1 if site.layer is None else site.layer, 0] = tensor[None]
            continue
        for turn, head in enumerate(site.heads):
            whole = torch.zeros(1, length, (max(site.heads) + 1) * size)
            whole[..., head * size : (head + 1) * size] = tensor[:, turn * size : (turn + 1) * size]
            made["z", site.layer or 0, head] = whole
    return made


def by_hand(network: Any, ids: Tensor, values: dict[tuple[str, int, int], Tensor]) -> Tensor:
    return ByHand(network).run(ids, values)[0]


def test_on_a_linear_network_they_are_the_means() -> None:
    """The square of what logits move by is least where their mean stays: at the mean of each component, a closed form."""
    network = network_of(spec("gpt2", "outside(c) <- source"))
    text = spec("gpt2", "outside(c) = optimal(loss=square)")
    with made_linear(network.model):
        constants, _, resume, tensors, tokens = found(text, network)
        before, after, _, _ = constants.courses[resume]
        assert after == pytest.approx(before, rel=1e-5)
        hand = ByHand(network)
        every = [hand.run(torch.tensor(row), {})[1] for row in tokens.tolist()]
        for n, write in enumerate(resume.writes):
            site = write.place.site
            key = (
                {"embed": "embed", "z": "z", "mlp_out": "mlp"}[site.component],
                -1 if site.layer is None else site.layer,
            )
            mean = torch.stack([one[key][0] for one in every]).mean(dim=0)
            if key[0] == "z":
                size = network.facts.head_dim or 1
                mean = torch.cat([mean[:, h * size : (h + 1) * size] for h in site.heads], dim=1)
            assert torch.allclose(tensors[str(n)], mean, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(["llama", "gpt2"], ["gpt2"]))
def test_no_constants_near_them_have_a_smaller_loss(name: str) -> None:
    """The loss by hand is the one that is told; it is smaller than at the means, and flat: it rises with steps into either side."""
    text = spec(name, "layer[2].mlp_out[last] = optimal(steps=300)")
    constants, network, resume, tensors, tokens = found(text)
    before, after, steps, _ = constants.courses[resume]
    assert after < before - 1e-4 and steps < 300
    clean = [by_hand(network, torch.tensor(row), {}) for row in tokens.tolist()]

    def loss(constant: Tensor) -> float:
        total = 0.0
        for row, there in zip(tokens.tolist(), clean, strict=True):
            ids = torch.tensor(row)
            seen = ByHand(network).run(ids, {})[1]["mlp", 2].clone()
            seen[:, -1] = constant
            here = by_hand(network, ids, {("mlp", 2, 0): seen}).double().log_softmax(-1)
            total += float((there.double().softmax(-1) * (there.double().log_softmax(-1) - here)).sum()) / len(tokens)
        return total

    best = tensors["0"][0]
    assert loss(best) == pytest.approx(after, abs=1e-5)
    torch.manual_seed(0)
    for _ in range(3):
        step = 0.05 * best.norm() * torch.nn.functional.normalize(torch.randn_like(best), dim=0)
        assert min(loss(best + step), loss(best - step)) > after - 1e-6


@pytest.mark.slow
def test_the_judged_run_writes_them_and_a_report_says_how_they_were_found() -> None:
    """`kl` of the judged pairs, against double forwards by hand with the constants in place."""
    text = spec("llama", "outside(c) = optimal")
    constants, network, resume, tensors, _ = found(text)
    checked = api.check(api.parse(text))
    assert checked.plan is not None
    (inputs,) = checked.plan.inputs.values()
    rows = checked.plan.rows[resume.base]
    total = []
    for row in np.array(inputs.rows(np.asarray(rows))).tolist():
        ids = torch.tensor(row)
        there = by_hand(network, ids, {}).double()
        values = written(resume, tensors, network.facts.head_dim or 1, len(row))
        here = by_hand(network, ids, values).double().log_softmax(-1)
        total.append(float((there.softmax(-1) * (there.log_softmax(-1) - here)).sum()))
    result = api.run(api.parse(text)).tests[0].cells[0]
    assert result.scores["kl"].value == pytest.approx(float(np.mean(total)), abs=1e-5)
    (said,) = [finding.text for finding in result.findings if finding.code == "optimal"]
    assert f"{constants.courses[resume][0]:.4g} at the means" in said


@pytest.mark.slow
def test_constants_along_edges_and_the_ones_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    text = spec("llama", "outside(edges(c)) = optimal", "kl, faithfulness(gap)")
    once = api.run(api.parse(text))
    cell = once.tests[0].cells[0]
    assert cell.circuit is not None and all(check.holds for check in cell.circuit.checks)
    assert "its constants" not in str(cell.circuit.choices.value) and cell.circuit.choices.value == "optimal"

    def refuse(*_: object) -> None:
        raise AssertionError("found again")

    monkeypatch.setattr(torch.optim.LBFGS, "step", refuse)
    again = api.run(api.parse(text))
    assert again.tests[0].cells[0].scores["kl"].value == cell.scores["kl"].value
    with pytest.raises(AssertionError, match="found again"):
        api.run(api.parse(text.replace("= optimal", "= optimal(steps=40)")))


@pytest.mark.slow
def test_constants_of_tokens_that_are_not_as_many(tmp_path: Path) -> None:
    ragged = 'prompt "{x} w1 {y} w2 {z} w3"\n  prompt "w4 {x} w1 {y} w2 {z} w3"'
    text = spec("llama", "outside(c) = optimal").replace('prompt "{x} w1 {y} w2 {z} w3"', ragged)
    with pytest.raises(SpecError) as error:
        api.run(api.parse(text))
    assert [one.code for one in error.value.diagnostics] == ["E894"]
    pooled = api.run(api.parse(text.replace("= optimal", "= optimal(pooled=true)")))
    assert pooled.tests[0].cells[0].scores["kl"].value is not None
