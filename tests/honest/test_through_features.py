"""Copies beside a variable of a prompt that is written through a feature: read, they are named; unread, nothing is said of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import causal_dsl as cd
from tests.honest import networks, through
from tests.honest.test_known_truths import ALARMS, PAIRS, codes

MODEL = """
domain S = 0..5
domain YN = {"yes", "no"}
causal m {
  a, b, c, d ~ S
  left := a == b
  right := c == d
  output y : YN := if OUTPUT then "yes" else "no"
}
network net = torch("through.py:NETWORK", vocabulary=[WORDS], layers="blocks", embed="embed", unembed="un")
align at : m -> net {
  prompt "S {a} {b} {c} {d} E"
  left @ layer[0].resid_post[b] via FEATURE
  RIGHT
  y @ next_token(among=YN)
}
test claim on at {
  base, source ~ m(DRAW)
  do(left <- source)
  report iia
}
"""
BALANCED = "n=256, seed=1, balance=[base.left, base.right, source.left, source.right]"
UNBALANCED = "n=384, seed=2"
#: Networks of vectors, and how their pairs are drawn.
NETWORKS = ["in_directions", "masked_in_directions", "stepping_in_directions"]
BALANCED_PAIRS = "base, source ~ pair(n=256, seed=0, balance=[base.p, source.p, base.q])"
FEATURES = {"sae": 'sae("sae", latents=[0])', "subspace": 'subspace("left.safetensors")'}


def claim(
    folder: Path, read: str, output: str, within: bool, turned: bool, feature: str, right: bool, draw: str
) -> dict[str, cd.Finding]:
    """The findings of the test by code."""
    shutil.copy(Path(through.__file__), folder / "through.py")
    by = through.turn() if turned else torch.eye(through.WIDTH)
    own = by[:, through.LEFT].contiguous()
    save_file({"d": own[None].contiguous()}, folder / "left.safetensors")
    (folder / "sae").mkdir(exist_ok=True)
    width = through.WIDTH
    tensors = {"W_enc": own[:, None], "W_dec": own[None], "b_enc": torch.zeros(1), "b_dec": torch.zeros(width)}
    save_file(
        {k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()},
        folder / "sae" / "sae_weights.safetensors",
    )
    about = {"architecture": "standard", "hook_name": "blocks.0.hook_resid_post", "d_in": width, "d_sae": 1}
    about |= {"dtype": "float32", "normalize_activations": "none", "apply_b_dec_to_input": False}
    (folder / "sae" / "cfg.json").write_text(json.dumps(about))
    text = MODEL.replace("NETWORK", through.name_of(read, output, within, turned)).replace("DRAW", draw)
    text = text.replace("WORDS", ", ".join(f'"{word}"' for word in through.WORDS))
    text = text.replace("RIGHT", "right @ layer[0].resid_post[d] via FEATURE" if right else "")
    text = text.replace("FEATURE", FEATURES[feature]).replace("OUTPUT", through.OUTPUTS[output][0])
    (folder / "claim.causal").write_text(text)
    test = cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"]
    return {one.code: one for one in (*test.findings, *test.cell().findings)}


PLACES = [
    (output, within, turned, right)
    for output in through.OUTPUTS
    for within in (False, True)
    for turned in (False, True)
    for right in (False, True)
]


@pytest.mark.slow
@pytest.mark.thinned(always=1, values=True, slow=12)
@pytest.mark.parametrize("draw", [BALANCED, UNBALANCED])
@pytest.mark.parametrize("feature", list(FEATURES))
@pytest.mark.parametrize("read", [read for read in through.READ if read != "plain"])
@pytest.mark.parametrize(("output", "within", "turned", "right"), PLACES)
def test_copies_that_are_read_are_named(
    read: str, output: str, within: bool, turned: bool, right: bool, feature: str, draw: str, tmp_path: Path
) -> None:
    found = claim(tmp_path, read, output, within, turned, feature, right, draw)
    alarms = {code: one for code, one in found.items() if one.severity == "alarm"}
    assert alarms and not {"exact", "supported"} & set(found), found
    assert {"unmapped_moves", "not_above_controls", "illusion_risk"} & set(alarms), alarms


@pytest.mark.slow
@pytest.mark.thinned(always=1, values=True, slow=12)
@pytest.mark.parametrize("draw", [BALANCED, UNBALANCED])
@pytest.mark.parametrize("feature", list(FEATURES))
@pytest.mark.parametrize(("output", "within", "turned", "right"), PLACES)
def test_copies_that_nothing_reads_are_no_alarm(
    output: str, within: bool, turned: bool, right: bool, feature: str, draw: str, tmp_path: Path
) -> None:
    found = claim(tmp_path, "plain", output, within, turned, feature, right, draw)
    assert "supported" in found and not [one for one in found.values() if one.severity == "alarm"], found
    assert "unjudged_moves" not in found and "by tokens, by their numbers" in found["not_tried"].text, found


@pytest.mark.slow
@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("placed", ["p", "p and q"])
@pytest.mark.parametrize("draw", [PAIRS, BALANCED_PAIRS])
@pytest.mark.parametrize(("network", "read"), [(name, name != "in_directions") for name in NETWORKS])
def test_copies_along_directions_are_named_whatever_is_written(
    network: str, read: bool, draw: str, placed: str, tmp_path: Path
) -> None:
    """p alone is written, and q is placed or not."""
    by = networks.directions()
    for number, name in enumerate("pq"):
        save_file({"d": by[:, number][None].float().contiguous()}, tmp_path / f"{name}.safetensors")
    places = "\n  ".join(f'{name} @ layer[0].out via subspace("{name}.safetensors")' for name in placed.split(" and "))
    found = codes(tmp_path, network, places, "do(p <- source)", draw)
    if read:
        assert "unmapped_moves" in found and not {"exact", "supported"} & set(found), found
    else:
        assert "supported" in found and not {*ALARMS, "unmapped_moves", "unjudged_moves"} & set(found), found


SUM = """
causal m {
  x, z ~ 0..7
  p := x mod 3
  q := if z > 5 then 2 else if z == 0 then 1 else 0
  output y := (p + q) mod 3
}
network net = torch("through.py:sum_along_directions")
align at : m -> net {
  x @ input[0:1] via scalar()
  z @ input[1:2] via scalar()
  p @ layer[0].out via sae("sae", latents=[0])
  q @ layer[0].out via sae("sae", latents=[1])
  y @ logits
}
test claim on at {
  base, source ~ m(n=512, seed=0)
  do(p <- source)
  report iia
}
"""


def test_what_a_latent_cuts_off_is_no_rest_of_the_layer(tmp_path: Path) -> None:
    """Coordinates that are taken from another input leave numbers below 0 along the direction of a latent, which it does not give and the network reads."""
    shutil.copy(Path(through.__file__), tmp_path / "through.py")
    (tmp_path / "sae").mkdir()
    by = through.turn()[:6, :6].double().contiguous()
    by = torch.linalg.qr(by)[0].float()[:, :2]
    tensors = {"W_enc": by, "W_dec": by.T, "b_enc": torch.zeros(2), "b_dec": torch.zeros(6)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "sae" / "sae_weights.safetensors")
    about = {"architecture": "standard", "hook_name": "layers.0.out", "d_in": 6, "d_sae": 2, "dtype": "float32"}
    about |= {"normalize_activations": "none", "apply_b_dec_to_input": False}
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(about))
    (tmp_path / "claim.causal").write_text(SUM)
    test = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"]
    told = {one.code: one.severity for one in (*test.findings, *test.cell().findings)}
    assert "alarm" not in told.values(), told
    assert test.cell().verdict is not None and test.cell().verdict.code == "supported", test.cell().verdict
