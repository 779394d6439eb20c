"""Linear maps of few vectors against torch's own, with gradients; layers are left as they were."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import nn
from torch.nn import functional

from causal_dsl.network.sweep import thin


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
