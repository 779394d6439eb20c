"""May rows enter a pass through this very network where they are written? Tested at load, against whole forward passes.

What would go wrong goes wrong in silence: keys of the wrong tokens, angles from 0, layers that are handed more rows than
the model counted on, vectors that are written before they are read. So a few interventions are run both ways, on prompts
of several lengths: noise at each kind of site, and at every site of the table what another prompt has there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base import faults
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError
from causal_dsl.inputs.protocol import InputRows, pick
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.network.sweep.drive import ReadRows, sweep
from causal_dsl.network.tape import Edit
from causal_dsl.planning.liveness import Accesses, PassRows, Rules, place_of, schedule
from causal_dsl.planning.reach import reaching
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.components import COMPARED, pads, trims, unfit, with_site
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Site

#: From a seed to an edit that adds noise.
Shake = Callable[[int], Callable[[Tensor], Tensor]]
#: Noise is tried as large again where it reached nothing: behind a threshold little is not seen.
_LARGER = 1000.0
#: Rows of a vector network in which something is written at one site, each on another input.
_COPIES = 4


@dataclass(frozen=True)
class Fitness:
    """How rows may be run: ``ragged`` (token by token), ``whole`` (padded), ``fixed`` (all rows from the input to the
    logits) or ``""`` (not at all), ``why`` not better than that, and the largest relative ``error`` of the way that is
    taken. ``fault``: a mistake of this package that showed. ``exchanged``: the components that were given what another
    row has at the same site, and whose rows' logits moved."""

    way: str
    why: str
    error: float = 0.0
    fault: str = ""
    exchanged: frozenset[str] = frozenset()


def fitness(
    network: Network,
    prompts: InputRows,
    components: frozenset[str],
    shake: Shake,
    distance: Callable[[Tensor, Tensor], float],
    tolerance: float,
) -> Fitness:
    """Whether, and how, interventions may ride in one pass.

    A reason against it is a difference in numbers, a site that is refused, or what the model's own code raises; a mistake
    of this package is none, and is told apart (or raised, :data:`causal_dsl.base.faults.fall_back`).
    """
    why = unfit(network.facts) or ""
    if not why and layers_of(network.facts) != len(network.layers):
        why = f"{len(network.layers)} layers were found, but {layers_of(network.facts)} were expected"
    if why:
        return Fitness("", why)
    padded = pads(network.facts)
    reason, fault = padded or trims(network.facts) or "", ""
    attempt = _Attempt()
    for way in network.facts.traits.ways:
        if way == "ragged" and padded is not None:
            continue
        attempt = _try(network, prompts, components, shake, distance, tolerance, way)
        fault = fault or attempt.fault
        if not attempt.against:
            return Fitness(way, reason, attempt.error, fault, attempt.exchanged)
        reason = attempt.against
    return Fitness("", reason, attempt.error, fault)


@dataclass(frozen=True)
class _Attempt:
    """The outcome of a trial: the largest relative ``error``, what speaks ``against`` its way, and as in :class:`Fitness`."""

    error: float = 0.0
    against: str = ""
    fault: str = ""
    exchanged: frozenset[str] = frozenset()
    moved: bool = False
    raised: bool = False


def _try(
    network: Network,
    prompts: InputRows,
    components: frozenset[str],
    shake: Shake,
    distance: Callable[[Tensor, Tensor], float],
    tolerance: float,
    way: str,
) -> _Attempt:
    """One way, with noise; with larger noise where that reached nothing; and without where the network does not take it.

    Where nothing was seen to reach the logits nothing speaks against the way, and no component counts as exchanged: the
    interventions of a plan are then tried themselves before they are run (:mod:`causal_dsl.engine.trial`).
    """

    def attempt(noise: Shake | None) -> _Attempt:
        trial = _SweepTrial(network, prompts, components, noise, whole=way != "ragged", fixed=way == "fixed")
        try:
            error, moved = trial.compare(distance)
        except SpecError as refused:
            told = f"interventions cannot share one pass: {refused.diagnostics[0].title}"
            return _Attempt(against=told, raised=True)
        except Exception as raised:
            told, fault = f"interventions cannot share one pass: {faults.in_words(raised)}", ""
            if faults.is_ours(raised):
                faults.raise_if_strict(raised)
                fault = faults.told(raised)
            return _Attempt(against=told, fault=fault, raised=True)
        if not error <= tolerance:
            told = f"a pass with interventions differs from whole forward passes by {error:.1e} of their size"
            return _Attempt(error, told, moved=moved)
        return _Attempt(error, exchanged=trial.exchanged, moved=moved)

    found = attempt(shake)
    if found.raised and network.facts.traits.particular:
        return attempt(None)  # it may be made for whole numbers, say
    if not found.against and not found.moved:
        larger = attempt(enlarged(shake))
        if not larger.raised and larger.error < float("inf"):
            return larger
    return found


def enlarged(shake: Shake) -> Shake:
    """The same noise, a thousand times as large."""

    def shaken(seed: int) -> Callable[[Tensor], Tensor]:
        edit = shake(seed)
        return lambda old: old + _LARGER * (edit(old) - old)

    return shaken


@dataclass
class _Placed:
    """A write of one row at a token: noise from a seed, or what prompt ``taken`` [row, token] has at the site."""

    site: Site
    row: int
    position: int
    seed: int = 0
    taken: tuple[int, int] | None = None


@dataclass(eq=False)
class _SweepTrial:
    """Some interventions, run in one pass and by whole forward passes."""

    network: Network
    prompts: InputRows
    components: frozenset[str]
    #: None: nothing but what other prompts have at a site is written, which needs a vector network
    shake: Shake | None
    whole: bool
    fixed: bool = False
    writes: list[_Placed] = field(default_factory=list)
    #: the intervened rows whose logits moved
    stirred: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        network, prompts = self.network, self.prompts
        self.layers = len(network.layers)
        self.lengths = network.given.lengths_of(prompts)
        if not network.facts.traits.stream:
            self._place_vectors()
            return
        first = self._entering()
        self.home = np.arange(len(first)) % len(prompts)
        self.writes = [
            _Placed(site, i, min(i % 2, int(self.lengths[self.home[i]]) - 1), seed=i) for i, site in enumerate(first)
        ]
        for number, site in enumerate(self._every() if first else ()):
            # Attention weights are as wide as their prompt, so they go from token to token of the longest one.
            row = number % len(first) if site.component != "pattern" else 0
            length, other = int(self.lengths[self.home[row]]), (int(self.home[row]) + 1) % len(prompts)
            if site.component == "pattern":
                other = 0
            at = min(1, length - 1) if site.layer is not None else length - 1
            taken = (other, min(number % 2, int(self.lengths[other]) - 1))
            self.writes.append(_Placed(site, row, at, taken=taken))

    def _place_vectors(self) -> None:
        """At every site of the table, in each layer, what another input has there, and noise in each layer, all in rows of
        their own: in one row what is written later would hide what was written before."""
        count = len(self.prompts)
        layers = [Site("out", layer) for layer in range(self.layers)]
        sites = [(site, True) for site in self._every() if site.layer is None] + [(site, True) for site in layers]
        sites += [(site, False) for site in layers if self.shake is not None]
        for site, exchange in sites:
            for copy in range(_COPIES):
                row = len(self.writes)
                taken = ((row + 1 + copy) % count, 0) if exchange else None
                self.writes.append(_Placed(site, row, 0, seed=row, taken=taken))
        self.home = np.arange(len(self.writes)) % count

    def _entering(self) -> list[Site]:
        """The stream at a few layers (what enters at the first goes through all others), and sites of each kind inside one."""
        middle = self.layers // 2
        few = sorted({0, min(1, self.layers - 1), middle, self.layers - 1})
        sites = [Site("resid_pre", layer) for layer in few if "resid_pre" in self.components]
        inner = [name for name, about in COMPONENTS.items() if about.inner and name in self.components]
        return sites + [with_site(name, middle, self.network.facts) for name in inner]

    def _every(self) -> list[Site]:
        """Each site of the table that the network has, in a layer in the middle. What leaves whole modules is left out,
        and the logits: nothing lies behind them."""
        found = []
        for name, about in COMPONENTS.items():
            if not about.is_in(self.network.facts) or name not in self.components or name in ("module", "logits"):
                continue
            if self.whole and name in COMPARED:
                continue  # attention is not run apart, so nothing can be put there
            found.append(with_site(name, self.layers // 2, self.network.facts))
        return found

    @property
    def exchanged(self) -> frozenset[str]:
        """The components at which a row was given what another has, and its logits moved."""
        taken = [w for w in self.writes if w.taken is not None and w.row in self.stirred and self._reaches(w)]
        return frozenset(w.site.component for w in taken)

    def compare(self, distance: Callable[[Tensor, Tensor], float]) -> tuple[float, bool]:
        """The largest relative error of the logits of all rows, and whether noise reached any of them."""
        network, prompts, count = self.network, self.prompts, len(self.prompts)
        every = np.concatenate([np.arange(count), self.home])
        read = self.lengths[every] - 1
        columns = np.arange(0, network.facts.outputs or 1, 7) if network.facts.traits.by_record else None
        asked = [ReadRows(np.arange(len(every)), read), ReadRows(np.arange(len(every)), read, columns)]
        got = self._in_one_pass(asked, read)
        expected = forward(
            network, pick(prompts, every), (), self._by_forwards(), readout=torch.arange(len(every))
        ).logits
        assert expected is not None
        some = expected if columns is None else expected[:, torch.from_numpy(columns).to(expected.device)]
        patched, plain = expected[count:], expected[torch.from_numpy(self.home).to(expected.device)]
        moved = ~((patched == plain) | (patched.isnan() & plain.isnan())).all(dim=1)
        self.stirred = set(torch.nonzero(moved)[:, 0].tolist())
        return max(distance(got[0], expected), distance(got[1], some)), bool(self.stirred)

    def _in_one_pass(self, asked: list[ReadRows], read: np.ndarray) -> list[Tensor]:
        live = [write for write in self.writes if self._reaches(write)]
        first = len(self.lengths)
        table = Accesses.join(
            (np.array([first + w.row]), np.array([w.position]), *place_of(w.site, self.layers)) for w in live
        )
        taken = [write for write in live if write.taken is not None]
        reads = [
            SiteRead(w.site, torch.tensor([w.taken[0]]), torch.tensor([w.taken[1]]))
            for w in taken
            if w.taken is not None
        ]
        there = Accesses.join(
            (np.array([w.taken[0]]), np.array([w.taken[1]]), *place_of(w.site, self.layers))
            for w in taken
            if w.taken is not None
        )
        rules = Rules(late=not self.fixed, stop=not self.fixed, trim=trims(self.network.facts) is None)
        plan = schedule(PassRows(self.lengths, self.home, read, table, there), self.layers, rules, self.whole)
        found: dict[int, Tensor] = {}

        def value(number: int) -> Edit:
            def edit(old: Tensor) -> Tensor:
                if number not in found:
                    raise faults.OwnFault(f"`{taken[number].site}` is written before it was read")
                return found[number].to(old)

            return edit

        writes = []
        for write in live:
            edit = self._noise(write) if write.taken is None else value(taken.index(write))
            needs = () if write.taken is None else (write.site,)
            writes.append(
                SiteWrite(write.site, torch.tensor([first + write.row]), torch.tensor([write.position]), edit, needs)
            )
        return sweep(self.network, self.prompts, plan, reads, writes, asked, found.__setitem__).logits

    def _by_forwards(self) -> list[SiteWrite]:
        """All writes for whole forward passes, also those that reach nothing; what they take is read in a forward before."""
        taken = [write for write in self.writes if write.taken is not None]
        reads = [
            SiteRead(w.site, torch.tensor([w.taken[0]]), torch.tensor([w.taken[1]]))
            for w in taken
            if w.taken is not None
        ]
        found = forward(self.network, self.prompts, reads).reads
        values = {id(write): value for write, value in zip(taken, found, strict=True)}

        def edit(write: _Placed) -> Edit:
            return self._noise(write) if write.taken is None else lambda old: values[id(write)].to(old)

        first = len(self.lengths)
        return [
            SiteWrite(w.site, torch.tensor([first + w.row]), torch.tensor([w.position]), edit(w)) for w in self.writes
        ]

    def _noise(self, write: _Placed) -> Edit:
        assert self.shake is not None
        return self.shake(write.seed)

    def _reaches(self, write: _Placed) -> bool:
        length = self.lengths[self.home[write.row] : self.home[write.row] + 1]
        return bool(reaching(self.network.facts, write.site, np.array([write.position]), length, length - 1)[0])
