"""Fits on places that cannot reach the answer: none is made, and the cell is the unpatched base."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.running.session import Session
from causal_dsl.store import stepwise
from tests.engine.tiny import spec_of
from tests.thinning import spread

SMALL = "n=16, batch=8, epochs=1, rate=0.01"
SWEEP = """
align fitted(l in 0:3, p in [x, last]) : a {
  same @ layer[l].SITE[p] via FEATURE
}
test learned on fitted {
  base, source ~ DRAWN
  do(same <- source)
  report iia
  report moved
  report mean(kl)
  report mean(logit(o))
}
test plain on fitted(0, x) {
  base, source ~ DRAWN split=test
  report mean(logit(o))
}
""".replace("DRAWN split=test", "m(n=12, seed=1, split=test) where base.same != source.same").replace(
    "DRAWN", "m(n=12, seed=1) where base.same != source.same"
)


def results(family: str, tests: str):
    return api.run(api.parse(spec_of(family, tests, positions="[x]", layers="[0]")))


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "site", "feature"),
    spread(
        [
            ("llama", "resid_post", f"rotation(dim=2, {SMALL})"),
            ("llama", "mlp_out", f"mask({SMALL})"),
            ("llama", "resid_mid", "pca(k=2, n=16)"),
            ("gpt2", "z", f"rotation(dim=2, {SMALL})"),
            ("gptj", "resid_post", f"rotation(dim=2, {SMALL})"),
            ("bert", "resid_post", f"rotation(dim=2, {SMALL})"),
        ],
        5,
    ),
)
def test_the_cell_is_the_unpatched_base(family: str, site: str, feature: str) -> None:
    found = results(family, SWEEP.replace("FEATURE", feature).replace("SITE", site))
    (plain,) = found["plain"].cells
    dead = {(2, "x")} | ({(2, "last")} if family == "bert" else set())  # what an encoder says stands at its mask
    seen = set()
    for cell in found["learned"].cells:
        codes = {finding.code for finding in cell.findings}
        key = (cell.cell["l"], cell.cell["p"])
        if key not in dead:
            assert "unreachable" not in codes
            assert cell.learned is not None and cell.learned.controls
            continue
        seen.add(key)
        assert {"unreachable", "never_moved"} <= codes
        assert not codes & {"fitted", "above_controls", "not_above_controls", "illusion_risk", "supported"}
        assert cell.learned is None
        assert cell.scores["moved"].value == 0
        assert cell.scores["mean(kl)"].value == pytest.approx(0, abs=1e-9)
        logit = "mean(logit(o))"
        assert cell.scores[logit].value == pytest.approx(plain.scores[logit].value, abs=1e-5)
        assert [fired.rows for fired in cell.interventions] == [0]
    assert seen == dead


@pytest.mark.slow
def test_no_fit_is_made_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    plain = stepwise.run

    def watched(work, checkpoint):
        fitted.extend(str(ref.place) for job in work.jobs.values() for ref in job.unit.maps)
        return plain(work, checkpoint)

    monkeypatch.setattr(stepwise, "run", watched)
    results("llama", SWEEP.replace("FEATURE", f"rotation(dim=2, {SMALL})").replace("SITE", "resid_post"))
    assert "layer[2].resid_post[last]" in fitted
    assert "layer[1].resid_post[x]" in fitted
    assert "layer[2].resid_post[x]" not in fitted


def test_where_nothing_reaches_at_all_nothing_is_run() -> None:
    text = SWEEP.replace("0:3", "[2]").replace("[x, last]", "[x, y]").replace("fitted(0, x)", "fitted(2, x)")
    found = results("llama", text.replace("FEATURE", f"rotation(dim=2, {SMALL})").replace("SITE", "resid_post"))
    assert all("unreachable" in {f.code for f in cell.findings} for cell in found["learned"].cells)


TWO = """
causal n {
  x, y, z ~ W
  same := x == y
  other := y == z
  both := same and other
  output o := if both then x else z
}
align two : n -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  prompt "w4 {x} w1 {y} w5 w2 {z}"
  same  @ layer[2].resid_post[x] via rotation(dim=2, n=24, batch=8, epochs=1, rate=0.01)
  other @ layer[SECOND].resid_post[z] via rotation(dim=2, n=24, batch=8, epochs=1, rate=0.01)
  o @ next_token(among=W)
}
test learned on two {
  base, source ~ n(n=16, seed=1) where base.same != source.same or base.other != source.other
  do(same <- source, other <- source)
  report mean(logit(o))
}
test alone on two {
  base, source ~ n(n=16, seed=1) where base.same != source.same or base.other != source.other
  do(other <- source)
  report mean(logit(o))
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("second", [0, 2])
def test_one_of_two_reaches_or_one_of_two_lines(second: int) -> None:
    """`same` reaches nothing; `other` does so in all pairs (layer 0), or where `z` is the last word (layer 2)."""
    found = results("llama", TWO.replace("SECOND", str(second)))
    both, alone = found["learned"].cells[0], found["alone"].cells[0]
    assert both.learned is not None
    assert [info.place for info in both.learned.features] == [f"layer[{second}].resid_post[z]"]
    assert both.scores["iia"].n == alone.scores["iia"].n == 16
    assert "unreachable" not in {f.code for f in both.findings}
    assert both.interventions[0].rows == 0
    assert both.interventions[0].unreachable > 0
    assert both.interventions[1].rows > 0


@torch.no_grad()
def test_rows_that_reach_nothing_have_the_logits_of_their_base() -> None:
    """In a step of a fit: rows of one line go on, those of the other are the unpatched run."""
    from causal_dsl.engine.budgets import budget_of
    from causal_dsl.features.instantiate import build
    from causal_dsl.fitting.precomputed import fill
    from causal_dsl.fitting.step_rows import Part, Stepper
    from causal_dsl.network.forward import forward

    spec = api.parse(spec_of("llama", TWO.replace("SECOND", "2"), positions="[x]", layers="[0]"))
    checked = api.check(spec)
    checked.raise_errors()
    assert checked.fits is not None and checked.plan is not None
    network = Session(Options()).network(next(iter(checked.plan.networks.values())))
    unit = next(u for u in checked.fits.units if any("other" in ref.variables for ref in u.maps) and not u.shuffled)
    experiment = next(e for e in unit.experiments if len(e.fit.writes) == 1)
    (ref,) = unit.maps
    assert ref.place.site.layer == 2
    cache = fill(checked.fits.plan, network, [experiment.fit], [], budget_of(network))
    assert cache.prefixes is not None
    feature = build(ref.chain, 32, 3, dtype=torch.float32, device=torch.device("cpu"))
    feature.prepare()
    pairs = np.arange(24)
    (got,) = Stepper(cache).logits([Part(experiment.fit, pairs, {ref: feature}, None)])
    inputs = checked.fits.plan.inputs[experiment.fit.base.network]
    rows = checked.fits.plan.rows[experiment.fit.base]
    ids = [list(inputs.ids(i)) for i in rows.tolist()]
    clean = forward(network, ids, readout=torch.arange(len(ids))).logits
    assert clean is not None
    last = np.array([inputs.prompts[i].text.startswith("w4") for i in rows.tolist()])
    moved = (got - clean).abs().amax(1).numpy() > 1e-4
    assert 0 < last.sum() < len(last)
    assert not moved[~last].any()
    assert moved[last].any()
