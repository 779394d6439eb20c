"""Sites in mixtures of experts: what routers score and what single experts add, against a mixture that is written out by hand."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.running.session import Session
from tests.engine.held import hold
from tests.engine.tiny import folder_of, spec_of, words
from tests.network.families import config_of, model_of, rescored
from tests.network.shrunk import tiny_model
from tests.thinning import some

torch.set_num_threads(1)
FAMILIES = ("mixtral", "qwen3_moe", "gpt_oss", "qwen2_moe", "olmoe")
TEST = """
test t on a {
  base, source ~ m(n=12, seed=0)
  do(same <- source)
  report logit(o), kl
}
"""


class ByHand(nn.Module):
    """Experts one by one, token by token: each leaves a module of its own, so that a hook shows what it adds."""

    def __init__(self, experts: Any):
        super().__init__()
        self.whole = experts
        self.terms = nn.ModuleList(nn.Identity() for _ in range(experts.num_experts))

    def forward(self, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        found = []
        for expert, term in enumerate(self.terms):
            weight = (weights * (chosen == expert)).sum(-1, keepdim=True)
            found.append(term(weight * self.of(expert, hidden)))
        return torch.stack(found).sum(0)

    def of(self, expert: int, hidden: Tensor) -> Tensor:
        """What an expert gives for every token."""
        own = self.whole
        if type(own).__name__ == "GptOssExperts":
            both = hidden @ own.gate_up_proj[expert] + own.gate_up_proj_bias[expert]
            gate, up = both[:, ::2].clamp(max=own.limit), both[:, 1::2].clamp(-own.limit, own.limit)
            inner = (up + 1) * gate * torch.sigmoid(gate * own.alpha)
            found: Tensor = inner @ own.down_proj[expert] + own.down_proj_bias[expert]
            return found
        gate, up = (hidden @ own.gate_up_proj[expert].T).chunk(2, dim=-1)
        return (own.act_fn(gate) * up) @ own.down_proj[expert].T


def written_out(of: Any) -> Any:
    model: Any = deepcopy(of)
    for layer in model.model.layers:
        if hasattr(layer.mlp, "experts"):
            layer.mlp.experts = ByHand(layer.mlp.experts)
    return model


def said(text: str) -> Any:
    (found,) = api.check(api.parse(text)).errors
    return found


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("family", some(FAMILIES, ("mixtral", "gpt_oss")))
def test_the_term_of_an_expert_is_that_of_a_mixture_written_out(family: str) -> None:
    model = written_out(model_of(family))
    for expert in (0, 2):
        text = spec_of(family, TEST, site=f"expert[{expert}].out").replace("0:3", "1:3")
        path = f"mlp.experts.terms.{expert}"
        hold(text, model, lambda layer, path=path: (f"model.layers.{layer}.{path}", "out", slice(None)))


@pytest.mark.slow
@pytest.mark.parametrize("family", some(("deepseek_v3", "glm4_moe"), ("deepseek_v3",)))
def test_experts_that_no_record_describes(family: str, tmp_path: Path) -> None:
    """Found as the network is loaded; its first layer is dense."""
    own: Any = tiny_model(family)
    own.save_pretrained(tmp_path)
    words().save(str(tmp_path / "tokenizer.json"))
    model = written_out(own)
    text = spec_of("llama", TEST, site="expert[2].out", layers="1:2").replace(folder_of("llama"), str(tmp_path))
    hold(text, model, lambda layer: (f"model.layers.{layer}.mlp.experts.terms.2", "out", slice(None)))
    for old, new, code in (("1:2", "0:1", "E451"), ("expert[2]", "expert[4]", "E458")):
        with pytest.raises(cd.SpecError) as caught:
            cd.run(cd.parse(text.replace(old, new)))
        assert [d.code for d in caught.value.diagnostics] == [code]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("family", some(FAMILIES, ("mixtral", "gpt_oss")))
@pytest.mark.parametrize("site", some(["router", "expert_out"], ["expert_out"]))
def test_scores_and_sums_are_those_of_hooks(family: str, site: str) -> None:
    router = "router" if family == "gpt_oss" else "gate"
    path = {"router": router, "expert_out": "experts"}[site]
    text = spec_of(family, TEST, site=site).replace("0:3", "1:3")
    hold(text, model_of(family), lambda layer: (f"model.layers.{layer}.mlp.{path}", "out", slice(None)))


def test_an_expert_that_is_ablated_adds_nothing() -> None:
    model = written_out(model_of("mixtral"))
    action = "  base ~ m(n=12, seed=0)\n  do(layer[1].expert[2].out[last] = 0)\n  report logit(o)\n}\n"
    text = spec_of("mixtral", "\ntest t on a {\n" + action, layers="1:2", positions="[last]")
    (result,) = cd.run(cd.parse(text)).tests
    plan = cd.check(cd.parse(text)).plan
    assert plan is not None
    drawn, causal, found = plan.draw_of(plan.tests[0]), plan.tests[0].model, []
    handle = model.model.layers[1].mlp.experts.terms[2].register_forward_hook(lambda m, a, out: _without_last(out))
    for row in range(drawn.n):
        values = {v: str(causal.decode(v, [drawn.values["base"][v][row]])[0]) for v in "xyz"}
        line = ("{x} w1 {y} w2 {z} w3", "w4 {x} w1 {y} w5 w2 {z}")[int(drawn.values["base"]["template"][row])]
        ids = words().encode(line.format(**values)).ids
        answer = int((values["x"] if values["x"] == values["y"] else values["z"])[1:])
        with torch.no_grad():
            found.append(float(model(input_ids=torch.tensor([ids])).logits[0, -1, answer]))
    handle.remove()
    value = result.cells[0].scores["logit(o)"].value
    assert value is not None and abs(value - sum(found) / len(found)) < 1e-4


def _without_last(out: Tensor) -> Tensor:
    out = out.clone()
    out[-1] = 0
    return out


def test_routers_choose_by_what_is_written() -> None:
    """All weight on one expert: what the experts add is then its output alone."""
    model: Any = model_of("mixtral")
    router = model.model.layers[1].mlp.gate
    scores = torch.tensor([[0.0, 9.0, 0.0, 8.0]])
    for mine, his in zip(router_given(router, scores), rescored(router, scores), strict=True):
        torch.testing.assert_close(mine, his)


def router_given(router: Any, scores: Tensor) -> Any:
    """What the package makes of a router whose scores are written."""
    from causal_dsl.network.expert_modules import hook_experts

    handle = hook_experts(router, "router", lambda old: scores)
    try:
        return router(torch.ones(1, router.hidden_dim))
    finally:
        handle.remove()


def sparse(folder: Path) -> str:
    """A qwen3_moe of three layers, of which the first and the last are dense."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = config_of("qwen3_moe")
    config.mlp_only_layers = [0, 2]
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words().save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.mark.slow
def test_dense_layers_have_no_experts(tmp_path: Path) -> None:
    folder = sparse(tmp_path)
    for site in ("router", "expert_out", "expert[1].out"):
        text = spec_of("qwen3_moe", TEST, site=site).replace(folder_of("qwen3_moe"), folder)
        told = said(text)
        assert told.code == "E451" and "layer 0 is dense" in told.notes[0] and told.help == "it is in layer 1"
        good = api.check(api.parse(text.replace("0:3", "1:2")))
        assert not good.errors
        assert good.program is not None
        (ref,) = good.program.networks.values()
        proof = proof_of(Session().network(ref))
        assert proof is not None and {"router", "expert_out"} <= proof.ok and proof.sweep
        cd.run(cd.parse(text.replace("0:3", "1:2")))


@pytest.mark.parametrize(
    ("site", "family", "code"),
    [
        ("router", "llama", "E451"),
        ("expert[0].out", "llama", "E451"),
        ("expert_out", "bert", "E451"),
        ("expert[4].out", "mixtral", "E458"),
        ("expert[0, 1].out", "mixtral", "E453"),
        ("expert.out", "mixtral", "E453"),
        ("expert[0]", "mixtral", "E450"),
        ("expert[0].z", "mixtral", "E452"),
    ],
)
def test_what_there_is_not_is_refused(site: str, family: str, code: str) -> None:
    text = spec_of(family, TEST, site="resid_post").replace("layer[l].resid_post[p]", f"layer[l].{site}[p]")
    assert said(text).code == code


def test_a_term_and_the_sum_are_one_place() -> None:
    text = spec_of("mixtral", TEST, site="router").replace(
        "do(same <- source)",
        "do(layer[1].expert[0].out[last] <- source, layer[1].expert_out[last] <- source)",
    )
    assert said(text).code == "E461"


def test_sites_of_experts_in_python() -> None:
    layer = cd.layer[cd.param("l")]
    assert repr(layer.router[cd.last]) == "layer[l].router[last]"
    assert repr(layer.expert[2].out[cd.last]) == "layer[l].expert[2].out[last]"
