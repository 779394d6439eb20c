"""What the network said where it was wrong."""

from __future__ import annotations

import numpy as np

from causal_dsl.measures.quantities import NO_ANSWER, SAID
from causal_dsl.score.results import TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.wrong_answers import Speech
from tests.score.scoring import ANSWER, compiled, made_up

SPEECH = Speech(lambda code: f"v{code}", lambda token: f"t{token}", lambda pair: f"input {pair}")
N = 100


def told(interchange: bool) -> TestResult:
    """100 pairs, label 1: right in 60, v2 in 25, the token 7 in 10, v3 in 5."""
    scores, _ = compiled("", parameters={}, interchange=interchange, intervened=interchange)
    columns = made_up(scores, N, 0)
    said = np.r_[np.full(60, 1), np.full(25, 2), np.full(10, NO_ANSWER), np.full(5, 3)]
    run = columns.patched if interchange else columns.base
    columns.base[ANSWER] = np.full(N, 1)
    run[ANSWER] = said
    columns.base[SAID], columns.patched[SAID] = np.full(N, 7.0), np.full(N, 7.0)
    one = np.full(N, 1)
    return score_test(
        scores,
        [({}, columns)],
        ids={"base": np.arange(N)},
        base_answers=one,
        speech=SPEECH,
        labels=one if interchange else None,
    )


def test_the_commonest_with_pairs() -> None:
    for interchange in (True, False):
        found = told(interchange)
        assert [(w.said, w.count, w.of) for w in found.wrong] == [("`v2`", 25, 40), ("`t7`", 10, 40), ("`v3`", 5, 40)]
        assert found.wrong[0].examples == ((60, "v1"), (61, "v1"), (62, "v1"))
        assert found.to_json()["wrong_answers"][1]["examples"][0] == {"pair": 85, "wanted": "v1"}
        (finding,) = [f for f in found.findings if f.code == "wrong_answers"]
        assert "40 of 100 (40.0%) " + ("patched" if interchange else "base") in finding.text
        assert '`v2` in 25 (pair 60, "input 60": `v1` is right)' in finding.text


def test_pairs_keep_their_numbers_under_a_filter() -> None:
    scores, _ = compiled("", parameters={})
    columns = made_up(scores, N, 0)
    one = np.full(N, 1)
    columns.base[ANSWER], columns.patched[ANSWER] = one, np.where(np.arange(N) == 90, 2, 1)
    found = score_test(
        scores,
        [({}, columns)],
        ids={"base": np.arange(N), "source": np.arange(N)},
        base_answers=one,
        labels=one,
        source_answers={"source": one},
        kept=np.arange(N) >= 50,
        speech=SPEECH,
    )
    assert found.wrong[0].examples == ((90, "v1"),)
