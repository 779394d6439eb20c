"""Pairs that tie two variables do not tell their places apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.honest.test_known_truths import ALARMS, PAIRS, three_codes
from tests.thinning import spread

EXCHANGED = "p @ layer[0].out[1]\n  q @ layer[0].out[0]"
RIGHT = "p @ layer[0].out[0]\n  q @ layer[0].out[1]"
TIED = [
    "base, source ~ pair(n=256, seed=0) where base.p == base.q and source.p == source.q",
    "base, source ~ pair(n=256, seed=0) where base.p != base.q and source.p != source.q",  # the other way round
    "base, source ~ pair(exhaustive=true) where base.p == base.q and source.p == source.q",
    "base ~ pair(n=256, seed=0) where base.p == base.q\n"
    "  source ~ pair(like=base, vary=[x, z], n=256) where source.p == source.q",
]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("draw", spread(TIED, 3))
def test_exchanged_places_of_tied_variables_are_named(draw: str, tmp_path: Path) -> None:
    found = three_codes(tmp_path, "three", EXCHANGED, "do(p <- source)", draw)
    assert "`p` and `q`" in found["tied"], found
    assert not {"exact", "supported", "partly"} & set(found)
    assert ("equal values in every run" in found["tied"]) == ("base.p == base.q" in draw)


def test_the_other_variable_need_not_be_placed(tmp_path: Path) -> None:
    found = three_codes(tmp_path, "three", "p @ layer[0].out[1]", "do(p <- source)", TIED[0])
    assert "tied" in found or "unmapped_moves" in found, found


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    "tie", ["(RUN.e == 1) == RUN.p", "(RUN.e == 1) != RUN.p", "(RUN.x + RUN.e) mod 2 == 0 and (RUN.e == 1) == RUN.p"]
)
def test_a_tie_to_an_input_that_no_answer_reads_is_named(tie: str, tmp_path: Path) -> None:
    draw = f"{PAIRS} where {tie.replace('RUN', 'base')} and {tie.replace('RUN', 'source')}"
    found = three_codes(tmp_path, "three", RIGHT, "do(p <- source)", draw)
    assert "`p` and `e`" in found["tied"] and "supported" not in found, found


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize(
    "draw",
    spread(
        [
            PAIRS,
            "base, source ~ pair(n=256, seed=0) where base.p != source.p",
            "base, source ~ pair(n=256, seed=0) where base.p == base.q",  # the source tells them apart
            "base, source ~ pair(n=256, seed=0) where base.out != source.out",
            "base, source ~ pair(n=256, seed=0, like=base, vary=[x]) where source.p != base.p",
            "base, source ~ pair(n=256, seed=0, balance=[base.p, source.p, base.q, source.q])",
        ],
        2,
    ),
)
@pytest.mark.parametrize("do", spread(["do(p <- source)", "do(p <- source, q <- source)"], 2))
def test_what_is_not_tied_is_not_said_to_be(draw: str, do: str, tmp_path: Path) -> None:
    found = three_codes(tmp_path, "three", RIGHT, do, draw)
    assert "tied" not in found and not ALARMS & set(found), found


def test_a_chain_is_no_tie(tmp_path: Path) -> None:
    """What comes of a variable alone is interchanged with it by design."""
    import tests.honest.test_known_truths as known

    text = known.MODEL.replace("q := z > 1", "q := not p").replace("out := p != q", "out := q != (e == 1)")
    text = text.replace("NETWORK", "three_of_p").replace("PLACES", "p @ layer[0].out[0]").replace("DRAW", PAIRS)
    (tmp_path / "networks.py").write_text((Path(known.HERE) / "networks.py").read_text())
    found = known.run(tmp_path, text.replace("DO", "do(p <- source)"))
    assert "tied" not in found and "supported" in found, found
