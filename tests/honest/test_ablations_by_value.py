"""An ablation is judged by what it writes, however that is spelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.honest.test_known_truths import BASE, BOTH, codes
from tests.thinning import spread

#: Near zero in any spelling: `stepped_in` holds p as 1 or 2 there, and reads another unit below a half.
NEAR_ZERO = [
    "= 0",
    "= [0]",
    "= scale(0)",
    "= 0 * current",
    "= clamp(0, 0)",
    "= mean - mean",
    "= 0 * mean",
    "= current - current",
    "= project_out([1])",
    "= clamp(-0.2, 0.2)",
    "= scale(0.1)",
    "= -0.1",
    "= noise(std=0.1)",
    "= current - 3",
    "+= -3",
    "= 0.1 * mean",
    "= (current - mean) / 4",
]


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize("value", spread(NEAR_ZERO, 4, slow_step=2))
@pytest.mark.parametrize("draw", spread([BASE, "base ~ pair(exhaustive=true)"], 2))
def test_a_place_for_which_another_steps_in(value: str, draw: str, tmp_path: Path) -> None:
    do = f"do(layer[0].out[0] {value})\n  expect moved <= 0%"
    found = codes(tmp_path, "stepped_in", BOTH, do, draw)
    assert "replacement_matters" in found, found
    assert "in 0.000" in found["replacement_matters"]


@pytest.mark.parametrize("do", ['do(module("layers.0")[0] = 0)', "do(layer[0].out[0] = 0, layer[0].out[1] = current)"])
def test_wherever_and_beside_whatever_it_is_written(do: str, tmp_path: Path) -> None:
    assert "replacement_matters" in codes(tmp_path, "stepped_in", BOTH, do, BASE)


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize(
    ("network", "place", "value"),
    spread(
        [
            ("halved", "0", "= scale(0.5)"),  # what is left is enough
            ("halved", "0", "= clamp(0, 2)"),
            ("halved", "0", "+= 0.5"),
            ("halved", "0", "= current - 0.5"),
            ("plain", "2", "= noise(std=1)"),  # read by nothing
            ("plain", "0", "= [1]"),
            ("plain", "0", "= noise(std=1)"),
            ("on_two_units", "0:2", "= project_out([1, 1])"),  # p is along the other direction
            ("on_two_units", "0:2", "= 0.9 * current"),
            ("angle", "0:2", "= scale(0.9)"),
        ],
        4,
    ),
)
def test_what_is_needed_all_the_same_or_not_at_all(network: str, place: str, value: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, "p @ layer[0].out[0]", f"do(layer[0].out[{place}] {value})", BASE)
    assert "replacement_matters" not in found, found
