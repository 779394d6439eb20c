"""What can reach the answer, by the graph of the layers: against the network itself, noise written at every token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.network.wrapped import wrap
from causal_dsl.planning.liveness import BOTTOM, ENTRY, Accesses, PassRows, Rules, place_of, schedule
from causal_dsl.planning.reach import reaching
from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts
from tests.network.families import BOTH_WAYS, CONFIGS, model_of

torch.set_num_threads(1)
PROMPT = [40, 3, 33, 8, 27, 14]
READ = 3


@pytest.mark.thinned(always=14, slow=14)
@pytest.mark.parametrize("name", [*CONFIGS, "llama:1", "bert:1", "gpt2:2", "falcon:1"])
@torch.no_grad()
def test_noise_moves_the_answer_where_it_can_reach_it(name: str) -> None:
    """At every site and token, written in a row of its own; what is out of reach moves nothing, and what is in reach does."""
    model = model_of(name)
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))
    facts, layers = network.facts, len(network.layers)
    prompt, read = (PROMPT, READ) if name.partition(":")[0] in BOTH_WAYS else (PROMPT[: READ + 1], READ)
    sites = [
        Site(n, layer if about.layer else None)
        for n, about in COMPONENTS.items()
        if "language" in about.kinds and missing(n, facts) is None and n not in ("module", "logits")
        for layer in (range(layers) if about.layer else [0])
    ]
    cases = [(site, token) for site in sites for token in range(len(prompt))]
    writes = [
        SiteWrite(
            site,
            torch.tensor([row]),
            torch.tensor([token]),
            lambda old, row=row: old * 0.3 + torch.randn(old.shape, generator=torch.Generator().manual_seed(row)),
        )
        for row, (site, token) in enumerate(cases)
    ]
    rows = torch.arange(len(cases) + 1)
    at = torch.full((len(rows),), read)
    logits = forward(network, [prompt] * len(rows), (), writes, readout=rows, positions=at).logits
    assert logits is not None
    moved = (logits[:-1] - logits[-1]).abs().amax(1) > 1e-5
    lengths = np.array([len(prompt)])
    found = [bool(reaching(facts, s, np.array([t]), lengths, np.array([read]))[0]) for s, t in cases]
    for (site, token), reached, there in zip(cases, moved.tolist(), found, strict=True):
        assert there or not reached, (site, token)
        # one key alone is looked at in whatever direction it points
        alone = token == 0 and site.component in ("q", "q_rot", "k", "k_rot", "pattern")
        experts = missing("neurons", facts) is not None
        assert reached or not there or alone or experts, (site, token)


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_schedule_computes_what_can_reach_the_answer_and_no_more(both_ways: bool) -> None:
    """Two accounts of one thing: the live tokens of a pass, from all rows at once, and the graph, place by place."""
    layers = 3
    architecture = "bert" if both_ways else "llama"
    facts = Facts("language", layers=layers, architecture=architecture, both_ways=both_ways)
    lengths, reads = np.array([5, 7]), np.array([4, 6]) if not both_ways else np.array([1, 6])
    sites = [
        Site(n, layer)
        for n, about in COMPONENTS.items()
        if about.layer and "language" in about.kinds
        for layer in range(layers)
    ]
    cases = [(site, p, t) for site in sites for p in range(2) for t in range(int(lengths[p]))]
    home = np.array([p for _, p, _ in cases])
    table = Accesses.join(
        (np.array([2 + row]), np.array([token]), *place_of(site, layers)) for row, (site, _, token) in enumerate(cases)
    )
    read = np.concatenate([np.full(2, -1), reads[home]])
    plan = schedule(PassRows(lengths, home, read, table), layers, Rules(trim=not both_ways), False)
    for row, (site, prompt, token) in enumerate(cases):
        level, phase = place_of(site, layers)
        at = np.array([2 + row]), np.array([token])
        live = plan.levels[level]
        computed = bool((live.slots[at] if phase == ENTRY else live.at(*at))[0] >= 0) or phase >= BOTTOM
        told = reaching(facts, site, np.array([token]), lengths[prompt : prompt + 1], reads[prompt : prompt + 1])[0]
        if both_ways:
            assert computed or not told, (site, token)  # tokens of an encoder run all together
        else:
            assert computed == told, (site, prompt, token)


def test_of_what_is_not_known_nothing_is_out_of_reach() -> None:
    one = np.array([0]), np.array([4]), np.array([3])
    assert reaching(Facts("language"), Site("resid_post", 2), *one).all()
    assert reaching(Facts("language", layers=3, architecture="llama"), Site("module", module="a"), *one).all()
    assert reaching(Facts("vector", widths=(4, 4)), Site("out", 0), *one).all()
