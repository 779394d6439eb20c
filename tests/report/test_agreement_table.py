"""What several measures say of one alignment, side by side, and where they part."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.report.text import text
from causal_dsl.score.agreement import agreement_findings
from causal_dsl.score.agreements import ASKS, Judged, partings
from causal_dsl.score.estimates_and_findings import Estimate

ROOT = Path(__file__).parents[2]


def estimate(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value - half, value + half, 100, "bootstrap")


@pytest.mark.parametrize(
    ("scores", "codes"),
    [
        ({"scrubbed": 0.5, "carried": 0.9, "accuracy": 0.9}, {"differences_matter"}),
        ({"carried": 0.5, "accuracy": 0.9}, {"rest_matters"}),
        ({"scrubbed": 0.9, "abstraction_error": 0.4}, {"scrubbing_blind"}),
        ({"abstraction_error": 0.1, "abstraction_error_resampled": 0.4}, {"rest_interferes"}),
        ({"scrubbed": 0.89, "carried": 0.9, "accuracy": 0.91, "abstraction_error": 0.1}, set()),
    ],
)
def test_measures_that_part_are_told_of(scores: dict[str, float], codes: set[str]) -> None:
    found = list(agreement_findings({name: estimate(value) for name, value in scores.items()}))
    assert {one.code for one in found} == codes
    wide = list(agreement_findings({name: estimate(value, 0.5) for name, value in scores.items()}))
    assert not wide, "where intervals overlap nothing is told apart"


@pytest.mark.parametrize(
    ("iia", "scrubbed", "said"), [(0.5, 0.9, "cannot see"), (0.9, 0.5, "leaves the rest"), (0.9, 0.91, "")]
)
def test_interchanges_and_scrubbing_part(iia: float, scrubbed: float, said: str) -> None:
    judged = [
        Judged("iia", "iia of left", estimate(iia), "one"),
        Judged("scrubbed", "scrubbed", estimate(scrubbed), "two"),
    ]
    told = " ".join(partings(judged))
    assert (said in told) if said else not told


@pytest.mark.slow
def test_one_table_has_what_tests_of_one_alignment_measure() -> None:
    """Interchange, whole alignment and circuit of a compiled program; another alignment has another table, or none."""
    start = (ROOT / "specs" / "tracr" / "hist.causal").read_text()
    start = start[: start.index("\ntest ")]
    tests = """
circuit c : program { parts = embed, layer[0].head[0], layer[0].mlp_out }
metric gained = logit(answer) - logit(source.answer)
test swapped on there {
  base, source ~ hist(n=24, seed=0)
  do(count <- source)
  report iia
}
test whole on there {
  base ~ hist(n=24, seed=0)
  report scrubbed, carried, local_consistency, abstraction_error
}
test kept on there {
  base, source ~ hist(n=24, seed=0, controls=none) where base.answer != source.answer
  do(outside(c) <- source)
  report faithfulness(gained)
}
test put_in on there {
  base, source ~ hist(n=24, seed=0, controls=none) where base.answer != source.answer
  do(c <- source)
  report faithfulness(gained)
}
test elsewhere on too_early {
  base, source ~ hist(n=24, seed=0)
  do(count <- source)
  report iia
}
"""
    results = api.run(api.parse(start + tests))
    (agreed,) = results.specs[0].agreements
    assert str(agreed) == "hist: count @ layer[0].resid_post[d, 0:5]"
    assert [one.name for one in agreed.judged] == [
        "accuracy",
        "accuracy",
        "iia of count",
        "carried",
        "scrubbed",
        "local_consistency",
        "abstraction_error",
        "faithfulness(gained) of c",
        "faithfulness(gained) of c",
    ]
    assert {one.test for one in agreed.judged} == {"swapped", "whole", "kept", "put_in"}
    kept, put_in = agreed.judged[-2:]
    assert "keeps alone" in ASKS[kept.kind] and "is written" in ASKS[put_in.kind]
    (apart,) = [line for line in agreed.partings if "not to be compared" in line]
    assert "(kept)" in apart and "(set what is outside the circuit, and the circuit)" in apart
    # an accuracy is that of the draws of its own test
    for one in agreed.judged:
        assert one.kind != "accuracy" or one.score == results[one.test].cells[0].scores["accuracy"]
    shown = {one.score for one in agreed.judged if one.kind == "accuracy"}
    assert shown == {results[name].cells[0].scores["accuracy"] for name in ("swapped", "whole", "kept", "put_in")}
    (document,) = results.specs[0].to_json()["agreements"]
    assert document["places"] == {"count": "layer[0].resid_post[d, 0:5]"}
    of_swapped = results["swapped"].cells[0].scores["iia"]
    assert [one["value"] for one in document["measures"] if one["measure"] == "iia of count"] == [of_swapped.value]
    told = text(results, 160)
    assert "agreement hist: count @" in told and "faithfulness(gained) of c  (kept)" in told
