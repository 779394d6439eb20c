"""Rows that go on from kept prefixes against whole forward passes with plain hooks: every family, site, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.sweep.drive import ReadRows, SiteRead
from causal_dsl.network.sweep.prefixes import cacheable, entered_at, going, record, replay
from causal_dsl.planning.liveness import Accesses, PassRows, place_of
from causal_dsl.program.components import missing
from causal_dsl.vocabulary.locations import Site
from tests.network.families import LAYERS, hooks_of
from tests.network.test_sweep import LENGTHS, PROMPTS, network_of, shake

torch.set_num_threads(1)
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "mixtral", "phi", "olmo2", "qwen3", "granite")


def gone_on(
    network: Network, home: np.ndarray, placed: list[tuple[int, Site, int]], edits: list, most: int = 1000
) -> torch.Tensor:
    """The logits of rows on prompts ``home``; ``placed`` are (row, site, token)."""
    count = len(PROMPTS)
    table = Accesses.join(
        (np.array([row + count]), np.array([token]), *place_of(site, LAYERS)) for row, site, token in placed
    )
    entries: dict[int, np.ndarray] = {}
    for row, site, token in placed:
        for level in entered_at(site, LAYERS):
            first = entries.setdefault(level, np.full(count, 99))
            first[home[row]] = min(first[home[row]], token)
    found = record(network, PROMPTS, entries, [], lambda *_: None, most)
    rows = np.arange(count, count + len(home))
    read = np.concatenate([np.full(count, -1), LENGTHS[home] - 1])
    writes = [
        SiteWrite(site, torch.tensor([row + count]), torch.tensor([token]), edit)
        for (row, site, token), edit in zip(placed, edits, strict=True)
    ]
    asked = ReadRows(rows, LENGTHS[home] - 1)
    laid = going(network, np.arange(count), PassRows(LENGTHS, home, read, table))
    return replay(network, PROMPTS, found, laid, writes, [asked]).logits[0]


def plain(network: Network, home: np.ndarray, placed: list[tuple[int, Site, int]], edits: list) -> torch.Tensor:
    writes = [
        SiteWrite(site, torch.tensor([row]), torch.tensor([token]), edit)
        for (row, site, token), edit in zip(placed, edits, strict=True)
    ]
    found = forward(network, [PROMPTS[i] for i in home], [], writes, readout=torch.arange(len(home)), stop=False)
    assert found.logits is not None
    return found.logits


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_go_on_as_whole_forwards_would(name: str) -> None:
    network = network_of(name)
    if prove(network).sweep != "ragged":
        pytest.skip("its tokens are not run apart")
    components = [
        c
        for c in ("resid_pre", "resid_post", "z", "neurons", "mlp_out", "attn_out", "v")
        if missing(c, network.facts) is None
    ]
    sites = [Site(c, layer) for c in components for layer in range(LAYERS)]
    assert cacheable(sites, LAYERS)
    home = np.arange(len(sites)) % len(PROMPTS)
    placed = [(row, site, int(LENGTHS[home[row]] - 1 - row % 2)) for row, site in enumerate(sites)]
    # what is written before the last token at the last layer's end never reaches the read-out
    alive = [
        i
        for i, (_, site, token) in enumerate(placed)
        if site.layer != LAYERS - 1 or token == LENGTHS[home[i]] - 1 or site.component in ("resid_pre", "v")
    ]
    home, placed = home[alive], [(n, *placed[i][1:]) for n, i in enumerate(alive)]
    edits = [shake(i, site.component) for i, (_, site, _) in enumerate(placed)]
    with torch.no_grad():
        torch.testing.assert_close(
            gone_on(network, home, placed, edits), plain(network, home, placed, edits), atol=2e-5, rtol=1e-4
        )
        again = gone_on(network, home, placed, edits, most=7)
        torch.testing.assert_close(again, plain(network, home, placed, edits), atol=2e-5, rtol=1e-4)


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_leaves_the_last_layer_goes_on_without_any_layer(name: str) -> None:
    network = network_of(name)
    if prove(network).sweep != "ragged":
        pytest.skip("its tokens are not run apart")
    site = Site("resid_post", LAYERS - 1)
    assert cacheable([site], LAYERS) and not cacheable([Site("final_norm")], LAYERS)
    home = np.array([1, 0, 1])
    placed = [(row, site, int(LENGTHS[prompt] - 1)) for row, prompt in enumerate(home)]
    edits = [shake(i, site.component) for i in range(len(placed))]
    before = hooks_of(network.model)
    with torch.no_grad():
        mine, theirs = gone_on(network, home, placed, edits), plain(network, home, placed, edits)
    torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
    assert not any("forward" in vars(layer) for layer in network.layers)
    assert hooks_of(network.model) == before


def test_gradients_of_kept_prefixes_are_those_of_whole_forwards() -> None:
    network = network_of("llama")
    prove(network)
    home = np.array([0, 1, 1, 2])
    placed = [
        (0, Site("resid_post", 0), 2),
        (1, Site("z", 1, heads=(1,)), 5),
        (2, Site("resid_pre", 2), 6),
        (3, Site("resid_post", 0), 5),
    ]
    added = [torch.zeros(16 if site.component != "z" else 4, requires_grad=True) for _, site, _ in placed]
    grads = []
    for run in (gone_on, plain):

        def edit_of(vector: torch.Tensor):
            def edit(old: torch.Tensor) -> torch.Tensor:
                return old + vector[: old.shape[-1]] if vector.shape[0] >= old.shape[-1] else old + vector.sum()

            return edit

        logits = run(network, home, placed, [edit_of(vector) for vector in added])
        loss = logits[:, 3].sum() + (logits**2).mean()
        grads.append(torch.autograd.grad(loss, added))
    for mine, theirs in zip(*grads, strict=True):
        assert mine.abs().sum() > 0
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_reads_are_kept_in_pieces() -> None:
    network = network_of("gpt2")
    prove(network)
    site = Site("resid_post", 1)
    reads = [SiteRead(site, torch.tensor([0, 2, 1, 1]), torch.tensor([4, 5, 0, 6]))]
    found = torch.zeros(4, network.facts.width or 0)

    def keep(number: int, which: torch.Tensor, values: torch.Tensor) -> None:
        assert number == 0
        found[which] = values

    record(network, PROMPTS, {1: LENGTHS}, reads, keep, most=8)
    from causal_dsl.network.forward import SiteRead as PlainRead

    direct = forward(network, PROMPTS, [PlainRead(site, reads[0].rows, reads[0].positions)]).reads[0]
    torch.testing.assert_close(found, direct, atol=1e-5, rtol=1e-5)
