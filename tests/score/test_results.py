"""Results as JSON, as a table, by name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.results import CellResult, ExpectationResult, TestResult, number
from causal_dsl.score.spec_results import Results, SpecResult


def results() -> Results:
    nan = float("nan")
    cells = tuple(
        CellResult(
            {"l": np.int64(layer), "p": "last"},
            {"iia": Estimate(0.5, 0.4, 0.6, 10, "bootstrap"), "kl": Estimate(nan)},
            (Finding("supported", "Yes."),),
            noise_floor=nan,
        )
        for layer in (0, 1)
    )
    expectations = (ExpectationResult("iia >= 95%", 7, 0.5, False),)
    ceilings = {"noop": Ceiling(0.25, True, 16)}
    one = TestResult("one", 3, 10, 10, ceilings, cells, expectations, seconds=0.5, parameters=("l", "p"))
    two = TestResult("two", 9, 10, 10, {}, (CellResult({}, {"accuracy": Estimate(1.0, n=10, method="exact")}),))
    return Results((SpecResult("a.causal", "d1", (one, two)), SpecResult("b.causal", "d2", (two,))))


def test_json_is_the_contract() -> None:
    document = json.loads(json.dumps(results().to_json(), allow_nan=False))
    (spec, _) = document["specs"]
    assert {"path", "digest", "versions", "networks", "tests", "cost"} <= set(spec)
    test = spec["tests"][0]
    assert {"name", "line", "n", "kept", "ceilings", "cells", "expectations", "seconds"} <= set(test)
    assert test["ceilings"] == {"noop": {"value": 0.25, "exact": True, "n": 16, "low": 0.25, "high": 0.25}}
    cell = test["cells"][1]
    assert cell["cell"] == {"l": 1, "p": "last"}
    assert {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}.items() <= cell["scores"]["iia"].items()
    assert cell["scores"]["kl"]["value"] is None
    assert cell["findings"] == [{"code": "supported", "text": "Yes.", "severity": "info"}]
    (expectation,) = test["expectations"]
    assert {"text": "iia >= 95%", "line": 7, "value": 0.5, "passed": False}.items() <= expectation.items()
    assert spec["tests"][1]["cells"][0]["cell"] == {}


def test_by_name() -> None:
    found = results()
    assert found["one"].name == "one"
    assert found["b.causal", "two"].name == "two"
    with pytest.raises(KeyError, match="2 specs have a test `two`"):
        found["two"]
    with pytest.raises(KeyError, match="did you mean `one`"):
        found["ones"]
    assert found["one"].cell(l=1).cell["l"] == 1
    with pytest.raises(KeyError, match=r"(?s)2 cells.*is one of \[.*such as `\.cell\(.*=.*\)`"):
        found["one"].cell(p="last")
    assert len(found) == 3
    assert not found.passed
    assert found["b.causal", "two"].passed


def test_as_a_table() -> None:
    frame = results().frame()
    assert len(frame) == 2 * 2 + 1 + 1
    assert {"spec", "test", "l", "p", "score", "value", "low", "high", "n"} <= set(frame.columns)
    row = frame[(frame.test == "one") & (frame.l == 1) & (frame.score == "iia")]
    assert row.value.item() == 0.5
    assert Results(()).frame().empty


def test_numbers_for_json() -> None:
    assert number(np.float64("nan")) is None
    assert number(float("inf")) is None
    assert number(np.float32(0.5)) == 0.5
    assert number({"l": np.int64(3), "p": "last"}) == {"l": 3, "p": "last"}
    assert number(True) is True


def test_a_score_is_told_in_a_line() -> None:
    assert re.fullmatch(
        r"<Estimate 0\.938 \[0\.902, 0\.961\], n=64>", repr(Estimate(0.938, 0.902, 0.961, 64, "binomial"))
    )
