"""The multiplications that a plan counts for a layer, against those that torch counts in the model itself."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.planning.flops import layer_flops
from causal_dsl.program.facts import facts_of_config
from tests.network.families import CONFIGS, model_of

torch.set_num_threads(1)
TOKENS = 24


@pytest.mark.thinned(always=13)
@pytest.mark.parametrize("name", list(CONFIGS))
@torch.no_grad()
def test_flops_of_a_layer(name: str) -> None:
    model = model_of(name)
    record = CONFIGS[name]
    facts = facts_of_config(model.config.to_dict(), None, NOWHERE)
    usual = model.config._attn_implementation, getattr(model.config, "_experts_implementation", None)
    try:
        model.set_attn_implementation("eager")
        if usual[1] is not None:
            model.set_experts_implementation("eager")
        with FlopCounterMode(display=False) as counter:
            model(input_ids=torch.arange(TOKENS)[None] % 50, use_cache=False)
    finally:
        model.set_attn_implementation(usual[0])
        if usual[1] is not None:
            model.set_experts_implementation(usual[1])
    layers = {
        where: sum(counts.values())
        for where, counts in counter.get_flop_counts().items()
        if where.rpartition(".")[0].endswith(record.layers) and where.rpartition(".")[2].isdigit()
    }
    assert len(layers) == facts.layers
    looked = 4.0 * (facts.heads or 0) * (facts.head_dim or 0) * TOKENS**2  # eager attention also looks ahead
    for counted in layers.values():
        if not record.interface and counted < TOKENS * layer_flops(facts) + looked / 2:
            looked = 0  # attention of its own that goes through a fused kernel, which torch does not count
        assert counted == pytest.approx(TOKENS * layer_flops(facts) + looked, rel=0.03)
