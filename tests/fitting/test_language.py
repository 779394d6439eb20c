"""Features of language models: rows that go on from prefixes against whole forward passes, places, chains, joined tokens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.engine.budgets import budget_of
from causal_dsl.features.instantiate import build
from causal_dsl.fitting.fit import fit_all
from causal_dsl.fitting.precomputed import fill
from causal_dsl.fitting.step_rows import Part, Stepper
from causal_dsl.planning import graph as g
from causal_dsl.report.progress import Progress
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids
from causal_dsl.vocabulary.features import FEATURES, FeatureFamily
from tests.engine.tiny import spec_of
from tests.thinning import some, spread

LEARNED = """
align fitted : a {
  same @ SITES via FEATURE
}
test learned on fitted(0, x) {
  base, source ~ m(n=24, seed=1) where base.same != source.same
  do(same <- source)
  report iia
}
"""
SMALL = "n=24, batch=8, epochs=2, rate=0.01"


def trained(nets):
    """The network of the spec, not the untrained one beside it."""
    (found,) = (network for key, network in nets.items() if not key.untrained)
    return found


def made(family: str, sites: str, feature: str, padding: str = "right"):
    text = spec_of(family, LEARNED.replace("SITES", sites).replace("FEATURE", feature), padding=padding)
    spec = api.parse(text)
    checked = api.check(spec)
    checked.raise_errors()
    assert checked.plan is not None and checked.fits is not None
    nets = {n: Session(Options()).network(ref) for n, ref in checked.plan.networks.items()}
    return spec, checked, nets


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("family", some(["llama", "gpt2", "gemma2", "gptj"], ["llama", "gptj"]))
@pytest.mark.parametrize(
    "sites",
    [
        "layer[1].resid_post[x]",
        "layer[1].head[0].z[last], layer[2].mlp_out[last]",
        "layer[0].resid_pre[x.all]",
        "layer[2].resid_post[last], layer[0].resid_post[x]",
        "layer[0:2].mlp_out[x + 2]",
        "layer[1].resid_post[x:y + 1]",
        "layer[1].resid_post[if same then x else z - 1]",
    ],
)
def test_rows_of_a_step_are_those_of_whole_forwards(family: str, sites: str) -> None:
    _, checked, nets = made(family, sites, f"rotation(dim=2, {SMALL}, controls=none)")
    fits, network = checked.fits, trained(nets)
    resumes = [e.fit for unit in fits.units for e in unit.experiments]
    cache = fill(fits.plan, network, resumes, [], budget_of(network))
    assert bool(cache.why) == (family == "gptj")
    plain = fill(fits.plan, network, resumes, [], budget_of(network))
    plain.prefixes = None
    refs = [write.feature.map for resume in resumes for write in resume.writes]
    features = {}
    for ref in refs:
        width = cache.vectors[ref.place.site].shape[1]
        features[ref] = build(ref.chain, width, 5, dtype=torch.float32, device="cpu")
    pairs = np.array([3, 0, 7, 11])
    parts = [Part(resume, pairs, features, None) for resume in resumes] * 2
    grads = []
    for one in (cache, plain):
        for feature in features.values():
            feature.zero_grad()
            feature.prepare()
        logits = Stepper(one).logits(parts)
        sum((out**2).sum() for out in logits).backward()
        grads.append((logits, [p.grad.clone() for f in features.values() for p in f.parameters() if p.requires_grad]))
    for mine, theirs in zip(grads[0][0], grads[1][0], strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
    for mine, theirs in zip(grads[0][1], grads[1][1], strict=True):
        assert mine.abs().sum() > 0 or family == "gemma2"  # whose soft cap is flat at the logits of random weights
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_rows_that_lie_alike_are_laid_out_once() -> None:
    _, checked, nets = made("llama", "layer[1].resid_post[x]", f"rotation(dim=2, {SMALL}, controls=none)")
    (unit,) = checked.fits.units
    resume, network = unit.experiments[0].fit, trained(nets)
    cache = fill(checked.fits.plan, network, [resume], [], budget_of(network))
    features = {ref: build(ref.chain, 32, 5, dtype=torch.float32, device="cpu") for ref in unit.maps}
    kept = Stepper(cache)
    for start in range(0, 24, 3):
        part = Part(resume, np.array([start, start + 2, start, start + 1]), features, None)
        with torch.no_grad():
            torch.testing.assert_close(kept.logits([part]), Stepper(cache).logits([part]), atol=0, rtol=0)
    assert len(kept.layouts) <= 4


def written(family: FeatureFamily) -> str:
    """A small feature of a family, as a spec writes it."""
    settings = {**({family.dim: 2} if family.dim else {}), **family.tiny}
    told = [*(f"{name}={value}" for name, value in settings.items()), *(["SMALL"] if family.trained else [])]
    return f"{family.name}({', '.join(told)})"


#: Every family that needs no file, and chains of them.
WRITTEN = [
    *(written(family) for family in FEATURES.own.values() if family.file is None),
    "standardize().rotation(dim=2, SMALL)",
    "pca(k=4).mask(SMALL)",
    "rotation(dim=4, SMALL).mask()",
]


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("feature", spread(WRITTEN, 6, slow_step=2))
def test_every_family_runs_from_spec_to_report(feature: str) -> None:
    spec, _, _ = made("llama", "layer[1].resid_post[x]", feature.replace("SMALL", SMALL))
    result = api.run(spec)["learned"]
    cell = result.cell()
    codes = {finding.code for finding in cell.findings}
    assert "fitted" in codes
    families = [FEATURES[name] for name in re.findall(r"(\w+)\(", feature)]
    bends = any(family.bends for family in families)
    assert ("nonlinear" in codes) == bends
    learned = cell.learned
    by_labels = any(family.trained or family.classes for family in families)
    expected = {"whole vector", "natural axes", "random subspace"} | (
        {"shuffled labels", "untrained network"} if by_labels else set()
    )
    if feature == "standardize()":  # as wide as its place: a random subspace of its size is all of it
        expected -= {"random subspace"}
    if bends:  # how its score grows with its layers
        expected |= {"1 layers", "1 layers, untrained"}
        assert "With 1 layers and with all" in next(f.text for f in cell.findings if f.code == "nonlinear")
    assert set(learned.controls) == expected
    gates = learned.features[0].gates
    assert (gates is not None) == any(family.gated for family in families)
    # base in place of source changes nothing: the noise floor runs through the feature
    assert cell.noise_floor is not None and cell.noise_floor < 1e-4
    # the report shows them all
    from causal_dsl.report.text import text
    from causal_dsl.score.spec_results import Results

    shown = text(Results((api.run(spec).specs[0],)))
    assert "natural axes" in shown


@pytest.mark.slow
def test_joined_tokens_are_one_vector() -> None:
    spec, checked, nets = made(
        "llama",
        "layer[1].resid_post[x], layer[1].resid_post[last]",
        f"rotation(dim=2, {SMALL}, joined=true, controls=none)",
    )
    fits = checked.fits
    targets = target_ids(fits.plan, checked.answers, nets)
    library = fit_all(fits, nets, checked.answers, targets, {n: budget_of(net) for n, net in nets.items()}, Progress())
    (feature,) = library.maps.values()
    assert feature.width == 2 * (trained(nets).facts.width or 0)
    cell = api.run(spec)["learned"].cell()
    assert cell.interventions[0].rows in (46, 48)  # two tokens in each of 24 rows, equal ones run once
    assert cell.scores["iia"].value is not None


def test_one_by_one_every_site_has_a_map_of_its_own() -> None:
    _, checked, _ = made(
        "llama", "layer[0].resid_post[x], layer[1].resid_post[last]", f"rotation(dim=2, {SMALL}, controls=none)"
    )
    (unit,) = checked.fits.units
    assert [str(ref.place) for ref in unit.maps] == ["layer[0].resid_post[x]", "layer[1].resid_post[last]"]


@pytest.mark.slow
def test_the_whole_vector_is_the_feature_of_all_its_dimensions() -> None:
    """A rotation as wide as the site swaps everything: its score is that of no feature at all."""
    wide = made("llama", "layer[1].resid_post[x]", "rotation(dim=32, n=24, epochs=1, controls=all)")[0]
    cell = api.run(wide)["learned"].cell()
    assert cell.learned.features[0].width == 32
    assert cell.scores["iia"].value == cell.learned.controls["whole vector"].iia.value


def test_a_capture_of_the_base_is_no_change() -> None:
    _, checked, nets = made("gpt2", "layer[1].resid_post[x]", f"rotation(dim=2, {SMALL}, controls=none)")
    (unit,) = checked.fits.units
    resume = unit.experiments[0].fit
    same = g.Resume(
        resume.base,
        tuple(g.WriteNode(w.place, g.Capture(resume.base, w.place), False, w.feature) for w in resume.writes),
    )
    cache = fill(checked.fits.plan, trained(nets), [same], [], budget_of(trained(nets)))
    features = {ref: build(ref.chain, 32, 0, dtype=torch.float32, device="cpu") for ref in unit.maps}
    out = Stepper(cache).logits([Part(same, np.arange(6), features, None)])[0]
    plain = fill(checked.fits.plan, trained(nets), [same], [], budget_of(trained(nets)))
    plain.prefixes = None
    torch.testing.assert_close(
        out, Stepper(plain).logits([Part(same, np.arange(6), features, None)])[0], atol=1e-5, rtol=1e-5
    )


def fitted_maps(tests: str) -> dict[tuple[str, int], torch.Tensor]:
    """The projections that a spec's maps are, by place and seed."""
    text = spec_of("llama", tests).replace("padding=right)", "padding=right, dtype=float64)")
    spec = api.parse(text)
    checked = api.check(spec)
    checked.raise_errors()
    nets = {n: Session(Options()).network(ref) for n, ref in checked.plan.networks.items()}
    targets = target_ids(checked.fits.plan, checked.answers, nets)
    library = fit_all(
        checked.fits, nets, checked.answers, targets, {n: budget_of(net) for n, net in nets.items()}, Progress()
    )
    eye = torch.eye(trained(nets).facts.width, dtype=torch.float64)
    zero = torch.zeros_like(eye)
    return {(str(ref.place), ref.fitting.seed): feature.swap(zero, eye) for ref, feature in library.maps.items()}


SWEEP = """
align fitted(l in LAYERS, s in SEEDS) : b {
  same @ layer[l].resid_post[last] via rotation(dim=2, n=24, batch=8, epochs=2, rate=0.01, controls=none, seed=s)
}
test learned on fitted {
  base, source ~ m(n=8, seed=1) where base.same != source.same
  do(same <- source)
  report iia
}
"""
PLAIN = """
align b : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  same @ layer[0].resid_post[last]
  o    @ next_token(among=W)
}
"""


@pytest.mark.slow
def test_a_sweep_of_fits_is_each_fitted_alone(own_cache: Path) -> None:
    """Layers and seeds in one batch; the last layer's rows enter behind all layers."""
    whole = fitted_maps(PLAIN + SWEEP.replace("LAYERS", "0:3").replace("SEEDS", "[0, 5]"))
    assert len(whole) == 6
    for layer in range(3):
        for path in (own_cache / "features").glob("*"):
            path.unlink()
        alone = fitted_maps(PLAIN + SWEEP.replace("LAYERS", f"[{layer}]").replace("SEEDS", "[5]"))
        ((key, projection),) = alone.items()
        torch.testing.assert_close(whole[key], projection, atol=1e-8, rtol=0)
        assert projection.norm() == pytest.approx(2**0.5)
