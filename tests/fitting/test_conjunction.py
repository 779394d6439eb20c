"""A truth that is known: an AND of two directions turned by 20 degrees. Whatever is fitted is held against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.running.session import Session
from tests.fitting.worlds import CONJUNCTION, run, turned, write

TESTS = """
align rot : dims {
  p @ layer[1].out via FEATURE
  q @ layer[1].out via FEATURE
}
test one on rot {
  base, source ~ conj(n=200, seed=0) where base.p != source.p
  do(p <- source)
  expect iia >= 99%
}
test two on rot {
  base, one, two ~ conj(n=200, seed=0)
  do(p <- one, q <- two)
  expect iia >= 99%
}
test coordinates_fail on dims {
  base, source ~ conj(n=200, seed=0) where base.p != source.p
  do(p <- source)
  expect iia <= 95%
}
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("conj")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSAL_DSL_CACHE", str(folder / "cache"))
        text = CONJUNCTION + TESTS.replace("FEATURE", "rotation(dim=1, rate=0.01, epochs=10, n=512)")
        return run(folder, text, out=folder / "out"), folder


@pytest.mark.slow
def test_the_turned_directions_are_found(found) -> None:
    results, folder = found
    assert results.passed
    files = [
        path
        for path in (folder / "out").rglob("*.safetensors")
        if "shuffled" not in path.name and "untrained" not in path.name
    ]
    assert len(files) == 1  # one map for both variables, in disjoint blocks
    tensors = load_file(files[0])
    (matrix,) = [tensor for name, tensor in tensors.items() if name.startswith("0/")]
    frame, _ = torch.linalg.qr(matrix.double())
    for number in (0, 1):
        assert abs(float(frame[:, number] @ turned()[:, number])) > 0.99


@pytest.mark.slow
def test_the_blocks_of_one_map_are_orthogonal_and_named(found) -> None:
    cell = found[0]["two"].cell()
    assert [feature.text for feature in cell.learned.features] == ["rotation(dim=2)[0:1]", "rotation(dim=2)[1:2]"]
    assert [feature.size for feature in cell.learned.features] == [1, 1]


@pytest.mark.slow
def test_controls_stand_beside_the_feature(found) -> None:
    one = found[0]["one"].cell().learned
    assert set(one.controls) == {
        "whole vector",
        "natural axes",
        "random subspace",
        "shuffled labels",
        "untrained network",
    }
    assert len(one.controls["random subspace"].draws) == 5
    assert one.controls["shuffled labels"].iia.value < 0.9
    # two variables at one place: exchanging whole vectors of two sources at once is no experiment
    assert "whole vector" not in found[0]["two"].cell().learned.controls
    data = found[0].to_json()["specs"][0]["tests"][0]["cells"][0]["learned"]
    assert data["controls"]["shuffled labels"]["iia"]["value"] == one.controls["shuffled labels"].iia.value


@pytest.mark.slow
def test_nothing_is_judged_on_what_it_was_fitted_on(found) -> None:
    folder = found[1]
    spec = api.load(folder / "spec.causal")
    checked = api.check(spec, Options(trust=True), None)

    nets = {ref.key: Session(Options(trust=True)).network(ref) for ref in checked.program.networks.values()}
    checked = api.check(spec, Options(trust=True), nets)
    assert checked.plan is not None and checked.fits is not None
    fitted = [
        checked.fits.plan.drawn[run.draw]
        for unit in checked.fits.units
        for e in unit.experiments
        for run in (e.fit.base, e.validation.base)
    ]
    model = checked.program.models["conj"]

    def inputs(drawn: Any) -> set[tuple[float, ...]]:
        return {
            row
            for columns in drawn.values.values()
            for row in zip(*(columns[name].tolist() for name in model.exogenous), strict=True)
        }

    for test in checked.plan.tests:
        if test.cells[0].interventions and test.cells[0].interventions[0].features:
            for drawn in fitted:
                assert not inputs(checked.plan.draw_of(test)) & inputs(drawn)
    # and the fit's own inputs end it on others still
    for unit in checked.fits.units:
        for e in unit.experiments:
            fit, validation = (inputs(checked.fits.plan.drawn[run.draw]) for run in (e.fit.base, e.validation.base))
            assert fit and validation and not fit & validation


@pytest.mark.slow
def test_fitted_again_bit_for_bit_and_found_the_second_time(tmp_path: Path, own_cache: Path) -> None:
    text = CONJUNCTION + TESTS.replace("FEATURE", "rotation(dim=1, rate=0.01, epochs=2, n=128, controls=none)")
    run(tmp_path, text)
    first = {path.name: path.read_bytes() for path in (own_cache / "features").glob("*.safetensors")}
    assert len(first) == 1
    stamps = {path: path.stat().st_mtime_ns for path in (own_cache / "features").glob("*.safetensors")}
    again = run(tmp_path, text)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # found, not fitted
    for path in stamps:
        path.unlink()
    run(tmp_path, text)
    assert {path.name: path.read_bytes() for path in (own_cache / "features").glob("*.safetensors")} == first
    assert "controls_off" in {finding.code for finding in again["one"].cell().findings}


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        ("n=128", "n=129"),
        ("rate=0.01", "rate=0.02"),
        ("dim=1", "dim=1, seed=3"),
        ("seed=0) where", "seed=5) where"),
        ("a < 5", "a < 6"),
    ],
)
def test_what_decides_a_fit_is_fitted_anew_when_it_changes(
    tmp_path: Path, own_cache: Path, change: tuple[str, str]
) -> None:
    text = CONJUNCTION + TESTS.replace("FEATURE", "rotation(dim=1, rate=0.01, epochs=1, n=128, controls=none)")
    run(tmp_path, text)
    assert change[0] in text
    run(tmp_path, text.replace(*change))
    assert len(list((own_cache / "features").glob("*.safetensors"))) == 2


@pytest.mark.slow
def test_a_change_that_decides_nothing_is_not_fitted_anew(tmp_path: Path, own_cache: Path) -> None:
    text = CONJUNCTION + TESTS.replace("FEATURE", "rotation(dim=1, rate=0.01, epochs=1, n=128, controls=none)")
    run(tmp_path, text)
    run(tmp_path, "# a remark\n" + text.replace("expect iia >= 99%", "report iia"))
    assert len(list((own_cache / "features").glob("*.safetensors"))) == 1


@pytest.mark.slow
def test_other_weights_are_fitted_anew(tmp_path: Path, own_cache: Path) -> None:
    text = CONJUNCTION + TESTS.replace("FEATURE", "rotation(dim=1, rate=0.01, epochs=1, n=128, controls=none)")
    run(tmp_path, text)
    write(tmp_path, text)
    nets = tmp_path / "nets.py"
    nets.write_text(nets.read_text().replace("radians(20)", "radians(21)"))
    api.run(api.load(tmp_path / "spec.causal"), Options(trust=True))
    assert len(list((own_cache / "features").glob("*.safetensors"))) == 2


@pytest.mark.slow
def test_controls_of_a_filtered_test_are_over_the_kept_pairs(tmp_path: Path) -> None:
    text = (
        CONJUNCTION
        + """
align rot : dims { p @ layer[1].out via rotation(dim=1, rate=0.01, epochs=2, n=128) }
test one on rot {
  base, source ~ conj(n=100, seed=0) where solved(base)
  do(p <- source)
  report iia
}
"""
    )
    # a network that is wrong wherever `a` is 4: those pairs are not kept
    spec = write(tmp_path, text)
    nets = tmp_path / "nets.py"
    nets.write_text(
        nets.read_text().replace("first[0, :5] = first[1, 10:15] = 2", "first[0, :4] = first[1, 10:15] = 2")
    )
    found = api.run(api.load(tmp_path / "spec.causal"), Options(trust=True))["one"]
    assert 0 < found.kept < found.n
    controls = found.cell().learned.controls
    assert {control.iia.n for control in controls.values()} == {found.kept}
    assert spec


@pytest.mark.slow
def test_a_declared_fit_holds_for_alignments_that_take_it_over(tmp_path: Path) -> None:
    """And its `where` holds inputs out: nothing with b = 3 is ever fitted on."""
    text = (
        CONJUNCTION
        + """
align rot : dims { p @ layer[1].out via rotation(dim=1, rate=0.01, epochs=10, controls=none) }
align child : rot { q @ layer[1].out[1:2] }
fit without_threes on rot {
  base, source ~ conj(n=512, seed=3) where base.b != 3 and source.b != 3
  do(p <- source)
}
test on_threes on child {
  base, source ~ conj(n=100, seed=0) where base.b == 3 and source.b == 3
  do(p <- source)
  expect iia >= 99%
}
"""
    )
    spec = write(tmp_path, text)
    results = api.run(spec, Options(trust=True))
    assert results.passed
    assert results["on_threes"].n == 100


@pytest.mark.slow
def test_a_part_of_a_site_that_holds_more_is_no_illusion(tmp_path: Path) -> None:
    """Where the site holds another variable too, exchanging all of it does worse, as it must."""
    text = (
        CONJUNCTION
        + """
align rot : dims {
  p @ layer[1].out via rotation(dim=1, rate=0.01, epochs=10, n=512)
  q @ layer[1].out via rotation(dim=1, rate=0.01, epochs=10, n=512)
}
test one on rot {
  base, source ~ conj(n=400, seed=0)
  do(p <- source)
  report iia
}
test two on rot {
  base, one, two ~ conj(n=100, seed=0)
  do(p <- one, q <- two)
  report iia
}
"""
    )
    cell = run(tmp_path, text)["one"].cell()
    assert cell.scores["iia"].value == 1.0
    assert cell.learned.controls["whole vector"].iia.value < 0.9
    assert cell.learned.beside.whole == 1.0
    assert "illusion_risk" not in {finding.code for finding in cell.findings}
