"""The part of a pass that training never changes, run once: prompts, kept so that only what is written goes on.

A row that is written at a token of some layer is its prompt's run up to there. So the prompts are run once, and of them is
kept what such rows need: the residual stream where a row enters, and the keys and values of all layers from there on. A
step of a fit then runs the written tokens alone, and gradients begin at the written place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.network import Network
from causal_dsl.network.sending import sent
from causal_dsl.network.sweep.drive import Pass, PassOutcome, ReadRows, SiteRead, SiteWrite
from causal_dsl.network.sweep.thin import turned
from causal_dsl.network.tape import reads_in
from causal_dsl.planning.liveness import (
    ANYWHERE,
    BOTTOM,
    ENTRY,
    POINT,
    Accesses,
    LiveTokens,
    PassRows,
    Rules,
    Schedule,
    place_of,
    schedule,
)
from causal_dsl.vocabulary.locations import Site

#: tokens of prompts, as columns: the prompt's row, and the position
_Tokens = tuple[np.ndarray, np.ndarray]
#: Hears what was read: the number of the read, which of its places [k] (of all of them), and the vectors [k, width].
Keep = Callable[[int, Tensor, Tensor], None]


@dataclass(eq=False)
class Prefixes:
    """The kept beginnings of prompts: ``start[prompt]`` is where its tokens begin among all tokens.

    ``hidden[level]`` [some, width] enters that layer, and ``slots[level]`` [tokens] says which of it is each token's (-1:
    not kept); ``keys[level]``, ``values[level]`` [tokens, heads, size] are as
    attention compares them. ``tuples[level]``: how many things a layer gives, 0 for a bare tensor.
    """

    start: np.ndarray
    lengths: np.ndarray
    hidden: dict[int, Tensor] = field(default_factory=dict)
    slots: dict[int, np.ndarray] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    tuples: dict[int, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much is kept."""
        every = [*self.hidden.values(), *self.keys.values(), *self.values.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in every)

    def tokens(self, prompts: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Where tokens of prompts lie among all [m]."""
        found: np.ndarray = self.start[prompts] + positions
        return found


def cacheable(sites: Sequence[Site], layers: int) -> bool:
    """Whether rows written at these sites enter where it is known, so that what lies before can be kept."""
    places = [place_of(site, layers) for site in sites]
    return all(phase not in (BOTTOM, ANYWHERE) and (level < layers or phase == ENTRY) for level, phase in places)


def entered_at(site: Site, layers: int) -> tuple[int, ...]:
    """The layers at which a row that is written at a site takes tokens over from its prompt: where it is written, and
    after a layer in which it had its written tokens alone."""
    level, phase = place_of(site, layers)
    return (level, level + 1) if phase == POINT and level < layers else (level,)


def cache_bytes(network: Network, lengths: np.ndarray, entries: Mapping[int, np.ndarray]) -> int:
    """How many bytes the prefixes of prompts of these ``lengths`` take (``entries`` as in :func:`record`)."""
    facts = network.facts
    each = 2 * (facts.kv_heads or facts.heads or 1) * (facts.head_dim or 1) * (len(network.layers) - min(entries))
    entering = sum(int(np.maximum(lengths - first, 0).sum()) for first in entries.values())
    size = torch.empty((), dtype=network.dtype).element_size()
    return (int(lengths.sum()) * each + entering * (facts.width or 0)) * size


@torch.no_grad()
def record(
    network: Network,
    prompts: Sequence[Sequence[int]],
    entries: Mapping[int, np.ndarray],
    reads: Sequence[SiteRead],
    keep: Keep,
    most: int,
    passed: Callable[[int], None] | None = None,
    only: np.ndarray | None = None,
) -> Prefixes:
    """Run prompts, ``most`` tokens at a time, and keep what rows that are written need of them.

    ``entries[level]`` [prompts] is the first token of each prompt that a row takes over as it enters that layer; its
    length or more, where none does.
    ``reads`` are of prompts (rows in order); ``keep(number, part, values)`` hears what was read of each, in pieces.
    ``only`` [prompts]: of those where it is false nothing but what is read is kept, and they run no further.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    start = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else np.zeros(0, np.int64)
    found = Prefixes(start, lengths)
    which = np.repeat(np.arange(len(prompts)), lengths)
    places = np.arange(int(lengths.sum())) - start[which]
    for level, first in entries.items():
        taken = places >= first[which]
        found.slots[level] = np.where(taken, np.cumsum(taken) - 1, -1)
    whole = np.ones(len(prompts), bool) if only is None else only
    for kept in (True, False):
        order, at = np.nonzero(whole == kept)[0], 0
        while at < len(order):
            size = max(1, most // int(lengths[order[at : at + max(1, most)]].max()))
            part = order[at : at + size]
            _record_part(network, prompts, part, entries if kept else {}, reads, keep, found, passed)
            at += len(part)
    return found


def _record_part(
    network: Network,
    prompts: Sequence[Sequence[int]],
    part: np.ndarray,
    entries: Mapping[int, np.ndarray],
    reads: Sequence[SiteRead],
    keep: Keep,
    found: Prefixes,
    passed: Callable[[int], None] | None,
) -> None:
    place = np.full(len(prompts), -1)
    place[part] = np.arange(len(part))
    here, picks = reads_in(reads, place)
    lengths = found.lengths[part]
    layers = len(network.layers)
    table = Accesses.join(
        (
            np.asarray(read.rows),
            np.zeros(len(read.rows), np.int64) if read.positions is None else read.positions.numpy(),
            *place_of(read.site, layers),
        )
        for read in here
    )
    rows_ = PassRows(lengths, np.zeros(0, np.int64), np.full(len(part), -1), reads=table)
    plan = schedule(rows_, layers, _EVERYTHING if entries else Rules())
    if not entries and not len(table.rows):
        return
    recording = _Record(
        network, [prompts[i] for i in part.tolist()], plan, here, entries, found, int(found.lengths.sum())
    )

    def told(number: int, values: Tensor) -> None:
        keep(*picks[number], values)

    recording.tape.keep = told
    recording.passed = passed
    recording.at = found.tokens(np.repeat(part, lengths), np.concatenate([np.arange(n) for n in lengths]))
    recording.run()


_EVERYTHING = Rules(late=False, stop=False, trim=False, thin=False)


class _Record(Pass):
    """A pass of prompts alone that keeps what enters some layers, and all keys and values above the lowest of them."""

    def __init__(
        self,
        network: Network,
        prompts: Sequence[Sequence[int]],
        plan: Schedule,
        reads: list[SiteRead],
        entries: Iterable[int],
        found: Prefixes,
        total: int,
    ):
        super().__init__(network, prompts, plan, reads, [], [], None, None, False)
        self.entries, self.found, self.total = sorted(set(entries)), found, total
        #: where the tokens of this part lie among all [tokens]
        self.at = np.zeros(0, np.int64)

    def _room(self, where: dict[int, Tensor], level: int, like: Tensor, rows: int) -> Tensor:
        if level not in where:
            where[level] = like.new_empty((rows, *like.shape[1:]))
        return where[level]

    def _enter(self, hidden: Tensor, level: int) -> Tensor:
        if level == len(self.layers):  # where the pass may end
            self._keep(hidden, level)
            return super()._enter(hidden, level)
        hidden = super()._enter(hidden, level)
        self._keep(hidden, level)
        return hidden

    def _keep(self, hidden: Tensor, level: int) -> None:
        if level in self.entries:
            slots = self.found.slots[level]
            mine = slots[self.at]
            taken = sent(np.nonzero(mine >= 0)[0], hidden.device)
            room = self._room(self.found.hidden, level, hidden, int(slots.max(initial=-1)) + 1)
            room[sent(mine[mine >= 0], hidden.device)] = hidden.index_select(0, taken)

    def _after(self, level: int) -> Callable[..., Any]:
        after = super()._after(level)

        def noted(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            self.found.tuples[level] = len(output) if isinstance(output, tuple | list) else 0
            return after(module, args, output)

        return noted

    def _all_keys(self, level: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        k, v = super()._all_keys(level, k, v)
        if self.entries and level >= self.entries[0]:
            for where, tensor in ((self.found.keys, k), (self.found.values, v)):
                rows = tensor[0].transpose(0, 1)
                self._room(where, level, rows, self.total)[sent(self.at, rows.device)] = rows
        return k, v


@dataclass(frozen=True, eq=False)
class Going:
    """Rows that go on from kept prefixes, laid out: ``plan`` is what runs of them, ``which`` [prompts] are the kept
    prompts that they are of, ``fresh`` and ``cached`` what each level takes from what is kept."""

    plan: Schedule
    which: np.ndarray
    fresh: list[_Tokens]
    cached: list[_Tokens]


def going(network: Network, which: np.ndarray, rows: PassRows) -> Going:
    """Lay out rows that are written; the prompts of ``rows`` are those of ``which`` [prompts] that were recorded."""
    plan = schedule(rows, len(network.layers), Rules())
    own, fresh, cached = _without_prompts(plan, len(which))
    return Going(own, which, fresh, cached)


def replay(
    network: Network,
    prompts: Sequence[Sequence[int]],
    found: Prefixes,
    rows: Going,
    writes: Sequence[SiteWrite],
    asked: Sequence[ReadRows],
) -> PassOutcome:
    """Run rows that are written, on ``prompts`` whose prefixes are kept: as a pass of the prompts with them would.

    Gradients are as the caller sets them.
    """
    ids = [prompts[i] for i in rows.which.tolist()]
    return _Replay(network, ids, rows, list(writes), list(asked), found).run()


def _without_prompts(plan: Schedule, prompts: int) -> tuple[Schedule, list[_Tokens], list[_Tokens]]:
    """A schedule without its prompts' tokens; for each level the tokens that rows take over there from their prompts,
    and the prompts' tokens that are looked at."""
    levels, fresh, cached = [], [], []
    before: LiveTokens | None = None
    for live in plan.levels:
        full, only = live.rows >= prompts, live.keys_rows >= prompts
        mine = np.concatenate([full, only])
        source = np.arange(len(mine)) if live.source is None else live.source
        source = source[mine]
        if before is None:
            rows, positions = source // plan.width, source % plan.width
            theirs = np.ones(len(source), bool)
            kept = 0
        else:
            rows, positions = before.rows[source], before.positions[source]
            theirs = rows < prompts
            kept = int((before.rows >= prompts).sum())
            source = source - int((before.rows < prompts).sum())
        taken = np.where(theirs, kept + np.cumsum(theirs) - 1, source)
        fresh.append((rows[theirs], positions[theirs]))
        looked = (
            np.concatenate([live.rows[~full], live.keys_rows[~only]]),
            np.concatenate([live.positions[~full], live.keys_positions[~only]]),
        )
        cached.append(looked)
        every = (
            np.concatenate([live.rows[full], live.keys_rows[only], looked[0]]),
            np.concatenate([live.positions[full], live.keys_positions[only], looked[1]]),
        )
        slots = np.full_like(live.slots, -1)
        slots[every] = np.arange(len(every[0]))
        still = len(taken) == kept and bool((taken == np.arange(kept)).all())
        levels.append(
            LiveTokens(
                live.rows[full],
                live.positions[full],
                live.keys_rows[only],
                live.keys_positions[only],
                None if still else taken,
                slots,
            )
        )
        before = live
    batch = np.arange(prompts)
    return Schedule(tuple(levels), plan.lengths, plan.home, batch, plan.width, plan.whole), fresh, cached


class _Replay(Pass):
    """A pass of written rows alone: layers below the first of them hand on what they are given."""

    def __init__(
        self,
        network: Network,
        prompts: Sequence[Sequence[int]],
        rows: Going,
        writes: list[SiteWrite],
        asked: list[ReadRows],
        found: Prefixes,
    ):
        super().__init__(network, prompts, rows.plan, [], writes, asked, None, None, False)
        self.found, self.which, self.fresh, self.cached = found, rows.which, rows.fresh, rows.cached
        self.lowest = next(i for i, live in enumerate(rows.plan.levels) if live.tokens + live.keys_only)

    def _hook(self, stack: ExitStack) -> None:
        for level, layer in enumerate(self.layers[: self.lowest]):
            stack.callback(_restored(layer, _handing(self.found.tuples[level])))
        if self.lowest == len(self.layers):  # all rows enter behind the last layer
            last = len(self.layers) - 1
            stack.callback(self.layers[last].register_forward_hook(self._after(last)).remove)
        turned(self.layers[self.lowest :], stack)
        super()._hook(stack)

    def _index_of(self, tokens: _Tokens, like: torch.device, slots: np.ndarray | None = None) -> Tensor:
        index = self.found.tokens(self.which[tokens[0]], tokens[1])
        if slots is not None:
            index = slots[index]
            assert (index >= 0).all(), "a token enters that was not kept"
        return sent(index, like)

    def _enter(self, hidden: Tensor, level: int) -> Tensor:
        if len(self.fresh[level][0]):
            kept = self.found.hidden[level]
            taken = kept.index_select(0, self._index_of(self.fresh[level], kept.device, self.found.slots[level]))
            hidden = taken if level == self.lowest else torch.cat([hidden, taken])
        return super()._enter(hidden, level)

    def _all_keys(self, level: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        k, v = super()._all_keys(level, k, v)
        looked = self.cached[level]
        if not len(looked[0]):
            return k, v
        index = self._index_of(looked, k.device)
        more = [
            where[level].index_select(0, index).transpose(0, 1)[None] for where in (self.found.keys, self.found.values)
        ]
        return torch.cat([k, more[0]], dim=2), torch.cat([v, more[1]], dim=2)


def _handing(count: int) -> Callable[..., Any]:
    def hand_on(hidden: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden, *[None] * (count - 1)) if count else hidden

    return hand_on


def _restored(layer: nn.Module, stand_in: Callable[..., Any]) -> Callable[[], None]:
    """Let a layer do something else until the given function is called."""
    before = vars(layer).get("forward")
    layer.forward = stand_in

    def restore() -> None:
        del layer.forward
        if before is not None:
            layer.forward = before

    return restore
