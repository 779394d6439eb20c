"""The loop against one written by hand, fits together against fits alone, and stopped fits against those that were not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.base.counter import key, permutation
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.budgets import budget_of
from causal_dsl.fitting.fit import fit_all
from causal_dsl.fitting.library import Library
from causal_dsl.report.progress import Progress
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids
from tests.fitting.worlds import CONJUNCTION, run, write
from tests.store.killing import Server

ONE = (
    CONJUNCTION
    + """
align rot(s in [3, 4]) : dims { p @ layer[1].out via rotation(dim=1, rate=0.01, epochs=2, n=64, batch=16, controls=none, seed=s) }
test one on rot(CELL) {
  base, source ~ conj(n=64, seed=0) where base.p != source.p
  do(p <- source)
  report iia
}
"""
)


def fitted(folder: Path, text: str) -> tuple[Library, object]:
    spec = write(folder, text)
    options = Options(trust=True)
    checked = api.check(spec, options)
    checked.raise_errors()
    nets = {ref.key: Session(options).network(ref) for ref in checked.program.networks.values()}
    checked = api.check(spec, options, nets)
    checked.raise_errors()
    assert checked.fits is not None and checked.plan is not None
    targets = target_ids(checked.fits.plan, checked.answers, nets)
    budgets = {name: budget_of(net) for name, net in nets.items()}
    return fit_all(checked.fits, nets, checked.answers, targets, budgets, Progress()), (checked, nets)


def test_the_loop_is_the_one_that_one_would_write(tmp_path: Path) -> None:
    library, (checked, nets) = fitted(tmp_path, ONE.replace("CELL", "3"))
    (ref,) = library.maps
    (unit,) = checked.fits.units
    plan, model = checked.fits.plan, next(iter(nets.values())).model
    run_, check = unit.experiments[0].fit, unit.experiments[0].validation

    def data(resume):
        drawn = plan.drawn[resume.base.draw]
        rows = [plan.rows[resume.base], plan.rows[resume.writes[0].value.run]]
        x = [torch.tensor(np.stack([plan.inputs[unit.network].vectors[i] for i in r])) for r in rows]
        causal = checked.program.models["conj"]
        settings = {n: drawn.values["base"][n] for n in causal.exogenous}
        label = causal.evaluate(settings, {"p": drawn.values["source"]["p"]})["both"]
        return x[0], x[1], torch.tensor(np.asarray(label)).long()

    from causal_dsl.features.orthonormal import haar

    raw = haar(2, 1, 3 * 1_000_003).double().requires_grad_()
    adam = torch.optim.Adam([raw], lr=0.01)

    def loss_of(base, source, label, matrix):
        def inside(x):
            return model.layers[1](model.layers[0](x))

        h, s = inside(base), inside(source)
        return functional.cross_entropy(model.layers[2](h + (s - h) @ matrix @ matrix.T), label)

    def frame(matrix):
        q, r = torch.linalg.qr(matrix)
        return q * torch.sign(torch.diagonal(r))

    base, source, label = data(run_)
    kept = []
    for epoch in range(2):
        order = permutation(key(3, "epoch", epoch), 64)
        for at in range(0, 64, 16):
            mine = torch.from_numpy(order[at : at + 16])
            adam.zero_grad()
            loss_of(base[mine], source[mine], label[mine], frame(raw)).backward()
            adam.step()
        kept.append((float(loss_of(*data(check), frame(raw.detach()))), frame(raw.detach()).clone()))
    best = min(kept, key=lambda pair: pair[0])[1]
    feature = library.maps[ref]
    vectors = torch.randn(5, 2, dtype=torch.float64)
    other = torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(
        feature.swap(vectors, other), vectors + (other - vectors) @ best @ best.T, atol=1e-9, rtol=0
    )
    assert [round(loss, 9) for loss, _ in library.fits[ref].checks] == [round(loss, 9) for loss, _ in kept]


@pytest.mark.slow
def test_fits_in_one_batch_come_out_as_alone(tmp_path: Path) -> None:
    both = fitted(tmp_path, ONE.replace("(CELL)", ""))[0]
    assert len(both.maps) == 2
    for seed in (3, 4):
        (tmp_path / f"alone{seed}").mkdir()
        alone = fitted(tmp_path / f"alone{seed}", ONE.replace("CELL", str(seed)))[0]
        (ref,) = alone.maps
        (ours,) = (feature for other, feature in both.maps.items() if other.fitting == ref.fitting)  # of another file
        a, b = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
        torch.testing.assert_close(ours.swap(a, b), alone.maps[ref].swap(a, b), atol=1e-9, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_fit_that_is_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    text = ONE.replace("(CELL)", "").replace("epochs=2", "epochs=40, patience=40")
    homes = {name: tmp_path / name for name in ("whole", "broken")}
    for home in homes.values():
        home.mkdir()
        write(home, text)
    words = ["run", "spec.causal", "--trust"]
    features = homes["broken"] / "cache" / "features"
    with Server() as server:
        code, steps = server.run(words, homes["whole"])
        assert code == 0 and steps["fit step"] > 80
        killed, first = server.run(words, homes["broken"], "fit step", 60)
        assert killed == -signal.SIGKILL and first["fit"] == 0
        assert list(features.glob("*.going")) and not list(features.glob("*.safetensors"))
        again, second = server.run(words, homes["broken"])
    assert again == 0 and first["fit step"] + second["fit step"] <= steps["fit step"] + 2
    assert not list(features.glob("*.going"))
    mine, theirs = (
        {path.name: path.read_bytes() for path in (home / "cache" / "features").glob("*.safetensors")}
        for home in (homes["broken"], homes["whole"])
    )
    assert len(mine) == 2
    assert mine == theirs


def test_restarts_keep_the_best_on_the_validation_inputs(tmp_path: Path, own_cache: Path) -> None:
    text = ONE.replace("CELL", "3").replace("epochs=2", "epochs=1, restarts=3")
    library, _ = fitted(tmp_path, text)
    (told,) = library.fits.values()
    assert told.restarts == 3
    files = list((own_cache / "features").glob("*.safetensors"))
    assert len(files) == 3
    import json

    from safetensors import safe_open

    losses = []
    for path in files:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["causal_dsl"])
            losses.append(about["checks"][about["best_at"]][0])
    assert told.checks[0][0] == pytest.approx(min(losses), abs=1e-12)
    assert load_file(files[0])


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("feature", ["rotation(dim=1, rate=0.01", "lowrank(dim=1, rate=0.01", "mask(rate=0.01"])
def test_a_fit_through_a_hard_step_is_refused(feature: str, tmp_path: Path) -> None:
    text = ONE.replace("CELL", "3").replace("nets.py:build", "nets.py:stepped")
    with pytest.raises(SpecError) as caught:
        run(tmp_path, text.replace("rotation(dim=1, rate=0.01", feature))
    (fault,) = caught.value.diagnostics
    assert fault.code == "E766" and "mean_difference()" in (fault.help or "")


def test_a_feature_without_gradients_is_made_through_a_hard_step(tmp_path: Path) -> None:
    text = ONE.replace("CELL", "3").replace("nets.py:build", "nets.py:stepped")
    a, b = text.index("rotation("), text.index("seed=s)") + len("seed=s")
    found = run(tmp_path, text[:a] + "mean_difference(n=64, controls=none" + text[b:])
    assert found["one"].cell().scores["iia"].value > 0.9


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("network", ["build", "kept"])
def test_an_untrained_network_with_all_trained_weights_is_no_control(network: str, tmp_path: Path) -> None:
    text = ONE.replace("CELL", "3").replace("nets.py:build", f"nets.py:{network}").replace(", controls=none", "")
    test = run(tmp_path, text)["one"]
    cell, same = test.cell(), network == "kept"
    assert cell.learned is not None and ("untrained network" in cell.learned.controls) != same
    assert any("untrained network" in f.text for f in test.findings if f.code == "not_tried") == same
    if same:
        assert not any("untrained" in f.text for f in cell.findings)


def test_a_loss_that_is_no_number_ends_the_fit_at_once(tmp_path: Path) -> None:
    text = ONE.replace("CELL", "3").replace('nets.py:build", dtype=float64', 'nets.py:blown", dtype=float32')
    with pytest.raises(SpecError) as caught:
        run(tmp_path, text)
    (fault,) = caught.value.diagnostics
    assert fault.code == "E728"
    assert "step 1" in fault.title
