"""A word of a package that fails as a test runs: its package is named, and every other test has its numbers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from tests.equality import relu
from tests.vocabulary.installed import install

CODE = """
from dataclasses import dataclass
from causal_dsl.vocabulary.features import DIM, FeatureFamily
from causal_dsl.vocabulary.measures import Measure
from causal_dsl.vocabulary.written import Value, Written

def value(name, edit):
    @dataclass(frozen=True)
    class Kind(Value):
        function = f"faulty_words:{name}_edit"
        runless = True
        current = True
    globals()[f"{name}_edit"] = edit
    return Written(name, Kind, f"`{name}`", "a fault", ())

def unmade(value, here):
    raise KeyError("no such thing")

def measure(name, formula, unit="nats", needs=("distribution",)):
    return Measure(name=name, says="a fault", unit=unit, per="pair", needs=needs, formula=formula, better=None, interval="mean")

def make(making):
    return making.width / 0

UNMADE = value("unmade", unmade)
RAISING = value("raising", lambda value, here: lambda current: current.nothing)
NARROW = value("narrow", lambda value, here: lambda current: current[:, :2])
NO_VECTOR = value("no_vector", lambda value, here: lambda current: "a")
UNKNOWN = value("unknown", lambda value, here: lambda current: current / 0 * 0)
RAISED = measure("raised", lambda log_probs: 1 / 0)
WIDE = measure("wide", lambda log_probs: log_probs.exp())
NO_NUMBERS = measure("no_numbers", lambda log_probs: "a")
BEYOND = measure("beyond", lambda log_probs: -log_probs.sum(dim=1), "share")
NAN = measure("nan", lambda log_probs: log_probs * 0 / 0 if False else log_probs[:, 0] / 0 * 0)
OF_TOKEN = measure("of_token", lambda logit, whole: logit[:, None], "logits", ("token",))
LEFT = FeatureFamily("left", {"dim": DIM}, "faulty_words:make", dim="dim")
"""
POINTS = {
    "causal_dsl.values": ("unmade", "raising", "narrow", "no_vector", "unknown"),
    "causal_dsl.measures": ("raised", "wide", "no_numbers", "beyond", "nan", "of_token"),
    "causal_dsl.features": ("left",),
}
CASES = (
    ("= unmade", "moved", "E786", "`unmade` fails in the package that adds it", "KeyError: 'no such thing'"),
    ("= raising", "moved", "E786", "`raising` fails in the package that adds it", "AttributeError"),
    ("= narrow", "moved", "E786", "`narrow` fails in the package that adds it", "the shape [256, 2]"),
    ("= no_vector", "moved", "E786", "`no_vector` fails in the package that adds it", "an object of the type str"),
    ("= unknown", "moved", "E687", "a value that is written here is not a number (NaN)", "without a result"),
    ("= 0", "raised", "E786", "`raised` fails in the package that adds it", "ZeroDivisionError"),
    ("= 0", "wide", "E786", "`wide` fails in the package that adds it", "the shape [256, 2], and [256] is needed"),
    ("= 0", "no_numbers", "E786", "`no_numbers` fails in the package that adds it", "an object of the type str"),
    ("= 0", "beyond", "E786", "`beyond` fails in the package that adds it", "a share of it is from 0 to 1"),
    ("= 0", "nan", "E786", "`nan` fails in the package that adds it", "not a number"),
    ("= 0", "mean(of_token(same))", "E786", "`of_token` fails in the package that adds it", "the shape [256, 1]"),
)


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    points = {group: {word: f"faulty_words:{word.upper()}" for word in words} for group, words in POINTS.items()}
    install(tmp_path, "faulty-words", points, CODE)
    sys.modules.pop("faulty_words", None)


SOUND = """
test sound on halves {
  base ~ equality(exhaustive=true)
  do(layer[1].out[0:4] = 0)
  report moved
}
"""


def faulty_test(number: int, change: str, report: str) -> str:
    whole = SOUND.replace("layer[1].out[0:4] = 0", f"layer[1].out {change}").replace("report moved", f"report {report}")
    return whole.replace("sound", f"faulty_{number}")


@pytest.mark.usefixtures("faulty")
def test_a_fault_of_a_package_ends_its_own_test_alone() -> None:
    tests = [faulty_test(number, change, report) for number, (change, report, *_) in enumerate(CASES)]
    spec = cd.parse(relu(tests=SOUND + "".join(tests)))
    results = cd.run(spec)
    alone = cd.run(cd.parse(relu(tests=SOUND)))["sound"].cell().scores["moved"]
    assert results["sound"].cell().scores["moved"] == alone
    assert not any(test.cells for test in results.tests if test.name != "sound")
    faults = [one for one in results.specs[0].warnings if one.is_error]
    assert len(faults) == len(CASES)
    for number, (fault, (_, _, code, title, why)) in enumerate(zip(faults, CASES, strict=True)):
        assert (fault.code, fault.title) == (code, title)
        said = " ".join(fault.notes)
        assert why in said and ("faulty-words 0.1 adds it" in said or code == "E687")
        before = spec.source_text.text[: fault.span.end]
        assert re.findall(r"test faulty_(\d+)", before)[-1] == str(number)


@pytest.mark.usefixtures("faulty")
def test_a_feature_that_cannot_be_made_names_its_package() -> None:
    text = relu(
        "left @ layer[1].out[0:4] via left(dim=1)", tests=SOUND.replace("layer[1].out[0:4] = 0", "left <- source")
    )
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(text.replace("base ~", "base, source ~").replace("exhaustive=true", "n=16")))
    fault = caught.value.diagnostics[0]
    assert (fault.code, fault.title) == ("E786", "`left` fails in the package that adds it")
    assert "ZeroDivisionError" in " ".join(fault.notes)
