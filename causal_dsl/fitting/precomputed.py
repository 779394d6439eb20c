"""The vectors that fits read and never change: those that they write, natural vectors, and the prefixes that rows go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.engine.activation_cache import Activations
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import SiteRead, forward
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.network.sweep.prefixes import Keep, Prefixes, cache_bytes, cacheable, entered_at, record
from causal_dsl.network.tape import reads_in
from causal_dsl.planning import graph as g
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import layers_of, taken
from causal_dsl.program.components import trims
from causal_dsl.store import stopping_points
from causal_dsl.vocabulary.locations import Place, Site


class FitActivations(Activations):
    """The distinct inputs of a network's fits and what is kept of them.

    ``prefixes`` is None where rows are run as whole forward passes. ``inputs`` [m] are indices into the plan's inputs, rising;
    the longest has ``width`` tokens.
    """

    def __init__(self, plan: Plan, network: Network, inputs: np.ndarray):
        super().__init__(Layouts(plan), {})
        self.plan, self.network, self.inputs = plan, network, inputs
        self.width = int(plan.inputs[network.key].lengths[inputs].max())
        self.prefixes: Prefixes | None = None
        #: why rows are run as whole forward passes; empty where they go on from prefixes
        self.why = ""

    def pairs(self, draw: g.DrawNode) -> np.ndarray:
        return np.arange(self.plan.drawn[draw].n)

    def slots(self, capture: g.Capture, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.keys[capture.place.site], self._keys_of(capture, pairs))

    def _keys_of(self, capture: g.Capture, pairs: np.ndarray) -> np.ndarray:
        which, tokens = self.layouts.tokens(capture.place, capture.forward, pairs)
        found: np.ndarray = self.prompt_of(capture.forward, pairs)[which] * self.width + tokens
        return found

    def prompt_of(self, run: g.Forward, pairs: np.ndarray) -> np.ndarray:
        """The input of some pairs of a run, as an index into :attr:`inputs` [m]."""
        runs = self.plan.inputs[self.network.key].runs
        return np.searchsorted(self.inputs, runs[self.plan.rows[run][pairs]])

    def natural(self, place: Place, runs: Iterable[g.Forward], joined: bool) -> Tensor:
        """The vectors at a place in all pairs of some runs, each input's once [n, width]; ``joined``: a row a prompt."""
        parts = []
        for run in dict.fromkeys(runs):
            _, pairs = np.unique(self.plan.rows[run], return_index=True)
            rows = self.of(g.Capture(run, place), pairs)
            parts.append(rows.reshape(len(pairs), -1) if joined else rows)
        return torch.cat(parts)

    def prompts(self) -> InputRows:
        """The inputs as a network takes them."""
        return self.plan.inputs[self.network.key].rows(self.inputs)


def fill(
    plan: Plan,
    network: Network,
    resumes: Sequence[g.Resume],
    more: Iterable[g.Capture],
    budget: Budget,
    begin: Callable[[int], None] = lambda total: None,
    passed: Callable[[int], None] | None = None,
) -> FitActivations:
    """Run every input of some interventions once, and keep what they write, ``more``, and their prefixes.

    ``begin`` hears of the layer-tokens that there are, ``passed`` of those done. Raises E727.
    """
    inputs = plan.inputs[network.key]
    wanted = dict.fromkeys([capture for r in resumes for capture in taken(r)] + list(more))
    runs = dict.fromkeys([r.base for r in resumes] + [capture.forward for capture in wanted])
    every = np.unique(np.concatenate([inputs.runs[plan.rows[run]] for run in runs]))
    cache = FitActivations(plan, network, every)

    def done(tokens: int) -> None:
        if passed is not None:
            passed(tokens)
        stopping_points.reached("fit pass")

    begin(int(inputs.lengths[every].sum()) * max(1, layers_of(network.facts)))
    by_site: dict[Site, list[np.ndarray]] = {}
    for capture in wanted:
        if capture.place.site.component == "pattern":
            spans = [w.feature.span for r in resumes for w in r.writes if w.feature and w.place == capture.place]
            raise fail(
                "E727",
                "a feature of attention weights cannot be fitted: a prompt has as many weights as tokens",
                next(filter(None, spans), NOWHERE),
                help="place it at `z`, the result of the weights",
            )
        keys = cache._keys_of(capture, cache.pairs(capture.forward.draw))
        by_site.setdefault(capture.place.site, []).append(keys)
    cache.keys = {site: np.unique(np.concatenate(parts)) for site, parts in by_site.items()}
    reads = [_read(cache, site) for site in cache.keys]
    sites = list(cache.keys)

    def keep(number: int, which: Tensor, values: Tensor) -> None:
        cache.put(sites[number], which, values)

    cache.why = _unfit(network, resumes, cache, budget)
    if cache.why:
        _by_forwards(cache, reads, keep, budget, done)
        return cache
    prompts = cache.prompts()
    assert isinstance(prompts, list)
    written_in = np.isin(cache.inputs, _bases(plan, network, resumes))
    most = max(cache.width, budget.most_tokens // 8)
    cache.prefixes = record(network, prompts, _entries(cache, resumes), reads, keep, most, done, written_in)
    return cache


def _bases(plan: Plan, network: Network, resumes: Sequence[g.Resume]) -> np.ndarray:
    """The inputs that are written in: of the others only vectors are taken."""
    runs, rows = plan.inputs[network.key].runs, dict.fromkeys(resume.base for resume in resumes)
    return np.unique(np.concatenate([runs[plan.rows[run]] for run in rows]))


def _entries(cache: FitActivations, resumes: Sequence[g.Resume]) -> dict[int, np.ndarray]:
    """At every layer that something is written at, the first token of each input that rows take over there."""
    layers = layers_of(cache.network.facts)
    found: dict[int, np.ndarray] = {}
    longest = int(cache.plan.inputs[cache.network.key].lengths[cache.inputs].max())
    for resume in resumes:
        pairs = cache.pairs(resume.base.draw)
        homes = cache.prompt_of(resume.base, pairs)
        for write in resume.writes:
            which, tokens = cache.layouts.tokens(write.place, resume.base, pairs)
            for level in entered_at(write.place.site, layers):
                first = found.setdefault(level, np.full(len(cache.inputs), longest))
                np.minimum.at(first, homes[which], tokens)
    return found


def _read(cache: FitActivations, site: Site) -> SiteRead:
    rows, tokens = torch.from_numpy(cache.keys[site] // cache.width), torch.from_numpy(cache.keys[site] % cache.width)
    return SiteRead(site, rows, tokens)


def _unfit(network: Network, resumes: Sequence[g.Resume], cache: FitActivations, budget: Budget) -> str:
    """Why the rows of a fit are run as whole forward passes; empty where they go on from prefixes."""
    why = trims(network.facts)
    if why is not None:
        return why
    proof = proof_of(network)
    if proof is not None and proof.sweep != "ragged":
        return proof.slow or proof.unfit or "its tokens are not run apart"
    layers = layers_of(network.facts)
    sites = [write.place.site for resume in resumes for write in resume.writes]
    if not cacheable(sites, layers):
        return "what is written before the first layer, past the end of the last, or in a module leaves nothing to keep"
    written_in = np.isin(cache.inputs, _bases(cache.plan, network, resumes))
    entries = {level: first[written_in] for level, first in _entries(cache, resumes).items()}
    needed = cache_bytes(network, cache.plan.inputs[network.key].lengths[cache.inputs[written_in]], entries)
    if needed > budget.bytes:
        return f"the prefixes take {needed / 2**20:,.0f} MB, and there are {budget.bytes / 2**20:,.0f} MB"
    return ""


@torch.no_grad()
def _by_forwards(
    cache: FitActivations,
    reads: Sequence[SiteRead],
    keep: Keep,
    budget: Budget,
    passed: Callable[[int], None] | None,
) -> None:
    prompts = cache.prompts()
    size = max(1, budget.most_tokens // 8 // max(1, cache.width))
    for start in range(0, len(prompts), size):
        part, place = prompts[start : start + size], np.full(len(prompts), -1)
        place[start : start + len(part)] = np.arange(len(part))
        here, picks = reads_in(reads, place)
        found = forward(cache.network, part, here, padding=cache.network.padding)
        for (number, mine), values in zip(picks, found.reads, strict=True):
            keep(number, mine, values)
        if passed is not None:
            passed(len(part) * cache.width * max(1, len(cache.network.layers)))
