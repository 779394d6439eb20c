"""May rows enter a pass through this very network where they are written? Tested at load, against whole forwards.

What would go wrong goes wrong in silence: keys of the wrong tokens, angles from 0, layers that are handed more rows than
the model counted on. So a few interventions are run both ways, on prompts of several lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from causal_dsl.network.forward import Write, forward
from causal_dsl.network.network import Network
from causal_dsl.network.sweep.drive import Asked, sweep
from causal_dsl.planning.frames import Accesses, Rows, Rules, place_of, schedule
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.components import packs, trims, unfit
from causal_dsl.program.locations import Site

#: From a seed to an edit that adds noise.
Shake = Callable[[int], Callable[[Tensor], Tensor]]
_INNER = ("q", "k", "v", "z", "attn_out", "neurons", "mlp_out")


def fitness(
    network: Network, prompts: Sequence[Sequence[int]] | Tensor, components: frozenset[str], shake: Shake,
    distance: Callable[[Tensor, Tensor], float], tolerance: float,
) -> tuple[str, str, float]:  # fmt: skip
    """How rows may be run: ``packed`` (token by token), ``whole`` (padded) or ``""`` (not at all), why not better than
    that, and the largest relative error of the way that is taken."""
    why = unfit(network.facts) or ""
    if not why and layers_of(network.facts) != len(network.layers):
        why = f"{len(network.layers)} layers were found, and {layers_of(network.facts)} looked for"
    if why:
        return "", why, 0.0
    padded = packs(network.facts)
    error, reason = 0.0, padded or trims(network.facts) or ""
    for way in ("whole",) if padded is not None else ("packed", "whole"):
        try:
            error, moved = _compare(network, prompts, components, shake, distance, whole=way == "whole")
        except Exception as fault:  # whatever a model's own code raises is a reason
            said = str(fault).splitlines()[0][:160] if str(fault) else ""
            reason = f"interventions cannot ride in one pass: {type(fault).__name__} {said}".rstrip()
            continue
        if not error <= tolerance:
            reason = f"a pass with interventions differs from whole forwards by {error:.1e} of their size"
        elif not moved:
            reason = "noise that was written did not reach the logits"
        else:
            return way, reason, error
    return "", reason, error


def _compare(
    network: Network, prompts: Sequence[Sequence[int]] | Tensor, components: frozenset[str], shake: Shake,
    distance: Callable[[Tensor, Tensor], float], whole: bool,
) -> tuple[float, bool]:  # fmt: skip
    layers = len(network.layers)
    lengths = np.array([1 if network.is_vector else len(prompt) for prompt in prompts])
    sites = [Site("out", layer) for layer in range(layers)] if network.is_vector else _sites(network, components)
    home = np.arange(len(sites)) % len(prompts)
    positions = np.minimum(np.arange(len(sites)) % 2, lengths[home] - 1)
    rows = len(prompts) + np.arange(len(sites))
    table = Accesses.join(
        (rows[i : i + 1], positions[i : i + 1], *place_of(site, layers)) for i, site in enumerate(sites)
    )
    every = np.concatenate([np.arange(len(prompts)), home])
    read = lengths[every] - 1
    rules = Rules(trim=trims(network.facts) is None)
    plan = schedule(Rows(lengths, home, read, table), layers, rules, whole)
    writes = []
    for i, site in enumerate(sites):
        position = None if network.is_vector else torch.tensor([positions[i]])
        writes.append(Write(site, torch.tensor([rows[i]]), position, shake(i)))
    columns = None if network.is_vector else np.arange(0, network.facts.vocabulary or 1, 7)
    asked = [Asked(np.arange(len(every)), read), Asked(np.arange(len(every)), read, columns)]
    got = sweep(network, prompts, plan, (), writes, asked).logits
    own = prompts[torch.from_numpy(every)] if isinstance(prompts, Tensor) else [prompts[i] for i in every.tolist()]
    expected = forward(network, own, (), writes, readout=torch.arange(len(every))).logits
    assert expected is not None
    some = expected if columns is None else expected[:, torch.from_numpy(columns).to(expected.device)]
    moved = (expected[len(prompts) :].float() - expected[torch.from_numpy(home)].float()).abs().amax(1) > 0
    return max(distance(got[0], expected), distance(got[1], some)), bool(moved.any())


def _sites(network: Network, components: frozenset[str]) -> list[Site]:
    """The stream at a few layers (what enters at the first goes through all others), and sites of each kind inside one."""
    layers = len(network.layers)
    middle = layers // 2
    few = sorted({0, 1 % layers, middle, layers - 1})
    sites = [Site("resid_pre", layer) for layer in few if "resid_pre" in components]
    return sites + [Site(name, middle) for name in _INNER if name in components]
