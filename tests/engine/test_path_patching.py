"""Paths of edges against forwards by hand: MLPs computed anew or held, one edge or several; and mediation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
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
            changed = {key: self._mixed(base, self._given(ids, (kind, layer, head), delta, key), key, head)}
        raise AssertionError(chain)

    def _mixed(self, base: dict[Any, Tensor], value: Tensor, key: Any, head: int) -> Tensor:
        if key == "embed" or key[0] == "mlp":
            return value
        mixed = base[key].clone()
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


def change(action: str, name: str = "llama") -> float:
    """The mean change of a metric."""
    text = circuit_spec(name, action, "change(gap)")
    value = api.run(api.parse(text)).tests[0].cells[0].scores["change(gap)"].value
    assert value is not None
    return value


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
    assert set(values) == {"freeze", "recompute"} and len(set(values.values())) == 2


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


def test_a_parameter_of_a_circuit_stands_for_a_port() -> None:
    text = circuit_spec("llama", "d(port=v) <- source", "change(gap)")
    declared = "circuit d(port in [q, v]) : net { layer[0].head[1] -> layer[2].head[0].port }\ntest t on a"
    found = api.run(api.parse(text.replace("test t on a", declared))).tests[0].cells[0].scores["change(gap)"].value
    assert found == pytest.approx(change("layer[0].head[1] -> layer[2].head[0].v <- source"), abs=1e-6)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("layer[0].head[1] -> layer[2].head[0].q[last] <- source", ("edges from heads", "read all else as it is")),
        ("layer[0].mlp_out -> layer[2].head[0].v <- source, mlp = recompute", ("path of one edge", "recomputed")),
        ("embed -> layer[1].head[0].v -> layer[2].head[0].q <- source", ("a path of 2 edges from the", "frozen")),
    ],
)
def test_the_six_choices_stand_with_edges_and_paths(action: str, words: tuple[str, ...]) -> None:
    text = circuit_spec("llama", action, "change(gap)")
    (said,) = [one.text for one in api.run(api.parse(text)).tests[0].cells[0].findings if one.code == "choices"]
    for word in (*words, "granularity", "component", "value source", "positions", "direction", "set"):
        assert word in said
    with_node = circuit_spec("llama", "layer[0].mlp_out[last] <- source", "change(gap)")
    assert not [one for one in api.run(api.parse(with_node)).tests[0].cells[0].findings if one.code == "choices"]
