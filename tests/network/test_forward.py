"""The forward pass: batches, heads, coordinates, several reads and writes, stopping, faults, vector networks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import NOWHERE, SpecError
from causal_dsl.network.factory import vector_facts
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.known_of_network import proved
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.locations import Site
from tests.network.families import CONFIGS, LAYERS, VOCABULARY, hooks_of, model_of

torch.set_num_threads(1)
PROMPTS = [[5, 9, 13], [40, 3, 33, 8, 27, 14, 50], [7, 7, 9, 9, 2]]
ROWS = torch.arange(3)
ENDS = torch.tensor([2, 6, 4])


@pytest.fixture
def llama() -> Network:
    model = model_of("llama")
    return wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))


@pytest.fixture(autouse=True)
def no_hooks_left() -> Iterator[None]:
    before = hooks_of(model_of("llama"))
    yield
    assert hooks_of(model_of("llama")) == before
    assert model_of("llama").config._attn_implementation == "sdpa"


def put(value: Tensor | float) -> Any:
    return lambda old: torch.zeros_like(old) + value


def logits_of(network: Network, writes: list[SiteWrite], **more: Any) -> Tensor:
    logits = forward(network, PROMPTS, (), writes, readout=ROWS, **more).logits
    assert logits is not None
    return logits


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.thinned(always=15)
def test_batches_give_what_single_runs_give(name: str) -> None:
    model = model_of(name)
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    with torch.no_grad():
        single = torch.stack([model(input_ids=torch.tensor([prompt])).logits[0, -1] for prompt in PROMPTS])
    for padding in ("left", "right"):
        assert (logits_of(network, [], padding=padding) - single).abs().max() < 1e-4


def test_positions_of_the_read_out(llama: Network) -> None:
    with torch.no_grad():
        full = [llama.model(input_ids=torch.tensor([prompt])).logits[0] for prompt in PROMPTS]
    rows, positions = torch.tensor([1, 0, 1, 1]), torch.tensor([0, 2, 5, 0])  # out of order, one twice
    for padding in ("left", "right"):
        got = forward(llama, PROMPTS, readout=rows, positions=positions, padding=padding).logits
        assert got is not None
        for mine, row, position in zip(got, rows, positions, strict=True):
            assert torch.allclose(mine, full[row][position], atol=1e-5)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_no_logits_but_those_asked_for_are_computed(llama: Network, padding: Any) -> None:
    shapes = []
    handle = llama.model.lm_head.register_forward_hook(lambda _, args, out: shapes.append(tuple(out.shape)))
    try:
        forward(llama, PROMPTS, readout=torch.tensor([2, 0]), padding=padding)
        forward(llama, PROMPTS, [SiteRead(Site("resid_pre", 0), ROWS, ENDS)], stop=False, padding=padding)
    finally:
        handle.remove()
    assert shapes == [(1, 2, VOCABULARY), (1, 1, VOCABULARY)]


# ── heads and coordinates ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("component", ["q", "k", "v", "z", "q_rot", "k_rot", "pattern"])
def test_heads_are_parts_of_the_whole(llama: Network, component: str) -> None:
    whole = forward(llama, PROMPTS, [SiteRead(Site(component, 1), ROWS, ENDS)]).reads[0]
    heads = 2 if component in ("k", "v", "k_rot") else 4
    parts = whole.view(3, heads, -1)
    reads = [SiteRead(Site(component, 1, heads=(head,)), ROWS, ENDS) for head in range(heads)]
    for head, value in enumerate(forward(llama, PROMPTS, reads).reads):
        assert torch.equal(value, parts[:, head])
    some = SiteRead(Site(component, 1, heads=(1, 0), dims=(0, 2)), ROWS, ENDS)
    assert torch.equal(forward(llama, PROMPTS, [some]).reads[0], parts[:, 1, [0, 2]])


def test_a_shared_value_head_moves_its_query_heads_alone(llama: Network) -> None:
    """Query heads 2 and 3 read value head 1: writing it leaves the z of heads 0 and 1 as they are."""
    write = SiteWrite(Site("v", 1, heads=(1,)), ROWS, ENDS, put(1.0))
    reads = [SiteRead(Site("z", 1, heads=(head,)), ROWS, ENDS) for head in range(4)]
    before = forward(llama, PROMPTS, reads).reads
    after = forward(llama, PROMPTS, reads, [write]).reads
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, False]


def test_attention_weights_are_those_of_q_and_k(llama: Network) -> None:
    reads = [SiteRead(Site("pattern", 1), torch.tensor([1]), torch.tensor([4]))]
    reads += [SiteRead(Site("q_rot", 1), torch.tensor([1]), torch.tensor([4]))]
    reads += [SiteRead(Site("k_rot", 1), torch.tensor([1] * 5), torch.arange(5))]
    pattern, q, k = forward(llama, PROMPTS, reads, padding="left").reads
    scores = torch.einsum("hd,khd->hk", q.view(4, 8), k.view(5, 2, 8).repeat_interleave(2, 1)) * 8**-0.5
    assert torch.allclose(pattern.view(4, 7)[:, :5], scores.softmax(-1), atol=1e-6)
    assert (pattern.view(4, 7)[:, 5:] == 0).all()


def test_coordinates_leave_the_others_alone(llama: Network) -> None:
    site = Site("resid_post", 1)
    dims = (3, 30, 7)
    before = forward(llama, PROMPTS, [SiteRead(site, ROWS, ENDS)]).reads[0]
    write = SiteWrite(Site("resid_post", 1, dims=dims), ROWS, ENDS, put(torch.tensor([1.0, 2.0, 3.0])))
    after = forward(llama, PROMPTS, [SiteRead(site, ROWS, ENDS)], [write]).reads[0]
    expected = before.clone()
    expected[:, list(dims)] = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(after, expected)


# ── several at once ─────────────────────────────────────────────────────────────────────────────


def test_writes_at_one_site_act_in_order(llama: Network) -> None:
    site = Site("resid_post", 0)
    add, double = SiteWrite(site, ROWS, ENDS, lambda x: x + 1), SiteWrite(site, ROWS, ENDS, lambda x: 2 * x)
    read = [SiteRead(site, ROWS, ENDS)]
    start = forward(llama, PROMPTS, read).reads[0]
    assert torch.allclose(forward(llama, PROMPTS, read, [add, double]).reads[0], 2 * (start + 1))
    assert torch.allclose(forward(llama, PROMPTS, read, [double, add]).reads[0], 2 * start + 1)


def test_rows_do_not_disturb_each_other(llama: Network) -> None:
    """Writes of one pass, each in a row of its own, are those of passes of their own."""
    sites = [Site("resid_mid", 1), Site("z", 0, heads=(2,)), Site("q_rot", 1)]
    edits = [lambda x: x + 1, lambda x: -x, lambda x: x * 3]
    writes = [SiteWrite(s, ROWS[i : i + 1], ENDS[i : i + 1], edits[i]) for i, s in enumerate(sites)]
    together = logits_of(llama, writes, padding="left")
    for row, write in enumerate(writes):
        assert torch.allclose(together[row], logits_of(llama, [write])[row], atol=1e-5)


def test_equivalent_places_give_equal_logits(llama: Network) -> None:
    value = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    same = [Site("resid_post", 0), Site("resid_pre", 1), Site("module", module="model.layers.0")]
    got = [logits_of(llama, [SiteWrite(site, ROWS, ENDS, put(value))]) for site in same]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairwise(got))


def test_resid_mid_reaches_the_stream_and_the_mlp(llama: Network) -> None:
    """Layer 1 after `resid_mid` is replaced: the stream is that value plus the MLP's term for it."""
    value = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    reads = [SiteRead(Site(name, 1), ROWS, ENDS) for name in ("resid_mid", "mlp_out", "resid_post")]
    mid, term, post = forward(llama, PROMPTS, reads, [SiteWrite(Site("resid_mid", 1), ROWS, ENDS, put(value))]).reads
    layer = llama.layers[1]
    with torch.no_grad():
        expected = layer.mlp(layer.post_attention_layernorm(value))
    assert torch.allclose(mid, value, atol=1e-6)
    assert torch.allclose(term, expected, atol=1e-5)
    assert torch.allclose(post, value + expected, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_where_norms_give_the_stream_resid_mid_is_written_as_it_is_read(name: str) -> None:
    """Post-norm: the stream is that value, the MLP adds its term for it, and the sum is normed. `mlp_in` misses the stream."""
    model = model_of(name)
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    value = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    reads = [SiteRead(Site(n, 1), ROWS, ENDS) for n in ("resid_mid", "mlp_in", "mlp_out", "resid_post")]
    plain = forward(network, PROMPTS, reads).reads
    mid, entered, term, post = forward(
        network, PROMPTS, reads, [SiteWrite(Site("resid_mid", 1), ROWS, ENDS, put(value))]
    ).reads
    layer = network.layers[1]
    end = layer.output_layer_norm if name == "distilbert" else layer.output.LayerNorm
    with torch.no_grad():
        expected = layer.ffn(value) if name == "distilbert" else layer.output.dense(layer.intermediate(value))
        normed, missed = end(value + expected), end(plain[0] + expected)
    assert torch.equal(mid, value)
    assert torch.equal(entered, value)
    assert torch.allclose(term, expected, atol=1e-5)
    assert torch.allclose(post, normed, atol=1e-5)
    at_mlp = forward(network, PROMPTS, reads, [SiteWrite(Site("mlp_in", 1), ROWS, ENDS, put(value))]).reads
    assert torch.equal(at_mlp[0], plain[0])
    assert torch.allclose(at_mlp[3], missed, atol=1e-5)
    assert (normed - missed).abs().max() > 0.1


def test_positions_of_roberta_begin_behind_its_padding() -> None:
    """Whatever id pads a batch, its own positions are those that the model counts in an unpadded prompt."""
    model = model_of("roberta")
    config = model.config.to_dict()
    network = wrap(model, facts_of_config(config, None, NOWHERE))
    assert network.facts.first_position == 2
    right = logits_of(network, [])
    network = wrap(model, facts_of_config({**config, "pad_token_id": 0}, None, NOWHERE))  # one off, and it would show
    assert (logits_of(network, []) - right).abs().max() > 0.1


def test_a_write_at_mlp_in_is_not_seen_at_resid_mid() -> None:
    """In olmo2 both are what enters the MLP; only `resid_mid` is the stream."""
    model = model_of("olmo2")
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    reads = [SiteRead(Site("resid_mid", 1), ROWS, ENDS), SiteRead(Site("mlp_in", 1), ROWS, ENDS)]
    before = forward(network, PROMPTS, reads).reads
    after = forward(network, PROMPTS, reads, [SiteWrite(Site("mlp_in", 1), ROWS, ENDS, put(1.0))]).reads
    assert torch.equal(before[0], after[0])
    assert (after[1] == 1).all()


@pytest.mark.parametrize("name", ["llama", "granite", "gemma2", "gpt2", "falcon", "bert", "distilbert"])
@pytest.mark.thinned(always=2)
def test_what_is_there_written_back_changes_nothing(name: str) -> None:
    model = model_of(name)
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    for padding in ("left", "right"):
        clean = logits_of(network, [], padding=padding)
        for component, about in COMPONENTS.items():
            if "language" not in about.kinds or component == "module" or missing(component, network.facts):
                continue
            site = Site(component, 1 if about.layer else None)
            outcome = forward(
                network, PROMPTS, (), [SiteWrite(site, ROWS, ENDS, lambda x: x)], readout=ROWS, padding=padding
            )
            assert torch.equal(outcome.logits, clean), component
            assert (outcome.written[0].change == 0).all()


def test_logits_are_written_and_read(llama: Network) -> None:
    site = Site("logits", dims=(4,))
    write = SiteWrite(site, torch.tensor([1]), torch.tensor([6]), put(99.0))
    outcome = forward(llama, PROMPTS, [SiteRead(site, ROWS, ENDS)], [write], readout=ROWS)
    assert outcome.logits is not None
    assert outcome.reads[0][1, 0] == outcome.logits[1, 4] == 99
    assert torch.equal(outcome.logits[[0, 2]], logits_of(llama, [])[[0, 2]])


# ── what fired ──────────────────────────────────────────────────────────────────────────────────


def test_the_size_of_a_change_is_told(llama: Network) -> None:
    write = SiteWrite(Site("resid_pre", 1), ROWS[:2], ENDS[:2], lambda x: 1.5 * x)
    fired = forward(llama, PROMPTS, (), [write], readout=ROWS).written[0]
    assert fired.rows == 2
    assert torch.allclose(fired.change, torch.tensor([0.5, 0.5]))


def test_the_pass_ends_at_the_deepest_read(llama: Network) -> None:
    ran = []
    handles = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(llama.layers)
    ]
    try:
        forward(llama, PROMPTS, [SiteRead(Site(name, 1), ROWS, ENDS) for name in ("resid_pre", "q_rot", "pattern")])
        assert ran == [0]
        ran.clear()
        forward(llama, PROMPTS, [SiteRead(Site("resid_post", 0), ROWS, ENDS)], stop=False)
        assert ran == list(range(LAYERS))
        ran.clear()
        write = SiteWrite(Site("mlp_out", 2), ROWS, ENDS, lambda x: x)
        forward(llama, PROMPTS, [SiteRead(Site("resid_post", 0), ROWS, ENDS)], [write])
        assert ran[:2] == [0, 1]  # a write deeper than the last read still happens
    finally:
        for handle in handles:
            handle.remove()


def test_a_fault_inside_leaves_no_hook(llama: Network) -> None:
    def broken(old: Tensor) -> Tensor:
        raise RuntimeError("in an edit")

    for component in ("resid_mid", "z", "pattern", "logits"):
        site = Site(component, 1 if COMPONENTS[component].layer else None)
        with pytest.raises(RuntimeError, match="in an edit"):
            forward(llama, PROMPTS, (), [SiteWrite(site, ROWS, ENDS, broken)], readout=ROWS)
    assert torch.equal(logits_of(llama, []), logits_of(llama, []))


def test_gradients_start_at_the_site(llama: Network) -> None:
    direction = torch.zeros(32, requires_grad=True)
    for component in ("resid_post", "z", "q_rot", "resid_mid"):
        direction.grad = None
        write = SiteWrite(Site(component, 1), ROWS, ENDS, lambda x: x + direction)
        outcome = forward(llama, PROMPTS, (), [write], readout=ROWS)
        outcome.logits.sum().backward()
        assert direction.grad is not None
        assert float(direction.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in llama.model.parameters())


# ── faults ──────────────────────────────────────────────────────────────────────────────────────


def fault(network: Network, site: Site, positions: Tensor | None = ENDS, inputs: Any = PROMPTS) -> str:
    with pytest.raises(SpecError) as caught:
        forward(network, inputs, [SiteRead(site, ROWS, positions)], readout=ROWS)
    return caught.value.diagnostics[0].code


@pytest.mark.parametrize(
    ("site", "code"),
    [
        (Site("resid_post", 3), "E426"),
        (Site("resid_post", -1), "E426"),
        (Site("z", 1, heads=(4,)), "E426"),
        (Site("k", 1, heads=(2,)), "E426"),
        (Site("resid_post", 1, dims=(32,)), "E426"),
        (Site("input"), "E420"),
        (Site("module", module="model.layers.1.mpl"), "E422"),
        (Site("module", module=""), "E422"),
    ],
)
def test_sites_that_are_not_there(llama: Network, site: Site, code: str) -> None:
    assert fault(llama, site) == code


def test_a_module_that_runs_never_or_often(llama: Network) -> None:
    prove(llama)
    try:
        assert fault(llama, Site("module", module="model.layers")) == "E424"  # a list: it is never called
    finally:
        proved(llama, None)
    model = model_of("phi")
    phi = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    assert fault(phi, Site("module", module="model.layers.1.resid_dropout")) == "E424"


def test_a_write_that_never_happens_is_an_error() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[0](x)

    network = wrap(Odd(), vector_facts(Odd(), NOWHERE))
    with pytest.raises(SpecError) as caught:
        forward(network, torch.zeros(2, 4), (), [SiteWrite(Site("out", 1), ROWS[:2], None, put(0.0))], readout=ROWS[:2])
    assert caught.value.diagnostics[0].code == "E421"


def test_a_module_without_a_vector_for_each_row() -> None:
    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.total = nn.Linear(4, 2), Total()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) + self.total(x)

    network = wrap(Net(), vector_facts(Net(), NOWHERE))
    assert fault(network, Site("module", module="total"), None, torch.zeros(3, 4)) == "E423"


def test_rows_and_positions_must_be_there(llama: Network) -> None:
    for rows, positions in [([0], [3]), ([0], [-1]), ([3], [0]), ([0, 1], [0])]:
        with pytest.raises(ValueError, match=r"row|position"):
            forward(llama, PROMPTS, [SiteRead(Site("resid_pre", 0), torch.tensor(rows), torch.tensor(positions))])
    with pytest.raises(ValueError, match="every prompt a token"):
        forward(llama, [[1], []], readout=torch.tensor([0]))


# ── vector networks ─────────────────────────────────────────────────────────────────────────────


def sequential() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


def test_vector_sites() -> None:
    model = sequential()
    network = wrap(model, vector_facts(model, NOWHERE), name="net")
    assert network.facts.widths == (4, 6, 6, 5, 5, 2)
    assert network.facts.classes == 2
    x = torch.randn(3, 4)
    with torch.no_grad():
        hidden = model[1](model[0](x))
        patched = hidden.clone()
        patched[[0, 2], 2:4] = 0.7
        expected = model[4](model[3](model[2](patched)))
        inputs = x.clone()
        inputs[:, 1] = 5
        from_input = model(inputs)
    write = SiteWrite(Site("out", 1, dims=(2, 3)), torch.tensor([0, 2]), None, put(0.7))
    reads = [
        SiteRead(Site("out", 1), ROWS, None),
        SiteRead(Site("logits"), ROWS, None),
        SiteRead(Site("input"), ROWS, None),
    ]
    outcome = forward(network, x, reads, [write], readout=ROWS)
    assert torch.allclose(outcome.reads[0], patched)
    assert torch.allclose(outcome.logits, expected)
    assert torch.allclose(outcome.reads[1], expected)
    assert torch.equal(outcome.reads[2], x)
    got = forward(network, x, (), [SiteWrite(Site("input", dims=(1,)), ROWS, None, put(5.0))], readout=ROWS).logits
    assert torch.allclose(got, from_input)
    named = SiteRead(Site("module", module="2", dims=(0, 1)), ROWS, None)
    assert torch.allclose(forward(network, x, [named]).reads[0], model[2](hidden)[:, :2])
    assert fault(network, Site("out", 5), None, x) == "E426"
    assert fault(network, Site("resid_post", 0), None, x) == "E420"
    assert prove(network).refused == {}


def test_vector_layers_by_name_and_dead_ones() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Linear(3, 4)])
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.layers[1](x)
            return self.head(self.layers[0](x))

    network = wrap(Net(), vector_facts(Net(), NOWHERE))
    assert any("layer[1].out" in note for note in prove(network).notes)
