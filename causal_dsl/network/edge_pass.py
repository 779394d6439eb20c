"""Many interventions on edges as the rows of one forward pass: what :mod:`causal_dsl.network.edges` does receiver by receiver, as sums
over masks.

The output projection of the heads of a layer is applied to what changes in each head, once for all later receivers while what that
gives is kept, else once for those of each layer; the sums over the edges of each receiver are then one product with their masks.
Receivers whose edges are equal share one sum, and one without patched edges takes the stream itself. Where a norm is behind the
projection, its input is mixed for each distinct sum, since a norm is not linear. There is never a tensor for each edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.batches import Batch, Points
from causal_dsl.network.edge_norms import read_as_it_is
from causal_dsl.network.edge_projections import EdgeProjections, weight_of
from causal_dsl.network.edge_terms import Room, SentChange, SentTerms, SentWrites, TermBlocks
from causal_dsl.network.edges import Edges, EdgeWrite
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.planning.edge_room import AHEAD, RUN_TOGETHER
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import HEAD_PORTS, Port


@dataclass(eq=False)
class _Ahead:
    """Sums that are begun for receivers before they run: ``sums`` [groups, rows, tokens, width], of which ``groups`` by what they
    are given; ``numbers`` are a receiver of each, and ``done`` how many senders each sum has."""

    groups: dict[bytes, int]
    numbers: list[int]
    sums: Tensor
    done: list[int] = field(default_factory=list)

    def add(self, edges: EdgePass, wanted: Sequence[int]) -> None:
        """Add the senders that have run since to some groups; to all where the sums are new."""
        if not self.done:
            self.done, wanted = [0] * len(self.numbers), range(len(self.numbers))
        start = 0
        while start < len(wanted):  # groups next to each other that have the same senders
            end = start + 1
            while end < len(wanted) and wanted[end] == wanted[end - 1] + 1:
                if self.done[wanted[end]] != self.done[wanted[start]]:
                    break
                end += 1
            one = slice(wanted[start], wanted[end - 1] + 1)
            done = self.done[one.start]
            late = [sender for sender in edges.senders[done:] if sender.factor is not None]
            edges.add(self.sums[one], edges.terms_for(late, self.numbers[one]), new=not done)
            self.done[one] = [len(edges.senders)] * (end - start)
            start = end


class EdgePass(Edges):
    """The hooks of one forward pass in which the rows of many interventions run together."""

    def __init__(self, network: Network, batch: Batch, writes: Sequence[EdgeWrite], room: Room | None = None):
        super().__init__(network, batch, writes)
        self.room = room or Room()
        self.senders: list[SentChange] = []
        #: the tokens [rows, tokens] at which receivers are given sums from zero on, and what these begin with: what no sender gives
        self.emptied: Tensor | None = None
        self.rest: Tensor | None = None
        sites = {(write.write.site.component, write.write.site.layer) for write in writes}
        self.blocks = TermBlocks(self.room, sum(self._heads_of(component) for component, _ in sites))
        self.projections = EdgeProjections(network, self.room)
        self.ahead = _Ahead({}, [], torch.empty(0))
        self._numbers = {port: writes[0].to.ports.number(port) for port in self.ports}
        self._mlps = {port.layer: [port] for port in self.ports if port.kind == "mlp"}
        self._tables: dict[int, np.ndarray] = {}

    def note(self, component: str, layer: int | None, tensor: Tensor, mine: Sequence[int]) -> None:
        sender = SentChange(component, layer, tensor, self._factor(component, layer))
        for number in mine:
            points, tap, _, gap = self.made(number, tensor)
            self._put(sender, number, points, tap, gap)
        self.senders.append(sender)
        if component == "embed":
            self.add_up(component, layer, tensor)  # what else the first layer reads is what no sender gives
        if self.adding:
            self._empty(sender)

    def _empty(self, sender: SentChange) -> None:
        """At tokens where zeros are written at all senders, receivers are given a sum from zero on: nothing but biases behind the
        heads, and the senders whose edges are left."""
        for part in sender.parts:
            emptied = torch.from_numpy(np.array(part.emptied)[part.code.cpu().numpy()]).to(part.code.device)
            self.emptied = emptied if self.emptied is None else self.emptied | emptied.to(self.emptied.device)
        if isinstance(sender.factor, Tensor):
            self.inner = True
            try:
                bias = self.tail(sender.component, sender.layer)(torch.zeros_like(sender.tensor[:1, :1]))
            finally:
                self.inner = False
            self.rest = bias if self.rest is None else self.rest + bias.to(self.rest.device)

    def left_over(self, rest: Tensor) -> None:
        self.rest = rest

    def _start(self, stream: Tensor) -> Tensor:
        """The base that the sums of receivers are added to: the stream, and nothing but biases where zeros are written."""
        if self.emptied is None or not bool(self.emptied.any()):
            return stream
        rest = torch.zeros((), device=stream.device) if self.rest is None else self.rest
        return torch.where(self.emptied[..., None].to(stream.device), rest.to(stream), stream)

    def _put(self, sender: SentChange, number: int, points: Points, tap: Tap, gap: Tensor) -> None:
        """Into the first part none of whose tokens it meets."""
        shape, index = sender.tensor.shape, points.on(sender.tensor.device)
        if tap.columns is not None and not (isinstance(tap.spot, slice) and gap.shape[-1] == shape[-1]):
            whole = gap.new_zeros(*gap.shape[:-1], shape[-1])
            gap = whole.index_copy_(-1, tap.columns.to(gap.device), gap)
        part = next((part for part in sender.parts if not bool(part.code[index].any())), None)
        if part is None:
            code = torch.zeros(shape[:2], dtype=torch.long, device=sender.tensor.device)
            heads = self._heads_of(sender.component)
            every = points.every and len(gap) == code.numel()
            room = gap.reshape(shape) if every else torch.zeros_like(sender.tensor).index_put_(index, gap)
            part = SentWrites(room, code, [np.zeros((heads, self.count), np.int8)])
            sender.parts.append(part)
        else:
            assert part.gap is not None  # terms are made once all writes of a sender are noted
            part.gap.index_put_(index, gap)
        part.code.index_put_(index, torch.tensor(len(part.masks), device=part.code.device))
        zero, bits = self.writes[number].zero, self._bits(number, self._heads_of(sender.component)).astype(np.int8)
        # what is put there is 0 and what changes is all that was there: less that, from zero on, is what is left
        part.masks.append(bits - 1 if zero else bits)
        part.emptied.append(zero)

    @property
    def count(self) -> int:
        """How many receivers there are."""
        return len(self.writes[0].to.ports)

    def _heads_of(self, component: str) -> int:
        return (self.network.facts.heads or 1) if component == "z" else 1

    def _bits(self, number: int, heads: int) -> np.ndarray:
        """The masks of a write [heads, receivers]."""
        if number in self._tables:
            return self._tables[number]
        write = self.writes[number]
        found = np.zeros((heads, self.count), np.uint8)
        own = write.write.site.heads if heads > 1 else (0,)
        for head, mask in zip(own or range(heads), write.to.masks, strict=True):
            raw = np.frombuffer(mask.to_bytes((self.count + 7) // 8, "little"), np.uint8)
            found[head] = np.unpackbits(raw, bitorder="little")[: self.count]
        self._tables[number] = found
        return found

    def given(self, ports: Sequence[Port], stream: Tensor) -> Iterator[tuple[list[Port], Tensor]]:
        start = self._start(stream)
        for same, sums in self._sums(ports):
            yield same, start + sums.to(stream.device)

    def _sums(self, ports: Sequence[Port]) -> Iterator[tuple[list[Port], Tensor]]:
        """Receivers that are given the same, and how much more that is than the stream, or than nothing where all senders are
        written [rows, tokens, width]."""
        alike: dict[bytes, list[Port]] = {}
        for port in ports:
            key = self._key(port)
            if any(key):
                alike.setdefault(key, []).append(port)
        if not alike or not self.senders:
            return
        if any(key not in self.ahead.groups for key in alike):
            self._look_ahead(ports)
        wanted = {self.ahead.groups[key] for key in alike}
        if ports[0].kind in HEAD_PORTS:
            # the MLP's sum is next: it has the same senders but for the heads of this layer
            wanted |= {self.ahead.groups.get(self._key(port), -1) for port in self._mlps.get(ports[0].layer, ())} - {-1}
        self.ahead.add(self, sorted(wanted))
        bent = self._bent(list(alike.values()))
        for n, (key, same) in enumerate(alike.items()):
            found = self.ahead.sums[self.ahead.groups[key]]
            yield same, found if bent is None else found + bent[n]

    def _key(self, port: Port) -> bytes:
        """The key of all writes that a receiver is given: receivers with one key are given the same."""
        return self._keys[self._numbers[port]]

    @cached_property
    def _keys(self) -> list[bytes]:
        """The masks of all writes, receiver by receiver."""
        own = [self._bits(n, self._heads_of(write.write.site.component)) for n, write in enumerate(self.writes)]
        return [one.tobytes() for one in np.ascontiguousarray(np.concatenate(own).T)]

    def _look_ahead(self, ports: Sequence[Port]) -> None:
        """Begin the sums of these receivers, and of those that come next, from all senders that have run: one product for several
        layers costs little more than one for each."""
        number = self._numbers.__getitem__
        first = min(map(number, ports))
        groups: dict[bytes, int] = {}
        numbers: list[int] = []
        now = set(ports)
        for port in [*ports, *(port for port in self.ports if number(port) > first)]:
            if len(numbers) >= AHEAD and port not in now:
                break
            key = self._key(port)
            if any(key) and key not in groups:
                groups[key] = len(numbers)
                numbers.append(number(port))
        tensor = self.senders[0].tensor
        shape = (len(numbers), *tensor.shape[:2], self.network.facts.width or tensor.shape[-1])
        self.ahead = _Ahead(groups, numbers, self.room.take("sums", 0, shape, tensor))

    def terms_for(self, senders: Sequence[SentChange], numbers: Sequence[int]) -> list[SentTerms]:
        """Of some senders the terms that reach any of these receivers."""
        found = []
        for sender in senders:
            for part in sender.parts:
                table = np.stack(part.masks)[:, :, numbers]
                if table.any():
                    found.append(SentTerms(sender, part, table))
        return found

    def _bent(self, groups: Sequence[Sequence[Port]]) -> Tensor | None:
        """The changes of senders, or their values where all are written, behind whose projection is more than a factor [groups, rows, tokens,
        width]; None without any."""
        numbers = [self._numbers[same[0]] for same in groups]
        together = self.terms_for([sender for sender in self.senders if sender.factor is None], numbers)
        if not together:
            return None
        sums = torch.zeros(len(groups), *self.ahead.sums.shape[1:]).to(self.ahead.sums)
        self.inner = True
        try:
            for sender in self.senders:
                sender.mixed.clear()
            for terms in together:
                self._mixed(sums, terms)
        finally:
            self.inner = False
        return sums

    def add(self, sums: Tensor, linear: Sequence[SentTerms], new: bool = False) -> None:
        """Add the terms of some senders to the sums of the groups [groups, rows, tokens, width]; ``new`` sums hold nothing yet."""
        groups = sums.shape[0]
        for block, own in self.blocks.of(linear, sums):
            first, last = min(at for _, at in own), max(at + terms.heads for terms, at in own)
            flat, own = block.terms[first:last], [(terms, at - first) for terms, at in own]
            codes = [terms.part.of_rows for terms, _ in own]
            if any(code is None for code in codes):
                weights = self._weights(own, len(flat), groups, [t.part.code.cpu().numpy().ravel() for t, _ in own])
                mixed = torch.from_numpy(weights).to(sums) @ flat.flatten(1, 2).transpose(0, 1)
                more = mixed.transpose(0, 1).unflatten(1, sums.shape[1:3])
                if new:
                    sums.copy_(more)
                else:
                    sums += more
                new = False
                continue
            # Rows next to each other that have the same masks, as those of one intervention have, are one product.
            each = np.stack(codes)  # type: ignore[arg-type]
            starts = np.flatnonzero(np.r_[True, (each[:, 1:] != each[:, :-1]).any(axis=0)]).tolist()
            weights = self._weights(own, len(flat), groups, list(each[:, starts]))
            # other rows may have the same masks, as those of a noise floor have
            new_ones = [n for n in range(len(starts)) if not n or not np.array_equal(weights[n], weights[n - 1])]
            starts = [starts[n] for n in new_ones]
            for weight, start, end in zip(
                torch.from_numpy(weights[new_ones]).to(sums), starts, [*starts[1:], None], strict=True
            ):
                rows = slice(start, end)
                sums[:, rows].flatten(1).addmm_(weight, flat[:, rows].flatten(1), beta=0 if new else 1)
            new = False
        if new:
            sums.zero_()

    @staticmethod
    def _weights(
        own: Sequence[tuple[SentTerms, int]], senders: int, groups: int, codes: list[np.ndarray]
    ) -> np.ndarray:
        """From which senders of a block each group is patched, by the codes of each of its terms [codes, groups, senders]."""
        found = np.zeros((len(codes[0]), groups, senders), np.float32)
        for (terms, at), code in zip(own, codes, strict=True):
            found[:, :, at : at + terms.heads] = terms.table[code].transpose(0, 2, 1)
        return found

    def _mixed(self, sums: Tensor, terms: SentTerms) -> None:
        """Add the terms of a sender behind whose projection is more than a factor: its heads are mixed for each group."""
        sender, tensor, part = terms.sender, terms.sender.tensor, terms.part
        assert part.gap is not None  # kept terms are linear
        tail = self.tail(sender.component, sender.layer)
        # of several writes at one token each adds what it changes, from what is there with those before it
        code = part.code.cpu().numpy()
        emptied = np.array(part.emptied)
        alone = torch.from_numpy(emptied[code]).to(tensor.device)[..., None]
        for n in range(sums.shape[0]):
            chosen = terms.table[:, :, n] + emptied[:, None]
            weight = torch.from_numpy(chosen[code]).to(tensor)
            if bool(weight.any()) or bool(emptied.any()):
                gap = part.gap * weight.repeat_interleave(part.gap.shape[-1] // terms.heads, dim=-1)
                before = sender.mixed.get(n, tensor)
                with_it, without = tail(before + gap), tail(before)
                sums[n] += (with_it - without.masked_fill(alone, 0.0)).to(sums.device)
                sender.mixed[n] = before + gap

    def _factor(self, component: str, layer: int | None) -> Tensor | float | None:
        """The factor of the change of a sender on its way to the stream; None where that is not a linear map."""
        if component in ("embed", "mlp_out"):
            return find_tap(self.network, Site(component, layer)).scale
        return self._projection(layer) if component == "z" else None

    def runs(self, layer: int, ports: Sequence[Port], stream: Tensor) -> Iterator[tuple[list[list[Port]], Tensor]]:
        """Receivers that read one projection are run together, as many as a cache holds: up to there a layer knows nothing of rows."""
        most = max(1, RUN_TOGETHER // (stream.numel() * stream.element_size()))
        waiting: list[tuple[list[Port], Tensor]] = []
        last: nn.Module | None = None
        start = self._start(stream)

        def run() -> tuple[list[list[Port]], Tensor]:
            sets = [same for same, _ in waiting]
            # what is read, where it is not projected, may be kept: it may not be in memory that is used again
            apart = last is None or stream.requires_grad
            if apart or any(delta.requires_grad or delta.device != stream.device for _, delta in waiting):
                return sets, torch.cat([start + delta.to(stream.device) for _, delta in waiting])
            given = self.room.take("given", 0, (len(waiting), *stream.shape), stream)
            for one, (_, delta) in zip(given, waiting, strict=True):
                torch.add(start, delta, out=one)
            return sets, given.flatten(0, 1)

        for same, delta in self._sums(ports):
            module = self.projections.read_by(layer, same)
            if waiting and (module is None or module is not last or len(waiting) == most):
                yield run()
                waiting.clear()
            last = module
            waiting.append((same, delta))
        if waiting:
            yield run()

    @contextmanager
    def narrowed(self, layer: int) -> Iterator[Callable[[Sequence[Sequence[Port]], Tensor], None]]:
        """The projections of attention compute the columns of some receivers alone."""
        with self.projections.narrowed(layer) as narrow:
            yield narrow

    def _layer(self, layer: int, ports: list[Port]) -> list[Any]:
        module, running = self.network.layers[layer], ExitStack()

        def enter(*_: Any) -> None:
            if not self.inner:
                running.enter_context(self.projections.known_whole(layer))

        handles = [*super()._layer(layer, ports), module.register_forward_pre_hook(enter)]
        return [*handles, module.register_forward_hook(lambda *_: running.close(), always_call=True)]

    def _projection(self, layer: int | None) -> Tensor | None:
        """The output projection [heads, head, width] of a layer, where nothing but a factor is behind it."""
        layout = self.network.layout
        if layout is None or layer is None:
            return None
        own = layout.at(layer)
        module = self.network.layers[layer].get_submodule(own.z[:-1])
        if own.attn_out[:-1] not in (own.attention, own.z[:-1]):
            return None
        weight, scale = weight_of(module), find_tap(self.network, Site("attn_out", layer)).scale
        if weight is None:
            return None
        heads = weight.unflatten(0, (self.network.facts.heads or 1, -1))
        return heads if scale == 1 else heads * scale


@contextmanager
def edges_together(
    network: Network, batch: Batch, writes: Sequence[EdgeWrite], room: Room | None = None
) -> Iterator[dict[int, tuple[int, Tensor]]]:
    """As :func:`causal_dsl.network.edges.edges_patched`, for the rows of many interventions at once, which one pass of ``batch`` runs;
    ``room`` is used again by the next pass."""
    room = room or Room()
    if room.read_as_it_is is None:
        room.read_as_it_is = read_as_it_is(network)
    edges = EdgePass(network, batch, writes, room)
    with edges.hooked():
        yield edges.changes


__all__ = ["EdgePass", "edges_together"]
