"""Hypotheses of which it is known whether they are true: what is false is named, and what is true raises no alarm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from tests.thinning import spread

HERE = Path(__file__).parent
#: Findings that name a fault of what is claimed.
ALARMS = {"unmapped_moves", "input_copy", "replacement_matters", "joint_only", "holds_more"}
MODEL = """
causal pair {
  x, y, z ~ 0..3
  e ~ 0..1
  p := x > y
  q := z > 1
  output out := p != q
}
network net = torch("networks.py:NETWORK")
align at : pair -> net {
  x @ input[0:1] via scalar()
  y @ input[1:2] via scalar()
  z @ input[2:3] via scalar()
  e @ input[3:4] via scalar()
  PLACES
  out @ logits
}
test claim on at {
  DRAW
  DO
  report accuracy
}
"""
PAIRS = "base, source ~ pair(n=256, seed=0)"
BOTH = "p @ layer[0].out[0]\n  q @ layer[0].out[1]"
ALL = "base, source ~ pair(exhaustive=true)"


def codes(folder: Path, network: str, places: str, do: str = "do(p <- source)", draw: str = PAIRS) -> dict[str, str]:
    shutil.copy(HERE / "networks.py", folder / "networks.py")
    text = MODEL.replace("NETWORK", network).replace("PLACES", places).replace("DRAW", draw).replace("DO", do)
    return run(folder, text)


def run(folder: Path, text: str) -> dict[str, str]:
    path = folder / "claim.causal"
    path.write_text(text)
    test = cd.run(cd.load(path), cd.Options(trust=True))["claim"]
    return {finding.code: finding.text for finding in (*test.findings, *test.cell().findings)}


FALSE = {
    "its backup shows where all that counts is placed": (("hidden_by_idle", BOTH), "unmapped_moves", "layer[0].out[2]"),
    "its backup shows where something else counts": (
        ("hidden_by_idle", "p @ layer[0].out[0]"),
        "unmapped_moves",
        "layer[0].out[2]",
    ),
    "a backup of copies": (("hidden_by_copies", "p @ layer[0].out[0]"), "unmapped_moves", "layer[0].out[1]"),
    "a backup of copies, all placed": (
        ("hidden_by_copies", "p @ layer[0].out[0]\n  q @ layer[0].out[3]"),
        "unmapped_moves",
        "layer[0].out[1]",
    ),
    "a table of all inputs": (
        ("tabled", "p @ layer[0].out[0:3]\n  q @ layer[0].out[3]"),
        "holds_more",
        "a table of the inputs",
    ),
    "a backup among many units": (("hidden_among_many", BOTH), "unmapped_moves", "`p` and `q` alone determine `out`"),
    "half of what holds it": (
        ("on_two_units", "p @ layer[0].out[0]\n  q @ layer[0].out[2]"),
        "unmapped_moves",
        "layer[0].out[1]",
    ),
    "one of two copies": (("twice", "p @ layer[0].out[0]\n  q @ layer[0].out[2]"), "unmapped_moves", "layer[0].out[1]"),
    "one of two copies, nothing else placed": (("twice", "p @ layer[0].out[0]"), "unmapped_moves", "layer[0].out[1]"),
    "a backup that needs two units at once": (("two_agree", BOTH), "unmapped_moves", "layer[0].out["),
    "a backup that needs two of eight": (("two_of_eight", BOTH), "unmapped_moves", "layer[0].out["),
    "the inputs packed into one number": (("packed", "p @ layer[0].out[0]"), "input_copy", "`x` and `y`"),
    "the inputs, turned": (("turned", "p @ layer[0].out[0:2]"), "input_copy", "linear map of"),
    "the inputs as they came in": (("read_in_pieces", "p @ layer[0].out[0:2]"), "input_copy", "`x` and `y`"),
}


FALSE |= {
    "a backup that steps in rarely": (("rarely_hidden", BOTH), "unmapped_moves", "layer[0].out["),
    "a backup at one value alone": (("hidden_at_one_value", BOTH), "unmapped_moves", "layer[0].out["),
    "the number of the input in a list": (("numbered", "p @ layer[0].out[0]"), "holds_more", "a code of these inputs"),
    "values that lie among each other": (("smeared", "p @ layer[0].out[0]"), "holds_more", "a code of these inputs"),
    "a unit for each input": (("pairs_one_hot", "p @ layer[0].out[0:16]"), "holds_more", "a code of these inputs"),
}


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("case", spread(FALSE, 4))
def test_what_is_false_is_named(case: str, tmp_path: Path) -> None:
    (network, places), code, told = FALSE[case]
    found = codes(tmp_path, network, places)
    assert code in found, found
    assert told in found[code]


TRUE = {
    "one": ("plain", "p @ layer[0].out[0]"),
    "both": ("plain", BOTH),
    "another name": ("negated", BOTH),
    "two units": ("on_two_units", "p @ layer[0].out[0:2]\n  q @ layer[0].out[2]"),
    "two units, and nothing said of the other variable": ("on_two_units", "p @ layer[0].out[0:2]"),
    "both copies": ("twice", "p @ layer[0].out[0], layer[0].out[1]\n  q @ layer[0].out[2]"),
    "another variable twice, of which nothing is said": ("rest_twice", "p @ layer[0].out[0]"),
    "another variable not computed yet": ("raw_beside", "p @ layer[0].out[0]"),
    "sometimes wrong": ("sometimes_wrong", BOTH),
    "with some jitter": ("jittered", BOTH),
    "an angle": ("angle", "p @ layer[0].out[0:2]"),
}


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize("case", spread(TRUE, 3))
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
def test_what_is_true_raises_no_alarm(case: str, draw: str, tmp_path: Path) -> None:
    found = codes(tmp_path, *TRUE[case], draw=draw)
    assert not ALARMS & set(found), found


def test_a_variable_beside_one_that_two_units_hold(tmp_path: Path) -> None:
    # u0 - u1 is p, and both hold z, on which q depends: taken one by one they break p, of which nothing is said.
    found = codes(tmp_path, "on_two_units", "q @ layer[0].out[2]", "do(q <- source)")
    assert not ALARMS & set(found), found


def test_controls_none_runs_none_and_says_so(tmp_path: Path) -> None:
    found = codes(tmp_path, "hidden_by_idle", BOTH, draw="base, source ~ pair(n=256, seed=0, controls=none)")
    assert "unmapped_moves" not in found
    assert "controls_off" in found


# ── ablations ───────────────────────────────────────────────────────────────────────────────────

BASE = "base ~ pair(n=256, seed=0)"


@pytest.mark.parametrize(
    ("network", "do"),
    [("constant_needed", "do(layer[0].out[2] = 0)"), ("stepped_in", "do(layer[0].out[0] = 0)")],
)
def test_an_ablation_that_hangs_on_its_number(network: str, do: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, BOTH, do, BASE)
    assert "replacement_matters" in found, found


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    ("network", "do"),
    [
        ("constant_needed", "do(layer[0].out[2] = mean)"),  # as taken from another run: nothing moves
        ("plain", "do(layer[0].out[2] = 0)"),  # read by nothing
        ("plain", "do(layer[0].out[0] = 0)"),  # needed, whatever it is set to
    ],
)
def test_ablations_that_agree(network: str, do: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, BOTH, do, BASE)
    assert "replacement_matters" not in found, found


# ── one input ───────────────────────────────────────────────────────────────────────────────────


def test_a_number_that_is_not_divided_yet(tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    found = run(
        tmp_path,
        """
causal number {
  v ~ 0..8
  r ~ 0..2
  third := v div 3
  output out := third > r
}
network net = torch("networks.py:small_number")
align at : number -> net {
  v @ input[0:1] via scalar()
  r @ input[1:2] via scalar()
  third @ layer[0].out[0]
  out @ logits
}
test claim on at {
  base, source ~ number(exhaustive=true)
  do(third <- source)
  report iia
}
""",
    )
    assert "input_copy" in found and "holds `v` in the form in which the network reads it:" in found["input_copy"]


def test_a_sum_is_a_linear_map_and_no_copy(tmp_path: Path) -> None:
    text = MODEL.replace("p := x > y", "p := x + y").replace("p != q", "(p > 3) != q").replace("NETWORK", "linear_sum")
    text = text.replace("PLACES", "p @ layer[0].out[0:2]").replace("DRAW", PAIRS).replace("DO", "do(p <- source)")
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    found = run(tmp_path, text)
    assert "input_copy" not in found, found


# ── nothing is exact beside a pair that moves ───────────────────────────────────────────────────


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("network", ["rarely_hidden", "hidden_at_one_value"])
@pytest.mark.parametrize(
    "draw", spread(["base, source ~ pair(n=64, seed=5)", ALL, "base, source ~ pair(n=1024, seed=3)"], 3)
)
def test_what_moves_rarely_leaves_no_full_verdict(network: str, draw: str, tmp_path: Path) -> None:
    assert not {"exact", "supported"} & set(codes(tmp_path, network, BOTH, draw=draw))


@pytest.mark.slow
def test_a_condition_on_the_base_hides_no_backup(tmp_path: Path) -> None:
    # where p is false nothing shows; the sources are inputs of the test, too
    draw = "base, source ~ pair(n=512, seed=0) where not base.p"
    found = codes(tmp_path, "hidden_at_one_value", BOTH, draw=draw)
    assert "unmapped_moves" in found, found


# ── several variables at once ───────────────────────────────────────────────────────────────────

TOGETHER = "do(p <- source, q <- source)"
THREE = MODEL.replace("out := p != q", "out := (p != q) != (e == 1)")


def three_codes(folder: Path, network: str, places: str, do: str, draw: str) -> dict[str, str]:
    shutil.copy(HERE / "networks.py", folder / "networks.py")
    text = THREE.replace("NETWORK", network).replace("PLACES", places).replace("DRAW", draw).replace("DO", do)
    return run(folder, text)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
@pytest.mark.parametrize(
    ("network", "places", "told"),
    [
        ("lumped", BOTH, "If layer[0].out[1] is written alone, the answer moves in none of"),
        ("three", "p @ layer[0].out[1]\n  q @ layer[0].out[0]", "cannot tell which place holds which"),
    ],
)
def test_what_is_right_together_only_is_named(network: str, places: str, told: str, draw: str, tmp_path: Path) -> None:
    found = three_codes(tmp_path, network, places, TOGETHER, draw)
    assert told in found.get("joint_only", ""), found
    assert not {"exact", "supported"} & set(found)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    ("do", "draw"),
    spread(
        [
            (TOGETHER, PAIRS),
            (TOGETHER, ALL),
            ("do(p <- one, q <- two)", "base, one, two ~ pair(n=256, seed=0)"),
        ],
        2,
    ),
)
def test_what_is_right_apart_raises_no_alarm(do: str, draw: str, tmp_path: Path) -> None:
    found = three_codes(tmp_path, "three", BOTH, do, draw)
    assert not ALARMS & set(found), found
    assert {"exact", "supported"} & set(found)


@pytest.mark.slow
def test_one_source_for_several_is_warned_of_unless_another_test_tells_them_apart() -> None:
    text = THREE.replace("NETWORK", "three").replace("PLACES", BOTH).replace("DRAW", PAIRS)

    def warned(text: str) -> bool:
        text = text.replace('torch("networks.py:three")', 'zoo("equality-relu")')
        return "W760" in {d.code for d in cd.check(cd.parse(text)).diagnostics}

    assert warned(text.replace("DO", TOGETHER))
    assert not warned(text.replace("DO", "do(p <- source)"))
    another = "test alone on at {\n  base, source ~ pair(n=64, seed=0)\n  do(q <- source)\n  report iia\n}\n"
    assert not warned(text.replace("DO", TOGETHER) + another)


# ── where a place is written otherwise, or holds many values ────────────────────────────────────

SPREAD = "p @ layer[0].out[0], layer[1].out[0]\n  q @ layer[0].out[1], layer[1].out[1]"
MODULE = 'p @ module("layers.0")[0]\n  q @ layer[0].out[1]'


@pytest.mark.thinned(always=1, values=True, slow=3)
@pytest.mark.parametrize(
    ("network", "places", "do"),
    spread(
        [
            ("hidden_later", SPREAD, "do(p <- source)"),
            ("hidden_by_idle", MODULE, "do(p <- source)"),
            ("hidden_by_idle", BOTH, "do(p <- source, layer[0].out[2] = current)"),
            ("hidden_later", BOTH, "do(p <- source, layer[1].out[1] = mean)"),
            ("any_of_many", BOTH, "do(p <- source)"),
            ("any_of_many", "p @ layer[0].out[0]", "do(p <- source)"),
        ],
        3,
    ),
)
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
def test_no_way_of_writing_a_place_ends_the_control(
    network: str, places: str, do: str, draw: str, tmp_path: Path
) -> None:
    found = codes(tmp_path, network, places, do, draw)
    assert "unmapped_moves" in found, found
    assert not {"exact", "supported"} & set(found)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    ("network", "places", "do"),
    spread(
        [
            ("plain_twice", SPREAD, "do(p <- source)"),
            ("plain_twice", "p @ layer[0].out[0]\n  q @ layer[1].out[1]", "do(p <- source)"),
            ("plain", MODULE, "do(p <- source)"),
            ("plain", BOTH, "do(p <- source, layer[0].out[2] = current)"),
        ],
        2,
    ),
)
def test_no_way_of_writing_a_place_raises_an_alarm(network: str, places: str, do: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, places, do)
    assert not ALARMS & set(found), found
    assert "supported" in found


MANY = """
causal pair {
  x, y ~ DOMAIN
  z ~ LAST
  p := x > y
  output out := p != (z > 0.5)
}
network net = torch("networks.py:NETWORK")
align at : pair -> net {
  x @ input[0:1] via scalar()
  y @ input[1:2] via scalar()
  z @ input[2:3] via scalar()
  p @ layer[0].out[0]
  out @ logits
}
test claim on at {
  base, source ~ pair(n=256, seed=0, balance=[base.p, source.p])
  do(p <- source)
  report accuracy
}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("domain", "last"), [("0..150", "0..1"), ("real(0, 1)", "real(0, 1)"), ("real(0, 1)", "0..1")])
def test_a_backup_of_many_values(domain: str, last: str, tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MANY.replace("DOMAIN", domain).replace("LAST", last)
    assert "unmapped_moves" in run(tmp_path, text.replace("NETWORK", "many_values"))
    found = run(tmp_path, text.replace("NETWORK", "many_values_plain"))
    assert "supported" in found and not ALARMS & set(found), found


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("place", ["layer[0].out[0] via standardize()", "layer[0].out[0:1] via pca(k=1)"])
def test_a_feature_as_wide_as_its_place_is_not_held_against_itself(place: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", f"p @ {place}")
    assert "supported" in found and "not_above_controls" not in found, found
    assert "through a feature" not in found.get("not_tried", "")  # what is written through it is the place


def test_a_difference_of_equal_means_is_no_direction(tmp_path: Path) -> None:
    do = "do(layer[0].out = project_out(1e6 * (0.3 * mean(source) - 0.3 * mean(base))))"
    with pytest.raises(SpecError, match="E791"):
        codes(tmp_path, "uneven", "p @ layer[0].out[0]", do, ALL)


# ── other ways of writing an ablation ───────────────────────────────────────────────────────────

AWAY = [
    "0",
    "[0]",
    "scale(0)",
    "0 * current",
    "clamp(0, 0)",
    "clamp(high=1)",
    "mean - mean",
    "0.1 * current",
    "project_out([1])",
    "1",
]
FOUR = "base ~ pair(n=256, seed=0) where base.x == base.y and base.x == 0 and base.z < 2"


@pytest.mark.thinned(always=2, values=True, slow=5)
@pytest.mark.parametrize("value", spread(AWAY, 4))
@pytest.mark.parametrize("draw", spread([BASE, FOUR, "base ~ pair(exhaustive=true)"], 3))
def test_every_ablation_of_a_constant_is_named(value: str, draw: str, tmp_path: Path) -> None:
    do = f"do(layer[0].out[2] = {value})"
    if draw == FOUR:
        found = codes(tmp_path, "constant_is_true", BOTH, do, draw)
    else:
        found = codes(tmp_path, "constant_needed", BOTH, do, draw)
    assert {"outside", "replacement_matters"} <= set(found), found


@pytest.mark.parametrize("value", spread(["0.5", "clamp(0.4, 0.6)", "[0.5]", "0.2 * current + 0.4", "mean"], 3))
@pytest.mark.thinned(always=1)
def test_a_number_between_the_values_of_a_unit(value: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "split_in_two", BOTH, f"do(layer[0].out[2] = {value})", BASE)
    assert "replacement_matters" in found, found
    assert ("They are means over runs" in found["outside"]) == (value == "mean"), found


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    ("network", "place", "value"),
    spread(
        [
            ("plain", 0, "scale(0)"),  # needed
            ("plain", 2, "[0]"),  # read by nothing
            ("halved", 0, "scale(0.5)"),  # less than all of it is taken away, and that much nothing needs
            ("halved", 0, "clamp(0, 3)"),
            ("plain", 0, "-1 * current"),
            ("plain", 0, "2 * mean(base) - current"),
        ],
        2,
    ),
)
def test_ablations_of_any_kind_that_agree(network: str, place: int, value: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, BOTH, f"do(layer[0].out[{place}] = {value})", BASE)
    assert "replacement_matters" not in found, found


def test_a_score_of_all_inputs_is_one_number(tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("NETWORK", "constant_is_true").replace("PLACES", BOTH).replace("DRAW", FOUR)
    (tmp_path / "claim.causal").write_text(text.replace("DO", "do(layer[0].out[2] = 0)\n  report moved"))
    test = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"]
    cell = test.cell()
    assert test.covered and cell.replaced is not None
    own = cell.replaced.moved[cell.replaced.own]
    assert (own.value, own.method) == (cell.scores["moved"].value, "exact")


# ── copies of the inputs, wherever they are looked at ───────────────────────────────────────────


def test_inputs_that_are_bent_are_not_said_to_be_as_read(tmp_path: Path) -> None:
    found = codes(tmp_path, "bent_in_pieces", "p @ layer[0].out[0:2]")
    assert "is a function of one of `x` and `y` alone" in found["input_copy"], found


HOT = """
causal pair {
  x, y, z, e ~ 0..3
  p := x == y
  q := z == e
  output out := p != q
}
network net = torch("networks.py:Turned")
align at : pair -> net {
  x @ input[0:4] via onehot()
  y @ input[4:8] via onehot()
  z @ input[8:12] via onehot()
  e @ input[12:16] via onehot()
  p @ layer[0].out via rotation(dim=16, n=128, epochs=4)
  out @ logits
}
test claim on at {
  base, source ~ pair(n=256, seed=0, balance=[base.p, source.p])
  do(p <- source)
  report accuracy
}
"""


def test_a_copy_that_a_fitted_feature_takes(tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    assert "distinguishes all values of `x` and `y`" in run(tmp_path, HOT)["input_copy"]


SHAPES = """
domain Shape = {"arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"}
causal equality { a, b, c, d ~ Shape left := a == b right := c == d output same := left == right }
network net = zoo("equality-gpt2")
align at : equality -> net { prompt "{a} {b} {c} {d} =" left @ PLACES same @ next_token }
test claim on at { base, source ~ equality(n=64, seed=1) do(left <- source) report iia }
"""


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("place", "copied"),
    spread(
        [
            ('module("transformer.wte")[{}]', True),
            ('module("transformer.h.0.ln_1")[{}]', True),
            ("layer[0].attn_in[{}]", True),
            ("layer[0].v[{}]", True),
            ("layer[0].mlp_in[{}]", False),
            ('module("transformer.h.0.mlp")[{}]', False),
        ],
        4,
    ),
)
def test_tokens_that_know_of_no_other(place: str, copied: bool, tmp_path: Path) -> None:
    text = SHAPES.replace("PLACES", f"{place.format('a')}, {place.format('b')}")
    assert ("input_copy" in run(tmp_path, text)) == copied


@pytest.mark.slow
def test_equal_cells_are_said_to_be_equal(tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("align at :", "align at(i in [2, 3]) :").replace("NETWORK", "plain").replace("DRAW", PAIRS)
    text = text.replace("PLACES", "p @ layer[0].out[i]").replace("DO", "do(p <- source)\n  expect argmax(iia).i >= 2")
    (tmp_path / "claim.causal").write_text(text)
    test = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"]
    assert "all 2 cells have the same score" in next(f.text for f in test.findings if f.code == "choice")


@pytest.mark.slow
def test_a_place_that_tells_fewer_values_apart(tmp_path: Path) -> None:
    text = MODEL.replace("p := x > y", "p := (x + y) mod 4").replace("out := p != q", "out := (p > 1) != q")
    text = text.replace("NETWORK", "sum_above").replace("PLACES", "p @ layer[0].out[0]").replace("DRAW", PAIRS)
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    found = run(tmp_path, text.replace("DO", "do(p <- source)"))
    assert "takes 2 vectors" in found["holds_less"] and "4 values of `p`" in found["holds_less"], found
    assert "holds_less" not in codes(tmp_path, "plain", BOTH)
