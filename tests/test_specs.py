"""The specs that come with the package: sound, laid out, and, on the networks that ship, passing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.report.test_kept_results import read_back
from tests.test_schema import valid

SPECS = Path(__file__).parents[1] / "specs"
Ran = Callable[[str], tuple[cd.Results, Path]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A shipped spec, run once for all that is asked of it: its results, and the folder that they were written into."""
    known: dict[str, tuple[cd.Results, Path]] = {}

    def find(name: str) -> tuple[cd.Results, Path]:
        if name not in known:
            out = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                if name == "train":  # from nothing
                    patch.setenv("CAUSAL_DSL_CACHE", str(out / "cache"))
                known[name] = cd.run(cd.load(SPECS / f"{name}.causal"), cd.Options(out=out)), out / name
        return known[name]

    return find


#: Those whose plan alone takes a second or more: of random circuits, of many networks, or of large combinations.
LARGE = {"circuit_of_ioi", "induction_heads", "logic", "training_curve"}


@pytest.mark.thinned(always=6)
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow if path.stem in LARGE else (), id=path.stem)
        for path in sorted(SPECS.rglob("*.causal"))
    ],
)
def test_every_spec_is_sound_and_laid_out(path: Path) -> None:
    spec = cd.load(path)
    assert spec.source() == path.read_text(encoding="utf-8")
    cd.check(spec).raise_errors()


@pytest.mark.parametrize("path", sorted((SPECS / "tasks").glob("*.causal")), ids=lambda path: path.stem)
@pytest.mark.thinned(always=2)
def test_a_task_of_the_field_takes_twenty_lines(path: Path) -> None:
    assert sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip()) <= 20
    assert not [d for d in cd.check(cd.load(path)).diagnostics if d.code not in ("W628", "W668")]


@pytest.mark.slow
def test_equality_in_a_small_transformer(ran: Ran) -> None:
    results, _ = ran("equality")
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


@pytest.mark.slow
def test_equality_with_weights_derived_by_hand(ran: Ran) -> None:
    results, _ = ran("equality_relu")
    assert results.passed, results.diagnostics
    solved = results["solves_the_task"].cells[0].scores["accuracy"]
    assert (solved.value, solved.n, solved.method) == (1, 4**4, "exact")
    assert results["left_is_localised"].cells[0].scores["iia"].value == 1


@pytest.mark.slow
def test_two_networks_that_answer_alike_are_told_apart(ran: Ran) -> None:
    results, _ = ran("logic")
    assert results.passed, results.diagnostics
    scores = {test.name: test.cells[0].scores for test in results}
    for name in ("left_is_in_first", "right_is_in_first", "either_is_in_second", "b_is_in_second"):
        assert scores[name]["iia"].value == scores[name]["iia_informative"].value == 1
    for name in ("left_is_not_in_second", "right_is_not_in_second", "either_is_not_in_first", "b_is_not_in_first"):
        assert scores[name]["iia"].value <= 0.75 and scores[name]["iia_informative"].value <= 0.4


@pytest.mark.slow
def test_a_rotated_conjunction_is_in_no_unit(ran: Ran) -> None:
    results, _ = ran("rotated_and")
    assert results.passed, results.diagnostics
    assert (
        results["p_is_no_unit"].cell().scores["iia"].value
        == results["q_is_no_unit"].cell().scores["iia"].value
        == 13 / 16
    )


@pytest.mark.slow
def test_a_network_trained_from_nothing(ran: Ran) -> None:
    results, _ = ran("train")
    assert results.passed, results.diagnostics


#: Those whose run takes long, and those that take as long as all others: they train ten networks, or fit in each of them.
LONG = ["logic", "rotated_and", "train"]
LONGEST = ["attributes", "equality_mlp", "equality_mlp_das"]


@pytest.mark.parametrize(
    "name",
    [
        "equality_relu",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ["equality", *LONG]),
        *(pytest.param(name, marks=pytest.mark.nightly) for name in LONGEST),
    ],
)
def test_results_are_of_the_schema_and_are_read_as_they_were_written(name: str, ran: Ran) -> None:
    """What `run --json` prints of them, and what is in the file beside."""
    results, out = ran(name)
    printed = json.loads(json.dumps(results.to_json()))
    valid(printed, "Run")
    assert printed["specs"][0]["tests"]
    valid(json.loads((out / "results.json").read_text(encoding="utf-8")), "Spec")
    read_back(results)
