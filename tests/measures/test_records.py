"""Every measure from its record: its name everywhere, its unit, what it needs, its page; and entropy against closed forms."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

import causal_dsl as cd
from causal_dsl import vocabulary
from causal_dsl.measures.units import UNITS
from causal_dsl.network.zoo.equality_relu import build
from causal_dsl.vocabulary.measures import MEASURES
from tests.equality import relu
from tests.vocabulary.installed import build_and_install, install

ROOT = Path(__file__).parents[2]
SPEC = relu(
    "left @ layer[1].out[0:2]",
    tests="""
test t on halves {
  base, source ~ equality(DRAW)
  DO
  report WHAT
}
""",
)
DO = "do(left <- source)"


#: What a number in the place of the answer changes.
NUMBER = {"output same := left == right": "output same : real(0, 1) := if left == right then 1.0 else 0.0"}
NUMBER |= {"same @ logits": "same @ prob(1)"}


def spec(what: str, do: str = DO, draw: str = "n=40, seed=2", number: bool = False) -> cd.Spec:
    text = SPEC.replace("WHAT", what).replace("DO", do).replace("DRAW", draw)
    for old, new in NUMBER.items() if number else ():
        text = text.replace(old, new)
    return cd.parse(text)


def numbered(name: str) -> bool:
    return "number" in MEASURES[name].needs


def written(name: str) -> str:
    return f"{name}(same)" if MEASURES[name].of_token else name


def test_a_record_is_a_file_of_its_name() -> None:
    folder = Path(vocabulary.__file__).parent / "measures"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__", "measure"} == set(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_the_builder_has_its_name(name: str) -> None:
    assert repr(getattr(cd, name)) == name
    assert getattr(cd, name) is getattr(cd, name)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.thinned(always=8)
def test_what_it_needs_is_asked_for(name: str) -> None:
    """A test without what it needs is refused, and one that has it is not."""
    record = MEASURES[name]
    codes = {fault.code for fault in cd.check(spec(written(name), do="", number=numbered(name))).errors}
    assert codes == ({"E607"} if {"patched", "label"} & set(record.needs) else set())
    assert not cd.check(spec(written(name), number=numbered(name))).errors


@pytest.mark.parametrize("name", [name for name in MEASURES if numbered(name) or "answer" in MEASURES[name].needs])
def test_a_measure_of_answers_is_none_of_numbers(name: str) -> None:
    (fault,) = cd.check(spec(written(name), number=not numbered(name))).errors
    assert fault.code == "E607"


@pytest.fixture(scope="module")
def ran() -> dict[bool, cd.Results]:
    def run(number: bool) -> cd.Results:
        names = [written(name) for name in MEASURES if numbered(name) == number]
        return cd.run(spec("\n  report ".join(names), number=number))

    return {number: run(number) for number in (False, True)}


@pytest.mark.parametrize("name", MEASURES)
def test_its_score_has_its_unit_and_its_interval(name: str, ran: dict[bool, cd.Results]) -> None:
    record, test = MEASURES[name], ran[numbered(name)]["t"]
    assert test.units[written(name)] == UNITS[record.unit].name
    found = test.cell().scores[written(name)]
    methods = {
        "share": {"binomial", "rule of three", "clustered"},
        "mean": {"clustered"},
        "resampled": {"bootstrap", "none"},
        "runs": {"bootstrap", "rule of three"},
    }
    assert found.method in methods[record.interval]
    assert found.value is None or math.isfinite(found.value)


# ── entropy ─────────────────────────────────────────────────────────────────────────────────────


def entropy(logits: torch.Tensor) -> float:
    p = torch.softmax(logits, 0).tolist()
    return -sum(q * math.log(q) for q in p if q > 0)


@pytest.mark.slow
def test_entropy_of_every_input_is_that_of_the_softmax_by_hand() -> None:
    result = cd.run(spec("entropy\n  report min(entropy)\n  report change(entropy)", draw="exhaustive=true"))["t"]
    model, inputs = build().eval(), list(itertools.product(range(4), repeat=4))
    x = torch.stack([torch.cat([torch.eye(4, dtype=torch.float64)[v] for v in values]) for values in inputs])
    with torch.no_grad():
        hidden = model.layers[1](model.layers[0](x))
        patched, changes = [], []
        for base in range(0, len(inputs)):
            both = hidden[base].repeat(len(inputs), 1)
            both[:, 0:2] = hidden[:, 0:2]
            own = entropy(model.logits(model.layers[2](hidden[base : base + 1]))[0])
            found = [entropy(row) for row in model.logits(model.layers[2](both))]
            patched += found
            changes += [one - own for one in found]
    scores = result.cell().scores
    assert scores["entropy"].value == pytest.approx(sum(patched) / len(patched), abs=1e-12)
    assert scores["min(entropy)"].value == pytest.approx(min(patched), abs=1e-12)
    assert scores["change(entropy)"].value == pytest.approx(sum(changes) / len(changes), abs=1e-12)


@pytest.mark.parametrize(
    ("logits", "found"),
    [
        ([0.0, 0.0, 0.0, 0.0], math.log(4)),
        ([0.0, -math.inf, 0.0, -math.inf], math.log(2)),
        ([5.0, -math.inf, -math.inf, -math.inf], 0.0),
        ([math.log(3), 0.0, -math.inf, -math.inf], math.log(4) - 0.75 * math.log(3)),
        ([0.0, 1e5, 0.0, 0.0], 0.0),
    ],
)
def test_entropy_in_closed_form(logits: list[float], found: float) -> None:
    formula = MEASURES["entropy"].formula
    assert callable(formula)
    value = formula(torch.log_softmax(torch.tensor([logits], dtype=torch.float64), dim=1))
    assert value.tolist() == [pytest.approx(found, abs=1e-15)]
    assert math.copysign(1, value.item()) == 1


def test_entropy_needs_a_unit() -> None:
    text = spec("accuracy").source().replace("report accuracy", "expect entropy <= LEAST")
    assert {f.code for f in cd.check(cd.parse(text.replace("LEAST", "1"))).errors} == {"E603"}
    assert not cd.check(cd.parse(text.replace("LEAST", "1 bits"))).errors


# ── measures of other packages ──────────────────────────────────────────────────────────────────


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the page, installed."""
    build_and_install(tmp_path, "most_likely")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_package_adds_a_measure(package: Path) -> None:
    assert repr(cd.confidence) == "confidence"
    checked = cd.check(spec("confidence"))
    assert not checked.errors
    assert package / "most_likely.py" in checked.reads.paths, "numbers depend on its code"
    found = cd.run(spec("confidence\n  report min(prob(same))"))["t"].cell().scores
    assert 0.5 <= found["confidence"].value <= 1
    two = cd.run(spec("confidence\n  report entropy", do="", draw="exhaustive=true"))["t"].cell().scores
    assert two["confidence"].value > 0.5


def test_a_metric_of_the_spec_comes_before_it(package: Path) -> None:
    own = cd.parse(
        "metric confidence = 2 * prob(same)\n"
        + SPEC.replace("WHAT", "confidence\n  report prob(same)").replace("DO", DO).replace("DRAW", "n=40")
    )
    found = cd.run(own)["t"].cell().scores
    assert found["confidence"].value == pytest.approx(2 * found["prob(same)"].value)


@pytest.mark.parametrize("broken", ["1 / 0", "CONFIDENCE = 3"])
def test_a_package_that_cannot_be_loaded_is_a_diagnostic(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "worse-likely", {"causal_dsl.measures": {"surety": "worse_likely:CONFIDENCE"}}, broken)
    monkeypatch.syspath_prepend(tmp_path)
    for what in ("surety", "surety(same)", "iia"):
        assert {f.code for f in cd.check(spec(what)).errors} == (set() if what == "iia" else {"E786"})
        sys.modules.pop("worse_likely", None)
