"""Circuits of edges against a double forward by hand, in which each receiver is given its own sum of clean and corrupt outputs."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.diagnostics import SpecError
from causal_dsl.network import edge_terms
from causal_dsl.planning import edge_room
from causal_dsl.planning.cost import cost_of
from causal_dsl.planning.lower import by_reference
from causal_dsl.planning.memory import Budget
from causal_dsl.program.edge_sets import EdgeSet, every_edge, receivers_of
from causal_dsl.program.nodes import edges_among, universe
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Ports
from tests.engine.test_circuits import EQUAL
from tests.engine.test_edges import FAMILIES, ByHand
from tests.engine.tiny import execution_of, folder_of, network_of, spec_of
from tests.thinning import spread

CIRCUIT = """
circuit c : net {
  early = embed, layer[0].head[0, 1]
  embed -> layer[0].head[all].v -> layer[1].head[0].q -> layer[2].mlp_in -> logits
  early -> layer[1].mlp_in, layer[1].head[0].k
  layer[1].head[0] -> layer[2].head[1] -> logits
  layer[0].mlp_out -> logits
}
"""
TEST = """
test t on a {
  base, source ~ m(n=6, seed=3) where base.o != source.o
  do(ACTION)
  report SCORES
}
"""
METRIC = "metric gap = logit(o) - logit(source.o)\n"


def spec(name: str, action: str, scores: str, circuit: str = CIRCUIT, padding: str = "right") -> str:
    """A spec in which all prompts have one length."""
    text = EQUAL.replace("FOLDER", folder_of(name)).replace("PADDING", padding)
    return text + METRIC + circuit + TEST.replace("ACTION", action).replace("SCORES", scores)


class Doubled(ByHand):
    """One forward pass in which receivers read corrupt outputs along some edges, worked out module by module."""

    def run(self, ids: Tensor, corrupt: dict[Any, Tensor], edges: set[tuple[str, str]]) -> Tensor:
        """The logits where ``edges`` (as reports name them) carry the outputs of another run."""
        into: dict[str, list[str]] = defaultdict(list)
        for sender, receiver in edges:
            into[receiver].append(sender)
        now: dict[Any, Tensor] = {}
        handles = [self.embed.register_forward_hook(lambda m, a, o: now.__setitem__("embed", o))]
        for number, layer in enumerate(self.layers):
            out = layer.get_submodule(self.out)
            handles.append(out.register_forward_pre_hook(lambda m, a, n=number: now.__setitem__(("z", n), a[0])))
            last = layer.get_submodule("post_feedforward_layernorm" if self.name == "gemma2" else self.mlp)
            handles.append(last.register_forward_hook(lambda m, a, o, n=number: now.__setitem__(("mlp", n), o)))
            handles += self._receivers(number, layer, into, now, corrupt)
        handles.append(
            self.final.register_forward_pre_hook(lambda m, a: (a[0] + self._sum(into["logits"], now, corrupt),))
        )
        try:
            return self.model(ids[None]).logits[0, -1]
        finally:
            for handle in handles:
                handle.remove()

    def _receivers(
        self, number: int, layer: Any, into: dict[str, list[str]], now: dict[Any, Tensor], corrupt: dict[Any, Tensor]
    ) -> list[Any]:
        first, second = layer.get_submodule(self.first), layer.get_submodule(self.second)
        stream: list[Tensor] = []
        handles = [
            layer.register_forward_pre_hook(
                lambda m, a, k: stream.append(a[0] if a else k["hidden_states"]), with_kwargs=True
            ),
            second.register_forward_pre_hook(
                lambda m, a: (a[0] + self._sum(into[f"layer[{number}].mlp_in"], now, corrupt),)
            ),
        ]

        def project(kind: str) -> tuple[Any, Any]:
            if self.name == "gpt2":
                at = "qkv".index(kind) * self.facts.heads * self.size
                return layer.attn.c_attn, lambda head: at + head * self.size
            if self.name == "gpt_neox":
                return layer.attention.query_key_value, lambda head: (3 * head + "qkv".index(kind)) * self.size
            return layer.get_submodule(f"self_attn.{kind}_proj"), lambda head: head * self.size

        for kind in "qkv":
            module, start = project(kind)
            heads = self.facts.heads if kind == "q" else self.facts.kv_heads or self.facts.heads

            def put(m: Any, a: Any, out: Tensor, kind: str = kind, start: Any = start, heads: int = heads) -> Tensor:
                out = out.clone()
                for head in range(heads):
                    delta = self._sum(into[f"layer[{number}].head[{head}].{kind}"], now, corrupt)
                    other = m.forward(first.forward(stream[0] + delta))
                    out[..., start(head) : start(head) + self.size] = other[..., start(head) : start(head) + self.size]
                return out

            handles.append(module.register_forward_hook(put))
        return handles

    def _sum(self, senders: list[str], now: dict[Any, Tensor], corrupt: dict[Any, Tensor]) -> Any:
        """What senders would give less what they give; the heads of a layer together."""
        found: Any = 0.0
        heads: dict[int, list[int]] = defaultdict(list)
        for sender in senders:
            if sender == "embed":
                scale = float(self.model.config.hidden_size**0.5) if self.name == "gemma2" else 1.0
                scale = 1.0 if self.name == "gemma2" and _scaled_inside(self.embed) else scale
                found = found + (corrupt["embed"] - now["embed"]) * scale
            elif sender.endswith("mlp_out"):
                layer = int(sender[6 : sender.index("]")])
                found = found + corrupt["mlp", layer] - now["mlp", layer]
            else:
                heads[int(sender[6 : sender.index("]")])].append(int(sender.split("head[")[1][:-1]))
        for layer, own in heads.items():
            mixed = now["z", layer].clone()
            for head in own:
                columns = slice(head * self.size, (head + 1) * self.size)
                mixed[..., columns] = corrupt["z", layer][..., columns]
            one, other = (self.layers[layer].get_submodule(self.out).forward(z) for z in (mixed, now["z", layer]))
            if self.after:
                norm = self.layers[layer].get_submodule(self.after)
                one, other = norm.forward(one), norm.forward(other)
            found = found + one - other
        return found


def _scaled_inside(module: Any) -> bool:
    return hasattr(module, "embed_scale") or hasattr(module, "scalar_embed_scale")


def edges_by_hand(facts: Any) -> set[tuple[str, str]]:
    """All edges of a network, by counting."""
    found = set()
    for layer in range(-1, facts.layers):
        senders = ["embed"] if layer < 0 else [f"layer[{layer}].head[{head}]" for head in range(facts.heads)]
        for late in range(facts.layers):
            reads = [f"layer[{late}].head[{head}].q" for head in range(facts.heads)]
            reads += [f"layer[{late}].head[{head}].{kind}" for head in range(facts.kv_heads) for kind in "kv"]
            for sender in senders:
                found |= {(sender, read) for read in reads if late > layer}
                if late > layer or (late == layer and not facts.parallel):
                    found.add((sender, f"layer[{late}].mlp_in"))
            if layer >= 0 and late > layer:
                found |= {(f"layer[{layer}].mlp_out", read) for read in (*reads, f"layer[{late}].mlp_in")}
        found |= {(sender, "logits") for sender in senders}
        found |= {(f"layer[{layer}].mlp_out", "logits")} if layer >= 0 else set()
    return found


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", spread(FAMILIES, 3))
@torch.no_grad()
def test_a_circuit_of_edges_is_a_double_forward_by_hand(name: str) -> None:
    circuit = CIRCUIT.replace("layer[1].head[0] -> layer[2].head[1]", "layer[1].head[0] -> layer[2].head[0]")
    tests = "".join(
        f"""
test t{n} on a(l=0, p=last) {{
  base, source ~ m(n=5, seed=3, controls=none) where base.template == source.template
  do({action} <- source)
  report kl
}}
"""
        for n, action in enumerate(("outside(c)", "c"))
    )
    for padding in ("left", "right"):
        text = spec_of(name, circuit + tests, padding=padding)
        network = network_of(text)
        hand = Doubled(network, name)
        execution, _ = execution_of(text)
        found = execution.logits()
        for test in execution.plan.tests:
            score = execution.plan.scores[test.name][0]
            resume = score.read("patched").run  # type: ignore[union-attr]
            ablation = test.cells[0].interventions[0].circuit
            assert ablation is not None and isinstance(ablation.members, EdgeSet)
            own = {(str(node), str(port)) for node, port, _ in ablation.members}
            every = edges_by_hand(network.facts)
            assert own < every and ("embed", "layer[1].mlp_in") in own
            edges = every - own if ablation.outside else own
            inputs = execution.plan.inputs[test.network.key]
            rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == score.label.draw}
            assert len({inputs.length(int(i)) for i in rows["base"]}) > 1, "prompts of several lengths"
            for pair, both in enumerate(zip(rows["base"], rows["source"], strict=True)):
                ids, ids_ = (torch.tensor(inputs.rows(np.array([i]))[0]) for i in both)
                plain, _ = hand.kept(ids)
                logits = hand.run(ids, hand.kept(ids_)[1], edges)
                mine = found[resume][pair].to(logits)
                assert torch.allclose(mine, logits, atol=1e-4), float((mine - logits).abs().max())
                assert float((logits - plain).abs().max()) > 1e-3


FEW = """
circuit c : net {
  embed -> layer[0].head[all].v -> layer[1].head[0].q -> layer[2].mlp_in
  layer[0].head[1] -> layer[1].mlp_in -> logits
}
"""


#: A power of two: weights are afterwards what they were.
LARGE = 256.0


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", spread(FAMILIES, 3))
@torch.no_grad()
def test_zeros_leave_no_rounding_that_a_norm_would_enlarge(name: str) -> None:
    """Most receivers are given nothing at all: by hand in double precision, where rounding is too small to matter."""
    tests = "".join(
        f"\ntest t{n} on a(l=0, p=last) {{\n  base ~ m(n=5, seed=3, controls=none)\n  do({action} = 0)\n  report kl\n}}\n"
        for n, action in enumerate(("outside(c)", "outside(c, among=[head])", "c"))
    )
    for reference in (False, True):
        text = spec_of(name, FEW + tests, padding="left")
        execution, _ = execution_of(text, change=by_reference if reference else None)
        (network,) = execution.networks.values()
        embedding = Doubled(network, name).embed.weight
        embedding.mul_(LARGE)  # what is taken away is large beside what is left
        try:
            found = execution.logits()
            network.model.double()
            hand = Doubled(network, name)
            for test in execution.plan.tests:
                score = execution.plan.scores[test.name][0]
                resume = score.read("patched").run  # type: ignore[union-attr]
                ablation = test.cells[0].interventions[0].circuit
                assert ablation is not None and isinstance(ablation.members, EdgeSet)
                own = {(str(node), str(port)) for node, port, _ in ablation.members}
                edges = edges_by_hand(network.facts) - own if ablation.outside else own
                if test.name == "t1":
                    edges = {(sender, receiver) for sender, receiver in edges if ".head[" in sender}
                inputs = execution.plan.inputs[test.network.key]
                rows = next(execution.plan.rows[run] for run in execution.plan.rows if run.draw == score.label.draw)
                for pair, row in enumerate(rows):
                    ids = torch.tensor(inputs.rows(np.array([row]))[0])
                    nothing = {key: torch.zeros_like(value) for key, value in hand.kept(ids)[1].items()}
                    logits, mine = hand.run(ids, nothing, edges), found[resume][pair]
                    assert float((mine - logits).abs().max()) < 1e-4 * float(logits.abs().max())
        finally:
            network.model.float()
            embedding.div_(LARGE)


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox"])
def test_both_executors_and_all_self_checks(name: str) -> None:
    text = spec(name, "outside(c) <- source", "faithfulness(gap), necessity(gap), completeness(gap), minimality(gap)")
    fast, slow = api.run(api.parse(text)), api.run(api.parse(text), Options(reference=True))
    one, other = fast.tests[0].cells[0], slow.tests[0].cells[0]
    for score, estimate in one.scores.items():
        assert estimate.value == pytest.approx(other.scores[score].value, abs=1e-4, rel=1e-4), score
    assert one.circuit is not None and all(check.holds for check in one.circuit.checks)
    assert len(one.circuit.checks) == 3
    assert set(one.circuit.sizes) == {one.circuit.size.weighted} and len(one.circuit.sizes) == 20
    assert one.circuit.choices.component == "edges from the embedding, heads, MLPs"


@pytest.mark.parametrize("kept", [0, 1 << 28])
@pytest.mark.thinned(always=1)
def test_terms_that_are_kept_or_made_again_and_edges_at_some_tokens(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a row have masks of their own here, and terms are made for each layer where none are kept."""
    monkeypatch.setattr(edge_terms, "KEPT", kept)
    text = spec("llama", "outside(c, at=[x, last]) <- source", "change(gap)").replace("n=6", "n=4, controls=none")
    text += (
        text[text.index("test t on a") :].replace("test t", "test u").replace("outside(c, at=[x, last])", "outside(c)")
    )
    fast, slow = api.run(api.parse(text)), api.run(api.parse(text), Options(reference=True))
    for one, other in zip(fast.tests, slow.tests, strict=True):
        value = one.cells[0].scores["change(gap)"].value
        assert value == pytest.approx(other.cells[0].scores["change(gap)"].value, abs=1e-5) and abs(value or 0) > 1e-4


@pytest.mark.parametrize("parallel", [False, True])
def test_all_edges_are_as_many_as_those_among_all_nodes(parallel: bool) -> None:
    facts = Facts(
        "language", "gpt2", layers=3, heads=4, kv_heads=2, head_dim=4, width=16, mlp_width=10, parallel=parallel
    )
    every = every_edge(facts, ("embed", "head", "mlp"))
    assert every is not None
    assert {(str(node), str(port)) for node, port, _ in every} == edges_by_hand(facts)
    assert every.weight == edges_among(universe(facts, ("embed", "head", "mlp")) or (), facts)[0]
    ports = every.ports
    assert [ports.number(ports.port(n)) for n in range(len(ports))] == list(range(len(ports)))
    assert all(receivers_of(node, Ports(3, 4, 2, parallel)) == mask for (node, _), mask in every.senders)


def test_a_file_of_edges_is_a_circuit_of_edges(tmp_path: Path) -> None:
    scores = {"embed -> layer[0].head[0].q": 0.5, "layer[0].mlp_out -> logits": -0.7, "embed -> logits": 0.1}
    (tmp_path / "found.json").write_text(json.dumps({"edges": scores}))
    more = 'circuit f : net = json("found.json", keep=2, by=BY)\n'
    kept = {}
    for by in ("signed", "absolute"):
        text = spec("llama", "outside(f) <- source", "faithfulness(gap)", more.replace("BY", by))
        (tmp_path / "s.causal").write_text(text)
        checked = api.check(api.load(tmp_path / "s.causal"))
        checked.raise_errors()
        assert checked.program is not None
        ablation = checked.program.tests[0].cells[0].interventions[0].circuit
        assert ablation is not None
        kept[by] = str(ablation.members)
    assert kept["signed"] == "embed -> layer[0].head[0].q; embed -> logits"
    assert kept["absolute"] == "embed -> layer[0].head[0].q; layer[0].mlp_out -> logits"


@pytest.mark.parametrize(
    "reference", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.nightly)]
)
def test_floors_of_minimality_in_later_blocks(reference: bool) -> None:
    """Runs of minimality hold interventions that are floors of others; blocks after the first read no base for them."""
    text = spec("llama", "outside(c) <- source", "minimality(gap)").replace("n=6", "n=64")
    cell = api.run(api.parse(text), Options(reference=reference)).tests[0].cells[0]
    assert cell.scores["minimality(gap)"].value is not None


BUILD = """
from transformers import AutoModelForCausalLM


def build():
    return AutoModelForCausalLM.from_pretrained("FOLDER")
"""


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("held", "lines"),
    [
        ({"edges": ["embed -> layer[0].head[0].q", "layer[0].mlp_out -> logits"]}, 2),
        ({"nodes": ["embed", "layer[1].head[2]", "layer[2].mlp_out"]}, 3),
        ({"edges": ["embed -> layer[9].head[0].q"]}, "E805"),
        ({"edges": ["embed to layer[0]"]}, "E805"),
    ],
)
def test_files_of_circuits_of_a_network_that_is_known_once_it_is_loaded(
    held: dict[str, list[str]], lines: int | str, tmp_path: Path
) -> None:
    (tmp_path / "found.json").write_text(json.dumps(held))
    (tmp_path / "net.py").write_text(BUILD.replace("FOLDER", folder_of("llama")))
    text = spec("llama", "outside(f) <- source", "sufficiency(gap)", 'circuit f : net = json("found.json")\n')
    text = text.replace(
        f'hf("{folder_of("llama")}", padding=right)', f'torch("net.py:build", tokenizer="{folder_of("llama")}")'
    )
    (tmp_path / "s.causal").write_text(text.replace("n=6", "n=4, controls=none"))
    checked = api.check(api.load(tmp_path / "s.causal"))
    if held["edges" if "edges" in held else "nodes"] == ["embed to layer[0]"]:
        assert [error.code for error in checked.errors] == [lines]
        return
    assert not checked.errors
    if isinstance(lines, str):
        with pytest.raises(SpecError) as told:
            api.run(api.load(tmp_path / "s.causal"), Options(trust=True))
        assert [error.code for error in told.value.diagnostics] == [lines]
        return
    circuit = api.run(api.load(tmp_path / "s.causal"), Options(trust=True)).tests[0].cells[0].circuit
    assert circuit is not None and len(circuit.lines) == lines


def test_predicted_memory_has_what_senders_change_and_the_sums_of_receivers() -> None:
    """64 senders and 64 sums at least, each as wide as the stream at each token that runs; and all of it within a small budget."""
    checked = api.check(
        api.parse(spec("llama", "outside(c) <- source", "change(gap)").replace("n=6", "n=64, controls=none"))
    )
    checked.raise_errors()
    assert checked.plan is not None
    (inputs,) = checked.plan.inputs.values()
    tokens = min(64 * int(inputs.lengths.max()), edge_room.LEAST_TOKENS)
    assert cost_of(checked.plan).peak_bytes > 128 * tokens * (inputs.facts.width or 0) * 4
    assert edge_room.kept_bytes(Budget(64 << 20)) == 16 << 20
