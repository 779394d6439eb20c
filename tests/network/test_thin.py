"""Linear maps of few vectors, and logits that are asked for together, against torch's own."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from causal_dsl.network.forward import forward
from causal_dsl.network.prove import prove
from causal_dsl.network.sweep import thin
from causal_dsl.network.sweep.drive import ReadRows, sweep
from causal_dsl.planning.liveness import PassRows, schedule
from tests.network.families import LAYERS
from tests.network.test_sweep import LENGTHS, PROMPTS, network_of


@pytest.mark.parametrize("shape", [(1, 5), (7, 5), (1, 9, 5), (2, 3, 5), (thin.FEW + 1, 5), (0, 5)])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_a_linear_map(shape: tuple[int, ...], biased: bool) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 5, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64) if biased else None
    found, wanted = thin.linear(x, weight, bias), functional.linear(x, weight, bias)
    assert found.is_contiguous() and found.shape == wanted.shape
    torch.testing.assert_close(found, wanted)
    pull = torch.randn_like(wanted)
    torch.testing.assert_close(*(torch.autograd.grad(out, x, pull) for out in (found, wanted)))


def test_layers_are_left_as_they_were() -> None:
    layer = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2, bias=False)))
    theirs = layer[0].forward
    vars(layer[0])["forward"] = theirs  # as something else that takes a module over does
    x = torch.randn(6, 3)
    before = layer(x)
    with ExitStack() as stack:
        thin.turned([layer], stack)
        assert "forward" in vars(layer[1][1])
        torch.testing.assert_close(layer(x), before)
    assert "forward" not in vars(layer[1][1]) and vars(layer[0])["forward"] is theirs


@pytest.mark.parametrize("every", ["none", "some", "all"])
def test_logits_of_all_columns_are_computed_together(every: str) -> None:
    network = network_of("llama")
    prove(network)
    count = len(PROMPTS)
    columns = {"none": [[3, 1]] * 3, "some": [None, [3, 1], None], "all": [None] * 3}[every]
    rows = [np.array([0, 2]), np.array([1]), np.array([2, 1, 0])]
    asked = [
        ReadRows(mine, LENGTHS[mine] - 1, None if one is None else np.array(one))
        for mine, one in zip(rows, columns, strict=True)
    ]
    plan = schedule(PassRows(LENGTHS, np.zeros(0, np.int64), LENGTHS - 1), LAYERS)
    with torch.no_grad():
        found = sweep(network, PROMPTS, plan, asked=asked).logits
        wanted = forward(network, PROMPTS, [], readout=torch.arange(count), stop=False).logits
    assert wanted is not None
    for mine, one, logits in zip(rows, columns, found, strict=True):
        theirs = wanted[torch.from_numpy(mine)]
        torch.testing.assert_close(logits, theirs if one is None else theirs[:, one], atol=2e-5, rtol=1e-4)
