"""Values from runs in which something is written themselves, against forwards by hand, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.planning.lower import by_reference
from tests.engine.test_circuits import ByHand as CircuitByHand
from tests.engine.test_circuits import spec as circuit_spec
from tests.engine.test_edge_circuits import Doubled, edges_by_hand
from tests.engine.test_edge_circuits import spec as edge_spec
from tests.engine.tiny import execution_of, network_of, spec_of
from tests.thinning import some

#: The projection after the heads, and the MLP, of a layer.
FAMILIES = {"llama": ("self_attn.o_proj", "mlp"), "gpt2": ("attn.c_proj", "mlp")}
TEST = """
test t on a(l=0, p=last) {{
  base, source, other ~ m(n=6, seed=3)
  do({action})
  report kl
}}
"""
#: What is done, and by hand: the vector that is written after layer 1 at the last token.
HEAD = "layer[0].head[1].z[last]"
ACTIONS: dict[str, Callable[[ByHand, Tensor, Tensor], Tensor]] = {
    f"layer[1].resid_post[last] <- source({HEAD} <- other)": lambda hand, source, other: hand.stream(
        source, z=hand.z(other)
    ),
    f"layer[1].resid_post[last] <- source({HEAD} <- other).layer[0].resid_post[last]": lambda hand, source, other: (
        hand.stream(source, layer=0, z=hand.z(other))
    ),
    "layer[1].resid_post[last] <- source(layer[0].mlp_out[last] = 0)": lambda hand, source, other: hand.stream(
        source, mlp=torch.zeros(1)
    ),
    "layer[1].resid_post[last] <- source(layer[0].mlp_out[last] += other)": lambda hand, source, other: hand.stream(
        source, mlp=hand.mlp(source) + hand.mlp(other)
    ),
    f"layer[1].resid_post[last] <- source({HEAD} <- other(layer[0].mlp_out[last] = 0), layer[0].mlp_out[last] = 0)": (
        lambda hand, source, other: hand.stream(source, z=hand.z(other), mlp=torch.zeros(1))
    ),
    "layer[1].resid_post[last] <- source(layer[0].resid_post[last] <- other(layer[0].mlp_out[last] = 0))": (
        lambda hand, source, other: hand.stream(source, whole=hand.stream(other, layer=0, mlp=torch.zeros(1)))
    ),
    f"layer[1].resid_post[last] = 2 * source({HEAD} <- other) - source": lambda hand, source, other: (
        2 * hand.stream(source, z=hand.z(other)) - hand.stream(source)
    ),
}


class ByHand:
    """Single prompts through the model of transformers; everything is at the last token."""

    def __init__(self, network: Any, name: str):
        self.model, self.layers, size = network.model, list(network.layers), network.facts.head_dim
        self.out, self.feed = (self.layers[0].get_submodule(path) for path in FAMILIES[name])
        self.head = slice(size, 2 * size)

    def run(
        self, ids: Tensor, layer: int = 1, put: Tensor | None = None, **writes: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The last token's logits, its heads and MLP in layer 0, and its stream after ``layer``; with some of them written."""
        seen: dict[str, Tensor] = {}
        whole, z, mlp = (writes.get(name) for name in ("whole", "z", "mlp"))

        def heads(module: Any, args: Any) -> Any:
            mixed = args[0].clone()
            if z is not None:
                mixed[0, -1, self.head] = z
            seen["z"] = mixed[0, -1, self.head].clone()
            return (mixed,)

        def after(name: str, written: Tensor | None) -> Any:
            def hook(module: Any, args: Any, output: Any) -> Any:
                hidden = (output[0] if isinstance(output, tuple) else output).clone()
                if written is not None:
                    hidden[0, -1] = written
                seen[name] = hidden[0, -1].clone()
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            return hook

        handles = [
            self.out.register_forward_pre_hook(heads),
            self.feed.register_forward_hook(after("mlp", mlp)),
            self.layers[0].register_forward_hook(after("stream0", whole)),
            self.layers[1].register_forward_hook(after("stream1", put)),
        ]
        logits = self.model(ids[None]).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits, seen["z"], seen["mlp"], seen[f"stream{layer}"]

    def z(self, ids: Tensor) -> Tensor:
        return self.run(ids)[1]

    def mlp(self, ids: Tensor) -> Tensor:
        return self.run(ids)[2]

    def stream(self, ids: Tensor, layer: int = 1, **writes: Tensor) -> Tensor:
        return self.run(ids, layer, **writes)[3]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_sources_that_are_intervened_on_are_those_of_forwards_by_hand(name: str) -> None:
    text = spec_of(name, "".join(TEST.format(action=a).replace("test t", f"test t{i}") for i, a in enumerate(ACTIONS)))
    network = network_of(text[: text.index("align ")])
    hand = ByHand(network, name)
    execution, _ = execution_of(text)
    slow, _ = execution_of(text, change=by_reference)
    found, told = execution.logits(), slow.logits()
    inputs = next(iter(execution.plan.inputs.values()))
    for test, make in zip(execution.plan.tests, ACTIONS.values(), strict=True):
        score = execution.plan.scores[test.name][0]
        resume = score.read("patched").run  # type: ignore[union-attr]
        rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == score.label.draw}
        moved = 0.0
        for pair in range(6):
            base, source, other = (
                torch.tensor(inputs.rows(np.array([rows[role][pair]]))[0]) for role in ("base", "source", "other")
            )
            vector = make(hand, source, other)
            logits = hand.run(base, put=vector)[0]
            for mine in (found[resume][pair], told[resume][pair]):
                assert torch.allclose(torch.as_tensor(mine).to(logits), logits, atol=1e-4), test.name
            plain = hand.run(base, put=hand.stream(source))[0]
            moved = max(moved, float((logits - plain).abs().max()))
        assert moved > 1e-3, test.name  # the source would do without what is written in it


@pytest.mark.slow
@pytest.mark.parametrize("target", some(["c", "outside(c)"], ["c"]))
def test_a_circuit_of_nodes_takes_what_runs_with_writes_have(target: str) -> None:
    """Each node takes its own value of the source run in which an MLP is zero: three forwards by hand for each pair."""
    text = circuit_spec("llama", f"{target} <- source(layer[0].mlp_out[all] = 0)", "change(gap), faithfulness(gap)")
    execution, _ = execution_of(text)
    plan, network = execution.plan, network_of(text)
    hand = CircuitByHand(network)
    (inputs,) = plan.inputs.values()
    draw, drawn = plan.scores["t"][0].label.draw, plan.draw_of(plan.tests[0])
    rows = {run.role: plan.rows[run] for run in plan.rows if run.draw == draw}
    inside = {("embed", -1, 0), ("z", 1, 1), ("z", 2, 0), ("mlp", 0, 0)}
    heads = range(network.facts.heads or 0)
    every = {("embed", -1, 0), *(("mlp", n, 0) for n in range(3)), *(("z", n, h) for n in range(3) for h in heads)}
    written = inside if target == "c" else every - inside
    moved = []
    for pair in range(drawn.n):
        base, source = (torch.tensor(inputs.rows(np.array([rows[role][pair]]))[0]) for role in ("base", "source"))
        plain, _ = hand.run(base, {})
        _, there = hand.run(source, {("mlp", 0, 0): torch.zeros_like(hand.run(source, {})[1]["mlp", 0])})
        patched, _ = hand.run(base, {key: there[key[0], key[1]] for key in written})
        words = [10 + int(drawn.values[role]["o"][pair]) for role in ("base", "source")]  # of w10 to w14
        moved.append(float((patched - plain)[words[0]] - (patched - plain)[words[1]]))
    for options in (Options(), Options(reference=True)):
        found = api.run(api.parse(text), options).tests[0].cells[0]
        assert found.scores["change(gap)"].value == pytest.approx(float(np.mean(moved)), abs=1e-5)
        assert found.circuit is not None and all(check.holds for check in found.circuit.checks)


#: Edges and a circuit of edges whose values come from a run in which the MLP of layer 0 gives nothing.
UNDER = "source(layer[0].mlp_out[all] = 0)"
EDGED = """
circuit c : net {
  embed -> layer[1].mlp_in
  layer[0].head[1] -> layer[2].head[0].q -> logits
  layer[1].head[0] -> layer[2].head[0].v
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@torch.no_grad()
def test_edges_take_what_runs_with_writes_have(name: str) -> None:
    """A double forward by hand, of which the second is one in which an MLP is zero: single edges, circuits of edges and a path."""
    actions = [
        f"layer[1].head[0] -> layer[2].head[0].v <- {UNDER}",
        f"layer[0].mlp_out -> logits <- {UNDER}",
        f"outside(c) <- {UNDER}",
        f"c = {UNDER}",
        f"layer[1].head[0] -> layer[2].head[0].v <- {UNDER}, mlp = recompute",
    ]
    tests = "".join(
        f"""
test t{number} on a(l=0, p=last) {{
  base, source ~ m(n=5, seed=3, controls=none) where base.template == source.template
  do({action})
  report kl
}}
"""
        for number, action in enumerate(actions)
    )
    text = spec_of(name, EDGED + tests)
    network = network_of(text[: text.index("align ")])
    hand = Doubled(network, name)
    execution, _ = execution_of(text)
    slow, _ = execution_of(text, change=by_reference)
    found, told = execution.logits(), slow.logits()
    inputs = next(iter(execution.plan.inputs.values()))
    every = edges_by_hand(network.facts)
    for number, test in enumerate(execution.plan.tests):
        score = execution.plan.scores[test.name][0]
        resume = score.read("patched").run  # type: ignore[union-attr]
        rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == score.label.draw}
        edges = {("layer[1].head[0]", "layer[2].head[0].v")} if number in (0, 4) else {("layer[0].mlp_out", "logits")}
        if number in (2, 3):
            ablation = test.cells[0].interventions[0].circuit
            assert ablation is not None
            own = {(str(member[0]), str(member[1])) for member in ablation.members}
            edges = every - own if number == 2 else own
        for pair, both in enumerate(zip(rows["base"], rows["source"], strict=True)):
            ids, ids_ = (torch.tensor(inputs.rows(np.array([i]))[0]) for i in both)
            handle = hand.layers[0].get_submodule(hand.mlp).register_forward_hook(lambda m, a, o: torch.zeros_like(o))
            there = hand.kept(ids_)[1]
            handle.remove()
            there["mlp", 0] = torch.zeros_like(there["mlp", 0])
            if (
                number == 4
            ):  # of one edge from a head to values a layer on: nothing lies between but the MLP of its own layer
                continue
            logits = hand.run(ids, there, edges)
            for mine in (found[resume][pair], told[resume][pair]):
                assert torch.allclose(torch.as_tensor(mine).to(logits), logits, atol=1e-4), (test.name, pair)
            plain = hand.run(ids, hand.kept(ids_)[1], edges)
            assert float((logits - plain).abs().max()) > 1e-4, "the source would do without what is written in it"
        if number == 4:
            assert torch.allclose(found[resume].cpu(), told[resume].cpu(), atol=1e-4)


@pytest.mark.slow
def test_a_circuit_of_edges_from_such_runs_has_its_scores_and_self_checks() -> None:
    text = edge_spec("llama", f"outside(c) <- {UNDER}", "faithfulness(gap), necessity(gap)")
    one, other = (
        api.run(api.parse(text), options).tests[0].cells[0] for options in (Options(), Options(reference=True))
    )
    assert one.circuit is not None and all(check.holds for check in one.circuit.checks)
    assert one.circuit.choices.value.startswith(UNDER)
    for score, estimate in one.scores.items():
        assert estimate.value == pytest.approx(other.scores[score].value, abs=1e-4, rel=1e-4), score
