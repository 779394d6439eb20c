"""The ladder of verdicts over synthetic columns, what forbids the full ones, and the table of codes."""

from __future__ import annotations

import ast
import itertools
from typing import Any

import numpy as np
import pytest

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.measures.quantities import NOT_FINITE, SAID, TIED, TRACE
from causal_dsl.score.codes import FORBIDDING, FULL, LADDER
from causal_dsl.score.estimates_and_findings import Estimate, Finding, Verdict
from causal_dsl.score.make_findings import leak_finding
from causal_dsl.score.results import CellInfo, CellResult, Fired, TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.verdict import by_design, demote, settled, top_of, verdict
from causal_dsl.score.wrong_answers import Speech
from causal_dsl.vocabulary.findings import FINDINGS
from tests.package_trees import PACKAGE, tree_of
from tests.score.scoring import ANSWER, compiled, made_up

N = 2000


def columns_of(
    scores: Any, right: float, hits: float, labels: np.ndarray, own: np.ndarray, n: int, seed: int = 0
) -> Any:
    """A cell whose base runs are right in a share of pairs, and whose patched runs give the label in another."""
    columns = made_up(scores, n, seed)
    order = np.random.default_rng(seed).permutation(n)
    columns.base[ANSWER] = np.where(order < round(right * n), own, (own + 1) % 4)
    columns.patched[ANSWER] = np.where(order < round(hits * n), labels, (labels + 1) % 4)
    return columns


def result(
    right: float,
    hits: float,
    top: float,
    exhaustive: bool = False,
    n: int = N,
    info: tuple[CellInfo, ...] = (),
    **more: Any,
) -> TestResult:
    scores, _ = compiled("", parameters={})
    rng = np.random.default_rng(1)
    labels, own = rng.integers(0, 4, n), rng.integers(0, 4, n)
    ceilings = {"noop": Ceiling(top / 2, True, 16), "output_only": Ceiling(top, True, 16)}
    ids = {"base": np.arange(n), "source": np.arange(n)}
    cell = columns_of(scores, right, hits, labels, own, n)
    return score_test(
        scores,
        [({}, cell)],
        ids=ids,
        base_answers=own,
        labels=labels,
        source_answers={"source": own},
        ceilings=ceilings,
        exhaustive=exhaustive,
        info=info,
        **more,
    )


def expected(right: float, hits: float, top: float, exhaustive: bool) -> str:
    """The page's rules, for numbers that lie far from each other beside the width of an interval of 2000 pairs."""
    if right < 0.9:
        return "unsolved"
    if exhaustive and hits == 1 and top < 1:
        return "exact"
    if top >= 0.95:
        return "vacuous"
    if hits > top:
        return "supported" if hits >= right else "partly"
    if hits < top or exhaustive:
        return "contradicted"
    return "inconclusive"


GRID = list(itertools.product((1.0, 0.97, 0.6), (0.2, 0.5, 0.8, 0.97, 1.0), (0.1, 0.5, 0.7, 0.97, 1.0), (False, True)))


@pytest.mark.thinned(always=50, slow=50)
@pytest.mark.parametrize(("right", "hits", "top", "exhaustive"), GRID)
def test_the_ladder(right: float, hits: float, top: float, exhaustive: bool) -> None:
    found = result(right, hits, top, exhaustive)
    (cell,) = found.cells
    assert cell.verdict is not None and found.verdict == cell.verdict
    assert cell.verdict.code == expected(right, hits, top, exhaustive), cell.verdict.text
    assert cell.findings[0] == Finding(cell.verdict.code, cell.verdict.text)
    document = found.to_json()
    assert document["verdict"] == document["cells"][0]["verdict"] == cell.verdict.to_json()


def test_too_few_pairs_for_an_interval_are_inconclusive() -> None:
    assert (
        verdict(Estimate(1.0, n=1), Estimate(1.0, n=1), {"output_only": Ceiling(0.5, True, 4)}).code == "inconclusive"
    )
    assert result(1.0, 1.0, 0.5, n=0).cells[0].verdict.code == "inconclusive"  # type: ignore[union-attr]
    assert [f.code for f in result(1.0, 1.0, 0.5, n=0).cells[0].findings] == ["empty"]


def test_no_worse_than_the_network_itself_can_be_told_to_be() -> None:
    """4 failures of 256 beside none: the two intervals meet. 20 do not."""
    right, half = Estimate(1.0, 1 - 3 / 256, 1.0, 256, "rule of three"), {"output_only": Ceiling(0.5, True, 4)}
    assert verdict(Estimate(252 / 256, 0.9605, 0.9939, 256, "binomial"), right, half).code == "supported"
    assert verdict(Estimate(236 / 256, 0.8824, 0.9489, 256, "binomial"), right, half).code == "partly"
    exact = Estimate(1.0, n=256, method="exact")
    assert verdict(Estimate(252 / 256, n=256, method="exact"), exact, half).code == "partly"
    part = verdict(exact, exact, half, all_of="which are all there are in the part `test` of the inputs")
    assert part.code == "exact" and "over 256 pairs, which are all there are in the part" in part.text
    near = verdict(Estimate(254 / 256, n=256, method="exact"), exact, half)
    assert near.code == "supported" and "0.008 of the pairs fail" in near.text


def test_the_upper_bound_of_a_ceiling_counts() -> None:
    iia, right = Estimate(0.7, 0.65, 0.75, 400, "binomial"), Estimate(1.0, 0.99, 1.0, 400, "rule of three")
    known = {"output_only": Ceiling(0.8, False, 400, 0.4, 0.8)}
    assert verdict(iia, right, known).code == "inconclusive"
    above = Estimate(0.99, 0.97, 1.0, 400, "binomial")
    assert verdict(above, right, known).code == "supported"
    below = Estimate(0.3, 0.25, 0.35, 400, "binomial")
    assert verdict(below, right, known).code == "contradicted"


def test_rules_of_whole_inputs_are_told_and_do_not_count() -> None:
    answers = Ceiling(0.5, True, 4)
    assert top_of({"output_only": answers, "base_only": Ceiling(1.0, True, 100)}) == ("output_only", 0.5)
    assert [f.code for f in leak_finding({"output_only": answers, "base_only": Ceiling(1.0, True, 100)})] == ["leak"]
    assert not leak_finding({"output_only": answers, "base_only": Ceiling(1.0, False, 100)})
    assert not leak_finding({"output_only": Ceiling(1.0, True, 4), "source_only": Ceiling(1.0, True, 100)})
    assert by_design({"source": Ceiling(1.0, True, 4), "output_only": Ceiling(1.0, True, 4)}) == "source"
    assert by_design({"output_only": Ceiling(1.0, False, 4)}) == ""


@pytest.mark.parametrize("code", sorted(FORBIDDING))
def test_no_full_verdict_beside_what_forbids_it(code: str) -> None:
    for full in (*FULL, "partly"):
        cell = CellResult(
            {},
            {"accuracy": Estimate(1.0, n=9)},
            (Finding(full, "Yes."), Finding(code, "But.")),
            verdict=Verdict(full, "Yes."),
        )
        done = settled(cell)
        assert done.verdict is not None and done.verdict.code == "inconclusive" and code in done.verdict.text
        assert [finding.code for finding in done.findings] == ["inconclusive", code]
        assert settled(done) == done
    for code_below in ("contradicted", "vacuous", "unsolved"):
        assert demote(Verdict(code_below, "No."), [Finding(code, "But.")]).code == code_below


def test_what_does_not_forbid() -> None:
    for code in set(FINDINGS) - FORBIDDING:
        assert demote(Verdict("supported", "Yes."), [Finding(code, "So.")]).code == "supported"
    assert demote(Verdict("supported", "Yes."), [Finding("ties", "One.", forbids=False)]).code == "supported"


def test_a_dead_place_is_never_supported() -> None:
    dead = CellInfo((Fired("left <- source", 0, None, 400),))
    found = result(1.0, 0.9, 0.5, info=(dead,)).cells[0]
    assert found.verdict is not None and found.verdict.code == "inconclusive"
    assert "unreachable" in [finding.code for finding in found.findings]


# ── runs that say nothing ───────────────────────────────────────────────────────────────────────


def said(codes: np.ndarray | int, share: float, **more: Any) -> CellResult:
    """A cell, otherwise perfect, of whose patched runs a share says this."""
    scores, _ = compiled("", parameters={})
    rng = np.random.default_rng(1)
    labels, own = rng.integers(0, 4, N), rng.integers(0, 4, N)
    columns = columns_of(scores, 1.0, 1.0, labels, own, N)
    columns.patched[ANSWER] = np.where(np.arange(N) < share * N, codes, labels)
    for name, values in more.pop("extra", {}).items():
        columns.base[name], columns.patched[name] = values
    given = {"noop": Ceiling(0.3, True, 16), "output_only": Ceiling(0.4, True, 16)}
    ids = {"base": np.arange(N), "source": np.arange(N)}
    return score_test(
        scores,
        [({}, columns)],
        ids=ids,
        base_answers=own,
        labels=labels,
        source_answers={"source": own},
        ceilings=given,
        **more,
    ).cells[0]


@pytest.mark.parametrize(("code", "name"), [(TIED, "ties"), (NOT_FINITE, "non_finite")])
def test_runs_that_say_nothing_are_wrong_and_counted(code: int, name: str) -> None:
    cell = said(code, 0.25)
    assert cell.scores["iia"].value == 0.75
    (finding,) = [finding for finding in cell.findings if finding.code == name]
    assert f"{N // 4} of {2 * N}" in finding.text and finding.severity == "alarm"
    assert cell.verdict is not None and cell.verdict.code == "inconclusive"


def test_a_few_ties_do_not_decide() -> None:
    cell = said(TIED, 0.005)
    assert cell.verdict is not None and cell.verdict.code in ("supported", "partly")
    assert "ties" in [finding.code for finding in cell.findings]


def test_another_word_is_the_largest() -> None:
    ids = np.where(np.arange(N) < 100, 7, 1)
    speech = Speech(token=lambda i: f"word{i}", answers=frozenset((0, 1, 2, 3)))
    few = said(0, 0.0, extra={SAID: (np.full(N, 1), ids)}, speech=speech)
    (finding,) = [finding for finding in few.findings if finding.code == "not_said"]
    assert finding.severity == "info" and "100 of 4000" in finding.text and "`word7`" in finding.text
    most = said(0, 0.0, extra={SAID: (np.full(N, 7), np.full(N, 7))}, speech=speech)
    (finding,) = [finding for finding in most.findings if finding.code == "not_said"]
    assert finding.severity == "alarm"
    assert most.verdict is not None and most.verdict.code == "inconclusive"
    unknown = said(0, 0.0, extra={SAID: (np.full(N, -1), np.full(N, -1))}, speech=speech)
    assert "not_said" not in [finding.code for finding in unknown.findings]


@pytest.mark.parametrize(("moved", "words"), [(0.0, "no compared logit changed"), (0.1, "logits did move")])
def test_never_moved_says_whether_logits_did(moved: float, words: str) -> None:
    scores, _ = compiled("", parameters={})
    labels = np.zeros(N, int)
    columns = columns_of(scores, 1.0, 1.0, labels, labels, N)
    columns.base[TRACE], columns.patched[TRACE] = np.full(N, 3.0), np.full(N, 3.0 + moved)
    found = score_test(
        scores,
        [({}, columns)],
        ids={"base": np.arange(N), "source": np.arange(N)},
        base_answers=labels,
        labels=labels,
        source_answers={"source": labels},
        ceilings={},
    )
    assert words in next(finding.text for finding in found.cells[0].findings if finding.code == "never_moved")


# ── the table of codes ──────────────────────────────────────────────────────────────────────────


def used() -> set[str]:
    """The codes that the package gives to findings."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree_of(path)) if "Finding(" in path.read_text(encoding="utf-8") else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
    return found


@pytest.mark.slow
def test_every_code_has_a_record() -> None:
    """Its row on the page follows from it."""
    assert used() <= set(FINDINGS)
    assert set(LADDER) == {code for code, kind in FINDINGS.items() if kind.about == "verdict"}
    texts = [
        path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
        if path.name != "findings.py" or path.parent.name != "vocabulary"
    ]
    assert [code for code in FINDINGS if not any(f'"{code}"' in text for text in texts)] == []
