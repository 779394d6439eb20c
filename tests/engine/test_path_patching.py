"""Paths of edges against forwards by hand: MLPs computed anew or held, one edge or several; and mediation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.program.circuit_sites import PORTS
from causal_dsl.program.path_patching import CHOICES
from causal_dsl.report.figures.pictures import pictures
from causal_dsl.report.text import text as report_of
from tests.engine.test_circuits import spec as circuit_spec
from tests.engine.test_edges import FAMILIES, ByHand, parsed
from tests.engine.tiny import execution_of, network_of, spec_of
from tests.thinning import spread

PATHS = [
    ("recompute", "layer[0].head[1] -> layer[2].head[0].q"),
    ("recompute", "layer[0].mlp_out -> layer[2].head[0].v"),
    ("recompute", "embed -> layer[2].mlp_in"),
    ("recompute", "layer[0].head[1] -> logits"),
    ("recompute", "layer[0].head[1] -> layer[1].head[0].q -> layer[2].head[0].k"),
    ("freeze", "layer[0].head[1] -> layer[1].head[0].v -> layer[2].head[0].q"),
    ("freeze", "layer[0].head[1] -> layer[1].mlp_in -> logits"),
    ("recompute", "layer[0].head[0] -> layer[1].mlp_in -> layer[2].head[1].q"),
    # every kind of middle, of the second head: of keys and values, that which the last query heads share
    *(
        (mlps, f"layer[0].head[2] -> layer[1].{middle} -> {end}")
        for end, mlps in zip(("logits", "layer[2].head[1].v"), CHOICES, strict=True)
        for middle in (*(f"head[1].{port}" for port in (*PORTS, "z")), "head[1]", "mlp_in")
    ),
]


class Paths(ByHand):
    """Runs in which heads, and MLPs too, are what they are in another run, and what is read in them."""

    def stage(
        self, ids: Tensor, changed: dict[Any, Tensor], base: dict[Any, Tensor], freeze: bool
    ) -> tuple[Tensor, dict[Any, Tensor]]:
        """The logits and the streams that are read, where some outputs are ``changed`` and all other heads behind the first are held."""
        first = min(-1 if key == "embed" else key[1] for key in changed)
        handles = []
        seen: dict[Any, Tensor] = {}

        def held(key: Any) -> Any:
            return lambda m, a, o: changed.get(key, base[key])

        if "embed" in changed:
            handles.append(self.embed.register_forward_hook(held("embed")))
        for number, layer in enumerate(self.layers):
            kinds = [key for key in changed if key != "embed" and key[1] == number]
            if number > first or ("z", number) in kinds:
                out = layer.get_submodule(self.out)
                z = changed.get(("z", number), base["z", number])
                handles.append(out.register_forward_pre_hook(lambda m, a, z=z: (z,)))
            last = layer.get_submodule("post_feedforward_layernorm" if self.name == "gemma2" else self.mlp)
            if ("mlp", number) in kinds or (freeze and number >= first):
                handles.append(last.register_forward_hook(held(("mlp", number))))
            handles.append(
                layer.register_forward_pre_hook(
                    lambda m, a, k, n=number: seen.__setitem__(("heads", n), a[0] if a else k["hidden_states"]),
                    with_kwargs=True,
                )
            )
            norm = layer.get_submodule(self.second)
            handles.append(norm.register_forward_pre_hook(lambda m, a, n=number: seen.__setitem__(("mlp", n), a[0])))
        logits = self.model(ids[None]).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits, seen

    def path(self, ids: Tensor, other: Tensor, mlps: str, chain: str) -> Tensor:
        """The logits where only what flows along a chain comes from another run."""
        _, base = self.kept(ids)
        _, source = self.kept(other)
        _, streams = self.stage(ids, {("mlp", len(self.layers) - 1): base["mlp", len(self.layers) - 1]}, base, False)
        ends = [parsed(end) for end in chain.split(" -> ")]
        kind, layer, head = ends[0]
        key: Any = {"embed": "embed", "mlp_out": ("mlp", layer)}.get(kind, ("z", layer))
        changed = {key: self._mixed(base, source[key], key, head)}
        for number, (kind, layer, head) in enumerate(ends[1:], 1):
            logits, seen = self.stage(ids, changed, base, mlps == "freeze")
            if kind == "logits":
                return logits
            at = ("mlp", layer) if kind == "mlp_in" else ("heads", layer)
            delta = seen[at] - streams[at]
            if number == len(ends) - 1:
                return self.patched(ids, (kind, layer, head), delta)
            key = ("mlp", layer) if kind == "mlp_in" else ("z", layer)
            sends = range(head * self.shared, (head + 1) * self.shared) if kind in ("k", "v") else (head,)
            changed = {key: self._mixed(base, self._given(ids, (kind, layer, head), delta, key), key, *sends)}
        raise AssertionError(chain)

    def _mixed(self, base: dict[Any, Tensor], value: Tensor, key: Any, *heads: int) -> Tensor:
        if key == "embed" or key[0] == "mlp":
            return value
        mixed = base[key].clone()
        for head in heads:
            columns = slice(head * self.size, (head + 1) * self.size)
            mixed[..., columns] = value[..., columns]
        return mixed

    def _given(self, ids: Tensor, receiver: tuple[str, int, int], delta: Tensor, key: Any) -> Tensor:
        """What a component gives where it reads the stream with ``delta``."""
        found: list[Tensor] = []
        layer = self.layers[key[1]]
        if key[0] == "z":
            handle = layer.get_submodule(self.out).register_forward_pre_hook(lambda m, a: found.append(a[0]))
        else:
            last = layer.get_submodule("post_feedforward_layernorm" if self.name == "gemma2" else self.mlp)
            handle = last.register_forward_hook(lambda m, a, o: found.append(o))
        self.patched(ids, receiver, delta)
        handle.remove()
        return found[0]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("name", "padding"), spread([(name, side) for name in FAMILIES for side in ("left", "right")], 5)
)
@torch.no_grad()
def test_paths_are_those_of_forwards_by_hand(name: str, padding: str) -> None:
    start = spec_of(name, "", padding=padding)
    network = network_of(start[: start.index("align ")])
    hand = Paths(network, name)
    tests = [
        f"""
test t{number} on a(l=0, p=last) {{
  base, source ~ m(n=6, seed=3) where base.template == source.template
  do({chain} <- source, mlp = {mlps})
  report kl
}}
"""
        for number, (mlps, chain) in enumerate(PATHS)
    ]
    execution, _ = execution_of(spec_of(name, "".join(tests), padding=padding))
    found = execution.logits()
    for test, (mlps, chain) in zip(execution.plan.tests, PATHS, strict=False):
        score = execution.plan.scores[test.name][0]
        resume = score.read("patched").run  # type: ignore[union-attr]
        inputs = execution.plan.inputs[test.network.key]
        rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == score.label.draw}
        assert len({inputs.length(int(i)) for i in rows["base"]}) > 1, "prompts of several lengths"
        moved = 0.0
        for pair, (one, other) in enumerate(zip(rows["base"], rows["source"], strict=True)):
            ids, ids_ = (torch.tensor(inputs.rows(np.array([i]))[0]) for i in (one, other))
            logits = hand.path(ids, ids_, mlps, chain)
            mine = found[resume][pair].to(logits)
            assert torch.allclose(mine, logits, atol=1e-4), (mlps, chain, float((mine - logits).abs().max()))
            moved = max(moved, float((logits - hand.kept(ids)[0]).abs().max()))
        assert moved > 1e-5, (mlps, chain)


def uncontrolled(text: str) -> str:
    """The same without random circuits beside it."""
    assert "m(n=6, seed=3" in text
    return text.replace("m(n=6, seed=3", "m(n=6, seed=3, controls=none")


def change(action: str, name: str = "llama") -> float:
    """The mean change of a metric."""
    text = uncontrolled(circuit_spec(name, action, "change(gap)"))
    value = api.run(api.parse(text)).tests[0].cells[0].scores["change(gap)"].value
    assert value is not None
    return value


@pytest.mark.slow
def test_tokens_named_at_a_head_or_a_group_hold_at_both_edges() -> None:
    """What a head gives at another token than the last reaches the logits of the last along no edge; a group stands for its nodes."""
    text = circuit_spec("llama", "layer[0].head[1] -> WHERE -> logits <- source", "change(gap)")
    text = text.replace("test t on a", "circuit g : net { b = layer[1].head[1] }\ntest t on a")

    def value(where: str) -> float:
        found = api.run(api.parse(text.replace("WHERE", where))).tests[0].cells[0].scores["change(gap)"].value
        assert found is not None
        return found

    assert value("layer[1].head[1].z[x]") == pytest.approx(0, abs=1e-7) == value("g.b[x]")
    assert value("layer[1].head[1].z[last]") == pytest.approx(value("g.b[last]"), abs=1e-7)
    assert abs(value("g.b[last]")) > 1e-5 and abs(value("g.b") - value("g.b[last]")) > 1e-5
    edge = text.replace(" -> logits <- source", " <- source").replace("layer[1].head[1] }", "layer[2].head[0, 1] }")
    text = edge
    assert value("g.b[last]") == pytest.approx(value("layer[2].head[0, 1].z[last]"), abs=1e-7)
    assert abs(value("g.b[last]") - value("g.b")) > 1e-5


def test_an_edge_with_frozen_mlps_is_a_path_of_one() -> None:
    edge = "layer[0].head[1] -> layer[2].head[0].q <- source"
    frozen, anew = change(edge), change(f"{edge}, mlp = recompute")
    assert change(f"{edge}, mlp = freeze") == pytest.approx(frozen, abs=1e-6)
    assert abs(anew - frozen) > 1e-4


@pytest.mark.slow
def test_direct_and_indirect_effects() -> None:
    """A mediator holds its base value (direct), or alone has the value that the cause gives it (indirect); of the mediator that
    everything passes, the indirect effect is the total one."""
    cause, through = "layer[0].mlp_out[all] <- source", "layer[1].resid_post[all]"
    total = change(f"do({cause})"[3:-1])
    direct = change(f"{cause}, layer[2].mlp_out[all] <- base")
    indirect = change(f"layer[2].mlp_out[all] <- base({cause})")
    assert len({round(one, 6) for one in (total, direct, indirect)}) == 3
    assert change(f"{cause}, {through} <- base") == pytest.approx(0, abs=1e-5)
    assert change(f"{through} <- base({cause})") == pytest.approx(total, abs=1e-5)


def test_a_parameter_says_what_mlps_do() -> None:
    text = circuit_spec("llama", "layer[0].head[1] -> layer[2].head[0].q <- source, mlp = how", "change(gap)")
    results = api.run(api.parse(text.replace("test t on a", "test t(how in [freeze, recompute]) on a")))
    values = {cell.cell["how"]: cell.scores["change(gap)"].value for cell in results.tests[0].cells}
    alike = text.replace("mlp = how", "mlp = mlp").replace("test t on a", "test t(mlp in [freeze, recompute]) on a")
    cells = api.run(api.parse(alike)).tests[0].cells
    assert [cell.scores["change(gap)"].value for cell in cells] == pytest.approx(list(values.values()), abs=1e-7)
    assert set(values) == {"freeze", "recompute"} and len(set(values.values())) == 2
    # the two are different numbers: they are in no picture together, and none of them is the highest
    assert len([one for one in pictures(results.tests[0]) if one.score == "change(gap)"]) == 2
    shown = report_of(results, 400)
    assert shown.count("highest: ") == 2 and "a path of one edge" in shown and "value source" not in shown


@pytest.mark.parametrize(
    ("action", "swept", "score"),
    [
        ("layer[0].head[1] -> layer[2].head[0].q <- source, mlp = v", "[freeze, recompute]", "max(mean(kl))"),
        ("outside(c) = v", "[0, 1]", "argmax(change(gap)).v == 0"),
        ("layer[0].head[1] -> layer[2].head[0].q[v] <- source", "[x, last]", "min(mean(kl))"),
    ],
)
def test_scores_of_unlike_ablations_are_not_put_in_one_order(action: str, swept: str, score: str) -> None:
    text = circuit_spec("llama", action, "kl, change(gap)").replace("test t on a", f"test t(v in {swept}) on a")
    line = f"expect {score}" if "==" in score else f"report {score}"
    text = text.replace("report kl", f"{line}\n  report kl")
    errors = api.check(api.parse(text)).errors
    assert [error.code for error in errors] == ["E807"]
    own = text.replace(line, "report max(accuracy)")  # of the base run, which is one
    assert not api.check(api.parse(own)).errors


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("layer[0].head[1] -> logits <- source, mlp = hold", "E890"),
        ("layer[0].head[1].z[all] <- source, mlp = freeze", "E891"),
        ("layer[0].head[1] -> logits <- source, mlp = freeze, mlp = recompute", "E891"),
        ("layer[0].head[1] -> layer[1].head[0].q <- source, embed -> logits <- source, mlp = recompute", "E892"),
        ("layer[1].head[1] -> layer[0].head[0].q -> logits <- source", "E801"),
        ("layer[0].head[1] -> logits -> layer[1].head[0].q <- source", "E892"),
    ],
)
def test_faults_of_paths_are_told(action: str, code: str) -> None:
    checked = api.check(api.parse(circuit_spec("llama", action, "change(gap)")))
    assert [error.code for error in checked.errors] == [code]


@pytest.mark.slow
def test_a_parameter_stands_for_the_port_of_an_edge() -> None:
    text = circuit_spec("llama", "layer[0].head[1] -> layer[2].head[0].port <- source", "change(gap)")
    swept = api.run(api.parse(text.replace("test t on a", "test t(port in [q, k, v]) on a"))).tests[0]
    for cell in swept.cells:
        alone = change(f"layer[0].head[1] -> layer[2].head[0].{cell.cell['port']} <- source")
        assert cell.scores["change(gap)"].value == pytest.approx(alone, abs=1e-7)
    assert len({cell.scores["change(gap)"].value for cell in swept.cells}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "values"),
    [
        ("layer[0].head[1] -> layer[2].head[0].q = VALUE", ("0", "1", "mean")),
        ("layer[0].head[1] -> layer[1].head[0].k -> logits = VALUE", ("0", "2")),
        ("layer[1].head[1] -> layer[2].head[0].q <- source(layer[0].mlp_out[all] = VALUE)", ("0", "1")),
        ("layer[1].mlp_out[all] <- source(layer[0].mlp_out[all] = VALUE)", ("0", "1")),
        ("layer[1].mlp_out[last] = VALUE", ("0", "mean")),
        ("outside(c) = 2 * VALUE", ("0", "1")),
        ("outside(c, among=[VALUE]) <- source", ("head", "mlp")),
        ("layer[0].head[1] -> layer[2].head[0].q <- VALUE", ("source", "base")),
        ("layer[0].head[1] -> layer[2].head[0].q = mean(VALUE)", ("source", "base")),
        ("layer[1].head[1] -> layer[2].head[0].q <- VALUE(layer[0].mlp_out[all] = 0)", ("source", "base")),
    ],
)
def test_a_parameter_stands_for_a_written_value_wherever_one_is_written(action: str, values: tuple[str, ...]) -> None:
    text = uncontrolled(circuit_spec("llama", action.replace("VALUE", "value"), "change(gap)"))
    swept = api.run(api.parse(text.replace("test t on a", f"test t(value in [{', '.join(values)}]) on a")))
    found = [cell.scores["change(gap)"].value for test in swept.tests for cell in test.cells]
    assert found == pytest.approx([change(action.replace("VALUE", value)) for value in values], abs=1e-6)
    assert len({round(one or 0, 6) for one in found}) == len(values)


def test_a_parameter_of_a_circuit_stands_for_a_port() -> None:
    text = circuit_spec("llama", "d(port=v) <- source", "change(gap)")
    declared = "circuit d(port in [q, v]) : net { layer[0].head[1] -> layer[2].head[0].port }\ntest t on a"
    found = api.run(api.parse(text.replace("test t on a", declared))).tests[0].cells[0].scores["change(gap)"].value
    assert found == pytest.approx(change("layer[0].head[1] -> layer[2].head[0].v <- source"), abs=1e-6)


@pytest.mark.slow
def test_keys_are_counted_by_themselves_and_a_query_head_reads_the_one_that_it_shares() -> None:
    """4 query heads share 2 of keys; a parameter changes nothing about what `head[h].k` is."""
    edge = "layer[0].head[1] -> layer[2].head[1].k"
    by_key, of_head = (
        change(f"{edge} <- source"),
        circuit_spec("llama", "layer[0].head[1] -> g.b.k <- source", "change(gap)"),
    )

    def shared(head: int, action: str = "") -> float:
        text = of_head.replace("test t on a", f"circuit g : net {{ b = layer[2].head[{head}] }}\ntest t on a")
        found = api.run(api.parse(text)).tests[0].cells[0].scores["change(gap)"].value
        assert found is not None
        return found

    assert shared(2) == shared(3) == pytest.approx(by_key, abs=1e-7)
    assert abs(shared(1) - by_key) > 1e-6 and shared(1) == shared(0)
    swept = circuit_spec("llama", edge.replace(".k", ".p") + " <- source", "change(gap)")
    (cell,) = api.run(api.parse(swept.replace("test t on a", "test t(p in [k]) on a"))).tests[0].cells
    assert cell.scores["change(gap)"].value == pytest.approx(by_key, abs=1e-7)
    (error,) = api.check(api.parse(circuit_spec("llama", edge.replace("1].k", "3].v") + " <- source", "kl"))).errors
    assert error.code == "E458" and any("2, each shared by 2 query heads" in note for note in error.notes)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("layer[0].head[1] -> layer[2].head[0].q[last] <- source", ("edges from heads", "read all else as it is")),
        ("layer[0].mlp_out -> layer[2].head[0].v <- source, mlp = recompute", ("path of one edge", "recomputed")),
        ("embed -> layer[1].head[0].v -> layer[2].head[0].q <- source", ("a path of 2 edges from the", "frozen")),
    ],
)
@pytest.mark.thinned(always=1)
def test_the_six_choices_stand_with_edges_and_paths(action: str, words: tuple[str, ...]) -> None:
    text = circuit_spec("llama", action, "change(gap)")
    (said,) = [one.text for one in api.run(api.parse(text)).tests[0].cells[0].findings if one.code == "choices"]
    for word in (*words, "granularity", "component", "value source", "positions", "direction", "set"):
        assert word in said
    with_node = circuit_spec("llama", "layer[0].mlp_out[last] <- source", "change(gap)")
    assert not [one for one in api.run(api.parse(with_node)).tests[0].cells[0].findings if one.code == "choices"]
