"""Networks that err by themselves, numbers as outputs, several outputs, and claims that nothing moves: what is false is named, what is true raises no
alarm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.thinning import spread

HERE = Path(__file__).parent
MODEL = """
domain S = 0..LAST
causal m {
  a, b, c, d ~ S

  left := a == b
  right := c == d
  OUTPUT
}
network net = torch("halves.py:NETWORK")
align at : m -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  c @ input[2:3] via scalar()
  d @ input[3:4] via scalar()

  left @ layer[0].out[0]
  RIGHT
  READ
}
"""
TEST = """
test TITLE on at {
  base, source ~ m(n=N, seed=SEED)
  do(left <- source)
  report accuracy
}
"""
ABLATION = """
test TITLE on at {
  base ~ m(n=256)
  do(DO)
  EXPECT
}
"""
RIGHT = "right @ layer[0].out[1]"
BALANCE = ", balance=[base.left, base.right, source.left, source.right]"
SAME = ("output same := left == right", "same @ logits")
BOTH = ("output first := left\n  output second := right", "first @ logits[0:2]\n  second @ logits[2:4]")
NUMBER = ("output y : real(-9, 9) := (if left then 2.0 else 0.0) + (if right then 1.0 else 0.0)", "y @ logits[0]")


def run(
    folder: Path, network: str, tests: str, kind: tuple[str, str] = SAME, right: str = RIGHT, last: int = 5
) -> cd.Results:
    shutil.copy(HERE / "halves.py", folder / "halves.py")
    text = MODEL.replace("OUTPUT", kind[0]).replace("READ", kind[1]).replace("NETWORK", network).replace("RIGHT", right)
    path = folder / "claim.causal"
    text = text.replace("LAST", str(last)) + tests
    path.write_text(text.replace("report accuracy", "report r2") if kind is NUMBER else text)
    return cd.run(cd.load(path), cd.Options(trust=True))


def drawn(seeds: range, n: int = 1024, balance: str = "") -> str:
    return "".join(
        TEST.replace("TITLE", f"s{seed}").replace("N,", f"{n},").replace("=SEED", f"={seed}{balance}") for seed in seeds
    )


def told(test: cd.TestResult) -> dict[str, str]:
    return {one.code: one.severity for one in (*test.findings, *test.cell().findings)}


# ── errors of the network's own ─────────────────────────────────────────────────────────────────


def is_named(test: cd.TestResult) -> bool:
    verdict = test.cell().verdict
    return verdict is not None and (verdict.code == "partly" or told(test).get("unmapped_moves") == "alarm")


def test_pairs_in_which_only_the_interchange_fails_make_it_partly(tmp_path: Path) -> None:
    test = run(tmp_path, "copy_in_few", drawn(range(1), 2048, ", controls=none"))["s0"]
    verdict, accuracy = test.cell().verdict, test.cell().scores["accuracy"]
    assert verdict is not None and verdict.code == "partly" and "by themselves" not in verdict.text, verdict
    iia = test.cell().scores["iia"]
    assert (iia.high or 0) > (accuracy.low or 0)  # the intervals overlap


#: A few seeds, and many at night.
SEEDS = pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(2), marks=pytest.mark.slow, id="two"),
        pytest.param(range(2, 20), marks=pytest.mark.nightly, id="eighteen more"),
    ],
)


@SEEDS
@pytest.mark.parametrize(
    ("network", "balance"), [("copy_in_few", BALANCE), ("copy_in_few", ""), ("copy_in_fewer", BALANCE)]
)
def test_a_copy_that_is_read_in_few_inputs_is_named(network: str, balance: str, seeds: range, tmp_path: Path) -> None:
    found = run(tmp_path, network, drawn(seeds, 2048, balance))
    assert all(is_named(found[f"s{seed}"]) for seed in seeds), [told(found[f"s{seed}"]) for seed in seeds]


@SEEDS
@pytest.mark.parametrize(
    ("network", "balance", "right"),
    spread(
        [
            (network, balance, right)
            for network in ("errs_at_one", "errs_at_two", "errs_at_three", "errs_in_its_unit", "errs_beside_left")
            for balance in (BALANCE, "")
            for right in (RIGHT, "")
        ],
        3,
    ),
)
def test_a_truth_of_a_network_with_errors_stays_one(
    network: str, balance: str, right: str, seeds: range, tmp_path: Path
) -> None:
    found = run(tmp_path, network, drawn(seeds, 1024, balance), right=right)
    tests = [found[f"s{seed}"] for seed in seeds]
    assert not [one.name for one in tests if "alarm" in told(one).values()]
    assert {one.verdict.code for one in tests if one.verdict is not None} == {"supported"}


@pytest.mark.slow
def test_an_error_that_comes_with_a_unit_is_no_alarm(tmp_path: Path) -> None:
    test = run(tmp_path, "errs_beside_left", drawn(range(7, 8), 2048), right="", last=9)["s7"]
    assert "alarm" not in told(test).values(), told(test)


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────


TRUE_NUMBERS = [
    ("noisy_number", RIGHT),
    ("noisy_number", ""),
    ("shared_number", ""),
    ("raw_number", ""),
    ("erring_number", RIGHT),
    ("plain_number", RIGHT),
    ("plain_number", ""),
]


@pytest.mark.parametrize(
    ("network", "right", "balance"), spread([(*one, balance) for balance in (BALANCE, "") for one in TRUE_NUMBERS], 4)
)
def test_a_number_that_depends_on_nothing_else_is_no_alarm(
    network: str, right: str, balance: str, tmp_path: Path
) -> None:
    test = run(tmp_path, network, drawn(range(1), 512, balance), NUMBER, right)["s0"]
    assert "alarm" not in told(test).values() and test.verdict.code == "supported", told(test)


@pytest.mark.parametrize(
    ("network", "right", "balance"),
    spread(
        [
            (network, right, balance)
            for balance in (BALANCE, "")
            for network in ("masked_number", "masked_by_three", "noisy_masked_number")
            for right in (RIGHT, "")
        ],
        5,
    ),
)
def test_a_masked_copy_moves_a_number(network: str, right: str, balance: str, tmp_path: Path) -> None:
    test = run(tmp_path, network, drawn(range(1), 512, balance), NUMBER, right)["s0"]
    finding = next(one for one in test.cell().findings if one.code == "unmapped_moves")
    assert finding.severity == "alarm" and "`y` moves by more than" in finding.text
    assert test.verdict.code == "inconclusive"


def test_of_a_masked_number_the_share_that_moves_is_right(tmp_path: Path) -> None:
    """One copy from any other input: the number moves where the two inputs differ in left, in 2 (1/6) (5/6) of the pairs."""
    cell = run(tmp_path, "masked_number", drawn(range(1), 4096), NUMBER)["s0"].cell()
    (one,) = (some for found in cell.unclaimed for some in found.taken if some.units == (2,) and found.why == "decided")
    assert one.moved.low is not None and one.moved.high is not None
    assert one.moved.low <= 2 * (1 / 6) * (5 / 6) <= one.moved.high


# ── what moves nothing ──────────────────────────────────────────────────────────────────────────


def ablated(folder: Path, network: str, do: str, expect: str, kind: tuple[str, str] = SAME) -> dict[str, str]:
    text = ABLATION.replace("TITLE", "still").replace("DO", do).replace("EXPECT", expect)
    return told(run(folder, network, text, kind)["still"])


@pytest.mark.parametrize("do", ["layer[0].out[2] += 30", "layer[0].out[2] = scale(20)"])
def test_that_an_answer_stays_is_no_less_true_out_of_range(do: str, tmp_path: Path) -> None:
    found = ablated(tmp_path, "errs_in_its_unit", do, "expect moved <= 0%")
    assert found["outside"] == found["never_moved"] == "info"


@pytest.mark.parametrize(
    ("do", "expect"),
    [
        ("layer[0].out[0] += 30", "expect moved >= 5%"),
        ("layer[0].out[0] += 30", "expect moved <= 1%"),
        ("layer[0].out[2] += 30", "report moved"),
    ],
)
def test_out_of_range_is_an_alarm_where_an_effect_or_nothing_is_claimed(do: str, expect: str, tmp_path: Path) -> None:
    assert ablated(tmp_path, "errs_in_its_unit", do, expect)["outside"] == "alarm"


@pytest.mark.parametrize("expect", ["expect moved <= 0%", "expect moved(first) <= 0%"])
def test_the_same_of_several_outputs(expect: str, tmp_path: Path) -> None:
    found = ablated(tmp_path, "both", "layer[0].out[2] += 30", expect, BOTH)
    assert found["outside"] == found["never_moved"] == "info"


def test_an_output_that_the_model_moves_nowhere_is_no_alarm(tmp_path: Path) -> None:
    test = run(tmp_path, "both", drawn(range(1), 256, BALANCE), BOTH)["s0"]
    own = {one.code: one for one in test.cell().findings if one.code in ("uninformative", "never_moved")}
    assert [one.severity for one in own.values()] == ["info", "info"]
    assert own["uninformative"].text.endswith("This test is no evidence about `second`.")
    (alone,) = test.outputs["second"].cells
    assert {one.severity for one in alone.findings if one.code in own} == {"alarm"}


def test_an_output_that_the_model_moves_and_the_network_does_not_is_an_alarm(tmp_path: Path) -> None:
    text = drawn(range(1), 256, BALANCE).replace("left <-", "right <-")
    found = run(tmp_path, "both_elsewhere", text, BOTH)["s0"].cell().findings
    assert any(one.code == "never_moved" and one.severity == "alarm" for one in found)
