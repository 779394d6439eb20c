"""Interventions on circuits, and scores of them, against whole forwards with hooks by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.measures.circuit_run_names import FULL
from causal_dsl.running import scored_tests
from tests.engine.tiny import execution_of, folder_of, network_of, spec_of
from tests.thinning import some, spread

CIRCUIT = """
circuit c : net {
  start = embed
  heads = layer[1].head[1], layer[2].head[0]
  mlps  = layer[0].mlp_out
}
metric gap = logit(o) - logit(source.o)
"""
TEST = """
test t on a(l=0, p=last) {
  base, source ~ m(n=6, seed=3, like=base, vary=[z])
  do(ACTION)
  report SCORES
}
"""
EQUAL = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}
network net = hf("FOLDER", padding=PADDING)
align a : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  o @ next_token(among=W)
}
"""


def spec(name: str, action: str, scores: str, padding: str = "right") -> str:
    text = EQUAL.replace("FOLDER", folder_of(name)).replace("PADDING", padding)
    test = TEST.replace("(l=0, p=last)", "").replace(", like=base, vary=[z]", "")
    test = test.replace("base, source ~ m(n=6, seed=3)", "base, source ~ m(n=6, seed=3) where base.o != source.o")
    return text + CIRCUIT + test.replace("ACTION", action).replace("SCORES", scores)


class ByHand:
    """A network whose outputs are recorded and replaced: every head by its columns before the output projection."""

    def __init__(self, network: Any):
        self.network, self.model = network, network.model
        layout, facts = network.layout, network.facts
        self.size = facts.head_dim
        self.modules: dict[tuple[str, int], Any] = {("embed", -1): self.model.get_submodule(layout.embed[:-1])}
        for number, layer in enumerate(network.layers):
            self.modules["z", number] = layer.get_submodule(layout.z[:-1])
            self.modules["mlp", number] = layer.get_submodule(layout.mlp_out[:-1])

    @torch.no_grad()
    def run(
        self, ids: Tensor, written: dict[tuple[str, int, int], Tensor]
    ) -> tuple[Tensor, dict[tuple[str, int], Tensor]]:
        """Logits [vocabulary] at the end of one prompt with outputs replaced, and all outputs."""
        seen: dict[tuple[str, int], Tensor] = {}
        handles = []

        def act(key: tuple[str, int], tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            for (kind, layer, head), value in written.items():
                if (kind, layer) != key:
                    continue
                columns = slice(head * self.size, (head + 1) * self.size) if kind == "z" else slice(None)
                tensor[..., columns] = value[..., columns]
            seen[key] = tensor
            return tensor

        for key, module in self.modules.items():
            if key[0] == "z":
                handles.append(
                    module.register_forward_pre_hook(lambda _, args, key=key: (act(key, args[0]), *args[1:]))
                )
            else:
                handles.append(module.register_forward_hook(lambda _, args, out, key=key: act(key, out)))
        try:
            logits = self.model(ids[None]).logits[0, -1]
        finally:
            for handle in handles:
                handle.remove()
        return logits, seen


KEPT = {("embed", -1, 0), ("z", 1, 1), ("z", 2, 0), ("mlp", 0, 0)}


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "outside", "value"),
    spread(
        [
            *product(("llama", "gpt2"), (True, False), ("source", "mean")),
            *product(("gpt_neox", "gemma2", "qwen3"), (True,), ("source",)),
        ],
        3,
    ),
)
def test_scores_are_those_of_hooks_by_hand(name: str, outside: bool, value: str) -> None:
    target = "outside(c)" if outside else "c"
    action = f"{target} <- source" if value == "source" else f"{target} = mean"
    text = spec(name, action, "faithfulness(gap), sufficiency(gap), necessity(gap), completeness(gap), minimality(gap)")
    results = api.run(api.parse(text))
    cell = results.tests[0].cells[0]
    execution, _ = execution_of(text)
    test = execution.plan.tests[0]
    network = network_of(text[: text.index("align ")])
    inputs = execution.plan.inputs[network.key if network.key in execution.plan.inputs else test.network.key]
    draw = execution.plan.scores["t"][0].label.draw
    rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == draw}
    drawn = execution.plan.draw_of(test)
    hand = ByHand(network)
    ids = {
        role: [torch.tensor(inputs.rows(np.array([i]))[0]) for i in rows[role]]
        for role in ("base", "source")
        if role in rows
    }
    plain = {role: [hand.run(one, {}) for one in own] for role, own in ids.items()}
    heads, layers = network.facts.heads, len(network.layers)
    every = {("embed", -1, 0)} | {("mlp", layer, 0) for layer in range(layers)}
    every |= {("z", layer, head) for layer in range(layers) for head in range(heads)}
    mean = {key: torch.stack([seen[key] for _, seen in plain["base"]]).mean(0) for key in plain["base"][0][1]}

    def metric(logits: Tensor, pair: int) -> float:
        words = [f"w{10 + int(drawn.values[role]['o'][pair])}" for role in ("base", "source")]
        one, other = (int(w[1:]) for w in words)
        return float(logits[one] - logits[other])

    def run(written: set[tuple[str, int, int]]) -> float:
        found = []
        for pair, own in enumerate(ids["base"]):
            values = plain["source"][pair][1] if value == "source" else mean
            logits, _ = hand.run(own, {key: values[key[:2]] for key in written})
            found.append(metric(logits, pair))
        return float(np.mean(found))

    base, empty = run(set()), run(every)
    keep, cut = run(every - KEPT), run(KEPT)
    wanted = {
        "sufficiency(gap)": (keep - empty) / (base - empty),
        "necessity(gap)": (base - cut) / (base - empty),
        "faithfulness(gap)": (keep - empty) / (base - empty) if outside else (cut - base) / (empty - base),
    }
    for score, number in wanted.items():
        assert cell.scores[score].value == pytest.approx(number, rel=2e-3, abs=2e-3), score
    for score in ("completeness(gap)", "minimality(gap)"):
        found = cell.scores[score].value
        assert found is not None and found >= 0
    effects = [abs(run(every - KEPT | {node}) - keep) / abs(base - empty) for node in KEPT]
    assert cell.scores["minimality(gap)"].value >= min(effects) - 2e-3  # type: ignore[operator]
    whole = abs(empty - cut) / abs(base - empty)  # K is all of the circuit
    assert cell.scores["completeness(gap)"].value >= whole - 2e-3  # type: ignore[operator]
    assert cell.circuit is not None and all(check.holds for check in cell.circuit.checks)
    assert len(cell.circuit.checks) == (3 if value == "source" else 2)
    assert len(cell.circuit.random["faithfulness(gap)"].values) == 20


@pytest.mark.slow
@pytest.mark.parametrize("padding", some(["left", "right"], ["left"]))
def test_both_executors_give_the_same(padding: str) -> None:
    text = spec("llama", "outside(c) <- source", "faithfulness(gap), minimality(gap)", padding)
    fast, slow = api.run(api.parse(text)), api.run(api.parse(text), Options(reference=True))
    for one, other in zip(fast.tests[0].cells, slow.tests[0].cells, strict=True):
        for score, estimate in one.scores.items():
            assert estimate.value == pytest.approx(other.scores[score].value, abs=1e-3)


@pytest.mark.slow
def test_nodes_at_a_token_in_prompts_of_several_lengths() -> None:
    """Roles are found row by row: what is looked at is at named tokens, so that prompts may differ in length."""
    more = """
circuit d : net {
  one = layer[1].head[1].z[x], layer[1].mlp_out[last]
}
test t on a(l=0, p=last) {
  base, source ~ m(n=8, seed=3)
  do(outside(d, at=[x, y, last]) <- source)
  report faithfulness(logit(o))
}
"""
    results = api.run(api.parse(spec_of("llama", more)))
    cell = results.tests[0].cells[0]
    assert cell.circuit is not None and all(check.holds for check in cell.circuit.checks)
    assert cell.circuit.choices.positions == "x, y, last"
    assert cell.scores["faithfulness(logit(o))"].value is not None


@pytest.mark.slow
def test_areas_under_the_curve_of_sizes_are_those_of_its_points() -> None:
    more = """
circuit upto(k in [1, 2, 3]) : net {
  start = embed
  parts = layer[0:k].head[all], layer[0:k].mlp_out
}
test t on a {
  base, source ~ m(n=6, seed=3) where base.o != source.o
  do(outside(upto) <- source)
  report faithfulness(gap), cpr(gap)
}
"""
    text = spec("llama", "outside(c) <- source", "faithfulness(gap)")
    text = text[: text.index("test t on")] + more
    test = api.run(api.parse(text)).tests[0]
    sizes, curve = [0.0], [0.0]
    for cell in test.cells:
        assert cell.circuit is not None
        sizes.append(cell.circuit.size.weighted / cell.circuit.size.of_edges)
        curve.append(float(cell.scores["faithfulness(gap)"].value or 0.0))
    assert sizes[-1] == curve[-1] == pytest.approx(1.0)
    found = {report.text: report.estimate.value for report in test.reports}
    steps = list(zip(sizes, sizes[1:], curve, curve[1:], strict=False))
    assert found["cpr(gap)"] == pytest.approx(sum((b - a) * (f + g) / 2 for a, b, f, g in steps), abs=1e-4)
    assert found["cmd(gap)"] == pytest.approx(
        sum((b - a) * (abs(1 - f) + abs(1 - g)) / 2 for a, b, f, g in steps), abs=1e-4
    )


@pytest.mark.slow
def test_a_run_with_circuits_is_resumed_from_its_folder(tmp_path: Path) -> None:
    """The runs beside a circuit write unlike many places each, and are kept and found again like all others."""
    parsed = api.parse(spec("gpt2", "outside(c) <- source", "faithfulness(gap), minimality(gap)"))
    first, again = (api.run(parsed, Options(out=tmp_path)) for _ in range(2))
    for one, other in zip(first.tests[0].cells, again.tests[0].cells, strict=True):
        assert one.scores == other.scores
        assert one.circuit == other.circuit
    assert first.tests[0].cells[0].interventions == again.tests[0].cells[0].interventions


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("wrong", "said"), [(1.0, "apart in a logit"), (np.nan, "not finite in one of the two runs")])
def test_runs_that_are_not_what_they_have_to_be_are_told(
    wrong: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number of the full circuit's run is changed on its way, as a fault of the pass would."""
    right = scored_tests.with_runs

    def tampered(*given: Any) -> Any:
        found = right(*given)
        for cell in found.cells:
            for quantity, values in cell.columns.sources[FULL].items():
                if np.issubdtype(values.dtype, np.floating):
                    values = values.copy()
                    values[0] += wrong * 1e3
                    cell.columns.sources[FULL][quantity] = values
        return found

    monkeypatch.setattr(scored_tests, "with_runs", tampered)
    cell = api.run(api.parse(spec("llama", "outside(c) <- source", "faithfulness(gap)"))).tests[0].cells[0]
    (told,) = [finding for finding in cell.findings if finding.code == "circuit_check"]
    assert said in told.text and told.severity == "alarm" and cell.circuit is not None
    assert [check.holds for check in cell.circuit.checks] == [False, True, True]


@pytest.mark.slow
@torch.no_grad()
def test_several_directions_are_taken_out_of_each_node() -> None:
    """Of each head its own, of the embedding and an MLP theirs: in order, what each gives in the run itself, by hooks by hand."""
    text = spec("llama", "c = project_out(source, mean, source + mean)", "change(gap)")
    text = text.replace("n=6", "n=6, controls=none")
    found = [api.run(api.parse(text), options).tests[0].cells[0] for options in (Options(), Options(reference=True))]
    execution, _ = execution_of(text)
    plan, network = execution.plan, network_of(text)
    (inputs,) = plan.inputs.values()
    draw, drawn = plan.scores["t"][0].label.draw, plan.draw_of(plan.tests[0])
    rows = {run.role: plan.rows[run] for run in plan.rows if run.draw == draw}
    hand = ByHand(network)
    ids = {role: [torch.tensor(inputs.rows(np.array([i]))[0]) for i in rows[role]] for role in ("base", "source")}
    plain = {role: [hand.run(one, {}) for one in own] for role, own in ids.items()}
    mean = {key: torch.stack([seen[key] for _, seen in plain["base"]]).mean(0) for key in plain["base"][0][1]}
    moved = []
    for pair, one in enumerate(ids["base"]):
        source, handles = plain["source"][pair][1], []

        def without(key: tuple[str, int], head: int, tensor: Tensor, source: Any = source) -> Tensor:
            own = slice(head * hand.size, (head + 1) * hand.size) if key[0] == "z" else slice(None)
            made = tensor.clone()
            for at in range(tensor.shape[1]):
                axes = torch.stack([source[key][0, at, own], mean[key][0, at, own]]).double()
                basis = torch.linalg.qr(axes.T).Q
                x = tensor[0, at, own].double()
                made[0, at, own] = (x - basis @ (basis.T @ x)).to(made)
            return made

        for kind, layer, head in KEPT:
            module, key = hand.modules[kind, layer], (kind, layer)
            if kind == "z":
                handles.append(
                    module.register_forward_pre_hook(
                        lambda m, a, key=key, head=head: (without(key, head, a[0]), *a[1:])
                    )
                )
            else:
                handles.append(module.register_forward_hook(lambda m, a, o, key=key: without(key, 0, o)))
        patched = hand.model(one[None]).logits[0, -1]
        for handle in handles:
            handle.remove()
        words = [10 + int(drawn.values[role]["o"][pair]) for role in ("base", "source")]  # of w10 to w14
        change = patched - plain["base"][pair][0]
        moved.append(float(change[words[0]] - change[words[1]]))
    assert abs(np.mean(moved)) > 1e-2
    for cell in found:
        assert cell.scores["change(gap)"].value == pytest.approx(float(np.mean(moved)), abs=1e-4)
