"""The ends of measures: what arithmetic of them can be, and intervals that keep within them, from the run to the file that is read."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_dsl import api
from causal_dsl.measures.evaluation import OPERATORS
from causal_dsl.measures.per_pair import ends_of
from causal_dsl.score.document_faults import fault_in
from tests.engine.tiny import spec_of

ENDS = st.tuples(st.integers(-4, 4), st.integers(0, 4)).map(lambda told: (float(told[0]), float(told[0] + told[1])))


@given(st.sampled_from(["+", "-", "*", "/", "negative", "<", "and"]), ENDS, ENDS)
def test_arithmetic_stays_between_its_ends_and_reaches_them(op: str, one: tuple, other: tuple) -> None:
    given = [one] if op == "negative" else [one, other]
    if op == "and":
        given = [(0.0, 1.0), (0.0, 1.0)]
    low, high = ends_of(op, given)
    points = [np.array(p) for p in itertools.product(*(np.linspace(*ends, 9) for ends in given))]
    found = [float(OPERATORS[op](*np.split(point, len(given)))[0]) for point in points]
    known = [number for number in found if not math.isnan(number)]
    assert all(low - 1e-12 <= number <= high + 1e-12 for number in known)
    if math.isfinite(low) and op not in ("<", "and"):
        assert (min(known), max(known)) == pytest.approx((low, high))


def test_products_with_what_has_no_end() -> None:
    inf = math.inf
    assert ends_of("*", [(0, inf), (2, 3)]) == (0, inf)
    assert ends_of("*", [(0, 1), (-inf, 0)]) == (-inf, 0)
    assert ends_of("-", [(0, inf), (0, inf)]) == (-inf, inf)
    assert ends_of("/", [(0, inf), (1, inf)]) == (0, inf)


TESTS = """
metric half = 0.5 * prob("w10") + 0.5 * prob("w11")
metric tenth = half * half * half * half * half * half / 10
test plain on a {
  base ~ m(n=14, seed=SEED)
  report probe_accuracy(same) @ layer[l].resid_post[p], half, tenth
}
"""


def test_a_probe_has_the_interval_of_a_share() -> None:
    """All inputs differ, so it is the interval that scipy gives to as many right of as many."""
    text = spec_of("llama", TESTS.replace("SEED", "1"))
    (test,) = api.run(api.parse(text)).tests
    assert test.distinct["base"] == test.n == 14
    for cell in test.cells:
        for name, estimate in cell.scores.items():
            assert estimate.low is not None
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
            if name.startswith("probe_accuracy") and estimate.value not in (0, 1):
                by_hand = binomtest(round(estimate.value * 14), 14).proportion_ci(method="wilson")
                assert (estimate.low, estimate.high) == pytest.approx((by_hand.low, by_hand.high), abs=1e-4)
                assert estimate.method == "binomial"


NUMBER = """
causal n { x, y ~ W  s := if x == y then 1 else -1  output d : real(-9, 9) := 2.0 * s }
align b : n -> net {
  prompt "{x} w1 {y}"
  s @ layer[1].resid_post[y]
  d @ logit(x) - logit(y)
}
test number on b {
  base, source ~ n(n=9, seed=1)
  do(s <- source)
  report r2, mse
}
"""


def test_a_ceiling_below_0_is_read_as_it_was_written() -> None:
    """R^2 of the rule that says the base's number is below 0: its document is no damaged one, and one above 1 is."""
    results = api.run(api.parse(spec_of("llama", NUMBER)))
    document = json.loads(json.dumps(results.to_json()["specs"][0]))
    ceiling = document["tests"][0]["ceilings"]["base_value"]
    assert ceiling["value"] < 0
    assert not fault_in(document)
    ceiling["high"] = 1.5
    assert "at most 1" in fault_in(document)
