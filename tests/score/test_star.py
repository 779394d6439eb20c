"""iia_star over the pairs that a filter keeps: its ceiling is resampled with them, and may reach 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from causal_dsl.tools.cli import main
from tests.engine.tiny import folder_of

WORDS = ", ".join(f'"w{number}"' for number in range(8))
SPEC = f"""
domain W = {{{WORDS}}}
domain V = {{"w20", "w21"}}
causal m {{
  a, b, c, d ~ W
  left := a == b
  output o : V := if left == (c == d) then "w20" else "w21"
}}
network net = hf("FOLDER")
align at : m -> net {{
  prompt "{{a}} w1 {{b}} w2 {{c}} w3 {{d}}"
  left @ layer[0].resid_post[b]
  o @ next_token(among=V)
}}
test t on at {{ base, source ~ m(n=PAIRS) where solved(base) do(left <- source) report iia }}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("pairs", "bounded"), [(64, False), (2000, True)])
def test_the_interval_stays_in_the_range_and_can_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pairs: int, bounded: bool
) -> None:
    """Of few pairs the ceiling is 1 in some resamples: the ratio has no interval then, and none that reaches above 1."""
    monkeypatch.chdir(tmp_path)
    text = SPEC.replace("FOLDER", folder_of("gpt2")).replace("PAIRS", f"{pairs}, seed=2")
    Path("s.causal").write_text(text, encoding="utf-8")
    assert main(["run", "s.causal", "--out", "kept"]) == 0
    test = json.loads(Path("kept/s/results.json").read_text(encoding="utf-8"))["tests"][0]
    scores, top = test["cells"][0]["scores"], test["ceilings_kept"]["output_only"]
    iia, star = scores["iia"], scores["iia_star"]
    assert 0 < test["kept"] < pairs and not top["exact"] and iia["low"] is not None
    assert star["value"] == pytest.approx((iia["value"] - top["value"]) / (1 - top["value"]))
    assert (star["low"] is not None) is bounded
    if bounded:
        assert star["low"] < star["value"] < star["high"] < 1
    capsys.readouterr()
    for command in (["report", "kept"], ["report", "kept", "--html", "page.html"], ["diff", "kept", "kept"]):
        assert main(command) == 0, capsys.readouterr().err
