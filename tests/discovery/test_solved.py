"""`where solved(…)` holds for the pairs on which a circuit is found, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from tests.engine.tiny import network_of, spec_of

TEST = """
circuit found : net = discover(nodes, method=exact, keep=4, by=signedN)
metric own = logit(o)
test t on a(l=0, p=last) {
  base, source ~ m(n=40, seed=3, controls=none) where base.template == source.template FILTER
  do(outside(found) <- source)
  report faithfulness(own)
}
"""


def found(filtered: str) -> Any:
    """How the circuit is found under a filter."""
    text = spec_of("llama", TEST.replace("FILTER", filtered).replace("signedN", "signed"))
    (cell,) = api.run(api.parse(text)).tests[0].cells
    assert cell.circuit is not None
    return cell.circuit.found[0]


@pytest.mark.slow
@torch.no_grad()
def test_a_circuit_is_found_on_pairs_that_are_solved() -> None:
    """The mean of the metric in the base runs is that of the pairs which a loop by hand finds solved."""
    text = spec_of("llama", TEST.replace("FILTER", "").replace("signedN", "signed"))
    checked = api.check(api.parse(text))
    plan = checked.searches
    assert plan is not None
    (search,) = plan.tests
    model = network_of(text[: text.index("circuit found")]).model
    inputs = plan.inputs[search.network.key]
    draw = plan.scores[search.name][0].label.draw
    rows = {run.role: plan.rows[run] for run in plan.rows if run.draw == draw}
    labels = plan.draw_of(search).values
    words = [10, 11, 12, 13, 14]

    def logits(role: str, pair: int) -> torch.Tensor:
        ids = torch.tensor(inputs.rows(rows[role][pair : pair + 1])[0])
        return model(ids[None]).logits[0, -1, words]

    def label(role: str, pair: int) -> int:
        return int(labels[role]["o"][pair])

    every = range(len(rows["base"]))
    right = {role: [int(logits(role, i).argmax()) == label(role, i) for i in every] for role in ("base", "source")}
    for filtered, keep in (
        ("and solved(base)", np.array(right["base"])),
        ("and solved(base) and solved(source)", np.array(right["base"]) & np.array(right["source"])),
    ):
        assert 0 < keep.sum() < len(keep)
        told = found(filtered)
        assert told.pairs == keep.sum()
        mean = np.mean([float(logits("base", i)[label("base", i)]) for i in np.flatnonzero(keep)])
        assert told.ends[0] == pytest.approx(mean, abs=1e-4)
    assert found("").pairs == len(rows["base"])


def test_where_no_pair_is_solved_that_is_said() -> None:
    text = spec_of("llama", TEST.replace("FILTER", "and solved(base)").replace("signedN", "signed, n=1"))
    told = []
    for seed in range(3, 9):  # of one pair there is nothing left, or all
        try:
            api.run(api.parse(text.replace("seed=3", f"seed={seed}")))
        except SpecError as error:
            told.append(str(error))
            break
    assert told and "E818" in told[0] and "solves none of the 1 pairs" in told[0]
