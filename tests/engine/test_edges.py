"""Interventions on edges against a double forward by hand: what a receiver reads is worked out from two plain runs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from tests.engine.tiny import execution_of, network_of, spec_of
from tests.thinning import spread

#: The norms before attention and MLP, and the projections, as the modules of each family are called; and the heads' packing.
FAMILIES = {
    "llama": ("input_layernorm", "post_attention_layernorm", "self_attn", "mlp", "self_attn.o_proj", ""),
    "qwen3": ("input_layernorm", "post_attention_layernorm", "self_attn", "mlp", "self_attn.o_proj", ""),
    "gemma2": (
        "input_layernorm",
        "pre_feedforward_layernorm",
        "self_attn",
        "mlp",
        "self_attn.o_proj",
        "post_attention_layernorm",
    ),
    "gpt2": ("ln_1", "ln_2", "attn", "mlp", "attn.c_proj", ""),
    "gpt_neox": ("input_layernorm", "post_attention_layernorm", "attention", "mlp", "attention.dense", ""),
}
#: sender, receiver; in the language of specs
EDGES = [
    ("layer[0].head[1]", "layer[2].head[0].q"),
    ("layer[0].head[0]", "layer[1].head[0].k"),
    ("layer[1].mlp_out", "layer[2].head[0].v"),
    ("embed", "layer[1].head[1].q"),
    ("layer[0].head[1]", "layer[1].mlp_in"),
    ("layer[0].mlp_out", "layer[2].mlp_in"),
    ("layer[1].head[0]", "logits"),
    ("layer[2].mlp_out", "logits"),
    ("embed", "layer[0].mlp_in"),
]
SAME = ("layer[1].head[1]", "layer[1].mlp_in")  # but in parallel blocks


def parsed(name: str) -> tuple[str, int, int]:
    """A sender or a receiver: what it is, its layer and its head."""
    if "layer" not in name:
        return name, -1, -1
    layer = int(name[name.index("layer[") + 6 : name.index("]")])
    head = int(name.split("head[")[1].split("]")[0]) if "head" in name else -1
    what = name.split(".")[-1]
    return ("head" if what.startswith("head[") else what), layer, head


class ByHand:
    def __init__(self, network: Any, name: str):
        self.model, self.layers, self.facts = network.model, list(network.layers), network.facts
        self.first, self.second, self.attention, self.mlp, self.out, self.after = FAMILIES[name]
        self.name, self.embed = name, self.model.get_submodule(network.layout.embed[:-1])
        self.final = self.model.get_submodule(network.layout.norm[:-1])
        self.size = network.facts.head_dim
        self.shared = network.facts.heads // network.facts.kv_heads
        self._plain: dict[tuple[int, ...], tuple[Tensor, dict[Any, Tensor]]] = {}

    def kept(self, ids: Tensor) -> tuple[Tensor, dict[Any, Tensor]]:
        """A plain run: heads before their projection, what MLPs add, the embedding, and the stream at every layer. Without
        gradients, and without hooks of a test's own, it is made once of each prompt."""
        hooked = any(module._forward_hooks or module._forward_pre_hooks for module in self.model.modules())
        if torch.is_grad_enabled() or hooked:
            return self._kept(ids)
        key = tuple(ids.tolist())
        if key not in self._plain:
            self._plain[key] = self._kept(ids)
        return self._plain[key]

    def _kept(self, ids: Tensor) -> tuple[Tensor, dict[Any, Tensor]]:
        seen: dict[Any, Tensor] = {}
        handles = [self.embed.register_forward_hook(lambda m, a, o: seen.__setitem__("embed", o))]
        for number, layer in enumerate(self.layers):
            out = layer.get_submodule(self.out)
            handles.append(out.register_forward_pre_hook(lambda m, a, n=number: seen.__setitem__(("z", n), a[0])))
            last = layer.get_submodule("post_feedforward_layernorm" if self.name == "gemma2" else self.mlp)
            handles.append(last.register_forward_hook(lambda m, a, o, n=number: seen.__setitem__(("mlp", n), o)))
        logits = self.model(ids[None]).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits, seen

    def delta(
        self, sender: tuple[str, int, int], base: dict[Any, Tensor], source: dict[Any, Tensor], stream0: Tensor
    ) -> Tensor:
        """What a sender would give less what it gives, in the stream."""
        kind, layer, head = sender
        if kind == "embed":
            gap = source["embed"] - base["embed"]
            scale = (
                float(torch.linalg.vector_norm(stream0) / torch.linalg.vector_norm(base["embed"]))
                if self.name == "gemma2"
                else 1.0
            )
            return gap * scale
        if kind == "mlp_out":
            return source["mlp", layer] - base["mlp", layer]
        mixed = base["z", layer].clone()
        columns = slice(head * self.size, (head + 1) * self.size)
        mixed[..., columns] = source["z", layer][..., columns]
        out = self.layers[layer].get_submodule(self.out)
        one, other = out.forward(mixed), out.forward(base["z", layer])
        if self.after:
            norm = self.layers[layer].get_submodule(self.after)
            one, other = norm.forward(one), norm.forward(other)
        return one - other

    def patched(self, ids: Tensor, receiver: tuple[str, int, int], delta: Tensor) -> Tensor:
        """The logits where one receiver is given the stream with ``delta``; `z`: all that its head reads."""
        kind, number, head = receiver
        handles = []
        if kind in ("z", "head"):
            for one in "qkv":
                own = head if one == "q" else head // self.shared
                handles += self._reads(one, number, own, delta)
        elif kind == "logits":
            handles.append(self.final.register_forward_pre_hook(lambda m, a: (a[0] + delta,)))
        elif kind == "mlp_in":
            norm = self.layers[number].get_submodule(self.second)
            handles.append(norm.register_forward_pre_hook(lambda m, a: (a[0] + delta,)))
        else:
            handles += self._reads(kind, number, head, delta)
        logits = self.model(ids[None]).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits

    def _reads(self, kind: str, number: int, head: int, delta: Tensor) -> list[Any]:
        """Hooks by which the query, key or value of a head (of keys and values: of those that are shared) reads the stream with ``delta``."""
        layer, stream = self.layers[number], []
        first = layer.register_forward_pre_hook(
            lambda m, a, k: stream.append(a[0] if a else k["hidden_states"]), with_kwargs=True
        )
        norm = layer.get_submodule(self.first)
        at = head * self.size
        if self.name == "gpt2":
            path, at = "attn.c_attn", at + "qkv".index(kind) * self.facts.heads * self.size
        elif self.name == "gpt_neox":
            path, at = "attention.query_key_value", (3 * head + "qkv".index(kind)) * self.size
        else:
            path = f"self_attn.{kind}_proj"
        module = layer.get_submodule(path)

        def put(m: Any, a: Any, out: Tensor) -> Tensor:
            other = m.forward(norm.forward(stream[0] + delta))
            out = out.clone()
            out[..., at : at + self.size] = other[..., at : at + self.size]
            return out

        return [first, module.register_forward_hook(put)]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("name", "padding"), spread(list(product(FAMILIES, ("left", "right"))), 3))
@torch.no_grad()
def test_edges_are_those_of_a_double_forward_by_hand(name: str, padding: str) -> None:
    network = network_of(spec_of(name, "", padding=padding)[: spec_of(name, "", padding=padding).index("align ")])
    hand = ByHand(network, name)
    edges = [*EDGES, *([] if network.facts.parallel else [SAME])]
    tests = [
        f"""
test t{number} on a(l=0, p=last) {{
  base, source ~ m(n=6, seed=3) where base.template == source.template
  do({sender} -> {receiver} <- source)
  report kl
}}
"""
        for number, (sender, receiver) in enumerate(edges)
    ]
    execution, _ = execution_of(spec_of(name, "".join(tests), padding=padding))
    found = execution.logits()
    moved = 0.0
    for test, (sender, receiver) in zip(execution.plan.tests, edges, strict=False):
        score = execution.plan.scores[test.name][0]
        resume = score.read("patched").run  # type: ignore[union-attr]
        inputs = execution.plan.inputs[test.network.key]
        rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == score.label.draw}
        assert len({inputs.length(int(i)) for i in rows["base"]}) > 1, "prompts of several lengths"
        for pair, (one, other) in enumerate(zip(rows["base"], rows["source"], strict=True)):
            ids, ids_ = (torch.tensor(inputs.rows(np.array([i]))[0]) for i in (one, other))
            plain, base = hand.kept(ids)
            _, source = hand.kept(ids_)
            stream: list[Tensor] = []
            handle = hand.layers[0].register_forward_pre_hook(
                lambda m, a, k, stream=stream: stream.append(a[0] if a else k["hidden_states"]), with_kwargs=True
            )
            network.model(ids[None])
            handle.remove()
            delta = hand.delta(parsed(sender), base, source, stream[0])
            logits = hand.patched(ids, parsed(receiver), delta)
            mine = found[resume][pair].to(logits)
            assert torch.allclose(mine, logits, atol=1e-4), (sender, receiver, float((mine - logits).abs().max()))
            moved = max(moved, float((logits - plain).abs().max()))
    assert moved > 1e-3


def test_edges_of_groups_reach_all_of_their_receivers_together() -> None:
    """From both heads of a layer to an MLP and the logits is what each single edge gives, where they do not meet on the way."""
    circuit = """
circuit c : net {
  senders = layer[0].head[all]
  reads   = layer[2].head[0, 1]
}
test all on a(l=0, p=last) {
  base, source ~ m(n=6, seed=3) where base.template == source.template
  do(c.senders -> c.reads.q <- source)
  report kl
}
test apart on a(l=0, p=last) {
  base, source ~ m(n=6, seed=3) where base.template == source.template
  do(
    layer[0].head[all] -> layer[2].head[0].q <- source,
    layer[0].head[all] -> layer[2].head[1].q <- source
  )
  report kl
}
"""
    results = api.run(api.parse(spec_of("llama", circuit)))
    one, other = (test.cells[0].scores["kl"].value for test in results.tests)
    assert one == pytest.approx(other, abs=1e-7) and one is not None and one > 0


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_all_neurons_send_along_an_edge_what_their_mlp_does(name: str) -> None:
    """Neurons pass the output projection, and a norm behind it, as heads do; some of them give something else."""
    senders = ["layer[0].mlp_out", "layer[0].neurons", "layer[0].neurons[all, 0:4]"]
    tests = "".join(
        f"""
test t{number} on a(l=0, p=last) {{
  base, source ~ m(n=4, seed=3) where base.template == source.template
  do({sender} -> layer[2].mlp_in <- source)
  report kl
}}
"""
        for number, sender in enumerate(senders)
    )
    results = api.run(api.parse(spec_of(name, tests)))
    whole, every, some = (test.cells[0].scores["kl"].value for test in results.tests)
    assert every == pytest.approx(whole, rel=1e-3, abs=1e-9) and whole is not None and whole > 0
    assert some is not None and some != pytest.approx(whole, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@torch.no_grad()
def test_an_edge_has_a_value_of_its_own(name: str) -> None:
    """`a -> b.q = 0`, `= mean(pooled=true)` and a part of what is there: the receiver alone reads the stream with what the sender would give."""
    edges = [EDGES[0], EDGES[2], EDGES[6]]
    values = {
        "0": lambda own, mean: 0 * own,
        "mean(pooled=true)": lambda own, mean: mean,
        "scale(0.25)": lambda own, mean: own / 4,
    }
    cases = [(edge, value) for edge in edges for value in values]
    tests = "".join(
        f"""
test t{number} on a(l=0, p=last) {{
  base ~ m(n=5, seed=3)
  do({sender} -> {receiver} = {value})
  report kl
}}
"""
        for number, ((sender, receiver), value) in enumerate(cases)
    )
    text = spec_of(name, tests)
    network = network_of(text[: text.index("align ")])
    hand = ByHand(network, name)
    execution, _ = execution_of(text)
    found = execution.logits()
    inputs = next(iter(execution.plan.inputs.values()))
    for test, ((sender, receiver), value) in zip(execution.plan.tests, cases, strict=False):
        score = execution.plan.scores[test.name][0]
        resume = score.read("patched").run  # type: ignore[union-attr]
        rows = execution.plan.rows[resume.base]
        ids = [torch.tensor(inputs.rows(np.array([i]))[0]) for i in rows]
        runs = [hand.kept(one) for one in ids]
        key = ("mlp", parsed(sender)[1]) if parsed(sender)[0] == "mlp_out" else ("z", parsed(sender)[1])
        mean = torch.cat([seen[key][0] for _, seen in runs]).mean(0)
        moved = 0.0
        for pair, (one, (plain, base)) in enumerate(zip(ids, runs, strict=True)):
            other = {**base, key: values[value](base[key], mean.expand_as(base[key]))}
            delta = hand.delta(parsed(sender), base, other, base["embed"])
            logits = hand.patched(one, parsed(receiver), delta)
            assert torch.allclose(found[resume][pair].to(logits), logits, atol=1e-4), (sender, receiver, value)
            moved = max(moved, float((logits - plain).abs().max()))
        assert moved > 1e-3, (sender, receiver, value)
    choices = execution.plan.tests[0].cells[0].interventions[0].choices
    assert choices is not None and choices.value == "0"


@pytest.mark.slow
def test_what_rounding_leaves_of_an_edge_does_not_cancel() -> None:
    """The last layer's query at an earlier token reaches no logit: nothing moves, so nothing rises, falls or cancels."""
    test = """
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=6, seed=3) where base.template == source.template
  do(layer[0].head[1].z[x] -> layer[2].head[0].q <- source)
  report kl, change(gap)
}
"""
    (one,) = api.run(api.parse(spec_of("llama", test))).tests
    codes = {finding.code for finding in one.cells[0].findings}
    assert "never_moved" in codes and "cancels" not in codes
