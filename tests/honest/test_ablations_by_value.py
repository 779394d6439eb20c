"""An ablation is judged by what it writes, however that is spelled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import causal_dsl as cd
from tests.honest.test_known_truths import BASE, BOTH, HERE, MODEL, codes
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


@pytest.mark.parametrize("value", ["= 0", "= scale(0.1)", "+= -3"])
def test_through_a_given_feature_as_at_the_coordinate(value: str, tmp_path: Path) -> None:
    save_file({"directions": torch.eye(1)}, tmp_path / "own.safetensors")
    do = f'do(layer[0].out[0] via subspace("own.safetensors") {value})\n  expect moved <= 0%'
    assert "replacement_matters" in codes(tmp_path, "stepped_in", BOTH, do, BASE)
    plain = f"do(layer[0].out[0] {value})\n  expect moved <= 0%"
    (tmp_path / "plain").mkdir()
    assert "replacement_matters" in codes(tmp_path / "plain", "stepped_in", BOTH, plain, BASE)


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize(
    ("network", "place", "value"),
    spread(
        [
            ("halved", "0", "= scale(0.5)"),  # what is left is enough
            ("halved", "0", "= clamp(0, 2)"),
            ("halved", "0", "+= 0.5"),
            ("halved", "0", "= current - 0.5"),
            ("halved", "0", "= clamp(high=2.5)"),  # 0 stays as it is
            ("capped", "0", "= clamp(high=4)"),  # so does 3
            ("plain", "2", "= noise(std=1)"),  # read by nothing
            ("plain", "2", "= clamp(low=0.5)"),
            ("plain", "0", "= clamp(-1, 1)"),
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


#: Of 0 and 1 each leaves one or none as it is; the others become numbers that the place never holds.
LEFT_ALONE = [
    "= scale(0.75)",
    "= clamp(0.25, 1.75)",
    "= 0.75 * current",
    "= current - current / 4",
    "= 0.9 * current + 0.05",
]


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize("value", spread(LEFT_ALONE, 2, slow_step=2))
@pytest.mark.parametrize("draw", spread([BASE, "base ~ pair(exhaustive=true)"], 2))
def test_values_that_are_left_alone_hide_no_other_place_that_steps_in(value: str, draw: str, tmp_path: Path) -> None:
    """What is left alone of another input moves as much as untouched, and no other number moves anything."""
    do = f"do(layer[0].out[0] {value})\n  expect moved <= 5%"
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("NETWORK", "at_odd_values").replace("PLACES", "q @ layer[0].out[0]")
    (tmp_path / "claim.causal").write_text(text.replace("DRAW", draw).replace("DO", do))
    cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
    severities = {one.code: one.severity for one in cell.findings}
    assert severities["replacement_matters"] == severities["never_moved"] == "alarm", severities
    changed = cell.to_json()["replaced"].get("changed")
    if value != LEFT_ALONE[-1]:
        assert changed["anew"]["value"] == 0.0 and changed["resample"]["value"] > 0.3
        assert changed["anew"]["n"] < cell.to_json()["replaced"]["moved"]["anew"]["n"]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("value", ["= scale(0.75)", "= clamp(0.25, 1.75)", "= scale(0.1)"])
@pytest.mark.parametrize("draw", [BASE, "base ~ pair(n=400, seed=3, balance=[base.q, base.p])"])
def test_they_hide_none_through_a_given_feature_either(value: str, draw: str, tmp_path: Path) -> None:
    """A number that is 0 stays so, and moves as much as untouched. What is written of another input falls short of that, all the same."""
    save_file({"directions": torch.eye(1)}, tmp_path / "own.safetensors")
    do = f'do(layer[0].out[0] via subspace("own.safetensors") {value})\n  expect moved <= 5%'
    assert "replacement_matters" in codes(tmp_path, "at_odd_values", "q @ layer[0].out[0]", do, draw)
    do = do.replace(value, "= scale(0.5)").replace("5%", "0%")
    assert "replacement_matters" not in codes(tmp_path, "halved", "p @ layer[0].out[0]", do, draw)
