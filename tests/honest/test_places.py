"""A place beside a right one, the layers before the last, and sets of units that show only together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.honest.test_known_truths import ALARMS, ALL, BOTH, HERE, MODEL, PAIRS, codes
from tests.thinning import spread

IDLE = {*ALARMS, "idle_place"}


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
@pytest.mark.parametrize(
    ("network", "places", "idle"),
    spread(
        [
            ("plain", "p @ layer[0].out[0], layer[0].out[2]", "layer[0].out[2]"),  # an input that nobody reads
            ("plain", "p @ layer[0].out[0], layer[0].out[3]", "layer[0].out[3]"),  # a constant
            ("plain", "p @ layer[0].out[2], layer[0].out[0]\n  q @ layer[0].out[1]", "layer[0].out[2]"),
            ("plain", "p @ layer[0].out[0], layer[0].out[2:4]", "layer[0].out[2:4]"),
            ("plain_then_idle", "p @ layer[0].out[2], layer[1].out[0]", "layer[0].out[2]"),  # of another layer
            ("plain_then_idle", "p @ layer[0].out[0], layer[1].out[2]", "layer[1].out[2]"),
            ("idle_between", "p @ layer[0].out[0:2]", "layer[0].out[1]"),  # half of a slice
        ],
        3,
    ),
)
def test_a_place_that_holds_nothing_is_named(network: str, places: str, idle: str, draw: str, tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("NETWORK", network).replace("PLACES", places).replace("DRAW", draw)
    (tmp_path / "claim.causal").write_text(text.replace("DO", "do(p <- source)"))
    cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
    told = next(f for f in cell.findings if f.code == "idle_place")
    assert told.severity == "alarm" and f"whether or not `p` is written at {idle}," in told.text
    assert {part.place for part in cell.parts if part.idle} == {idle}
    right = next(part for part in cell.parts if not part.idle)
    assert (right.alone.value, right.counts.value) != (None, 0.0)


OF_FOUR = MODEL.replace("p := x > y", "p := (x + y) mod 4").replace("out := p != q", "out := (p >= 2) != q")


def cell_of_four(network: str, places: str, draw: str, folder: Path) -> cd.CellResult:
    shutil.copy(HERE / "networks.py", folder / "networks.py")
    text = OF_FOUR.replace("NETWORK", network).replace("PLACES", places).replace("DRAW", draw)
    (folder / "claim.causal").write_text(text.replace("DO", "do(p <- source)"))
    return cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"].cell()


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
@pytest.mark.parametrize(
    ("network", "places"),
    [
        ("high_bit_read", "p @ layer[0].out[0:2]"),
        ("high_bit_read", "p @ layer[0].out[0], layer[0].out[1]"),
        (
            "high_bit_read",
            "p @ layer[0].out[0], layer[0].out[2]",
        ),  # no function of p, but beside the high bit it tells p
        ("one_unit_a_value", "p @ layer[0].out[0:4]"),
        ("units_of_a_ladder", "p @ layer[0].out[0:3]"),
    ],
)
def test_a_part_of_a_code_that_the_answer_does_not_need_is_no_alarm(
    network: str, places: str, draw: str, tmp_path: Path
) -> None:
    cell = cell_of_four(network, places, draw, tmp_path)
    assert {f.severity for f in cell.findings if f.code == "idle_place"} == {"info"}
    assert cell.verdict is not None and cell.verdict.code in ("exact", "supported")


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("idle", [3, 4])
def test_what_is_no_part_of_the_code_is_an_alarm_beside_it(idle: int, tmp_path: Path) -> None:
    cell = cell_of_four("high_bit_read", f"p @ layer[0].out[0], layer[0].out[1], layer[0].out[{idle}]", ALL, tmp_path)
    told = next(f for f in cell.findings if f.code == "idle_place")
    assert told.severity == "alarm" and f"written at layer[0].out[{idle}]," in told.text


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
@pytest.mark.parametrize(
    ("network", "places"),
    spread(
        [
            ("twice", "p @ layer[0].out[0], layer[0].out[1]\n  q @ layer[0].out[2]"),
            ("on_two_units", "p @ layer[0].out[0:2]\n  q @ layer[0].out[2]"),
            ("on_two_units", "p @ layer[0].out[0], layer[0].out[1]"),
            ("plain_twice", "p @ layer[0].out[0], layer[1].out[0]"),
            ("most_of_five", "p @ layer[0].out[0], layer[0].out[1], layer[0].out[2], layer[0].out[3], layer[0].out[4]"),
            ("most_of_five", "p @ layer[0].out[0:5]\n  q @ layer[0].out[5]"),
            ("most_of_three", "p @ layer[0].out[0:3]"),
        ],
        3,
    ),
)
def test_places_that_count_together_raise_no_alarm(network: str, places: str, draw: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, places, draw=draw)
    assert not IDLE & set(found), found
    assert {"exact", "supported"} & set(found)


@pytest.mark.parametrize(
    ("network", "places"),
    [("unread_copy", "p @ layer[0].out[0], layer[0].out[1]"), ("angle", "p @ layer[0].out[0:2]")],
)
def test_a_copy_that_nothing_reads_is_said_and_no_alarm(network: str, places: str, tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("NETWORK", network).replace("PLACES", places)
    (tmp_path / "claim.causal").write_text(text.replace("DRAW", PAIRS).replace("DO", "do(p <- source)"))
    cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
    told = next(f for f in cell.findings if f.code == "idle_place")
    assert told.severity == "info" and cell.verdict is not None and cell.verdict.code == "supported"


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("places", ["p @ layer[0].out[0:3]", "p @ layer[0].out[0:2], layer[0].out[2]"])
def test_copies_of_the_inputs_are_named_beside_a_place_that_nothing_reads(places: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "inputs_beside_unread", places)
    assert "not yet computed there" in found["input_copy"], found


@pytest.mark.slow
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
def test_the_rest_of_the_first_layer_is_judged_where_its_place_is_enough(draw: str, tmp_path: Path) -> None:
    places = "p @ layer[0].out[0], layer[1].out[0]"
    found = codes(tmp_path, "hidden_between", places, draw=draw)
    assert "layer[0].out[" in found["unmapped_moves"] and not {"exact", "supported"} & set(found), found


@pytest.mark.slow
def test_the_rest_of_a_layer_whose_place_is_not_enough_is_said_not_to_be_judged(tmp_path: Path) -> None:
    found = codes(tmp_path, "plain_then_idle", "p @ layer[0].out[2], layer[1].out[0]")
    assert "What no variable claims at layer[0].out was not judged" in found["not_tried"], found


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("draw", spread([PAIRS, ALL], 2))
@pytest.mark.parametrize(
    ("network", "units"),
    spread(
        [
            ("any_two_of_9", 9),
            ("any_two_of_17", 17),
            ("any_two_of_32", 32),
            ("any_three_of_9", 9),
            ("any_three_of_16", 16),
        ],
        3,
    ),
)
def test_any_two_and_any_three_of_many_units(network: str, units: int, draw: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, BOTH, draw=draw)
    assert "unmapped_moves" in found and not {"exact", "supported"} & set(found), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "told"),
    spread(
        [(9, "each three"), (17, "each two together, but not each three"), (60, "but not each two together")],
        3,
    ),
)
def test_what_was_not_taken_together_is_said(units: int, told: str, tmp_path: Path) -> None:
    found = codes(tmp_path, f"unread_{units}", BOTH)
    assert "supported" in found and told in found["not_tried"] and "unclaimed numbers" in found["not_tried"], found


def test_of_few_units_all_sets_are_taken(tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", BOTH)
    assert "supported" in found and "together while the others stay" not in found.get("not_tried", ""), found


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("draw", spread([ALL, PAIRS], 1))
@pytest.mark.parametrize("count", [9, 12])
def test_one_of_many_places_that_holds_nothing_is_named(count: int, draw: str, tmp_path: Path) -> None:
    found = codes(
        tmp_path, "unread_17", "p @ " + ", ".join(f"layer[0].out[{k}]" for k in (0, *range(2, count + 1))), draw=draw
    )
    assert "layer[0].out[2]" in found["idle_place"] and "layer[0].out[0]" not in found["idle_place"], found


@pytest.mark.slow
def test_many_places_of_one_variable_are_none(tmp_path: Path) -> None:
    found = codes(tmp_path, "nine_votes", "p @ " + ", ".join(f"layer[0].out[{k}]" for k in range(9)))
    assert not IDLE & set(found) and "supported" in found, found
