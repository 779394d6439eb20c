"""Means over the rows of each prompt template, against hooks by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.planning.lower import by_reference
from tests.engine.test_lens import hooked
from tests.engine.tiny import execution_of, spec_of
from tests.network.families import model_of

TEST = """
test t on a(l=0, p=last) {
  base  ~ m(n=10, seed=3)
  other ~ m(n=10, seed=4)
  do(layer[1].mlp_out[all] = mean(other, by=template))
  report kl
}
"""


@pytest.mark.parametrize(("reference", "padding"), [(False, "left"), (True, "right")])
@torch.no_grad()
def test_each_row_has_the_mean_of_its_template(reference: bool, padding: str) -> None:
    """The two templates have prompts of other lengths, so at all tokens there is no mean over all rows."""
    change = {"change": by_reference} if reference else {}
    execution, checked = execution_of(spec_of("llama", TEST, padding=padding), **change)
    found = execution.logits()
    (test,), plan, model = checked.program.tests, execution.plan, model_of("llama")  # type: ignore[union-attr]
    score = plan.scores["t"][0]
    drawn, inputs = plan.draw_of(test), plan.inputs[test.network.key]
    rows = {run.role: plan.rows[run] for run in plan.rows}
    place = model.get_submodule("model.layers.1.mlp")

    def ids(role: str, pair: int) -> Tensor:
        return torch.tensor(inputs.rows(rows[role][pair : pair + 1])[0])[None]

    seen: dict[int, list[Tensor]] = {}
    for pair in range(10):
        handle = hooked(place, "out", seen.setdefault(int(drawn.values["other"]["template"][pair]), []).append)
        model(ids("other", pair))
        handle.remove()
    means = {number: torch.cat(vectors).mean(dim=0) for number, vectors in seen.items()}
    assert len(means) == 2 and len({len(mean) for mean in means.values()}) == 2
    for pair in range(10):
        mean = means[int(drawn.values["base"]["template"][pair])]
        handle = hooked(place, "out", lambda _, mean=mean: mean[None])
        logits = model(ids("base", pair)).logits[0, -1]
        handle.remove()
        mine = found[score.read("patched").run][pair]  # type: ignore[union-attr, index]
        assert torch.allclose(mine, logits, atol=1e-4), pair
        assert float((logits - model(ids("base", pair)).logits[0, -1]).abs().max()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("action", ["outside(c)", "outside(e)"])
def test_circuits_take_means_of_templates(action: str) -> None:
    """Of nodes and of edges, by both executors: pooled over tokens, too; and the mean over all rows is another number."""
    more = """
circuit c : net { parts = embed, layer[0].head[1], layer[2].mlp_out }
circuit e : net { embed -> layer[1].mlp_in -> logits }
metric gap = logit(o) - logit("w10")
"""
    values: dict[str, Any] = {}
    for mean in ("mean(by=template)", "mean(by=template, pooled=true)", "mean(pooled=true)"):
        test = f"test t on a(l=0, p=last) {{ base ~ m(n=10, seed=3, controls=none) do({action} = {mean}) report change(gap) }}\n"
        both = [
            api.run(api.parse(spec_of("llama", more + test)), Options(reference=reference)).tests[0].cells[0]
            for reference in (False, True)
        ]
        one, other = (cell.scores["change(gap)"].value for cell in both)
        assert one == pytest.approx(other, abs=1e-5)
        values[mean] = one
        assert both[0].circuit is not None and mean in both[0].circuit.choices.value
    assert len({round(value, 5) for value in values.values()}) == 3


def test_one_template_has_the_mean_over_all_rows() -> None:
    text = spec_of("llama", TEST.replace("mlp_out[all]", "mlp_out[last]"))
    text = "".join(line for line in text.splitlines(keepends=True) if "w4 {x}" not in line)
    one, other = (
        api.run(api.parse(text.replace("mean(other, by=template)", mean))).tests[0].cells[0].scores["kl"].value
        for mean in ("mean(other, by=template)", "mean(other)")
    )
    assert one == pytest.approx(other, abs=1e-7) and np.isfinite(one or np.nan)
