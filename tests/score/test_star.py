"""iia_star over the pairs that a filter keeps: its ceiling is resampled with them, and may reach 1."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import causal_dsl as cd
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


NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.in_features = 2
        self.none = torch.nn.Parameter(torch.zeros(1))
        self.layers = torch.nn.ModuleList([torch.nn.Identity()])

    def forward(self, x):
        h = self.layers[0](x + self.none)
        yes = torch.where(h[:, 0] == 2, 1.0, (h[:, 0] == 1) * 1.0) * (h[:, 1] == 1)
        return torch.stack([0.5 - yes, yes - 0.5], 1)
"""
DRAWN = """
causal conj {
  x ~ 0..2
  y ~ 0..1
  m := x == 1
  output z := m and y == 1
}
network net = torch("net.py:Net")
align at : conj -> net {
  x @ input[0:1] via scalar()
  y @ input[1:2] via scalar()
  m @ layer[0].out[0]
  z @ logits
}
test t on at { base, source ~ conj(n=400, seed=0) where solved(base) do(m <- source) report iia }
"""


def test_the_ceilings_of_kept_pairs_have_the_weights_of_the_scores(tmp_path: Path) -> None:
    """The draws are all pairs, some more often than others, and the scores weigh them evenly. So must the best rule."""
    (tmp_path / "net.py").write_text(NETWORK, encoding="utf-8")
    (tmp_path / "s.causal").write_text(DRAWN, encoding="utf-8")
    test = cd.run(tmp_path / "s.causal", cd.Options(trust=True))["t"]
    inputs = list(itertools.product(range(3), range(2)))
    pairs = [(base, source) for base in inputs if base != (2, 1) for source in inputs]  # it says `true` on (2, 1)
    seen: dict[tuple[bool, bool], Counter[bool]] = defaultdict(Counter)
    right = unmoved = 0
    for base, source in pairs:
        label, own = source[0] == 1 and base[1] == 1, base == (1, 1)
        seen[own, source == (1, 1)][label] += 1
        unmoved += label == own
        right += label == (source[0] > 0 and base[1] == 1)
    top, iia = sum(max(counts.values()) for counts in seen.values()) / len(pairs), right / len(pairs)
    ceilings, scores = test.ceilings_kept, test.cell().scores
    assert ceilings["noop"].exact and ceilings["noop"].value == pytest.approx(unmoved / len(pairs))
    assert ceilings["output_only"].exact and ceilings["output_only"].n == len(pairs)
    assert ceilings["output_only"].value == pytest.approx(top)
    assert scores["iia"].method == scores["iia_star"].method == "exact"
    assert scores["iia"].value == pytest.approx(iia)
    assert scores["iia_star"].value == pytest.approx((iia - top) / (1 - top))
