"""The proof at load: it holds for every family, and finds a table that is wrong."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from causal_dsl.diagnostics import NOWHERE, SpecError
from causal_dsl.network.forward import SiteRead, forward
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.site_tensors import tap
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.locations import Site
from tests.network.families import CONFIGS, model_of
from tests.thinning import spread

torch.set_num_threads(1)


def network_of(name: str, **layout: Any) -> Network:
    model = model_of(name)
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    assert network.layout is not None
    return replace(network, layout=replace(network.layout, **layout))


@pytest.mark.thinned(always=2, values=True)
@pytest.mark.parametrize("name", spread(CONFIGS, 3))
def test_every_site_is_proved(name: str) -> None:
    network = network_of(name)
    proof = prove(network)
    assert proof.refused == {}
    there = {c for c, a in COMPONENTS.items() if "language" in a.kinds and missing(c, network.facts) is None}
    assert proof.ok == there
    assert max(proof.errors.values()) < 1e-5


@pytest.mark.thinned(always=8)
@pytest.mark.parametrize(
    ("name", "wrong", "refused"),
    [
        ("llama", {"q": "self_attn.k_proj>"}, "q"),
        ("llama", {"v": "self_attn.k_proj>"}, "v"),
        ("llama", {"z": "self_attn.q_proj<"}, "z"),
        ("llama", {"attn_out": "mlp>"}, "attn_out"),
        ("llama", {"mid": "input_layernorm<"}, "resid_mid"),
        ("llama", {"neurons": "mlp.up_proj<"}, "neurons"),
        ("llama", {"norm": "model.layers.2.mlp>"}, "final_norm"),
        ("llama", {"embed": "model.layers.0.mlp>"}, "embed"),
        ("gemma2", {"attn_out": "self_attn>"}, "attn_out"),
        ("gemma2", {"mlp_out": "mlp>"}, "mlp_out"),
        ("granite", {"scale": None}, "attn_out"),
        ("granite", {"embed_scale": None}, "embed"),
        ("gpt2", {"split": "heads"}, "q"),
        ("gpt_neox", {"split": "blocks"}, "k"),
        ("falcon", {"attention": "mlp"}, "attn_in"),
        ("bert", {"q": "attention.self.key>"}, "q"),
        ("bert", {"z": "attention.self.query<"}, "z"),
        ("bert", {"attn_out": "attention.output>"}, "attn_out"),  # after the norm: no term of a sum
        ("bert", {"mlp_out": "output>"}, "mlp_out"),
        ("bert", {"mid": "attention.output.dense>"}, "resid_mid"),  # before what is added to it
        ("bert", {"neurons": "intermediate<"}, "neurons"),
        ("bert", {"norms": ("output.LayerNorm", "attention.output.LayerNorm")}, "resid_mid"),
        ("bert", {"enter": ()}, "embed"),
        ("bert", {"head": ("cls.predictions.decoder",)}, "logits"),
        ("roberta", {"embed": "roberta.embeddings.position_embeddings>"}, "embed"),
        ("electra", {"mlp": "attention.output"}, "mlp_in"),
        ("electra narrow", {"enter": ("electra.embeddings.LayerNorm",)}, "embed"),
        ("distilbert", {"mid": "ffn>"}, "resid_mid"),
        ("distilbert", {"attn_out": "sa_layer_norm>"}, "attn_out"),
    ],
)
def test_a_wrong_table_is_found(name: str, wrong: dict[str, Any], refused: str) -> None:
    network = network_of(name, **wrong)
    proof = prove(network)
    assert refused in proof.refused
    with pytest.raises(SpecError) as caught:
        site = Site(refused, 1 if COMPONENTS[refused].layer else None)
        forward(network, [[1, 2, 3]], [SiteRead(site, torch.tensor([0]), torch.tensor([2]))])
    assert caught.value.diagnostics[0].code == "E425"


def test_a_path_that_is_not_there_is_no_traceback() -> None:
    proof = prove(network_of("llama", z="self_attn.wo<"))
    assert "z" in proof.refused


def test_a_network_of_no_known_layers_has_modules_and_logits_alone() -> None:
    model = copy.deepcopy(model_of("llama"))
    model.model.layers[1].forward = lambda hidden, *_, **__: hidden.repeat(1, 1, 1)[..., :31]  # no stream of one width
    model.model.norm = torch.nn.Identity()
    model.lm_head = torch.nn.Linear(31, 61)
    config = {**model.config.to_dict(), "model_type": "someones_own", "num_hidden_layers": 2}
    model.model.layers = model.model.layers[:2]
    network = wrap(model, facts_of_config(config, None, NOWHERE))
    assert prove(network).ok == {"module", "logits"}
    with pytest.raises(SpecError) as refused:
        tap(network, Site("resid_post", 0))
    assert "no list of its modules" in refused.value.diagnostics[0].notes[0]
    site = Site("module", module="model.layers.0")
    value = forward(network, [[1, 2, 3]], [SiteRead(site, torch.tensor([0]), torch.tensor([2]))]).reads[0]
    assert value.shape == (1, 32)
