"""The numbers of a test are its own: neither the order of tests nor what stands beside them changes its intervals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import causal_dsl as cd
from causal_dsl.score.intervals import Resampling, halves
from tests.equality import relu

TESTS = [
    f"""
test t{number} on at {{
  base, source ~ equality(n={n}, seed={number}, controls=none) where base.a == {number}
  do(left <- source)
  report iia, recovered(logit(same)), recovered_per_pair(logit(same)), mean(change(logit(same)))
}}
"""
    for number, n in enumerate((40, 60, 50))
]


def found(tests: tuple[str, ...]) -> dict[str, Any]:
    spec = cd.parse(relu("left @ layer[l].out[0:2]", align="at(l in 0:2)", tests="".join(tests)))
    return {test.name: [(cell.scores, cell.together) for cell in test.cells] for test in cd.run(spec).tests}


def test_the_order_of_tests_changes_no_interval() -> None:
    """The pairs have inputs that other tests have, too, so that a run numbers them otherwise in each order."""
    first = found(tuple(TESTS))
    assert all(cells[0][0]["recovered(logit(same))"].low is not None for cells in first.values())
    for tests in ((TESTS[2], TESTS[0], TESTS[1]), *((one,) for one in TESTS)):
        for name, cells in found(tests).items():
            assert cells == first[name], name


PLAIN = np.array([0, 1, 0, 2, 3, 1, 2, 2])


def test_the_resamples_follow_from_where_inputs_come_up_again() -> None:
    for ids in itertools.permutations(range(4)):
        column = np.array([ids[i] for i in (0, 1, 0, 2, 3, 1, 2, 2)])
        other = np.array([ids[i] for i in (3, 3, 1, 0, 1, 2, 0, 3)])
        mine = Resampling({"base": column, "source": other})
        plain = Resampling({"base": PLAIN, "source": np.array([0, 0, 1, 2, 1, 3, 2, 0])})
        assert all((a == b).all() for a, b in zip(mine.weights(), plain.weights(), strict=True))
        assert halves(column).tolist() == halves(PLAIN).tolist()
