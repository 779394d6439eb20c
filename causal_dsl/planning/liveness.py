"""Which tokens of which rows are alive in each layer of a pass: what is computed, and nothing else.

A pass runs distinct prompts (its first rows) and rows that are intervened on. An intervened row is its prompt's run up
to its first written place, so it enters there; under causal attention its tokens before the first written one are
those of its prompt, so it carries only the tokens from there on and looks the earlier keys and values up in the
prompt's row. Going backwards from what is read, a token that nothing needs is not run at all: above its last use a
source stops, and in a row's last layer only the tokens that are read run in full, the others give keys and values alone.

This is arithmetic on indices. The sweep follows it and the predicted cost counts it, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

import numpy as np

from causal_dsl.base.faults import OwnFault
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Site

#: Where an access acts. ENTRY: on the residual stream as it enters the layer. POINT: inside it, where only its own
#: token feels it before the next layer. KEYS: inside it, where later tokens of the same layer feel it too. BOTTOM:
#: before the first layer, on what the network reads. ANYWHERE: at a place in the network that is not known.
ENTRY, POINT, KEYS, BOTTOM, ANYWHERE = range(5)
_PHASES = {"entry": ENTRY, "exit": ENTRY, "point": POINT, "keys": KEYS, "bottom": BOTTOM, "anywhere": ANYWHERE}


def place_of(site: Site, layers: int) -> tuple[int, int]:
    """The level and the phase at which a site is read or written."""
    acts = COMPONENTS[site.component].acts
    phase = _PHASES[acts]
    if phase >= BOTTOM:
        return 0, phase
    if site.layer is None:
        return layers, phase  # final_norm, logits
    return site.layer + (acts == "exit"), phase


def place_read(site: Site, layers: int, within: bool) -> tuple[int, int]:
    """The level and the phase at which a site is read; ``within`` a row that is intervened on, after its writes: the stream is
    then read as the layer above is given it, where it runs in full."""
    level, phase = place_of(site, layers)
    return level, POINT if within and phase == ENTRY else phase


@dataclass(frozen=True)
class Accesses:
    """Places that are read or written, as columns [m]: tokens ``positions`` of ``rows``, at a layer and a phase.

    The level is the layer, or the number of layers for what comes after the last one.
    """

    rows: np.ndarray
    positions: np.ndarray
    levels: np.ndarray
    phases: np.ndarray

    @classmethod
    def none(cls) -> Accesses:
        """No access at all."""
        return cls(*(np.zeros(0, np.int64) for _ in range(4)))

    @classmethod
    def join(cls, parts: Iterable[tuple[np.ndarray, np.ndarray, int, int]]) -> Accesses:
        """One table of many (rows, positions, level, phase)."""
        every = list(parts)
        if not every:
            return cls.none()
        counts = [len(rows) for rows, *_ in every]
        return cls(
            np.concatenate([rows for rows, *_ in every]).astype(np.int64),
            np.concatenate([positions for _, positions, *_ in every]).astype(np.int64),
            np.repeat([level for *_, level, _ in every], counts),
            np.repeat([phase for *_, phase in every], counts),
        )

    def where(self, kept: np.ndarray) -> Accesses:
        """Those that ``kept`` [m] names."""
        return Accesses(self.rows[kept], self.positions[kept], self.levels[kept], self.phases[kept])


@dataclass(frozen=True)
class Rules:
    """The savings that a pass may make. ``late``: rows enter at their first written place, not at the bottom. ``stop``: rows
    leave where nothing reads them any more. ``trim``: rows carry the tokens alone that they must (causal attention).
    ``thin``: a layer runs some tokens of a row alone, or for their keys and values only."""

    late: bool = True
    stop: bool = True
    trim: bool = True
    thin: bool = True


@dataclass(frozen=True)
class PassRows:
    """The rows of a pass, prompts first.

    ``lengths`` [prompts] in tokens; ``home`` [others] the prompt of each intervened row; ``read`` [rows] the token
    whose logits are wanted, -1 for none.
    """

    lengths: np.ndarray
    home: np.ndarray
    read: np.ndarray
    writes: Accesses = field(default_factory=Accesses.none)
    reads: Accesses = field(default_factory=Accesses.none)


@dataclass(frozen=True)
class LiveTokens:
    """The tokens that one layer runs: ``rows``, ``positions`` [n]; those of ``keys_rows``, ``keys_positions`` [k] give
    keys and values only. ``source`` [n + k] is where each lies at the level before (at the bottom: in the padded
    batch), None where nothing moves. ``slots`` [rows, width] is where each token lies, -1 where it is not there."""

    rows: np.ndarray
    positions: np.ndarray
    keys_rows: np.ndarray
    keys_positions: np.ndarray
    source: np.ndarray | None
    slots: np.ndarray = field(repr=False)

    @property
    def tokens(self) -> int:
        return len(self.rows)

    @property
    def keys_only(self) -> int:
        return len(self.keys_rows)

    def at(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Where tokens lie among these [m]; -1 for those that do not run in full."""
        found = self.slots[rows, positions]
        return np.where(found < self.tokens, found, -1)


@dataclass(frozen=True)
class Schedule:
    """``levels[l]`` is what layer l runs, the last one what reaches the final norm.

    ``lengths`` [rows] in tokens; ``home`` [rows] the prompt of each row (itself, where it is one); ``batch`` the rows
    that the network reads as input: the prompts, then the rows that are written before the first layer.
    """

    levels: tuple[LiveTokens, ...]
    lengths: np.ndarray
    home: np.ndarray
    batch: np.ndarray
    width: int
    whole: bool

    @property
    def layer_tokens(self) -> int:
        """Tokens that run in full, over all layers."""
        return sum(live.tokens for live in self.levels[:-1])

    @property
    def key_tokens(self) -> int:
        """Tokens of which only keys and values are computed, over all layers."""
        return sum(live.keys_only for live in self.levels[:-1])

    def find(self, level: int, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Where tokens lie at a level [m], full or keys alone: a row that does not carry one has its prompt's; else -1."""
        slots = self.levels[level].slots
        own = slots[rows, positions]
        return np.where(own >= 0, own, slots[self.home[rows], positions])

    def keys(self, level: int, rows: np.ndarray, width: int) -> np.ndarray:
        """Where the keys of the tokens 0 to ``width`` - 1 lie for each row [m, width]; 0 where a row may look at none."""
        slots = self.levels[level].slots
        own = slots[rows, :width]
        return np.maximum(np.where(own >= 0, own, slots[self.home[rows], :width]), 0)


def schedule(rows: PassRows, layers: int, rules: Rules = Rules(), whole: bool = False) -> Schedule:
    """The live tokens of a pass through ``layers`` layers.

    ``whole``: rows are run with all their tokens, padded to the longest, or not at all; that is what attention that
    looks both ways allows, and networks without tokens.
    """
    return _Scheduling(rows, layers, rules, whole).run()


class _Scheduling:
    def __init__(self, rows: PassRows, layers: int, rules: Rules, whole: bool):
        self.given, self.layers, self.whole, self.stop = rows, layers, whole, rules.stop
        self.trim = rules.trim and not whole
        self.thin = rules.thin and self.trim
        self.prompts = len(rows.lengths)
        self.home = np.concatenate([np.arange(self.prompts), rows.home]).astype(np.int64)
        self.lengths = rows.lengths[self.home]
        self.width = int(rows.lengths.max(initial=1))
        self.places = np.arange(self.width)
        self.inside = self.places[None, :] < (self.width if whole else self.lengths[:, None])
        self.others: np.ndarray = np.arange(len(self.home)) >= self.prompts
        writes = rows.writes
        levels = writes.levels if rules.late else np.zeros_like(writes.levels)
        #: the layer that each row enters at; one past the end where it never does
        self.enters = np.where(self.others, layers + 1, 0)
        np.minimum.at(self.enters, writes.rows, levels)
        #: rows that the network itself reads, beside the prompts
        self.bottom = np.zeros(len(self.home), bool)
        self.bottom[writes.rows[(writes.phases >= BOTTOM) | (not rules.late)]] = True
        #: rows that enter inside their first layer, with the written tokens alone
        self.within = self.others & ~self.bottom & (self.enters < layers) & self.thin
        firsts = levels == self.enters[writes.rows]
        self.within[writes.rows[firsts & (writes.phases != POINT)]] = False
        #: the first token that each row carries, level by level
        self.first = np.where(self.others[:, None], self.width, 0) + np.zeros((1, layers + 1), np.int64)
        np.minimum.at(self.first, (writes.rows, levels), writes.positions)
        self.first = np.minimum.accumulate(self.first, axis=1)
        if not self.trim:
            self.first[:] = 0
        self.writes = _by_level(writes, layers + 1)
        self.reads = _by_level(rows.reads, layers + 1)
        self.everywhere = [a.where(a.phases == ANYWHERE) for a in (writes, rows.reads)]

    # ── backwards: what is needed ───────────────────────────────────────────────────────────────

    def run(self) -> Schedule:
        needed = np.zeros((len(self.home), self.width), bool)
        reading = np.nonzero(self.given.read >= 0)[0]
        needed[reading, self.given.read[reading]] = True
        full = self._layer(needed, self.layers)[0]
        picked, keys = [full], [np.zeros_like(full)]
        needed = self._enter(full, self.layers)
        for layer in range(self.layers - 1, -1, -1):
            full, only = self._layer(needed, layer)
            picked.append(full)
            keys.append(only)
            needed = self._enter(full | only, layer)
        return self._levels(picked[::-1], keys[::-1])

    def _layer(self, needed: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens that a layer runs in full, and those of which it computes keys and values alone.

        ``needed`` are the tokens that must come out of it; past the last layer, those that the final norm is given.
        """
        needed = needed.copy()
        reads, last = self.reads[layer], layer == self.layers
        inner = reads.where((reads.phases == POINT) | (reads.phases == KEYS))
        for access in (inner, *self.everywhere):
            needed[access.rows, access.positions] = True
        # A row that has not entered, or does not carry the token, has its prompt's.
        carried = (self.enters[:, None] <= layer) & (self.places[None, :] >= self.first[:, layer][:, None])
        self._move(needed, needed & ~carried)
        # Inside its first layer a row has only what is written; past the last one nothing looks at other tokens.
        within = self.enters == layer
        within &= self.others & ~self.bottom if last else self.within
        if within.any():
            written = np.zeros_like(needed)
            written[self.writes[layer].rows, self.writes[layer].positions] = True
            self._move(needed, needed & within[:, None] & ~written)
        if last and not self.whole:
            return needed, np.zeros_like(needed)
        if not self.stop:
            needed |= (~self.others)[:, None] & self.inside
        if not self.trim:
            return needed.any(axis=1, keepdims=True) & self.inside, np.zeros_like(needed)
        # Keys reach from the first token to the last one that is run.
        reach = np.where(needed.any(1), self.width - 1 - needed[:, ::-1].argmax(1), -1)
        writes = self.writes[layer]
        seen = (writes.phases == KEYS) & (writes.positions <= reach[writes.rows])
        needed[writes.rows[seen], writes.positions[seen]] = True
        keys = self.places[None, :] <= reach[:, None]
        self._move(keys, keys & ~needed & (~carried | within[:, None]))
        keys &= ~needed
        return (needed, keys) if self.thin else (needed | keys, np.zeros_like(needed))

    def _move(self, tokens: np.ndarray, lacking: np.ndarray) -> None:
        """Whatever a row lacks, its prompt must have."""
        lacking[: self.prompts] = False
        rows, positions = np.nonzero(lacking)
        tokens[rows, positions] = False
        tokens[self.home[rows], positions] = True

    def _enter(self, tokens: np.ndarray, level: int) -> np.ndarray:
        """The tokens that must have come out of the layer below for ``tokens`` to be there at the entry of ``level``."""
        needed = tokens.copy()
        fresh = (self.enters == level) & ~self.bottom
        taken = tokens & fresh[:, None]
        if level:
            taken |= tokens & (self.places[None, :] < self.first[:, level - 1][:, None])
        self._move(needed, taken)
        reads = self.reads[level]
        for access in (reads.where(reads.phases == ENTRY), self.everywhere[1]):
            needed[access.rows, access.positions] = True
        return needed

    # ── forwards: where everything lies ─────────────────────────────────────────────────────────

    def _levels(self, picked: list[np.ndarray], keys: list[np.ndarray]) -> Schedule:
        batch = np.concatenate([np.arange(self.prompts), np.nonzero(self.bottom)[0]])
        place = np.full(len(self.home), -1)
        place[batch] = np.arange(len(batch))
        slots = np.where((place[:, None] >= 0) & self.inside, place[:, None] * self.width + self.places[None, :], -1)
        total, levels = -1, []
        for full, only in zip(picked, keys, strict=True):
            rows, positions = np.nonzero(full)
            keys_rows, keys_positions = np.nonzero(only)
            every = np.concatenate([rows, keys_rows]), np.concatenate([positions, keys_positions])
            source = slots[every]
            missing = source < 0
            source[missing] = slots[self.home[every[0][missing]], every[1][missing]]
            if not (source >= 0).all():
                raise OwnFault("a token is used before it is computed")
            still = len(source) == total and bool((source == np.arange(total)).all())
            slots = np.full_like(slots, -1)
            slots[every] = np.arange(len(source))
            levels.append(LiveTokens(rows, positions, keys_rows, keys_positions, None if still else source, slots))
            total = len(rows)
            if len(keys_rows):  # what gives keys alone does not come out of the layer
                slots = np.where(slots < total, slots, -1)
        return Schedule(tuple(levels), self.lengths, self.home, batch, self.width, self.whole)


def _by_level(accesses: Accesses, levels: int) -> list[Accesses]:
    order = np.argsort(accesses.levels, kind="stable")
    bounds = np.searchsorted(accesses.levels[order], np.arange(levels + 1))
    return [accesses.where(order[bounds[level] : bounds[level + 1]]) for level in range(levels)]
