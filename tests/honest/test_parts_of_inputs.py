"""What a test claims of the part of the inputs that it draws, and maps that have all of their place."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from tests.honest.test_known_truths import ALARMS, BOTH, PAIRS, codes
from tests.thinning import spread

FULL = {"exact", "supported"}
ONE = "p @ layer[0].out[0]"
RIGHT = "p @ layer[0].out[0]\n  q @ layer[0].out[1]"


def where(condition: str) -> str:
    return f"{PAIRS} where {' and '.join(condition.replace('RUN', role) for role in ('base', 'source'))}"


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    "via", spread(["standardize()", "pca(k=1)", "standardize().pca(k=1)", "mean_difference(controls=none)"], 2)
)
@pytest.mark.parametrize(
    ("network", "places", "code"),
    spread(
        [
            ("hidden_by_idle", "p @ layer[0].out[0] via VIA\n  q @ layer[0].out[1]", "unmapped_moves"),
            ("one_code", "p @ layer[0].out[0] via VIA", "holds_more"),
            ("plain", "p @ layer[0].out[0], layer[0].out[3] via VIA", "idle_place"),
        ],
        3,
    ),
)
def test_a_map_that_has_all_of_its_place_turns_no_control_off(
    network: str, places: str, code: str, via: str, tmp_path: Path
) -> None:
    if code == "idle_place":
        via = "standardize()"  # the others find nothing in a constant
    found = codes(tmp_path, network, places.replace("VIA", via))
    assert code in found, found


def test_a_map_of_a_part_is_no_write_of_the_place(tmp_path: Path) -> None:
    found = codes(tmp_path, "hidden_by_idle", "p @ layer[0].out[0:2] via pca(k=1)")
    assert "is written through a feature" in found.get("not_tried", "is written through a feature")
    assert "unmapped_moves" not in found


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("via", ["standardize()", "pca(k=1)"])
def test_what_is_true_stays_so_through_it(via: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", f"p @ layer[0].out[0] via {via}\n  q @ layer[0].out[1]")
    assert FULL & set(found) and not ALARMS & set(found), found


FALSE = {
    "its backup reads copies of what is fixed": ("hidden_by_idle", BOTH, where("RUN.e == 0"), "layer[0].out[2]"),
    "it is mixed with another elsewhere": (
        "p_and_an_input",
        ONE,
        where("RUN.e == 0"),
        "distinct) that do not pass the `where`",
    ),
}


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(("network", "places", "draw", "told"), FALSE.values(), ids=FALSE)
def test_what_holds_of_a_part_alone_is_named(network: str, places: str, draw: str, told: str, tmp_path: Path) -> None:
    found = codes(tmp_path, network, places, draw=draw)
    assert told in found["only_there"] and FULL & set(found), found
    assert "that pass the `where`" in found[next(iter(FULL & set(found)))]


def test_where_the_network_is_wrong_elsewhere_that_is_said(tmp_path: Path) -> None:
    import tests.honest.test_known_truths as known

    text = (
        known.MODEL.replace("NETWORK", "wrong_elsewhere").replace("PLACES", RIGHT).replace("DRAW", where("RUN.e == 0"))
    )
    (tmp_path / "networks.py").write_text((known.HERE / "networks.py").read_text())
    (tmp_path / "claim.causal").write_text(text.replace("DO", "do(p <- source)"))
    cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
    told = next(one for one in cell.findings if one.code == "only_there")
    assert told.severity == "info" and "by itself" in told.text
    assert cell.beyond is not None and cell.beyond.own.value is not None and cell.beyond.own.value < 0.9


TRUE = [
    where("RUN.e == 0"),
    where("RUN.x > 0"),
    f"{PAIRS} where base.x != source.x",
    f"{PAIRS} where base.e == source.e",
    "base, source ~ pair(exhaustive=true) where base.e == 0 and source.e == 0",
    f"{PAIRS} where base.p or source.q",
]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("draw", spread(TRUE, 3))
def test_what_is_true_of_all_inputs_alarms_at_no_part(draw: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", RIGHT, draw=draw)
    assert FULL & set(found) and not {*ALARMS, "only_there"} & set(found), found


@pytest.mark.slow
def test_a_tie_to_two_variables_is_named(tmp_path: Path) -> None:
    found = codes(tmp_path, "of_two_others", ONE, draw=where("RUN.p == (RUN.q != (RUN.e == 1))"))
    assert "`p` from one that holds a function of `q` and `e`" in found["tied"] and not FULL & set(found), found


@pytest.mark.slow
def test_a_condition_that_ties_no_two_to_it_is_none(tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", RIGHT, draw=where("RUN.x != RUN.z and RUN.y != RUN.e"))
    assert "tied" not in found and FULL & set(found), found


@pytest.mark.slow
def test_a_backup_that_the_test_takes_away_is_named(tmp_path: Path) -> None:
    found = codes(tmp_path, "hidden_by_idle", BOTH, do="do(p <- source, layer[0].out[2:4] = 0)")
    assert "takes" not in found["only_there"] and "layer[0].out[2]" in found["only_there"], found
    assert FULL & set(found) and "unmapped_moves" not in found
