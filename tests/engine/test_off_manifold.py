"""Vectors that a site does not come near, though each of their numbers is in its range."""

from __future__ import annotations

import math

import pytest
import torch

from causal_dsl.engine.off_manifold import far_from_all

ANGLES = torch.linspace(0, 2 * math.pi, 201)[:-1]
RING = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)
SIGNS = torch.tensor([-1.0, 1, 1, -1, 1])[:, None]
AND = torch.tensor([0.0, 0, 0, 1])[:, None]
NORMAL = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(300) + 0.5) / 300)[:, None]
CLOUD = torch.randn(400, 64, generator=torch.Generator().manual_seed(0)) + 10
#: as a place holds them beside which another input varies: each vector occurs in several inputs
RECURRING = torch.randn(64, 2, generator=torch.Generator().manual_seed(3)).repeat_interleave(2, 0)
SIXTEEN, SEVENTEEN = (torch.arange(float(n)).repeat(4)[:, None] for n in (16, 17))
GRID = torch.arange(4.0)[:, None]
#: two clusters, whose numbers are a little apart in each input
SPLIT = torch.cat([-1 + NORMAL / 50, 1 + NORMAL / 50])


@pytest.mark.parametrize(
    ("there", "written", "far"),
    [
        (SIGNS, [[0.0], [-1.0], [0.95], [0.85]], [True, False, False, True]),
        (AND, [[0.5], [0.02], [0.98]], [True, False, False]),
        (RING, [[0.0, 0.0], [0.5, 0.5], [math.cos(0.01), math.sin(0.01)], [1.02, 0.0]], [True, True, False, False]),
        (RING + 1e4, [[1e4, 1e4], [1e4 + 1, 1e4]], [True, False]),
        (SPLIT, [[0.0], [-0.5], [-1.05], [1.0]], [True, True, False, False]),
        (NORMAL, [[0.0], [2.5], [-2.7]], [False, False, False]),
        (GRID, [[1.5], [0.3]], [False, False]),
        (CLOUD, [[10.0] * 64, [0.0] * 64, [11.0] * 64], [False, True, False]),
        (RECURRING, (0.9 * RECURRING[::9]).tolist() + [[40.0, 0.0]], [False] * 15 + [True]),
        (SIXTEEN, [[7.5], [7.1]], [True, False]),
        (SEVENTEEN, [[8.5], [8.1], [40.0]], [False, False, True]),
        (SIGNS[:1], [[-1.0]], [False]),
    ],
    ids=[
        "signs",
        "and",
        "ring",
        "ring away from zero",
        "split",
        "normal",
        "grid",
        "cloud",
        "recurring",
        "sixteen",
        "seventeen",
        "one",
    ],
)
def test_what_is_near_no_vector(there: torch.Tensor, written: list[list[float]], far: list[bool]) -> None:
    assert far_from_all(there, torch.tensor(written)).tolist() == far


def test_a_vector_counts_once_however_often_it_recurs() -> None:
    once = RECURRING[::2]
    written = torch.cat([factor * once for factor in (0.0, 0.5, 0.9, 1.3, 4.0)])
    far = far_from_all(once, written)
    assert far.any() and not far.all()
    for times in (2, 4):
        assert torch.equal(far_from_all(once.repeat(times, 1), written), far)
