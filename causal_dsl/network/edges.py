"""Forward passes in which some receivers read another value of some senders: interventions on edges.

Each receiver by itself, plainly: :mod:`causal_dsl.network.edge_pass` is held against it. A receiver's input is the residual stream
as it runs, plus, for each sender whose edge is patched, what it would have given less what it gives. Where zeros are written, it is
the sum of what all senders give, or would have given: of a stream from which nearly all is taken away, rounding would be left, which
a norm enlarges. Of the heads of a layer that one receiver is patched from, the output projection (and a norm behind it) is applied to
all of them together. What a receiver then reads is computed by the network's own modules: the norm before the MLP, and for attention
the layer itself, up to its projections.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError, fail
from causal_dsl.inputs.batches import Batch, Points
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import hook_tensor
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.network.tape import SiteWrite
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port, Reach


@dataclass(eq=False)
class EdgeWrite:
    """A write at a sender that reaches the receivers ``to`` alone, of each of its heads its own. ``zero``: it puts
    zeros there, whatever is there."""

    write: SiteWrite
    to: Reach
    zero: bool = False


@dataclass(eq=False)
class _Sent:
    """The value of a sender's site in a pass, and what each write would put there: the write's number, where, and the new vectors."""

    tensor: Tensor
    tail: Callable[[Tensor], Tensor]
    made: list[tuple[int, tuple[Tensor, ...], Tap, Tensor]]


class _Captured(Exception):
    """All that a layer was run again for has been seen."""


#: How far, of its size, a stream may be from the sum of what the senders give.
ADDS_UP = 1e-3
#: How far where nothing but rounding is between them.
ROUNDING = 1e-5


class Edges:
    """The hooks of one forward pass."""

    def __init__(self, network: Network, batch: Batch, writes: Sequence[EdgeWrite]):
        self.network, self.batch, self.writes = network, batch, writes
        #: what each sender gives in this pass, in the order in which they run
        self.sent: dict[tuple[str, int | None], _Sent] = {}
        self.changes: dict[int, tuple[int, Tensor]] = {}
        self.inner = False
        every = 0
        for write in writes:
            every |= write.to.any
        self.ports = tuple(writes[0].to.ports.of(every)) if writes else ()
        #: whether what all senders give is added up, as far as they have run: ``total`` is that sum
        self.adding = any(write.zero for write in writes)
        self.total: Tensor | None = None

    # ── senders ─────────────────────────────────────────────────────────────────────────────────

    def _noting(self, component: str, layer: int | None) -> Callable[[Tensor], Tensor]:
        """A hook that notes what a sender gives, and what it would give."""
        mine = [
            n for n, w in enumerate(self.writes) if (w.write.site.component, w.write.site.layer) == (component, layer)
        ]

        def act(tensor: Tensor) -> Tensor:
            if not self.inner:
                self.note(component, layer, tensor, mine)
            return tensor

        return act

    def note(self, component: str, layer: int | None, tensor: Tensor, mine: Sequence[int]) -> None:
        """Keep what a sender gives, and what its writes would put there."""
        made = []
        for n in mine:
            points, tap, new, _ = self.made(n, tensor)
            made.append((n, points.on(tensor.device), tap, new))
        self.sent[component, layer] = _Sent(tensor, self.tail(component, layer), made)
        self.add_up(component, layer, tensor)

    def add_up(self, component: str, layer: int | None, tensor: Tensor) -> None:
        """Add what a sender gives to the sum of all."""
        if self.adding:
            self.inner = True
            try:
                term = self.tail(component, layer)(tensor)
            finally:
                self.inner = False
            self.total = term if self.total is None else self.total + term.to(self.total.device)

    def begin(self, stream: Tensor) -> Tensor:
        """The stream that the first layer reads, and is given as it is: what no sender gives of it, as positions, is always there."""
        if self.adding and not self.inner and self.total is not None:
            rest = stream - self.total.to(stream.device)
            rest = rest.masked_fill((rest.norm(dim=-1) <= ROUNDING * stream.norm(dim=-1))[..., None], 0.0)
            if bool(rest.any()):
                self.left_over(rest)
                self.total = self.total + rest.to(self.total.device)
        return stream

    def left_over(self, rest: Tensor) -> None:
        """Keep what no sender gives."""
        self.sent["rest", None] = _Sent(rest, lambda term: term, [])

    def whole(self, port: Port, stream: Tensor) -> bool:
        """Whether what a receiver reads is the sum of what all senders give that have run, and no more."""
        if not self.adding or self.total is None or not all_senders(self.network, port) <= self.ran:
            return False
        gap, size = (self.total.to(stream) - stream).norm(dim=-1), stream.norm(dim=-1)
        return bool((gap <= ADDS_UP * size).all())

    @property
    def ran(self) -> set[tuple[str, int | None]]:
        """The senders that have run; neurons are those of an MLP."""
        return {("mlp_out" if component == "neurons" else component, layer) for component, layer in self.sent}

    def made(self, number: int, tensor: Tensor) -> tuple[Points, Tap, Tensor, Tensor]:
        """Of a write where it is, what it puts there, and how much more that is than what is there."""
        write = self.writes[number].write
        tap = find_tap(self.network, write.site)
        points = self.batch.points(write.rows, write.positions)
        view = points.view_of(tensor)
        whole = points.copy_of(tensor) if view is None else view
        own = tap.spot
        old = whole[..., own if isinstance(own, slice) else own.to(whole.device)]
        new = write.edit(old if tap.scale == 1 else old * tap.scale).to(old)
        new = new if tap.scale == 1 else new / tap.scale
        size = old.float().norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        gap = new - old
        self.changes[number] = (len(old), gap.float().norm(dim=-1) / size)
        return points, tap, new, gap

    def tail(self, component: str, layer: int | None) -> Callable[[Tensor], Tensor]:
        """From what is written of a sender to what it adds to the stream: heads and neurons pass their output projection, and a
        norm that is behind it."""
        site = Site(component, layer)
        if component not in ("z", "neurons"):
            scale = find_tap(self.network, site).scale
            return lambda term: term * scale
        term = find_tap(self.network, Site("attn_out" if component == "z" else "mlp_out", layer))
        layout = self.network.layout
        assert layout is not None
        own = layout.at(layer)
        block, inner = self.network.layers[layer or 0], find_tap(self.network, site)
        if component == "z":
            module = block.get_submodule(own.z[:-1])
            after = term.module if own.attn_out[:-1] not in (own.attention, own.z[:-1]) else None
        else:
            if inner.side != "in":
                raise self._unknown("output projection of the MLP")
            module = inner.module
            whole = block.get_submodule(own.mlp)
            after = None if term.module in (module, whole) else term.module

        def tail(given: Tensor) -> Tensor:
            out = module(given)
            out = out[0] if isinstance(out, tuple) else out
            return (out if after is None else after(out)) * term.scale

        return tail

    # ── receivers ───────────────────────────────────────────────────────────────────────────────

    def chosen(self, port: Port) -> tuple[tuple[bool, ...], ...]:
        """Of each write, which of its heads reach a receiver: receivers that are alike are given the same."""
        return tuple(
            tuple(bool(mask >> write.to.ports.number(port) & 1) for mask in write.to.masks) for write in self.writes
        )

    def given(self, ports: Sequence[Port], stream: Tensor) -> Iterator[tuple[list[Port], Tensor]]:
        """Receivers that are given the same, and what that is [rows, tokens, width]; none that are given the stream as it runs."""
        alike: dict[tuple[tuple[bool, ...], ...], list[Port]] = defaultdict(list)
        for port in ports:
            alike[self.chosen(port)].append(port)
        for same in alike.values():
            found = self.given_to(same[0], stream)
            if found is not None:
                yield same, found

    def given_to(self, port: Port, stream: Tensor) -> Tensor | None:
        """The input of a receiver [rows, tokens, width] in place of the stream; None: the stream."""
        chosen = self.chosen(port)
        if not any(any(chosen[n]) for sent in self.sent.values() for n, *_ in sent.made):
            return None
        whole = self.whole(port, stream)
        found: Tensor | None = None
        self.inner = True
        try:
            for sent in self.sent.values():
                patched = any(any(chosen[n]) for n, *_ in sent.made)
                if not (patched or whole):
                    continue
                other = sent.tensor
                if patched:
                    other = other.clone()
                    for n, index, tap, new in sent.made:
                        self._mix(other, index, tap, new, chosen[n])
                term = sent.tail(other) if whole else sent.tail(other) - sent.tail(sent.tensor)
                found = term if found is None else found + term.to(found.device)
        finally:
            self.inner = False
        assert found is not None
        return found.to(stream.device) if whole else stream + found.to(stream.device)

    @staticmethod
    def _mix(other: Tensor, index: tuple[Tensor, ...], tap: Tap, new: Tensor, heads: tuple[bool, ...]) -> None:
        """Put of the new vectors those of some heads into a copy of what a sender gives."""
        if not any(heads):
            return
        rows = other[index]
        each = new.shape[-1] // len(heads)
        mine = torch.tensor(heads, device=new.device).repeat_interleave(each).nonzero()[:, 0]
        columns = mine if tap.columns is None else tap.columns.to(new.device)[mine]
        other.index_put_(index, rows.index_copy(-1, columns, new.index_select(-1, mine)))

    def runs(self, layer: int, ports: Sequence[Port], stream: Tensor) -> Iterator[tuple[list[list[Port]], Tensor]]:
        """The inputs of a layer before it runs: sets of receivers that are given the same, and what each is given, one after another as
        rows [sets x rows, tokens, width]."""
        for same, given in self.given(ports, stream):
            yield [same], given

    @contextmanager
    def narrowed(self, layer: int) -> Iterator[Callable[[Sequence[Sequence[Port]], Tensor], None]]:
        """Within, a layer is run for what some sets of receivers read alone, where that can be had for less: those that were last
        named."""
        yield lambda sets, given: None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handles = []
        layout = self.network.layout
        assert layout is not None
        for component, layer in self._hooked_senders():
            tap = find_tap(self.network, Site(component, layer))
            handles.append(hook_tensor(tap.module, tap.side, self._noting(component, layer)))
        if self.adding:
            handles.append(hook_tensor(self.network.layers[0], "in", self.begin))
        layers: dict[int, list[Port]] = defaultdict(list)
        for port in self.ports:
            if port.kind == "logits":
                last = layout.norm[:-1] if layout.norm is not None else "".join(layout.head[:1])
                if not last or layout.norms is not None:  # without a norm the read-out reads the stream itself
                    raise self._unknown("norm before the logits")
                handles.append(hook_tensor(self.network.model.get_submodule(last), "in", self._added(port)))
            elif port.kind == "mlp" and layout.at(port.layer).mid is not None:
                handles += self._mlp(port)
            elif port.kind == "mlp" and not self.network.facts.parallel:
                raise self._unknown("norm before the MLP")
            else:
                layers[port.layer].append(port)
        for layer, ports in layers.items():
            handles += self._layer(layer, ports)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooked_senders(self) -> Iterable[tuple[str, int | None]]:
        """The senders that are written, and all others where all are added up."""
        found = dict.fromkeys((w.write.site.component, w.write.site.layer) for w in self.writes)
        if self.adding:
            written = {("mlp_out" if component == "neurons" else component, layer) for component, layer in found}
            found |= dict.fromkeys(all_senders(self.network, Port("logits")) - written)
        return found

    def _unknown(self, what: str) -> SpecError:
        return fail(
            "E814",
            f"the {what} of `{self.network.name}` is not known, so no edge to it can be patched",
            self.network.span,
            help="patch the site itself: do(layer[0].head[1].z[last] <- source)",
        )

    def _added(self, port: Port) -> Callable[[Tensor], Tensor]:
        def act(stream: Tensor) -> Tensor:
            for _, given in () if self.inner else self.given([port], stream):
                return given
            return stream

        return act

    def _mlp(self, port: Port) -> list[Any]:
        """The norm before an MLP is given the stream with what is patched; nothing else reads it."""
        layout = self.network.layout
        assert layout is not None
        mid = layout.at(port.layer).mid
        assert mid is not None
        return [hook_tensor(self.network.layers[port.layer].get_submodule(mid[:-1]), "in", self._added(port))]

    def _layer(self, layer: int, ports: list[Port]) -> list[Any]:
        """Before a layer runs, it is run on the stream of each set of patched edges up to what its receivers read; these are then
        put in place."""
        module = self.network.layers[layer]
        wanted: dict[tuple[nn.Module, str], list[tuple[Port, Tap | None]]] = defaultdict(list)
        for port in ports:
            if port.kind == "mlp":
                layout = self.network.layout
                assert layout is not None
                wanted[module.get_submodule(layout.at(layer).mlp), "in"].append((port, None))
            else:
                tap = find_tap(self.network, Site(port.kind, layer, (port.head,)))
                wanted[tap.module, tap.side].append((port, tap))
        seen: dict[Port, Tensor] = {}
        waiting: set[Port] = set()
        handles = []

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.inner:
                return
            stream = args[0] if args else kwargs["hidden_states"]
            with self.narrowed(layer) as narrow:
                for sets, given in self.runs(layer, ports, stream):
                    waiting.update(port for same in sets for port in same)
                    narrow(sets, given)
                    self.inner = True
                    try:
                        if args:
                            module.forward(given, *args[1:], **kwargs)
                        else:
                            module.forward(**{**kwargs, "hidden_states": given})
                    except _Captured:
                        pass
                    finally:
                        self.inner = False
                        waiting.clear()

        def reading(own: list[tuple[Port, Tap | None]]) -> Callable[[Tensor], Tensor]:
            def act(tensor: Tensor) -> Tensor:
                if self.inner:
                    for port, _ in own:
                        if port in waiting:
                            seen[port] = tensor
                            waiting.discard(port)
                    if not waiting:
                        raise _Captured
                    return tensor
                # receivers that have been computed together are put in place together
                together: dict[int, tuple[Tensor, list[Tap | None]]] = {}
                for port, tap in own:
                    if port in seen:
                        other = seen.pop(port)
                        together.setdefault(id(other), (other, []))[1].append(tap)
                for other, taps in together.values():
                    each = [tap.columns for tap in taps if tap is not None and tap.columns is not None]
                    if other is tensor:
                        continue
                    if len(each) < len(taps):
                        tensor = other
                    else:
                        columns = torch.cat(each).to(tensor.device)
                        tensor = tensor.index_copy(-1, columns, other.index_select(-1, columns))
                return tensor

            return act

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles += [hook_tensor(place, side, reading(own)) for (place, side), own in wanted.items()]
        return handles


def all_senders(network: Network, port: Port) -> set[tuple[str, int | None]]:
    """The sites of the senders whose sum a receiver reads: all that run before it."""
    layers = len(network.layers) if port.kind == "logits" else port.layer
    found: set[tuple[str, int | None]] = {("embed", None)}
    found |= {(component, layer) for layer in range(layers) for component in ("z", "mlp_out")}
    if port.kind == "mlp" and not network.facts.parallel:
        found.add(("z", port.layer))
    return found


def adds_up(network: Network, inputs: InputRows, padding: str) -> bool:
    """Whether the stream behind the last layer of a network is the sum of what the embedding, the heads and the MLPs give."""
    batch = network.given.batch(network, inputs, padding)  # type: ignore[arg-type]
    edges = Edges(network, batch, ())
    edges.adding = True
    behind: list[Tensor] = []

    def keep(stream: Tensor) -> Tensor:
        behind.append(stream)
        return stream

    handle = hook_tensor(network.layers[-1], "out", keep)
    try:
        with edges.hooked(), torch.no_grad():
            network.run(*batch.arguments, **batch.named)
    finally:
        handle.remove()
    return edges.whole(Port("logits"), behind[0])


@contextmanager
def edges_patched(
    network: Network, inputs: InputRows, writes: Sequence[EdgeWrite], padding: str
) -> Iterator[dict[int, tuple[int, Tensor]]]:
    """Within, one forward pass of the network on ``inputs`` has these edges patched. Gives, when it is done, at how many places each
    write acted, and its relative changes there."""
    batch = network.given.batch(network, inputs, padding)  # type: ignore[arg-type]
    edges = Edges(network, batch, writes)
    with edges.hooked():
        yield edges.changes


__all__ = ["EdgeWrite", "Edges", "adds_up", "all_senders", "edges_patched"]
