"""On a linear network first order is all there is: scores by gradients are exact effects, and effects add up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from causal_dsl.discovery.part_scores import Way
from tests.discovery.linear import made_linear
from tests.discovery.searched import Searched
from tests.thinning import spread

WAYS = [Way(), Way(2), Way(3, rule="left"), Way(2, "activations")]


@pytest.fixture(scope="module")
def linear() -> Iterator[Searched]:
    searched = Searched("gpt2")
    with made_linear(searched.network.model):
        yield searched


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thinned(always=1)
def test_nodes_by_gradients_have_their_exact_effects(linear: Searched, way: Way) -> None:
    found = linear.of.score_nodes(way)
    exact = linear.exact.effects([[node] for node in found.of]).T
    assert found.groups == pytest.approx(exact, abs=1e-5)
    assert np.abs(exact).max() > 1e-2
    assert found.ends == pytest.approx(linear.exact.ends, abs=1e-5)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("way", spread(WAYS, 2))
def test_edges_by_gradients_have_their_exact_effects(linear: Searched, way: Way) -> None:
    found = linear.of.score_edges(way)
    exact = linear.exact.effects([[edge] for edge in found.of]).T
    assert found.groups == pytest.approx(exact, abs=1e-5)
    silent = [number for number, (_, port) in enumerate(found.of) if port.kind in ("q", "k")]
    assert np.abs(exact).max() > 1e-2 and not exact[:, silent].any(), "attention is the same whatever heads read"


def test_what_reaches_the_logits_directly_adds_up(linear: Searched) -> None:
    """All edges to the logits together make the whole difference between the two runs, and none of it twice."""
    found = linear.of.score_edges(Way())
    ends = [number for number, (_, port) in enumerate(found.of) if port.kind == "logits"]
    assert found.means[ends].sum() == pytest.approx(found.ends[0] - found.ends[1], abs=1e-5)
    (whole,) = linear.exact.effects([[found.of[number] for number in ends]])
    assert found.groups[:, ends].sum(axis=1) == pytest.approx(whole, abs=1e-5)
