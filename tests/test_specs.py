"""The specs that come with the package: sound, laid out, and, on the networks that ship, passing."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd

SPECS = Path(__file__).parents[1] / "specs"


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.causal")), ids=lambda path: path.stem)
def test_every_spec_is_sound_and_laid_out(path: Path) -> None:
    spec = cd.load(path)
    assert spec.source() == path.read_text(encoding="utf-8")
    cd.check(spec).raise_errors()


@pytest.mark.parametrize("path", sorted((SPECS / "tasks").glob("*.causal")), ids=lambda path: path.stem)
def test_a_task_of_the_field_takes_twenty_lines(path: Path) -> None:
    assert sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip()) <= 20
    assert not [d for d in cd.check(cd.load(path)).diagnostics if d.code not in ("W628", "W668")]


def test_equality_in_a_small_transformer() -> None:
    results = cd.run(cd.load(SPECS / "equality.causal"))
    assert results.passed, results.diagnostics
    assert results["solves_the_task"].cells[0].scores["accuracy"].value == 1
    assert len(results["where_is_left"].cells) == len(results["where_is_right"].cells) == 3 * 5
    codes = {finding.code for test in results for cell in test.cells for finding in cell.findings}
    assert not codes & {
        "unmapped_moves",
        "input_copy",
    }  # where both are looked for at one place, neither is claimed to be
    assert results["the_halves_are_independent"].cell().unclaimed  # where each is claimed, the other tokens were tried
    # After the first layer `left` is at the second shape, and `right` where the answer is read; attention then
    # takes what it needs, and the first shape, which nothing reads any more, carries nothing.
    left, right = results["where_is_left"], results["where_is_right"]
    assert left.cell(l=0, p="b").scores["iia"].value == 1
    assert right.cell(l=0, p="last").scores["iia"].value == 1
    for test in (left, right):
        assert {cell.cell["p"] for cell in test.cells} == {"a", "b", "c", "d", "last"}
        assert all(test.cell(l=layer, p="a").scores["iia"].value == 0.5 for layer in range(3))


def test_equality_with_weights_derived_by_hand() -> None:
    results = cd.run(cd.load(SPECS / "equality_relu.causal"))
    assert results.passed, results.diagnostics
    solved = results["solves_the_task"].cells[0].scores["accuracy"]
    assert (solved.value, solved.n, solved.method) == (1, 4**4, "exact")
    assert results["left_is_localised"].cells[0].scores["iia"].value == 1


@pytest.mark.slow
def test_two_networks_that_answer_alike_are_told_apart() -> None:
    results = cd.run(cd.load(SPECS / "logic.causal"))
    assert results.passed, results.diagnostics
    scores = {test.name: test.cells[0].scores for test in results}
    for name in ("left_is_in_first", "right_is_in_first", "either_is_in_second", "b_is_in_second"):
        assert scores[name]["iia"].value == scores[name]["iia_informative"].value == 1
    for name in ("left_is_not_in_second", "right_is_not_in_second", "either_is_not_in_first", "b_is_not_in_first"):
        assert scores[name]["iia"].value <= 0.75 and scores[name]["iia_informative"].value <= 0.4


@pytest.mark.slow
def test_a_rotated_conjunction_is_in_no_unit() -> None:
    results = cd.run(cd.load(SPECS / "rotated_and.causal"))
    assert results.passed, results.diagnostics
    assert (
        results["p_is_no_unit"].cell().scores["iia"].value
        == results["q_is_no_unit"].cell().scores["iia"].value
        == 13 / 16
    )


@pytest.mark.slow
def test_a_network_trained_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path))
    results = cd.run(cd.load(SPECS / "train.causal"))
    assert results.passed, results.diagnostics
