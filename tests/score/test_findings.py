"""What is said of the numbers: findings, failed expectations, expectations that anything would pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.engine.readout import trace
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.per_pair import Moved
from causal_dsl.measures.quantities import NO_ANSWERS, SAID, TRACE, Columns
from causal_dsl.measures.units import SHARE
from causal_dsl.score.cells import nothing_moved
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import show, show_estimate
from causal_dsl.score.make_findings import cell_findings, near_bound, vacuous_expectation
from causal_dsl.score.results import CellInfo, CellResult, Fired, Measured
from causal_dsl.score.score import score_test
from causal_dsl.score.verdict import settled, verdict
from tests.score.scoring import ANSWER, codes, compiled, made_up

NO_INFO = CellInfo()


def told(
    iia: Estimate, ceiling: float = 0.5, informative: int = 50, moved: float = 0.5, info: CellInfo = NO_INFO
) -> dict:
    """The findings of a cell of a network that is right in all its own runs, by their codes."""
    right = Estimate(iia.value and max(0.95, iia.value), 0.9, 1.0, n=iia.n)
    found = cell_findings(iia.n, informative, info, moved, None)
    scores = {"accuracy": right, "iia": iia}
    first = verdict(iia, right, {"output_only": Ceiling(ceiling, True, 16)}, star=Estimate(0.8, n=iia.n))
    cell = settled(CellResult({}, scores, tuple(found), verdict=first))
    return {finding.code: finding.text for finding in cell.findings}


def test_a_cell_against_its_ceiling() -> None:
    assert list(told(Estimate(0.9, 0.8, 0.95, 100, "bootstrap"))) == ["supported"]
    assert list(told(Estimate(0.8, 0.75, 0.85, 100, "bootstrap"))) == ["partly"]
    assert list(told(Estimate(0.52, 0.45, 0.6, 100, "bootstrap"))) == ["inconclusive"]
    assert list(told(Estimate(0.3, 0.25, 0.35, 100, "bootstrap"))) == ["contradicted"]
    assert list(told(Estimate(0.99, 0.98, 1.0, 100, "bootstrap"), ceiling=0.96)) == ["vacuous"]
    assert list(told(Estimate(0.5, n=256, method="exact"))) == ["contradicted"]
    assert list(told(Estimate(1.0, n=256, method="exact"))) == ["exact"]
    assert list(told(Estimate(1.0, n=1))) == ["inconclusive"]
    assert list(told(Estimate(None, n=0))) == ["empty"]


def test_a_sentence_has_its_numbers() -> None:
    text = told(Estimate(0.934, 0.912, 0.963, 512, "bootstrap"))["supported"]
    assert text == (
        "iia is 0.934 [0.912, 0.963] over 512 pairs, above 0.500, the most that a rule that sees only the answers of base "
        "and source can score; iia_star is 0.800."
    )


def test_signs_of_a_dead_intervention() -> None:
    high = Estimate(0.9, 0.8, 0.95, 100, "bootstrap")
    assert "never_moved" in told(high, moved=0.0)
    assert "uninformative" in told(high, informative=0)
    assert "changed_nothing" in told(high, info=CellInfo((Fired("left <- source", 100, 0.0),)))
    assert "changed_nothing" not in told(high, info=CellInfo((Fired("left <- source", 100, 0.1),)))
    assert "noise" in told(high, info=CellInfo((), 0.5))
    assert "noise" not in told(high, info=CellInfo((), 1e-5))


NONE, TIE, NAN, *_ = NO_ANSWERS
#: Answer of base and patched, what each says of all, and whether that is another answer.
SAYINGS = {
    "two words that are no answer": (NONE, NONE, 7, 9, 1),
    "one word that is not an answer": (NONE, NONE, 7, 7, 0),
    "one of them not looked at": (NONE, NONE, -1, 7, 0),
    "one of them not run": (NONE, NONE, np.nan, 7, 0),
    "two that say nothing": (TIE, TIE, -2, -2, 0),
    "two without a number": (NAN, NAN, 4, 5, 0),
    "one answer, whatever is said beside it": (2, 2, 7, 9, 0),
    "two answers": (2, 3, 7, 7, 1),
    "an answer and none": (2, NONE, 7, 7, 1),
}


@pytest.mark.parametrize("name", SAYINGS)
def test_answers_that_are_none_are_told_apart_by_their_tokens(name: str) -> None:
    base, patched, was, now, moved = SAYINGS[name]
    columns = Columns({ANSWER: np.array([base])}, {ANSWER: np.array([patched])})
    measured = Moved("moved", SHARE)
    assert measured.of(CellData(columns, np.zeros(1)), "patched").tolist() == [float(base != patched)], "without tokens"
    columns.base[SAID], columns.patched[SAID] = np.array([was]), np.array([now])
    assert measured.of(CellData(columns, np.zeros(1)), "patched").tolist() == [moved]


#: Logits of base and of patched runs, and whether all stayed (None: not known).
INFINITE = float("inf")
STAYED = {
    "the same": ([[1.0, 2.0]], [[1.0, 2.0]], True),
    "another": ([[1.0, 2.0]], [[1.0, 2.5]], False),
    "one is ruled out": ([[1.0, -INFINITE]], [[1.0, -INFINITE]], True),
    "no number": ([[float("nan")] * 2], [[float("nan")] * 2], None),
    "without end": ([[1.0, INFINITE]], [[1.0, INFINITE]], None),
    "one sign and the other": ([[1.0, INFINITE]], [[1.0, -INFINITE]], None),
    "no number in one run": ([[1.0, 2.0], [float("nan"), 1.0]], [[1.0, 2.0], [float("nan"), 1.0]], None),
    "no number in one run, another in one": (
        [[1.0, 2.0], [float("nan"), 1.0]],
        [[1.0, 3.0], [float("nan"), 1.0]],
        False,
    ),
}


@pytest.mark.parametrize("name", STAYED)
def test_logits_that_stay(name: str) -> None:
    base, patched, stayed = STAYED[name]
    sums = [trace(torch.tensor(run), torch.arange(2)).numpy() for run in (base, patched)]
    frame = CellData(Columns({TRACE: sums[0]}, {TRACE: sums[1]}), np.zeros(len(base)))
    still = nothing_moved(frame)
    assert still is stayed
    (finding,) = cell_findings(len(base), 1, NO_INFO, 0.0, still)
    assert ("no compared logit changed" in finding.text) == (stayed is True)
    assert ("logits did move" in finding.text) == (stayed is False)
    assert "reach" not in finding.text, "what is written may reach it, and be what was there"


def test_an_interval_that_holds_the_bound() -> None:
    close = Measured("iia >= 95%", "iia", Estimate(0.96, 0.93, 0.98, 100, "bootstrap"), 0.95, True)
    assert near_bound(close) is not None
    clear = Measured("iia >= 95%", "iia", Estimate(0.98, 0.96, 0.99, 100, "bootstrap"), 0.95, True)
    assert near_bound(clear) is None
    all_asked = Measured("iia >= 100%", "iia", Estimate(1.0, 0.97, 1.0, 100, "rule of three"), 1.0, True)
    assert near_bound(all_asked) is None


CEILINGS = {"noop": Ceiling(0.75, True, 4), "source": Ceiling(0.8, True, 4), "output_only": Ceiling(0.85, True, 4)}
VACUOUS = [
    ("iia >= 70%", "W620"),
    ("iia >= 78%", "W621"),
    ("iia >= 82%", "W622"),
    ("iia >= 90%", None),
    ("iia <= 80%", None),  # a control: a network that ignores the intervention is meant to pass
    ("max(iia) >= 70%", "W620"),
    ("iia >= 70% and kl >= 1 nats", None),
    ("iia >= 70% or kl >= 1 nats", "W620"),
    ("not iia < 70%", "W620"),
    ("iia_star >= 1%", None),
    ("iia_star >= -70%", "W620"),
    ("iia_informative >= 50%", None),
    ("kl <= 1 nats", None),
    ("accuracy >= 10%", None),
    ("m >= 70%", "W620"),
]


@pytest.mark.parametrize(("text", "code"), VACUOUS)
def test_expectations_that_anything_would_pass(text: str, code: str | None) -> None:
    scores, found = compiled(f"expect {text}", "metric m = iia\n")
    assert not [c for c in codes(found) if c.startswith("E")]
    warning = vacuous_expectation(CEILINGS, scores.expectations[0])
    assert (warning and warning.code) == code
    if warning is not None:
        assert "%" not in warning.label
        assert warning.help


def failed(lines: str, rates: list[float], **changes: object) -> list[str]:
    scores, _ = compiled(lines, **changes)
    rng, n = np.random.default_rng(0), 200
    labels = rng.integers(0, 4, n)
    cells = []
    for i, rate in enumerate(rates):
        columns = made_up(scores, n, i)
        columns.patched[ANSWER] = np.where(np.arange(n) < rate * n, labels, labels + 1)
        cells.append(({"l": i, "p": "last"} if len(rates) > 1 else {}, columns))
    ids = {"base": rng.integers(0, 40, n), "source": rng.integers(0, 40, n)}
    given = {"base_answers": labels, "labels": labels, "source_answers": {"source": labels}, "ceilings": CEILINGS}
    result = score_test(scores, cells, ids=ids, **given)
    assert [e.passed for e in result.expectations].count(False) == len(result.diagnostics)
    return [diagnostic.render() for diagnostic in result.diagnostics]


def test_a_failed_expectation_says_where_and_by_how_much() -> None:
    (text,) = failed("expect iia >= 50%", [0.1, 0.9, 0.2, 0.3, 0.15, 0.25, 0.12, 0.45])
    assert "failed[F701]: `iia` is 0.100 [" in text
    assert "at l=0, p=last: expected `iia >= 50%`" in text
    assert "it fails in 7 of 8 cells, worst first:" in text
    shown = [line.split(":")[1].split(",")[0].strip() for line in text.splitlines() if "note:   l=" in line]
    assert shown == ["l=0", "l=6", "l=4", "l=2", "l=5"]
    assert "and 2 more" in text
    assert "ceilings: noop 0.750, source 0.800, output_only 0.850" in text
    assert "^" in text


def test_a_failed_expectation_of_one_cell() -> None:
    (text,) = failed("expect iia >= 50%\nexpect iia >= 10%", [0.2], parameters={})
    assert "`iia` is 0.200" in text
    assert "cells" not in text


def test_numbers_are_not_rounded_onto_what_they_are_not() -> None:
    assert show(0.9996) == "0.9996"
    assert show(0.99999) == "0.99999"
    assert show(1.0) == "1.000"
    assert show(0.0) == show(-0.0) == "0.000"
    assert show(0.0002) == "0.0002"
    assert show(0.9499, against=0.95) == "0.9499"
    assert show(0.95, against=0.95) == "0.950"
    assert show(None) == show(float("nan")) == "undefined"
    assert show(123456.0) == "1.235e+05"
    assert show(5.0, digits=0) == "5"
    assert show(0.0, digits=0) == "0"
    assert show_estimate(Estimate(0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"
