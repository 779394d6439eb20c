"""Forward passes in which some receivers read another value of some senders: interventions on edges.

A receiver's input is the residual stream as it runs, plus, for each sender whose edge is patched, what it would have given less
what it gives. Of the heads of a layer that one receiver is patched from, the output projection (and a norm behind it) is applied to
all of them together, so that no tensor of single heads is made. What a receiver then reads is computed by the network's own
modules: the norm before the MLP, and for attention the layer itself, up to its projections.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import SpecError, fail
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import hook_tensor
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.network.tape import SiteWrite
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port


@dataclass(eq=False)
class EdgeWrite:
    """What ``write`` would put at a sender reaches the receivers ``to`` alone."""

    write: SiteWrite
    to: tuple[Port, ...]


class _Captured(Exception):
    """All that a layer was run again for has been seen."""


class _Edges:
    """The hooks of one forward pass."""

    def __init__(self, network: Network, batch: Any, writes: Sequence[EdgeWrite]):
        self.network, self.batch, self.writes = network, batch, writes
        #: what each sender's site is in this pass, and what it would be, for the writes of each receiver
        self.deltas: dict[tuple[str, int | None, tuple[int, ...]], Tensor] = {}
        self.changes: dict[int, tuple[int, Tensor]] = {}
        self.inner = False
        self.by_port: dict[Port, tuple[int, ...]] = {}
        for port in dict.fromkeys(port for write in writes for port in write.to):
            self.by_port[port] = tuple(n for n, write in enumerate(writes) if port in write.to)

    # ── senders ─────────────────────────────────────────────────────────────────────────────────

    def _sent(
        self, component: str, layer: int | None, tap: Tap, tail: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """A hook that notes how much more each set of receivers is given than the stream is."""
        mine = [
            n for n, w in enumerate(self.writes) if (w.write.site.component, w.write.site.layer) == (component, layer)
        ]
        sets = dict.fromkeys(tuple(n for n in numbers if n in mine) for numbers in self.by_port.values())

        def act(tensor: Tensor) -> Tensor:
            if self.inner:
                return tensor
            made = {n: self._made(n, tensor) for n in mine}
            self.inner = True
            try:
                own = tail(tensor)
                for numbers in sets:
                    if not numbers:
                        continue
                    other = tensor.clone()
                    for n in numbers:
                        index, tap, new = made[n]
                        rows = other[index]
                        rows = new if tap.columns is None else rows.index_copy(-1, tap.columns.to(rows.device), new)
                        other.index_put_(index, rows)
                    self.deltas[component, layer, numbers] = tail(other) - own
            finally:
                self.inner = False
            return tensor

        return act

    def _made(self, number: int, tensor: Tensor) -> tuple[tuple[Tensor, ...], Tap, Tensor]:
        write = self.writes[number].write
        tap = find_tap(self.network, write.site)
        index = self.batch.points(write.rows, write.positions).on(tensor.device)
        whole = tensor[index]
        old = whole if tap.columns is None else whole[..., tap.columns.to(whole.device)]
        new = write.edit(old * tap.scale).to(old) / tap.scale
        size = old.float().norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        self.changes[number] = (len(old), (new.float() - old.float()).norm(dim=-1) / size)
        return index, tap, new

    def _tail(self, layer: int) -> Callable[[Tensor], Tensor]:
        """From the heads of a layer to what attention adds to the stream."""
        layout = self.network.layout
        assert layout is not None
        own = layout.at(layer)
        module = self.network.layers[layer].get_submodule(own.z[:-1])
        term = find_tap(self.network, Site("attn_out", layer))
        after = term.module if own.attn_out[:-1] not in (own.attention, own.z[:-1]) else None

        def tail(heads: Tensor) -> Tensor:
            out = module(heads)
            out = out[0] if isinstance(out, tuple) else out
            return (out if after is None else after(out)) * term.scale

        return tail

    # ── receivers ───────────────────────────────────────────────────────────────────────────────

    def delta(self, port: Port) -> Tensor | None:
        """How much more a receiver is given than the stream is [rows, tokens, width]."""
        numbers = self.by_port[port]
        found: Tensor | None = None
        for (component, layer, held), delta in self.deltas.items():
            site = [n for n in numbers if self._key(n) == (component, layer)]
            if held == tuple(site) and held:
                found = delta if found is None else found + delta.to(found.device)
        return found

    def _key(self, number: int) -> tuple[str, int | None]:
        site = self.writes[number].write.site
        return site.component, site.layer

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handles = []
        layout = self.network.layout
        assert layout is not None
        senders = dict.fromkeys(self._key(n) for n in range(len(self.writes)))
        for component, layer in senders:
            site = Site(component, layer)
            tap = find_tap(self.network, site)
            tail = self._tail(layer or 0) if component == "z" else _scaled(tap.scale)
            handles.append(hook_tensor(tap.module, tap.side, self._sent(component, layer, tap, tail)))
        layers: dict[int, list[Port]] = defaultdict(list)
        for port in self.by_port:
            if port.kind == "logits":
                if layout.norm is None:
                    raise self._unknown("norm before the logits")
                handles.append(hook_tensor(self.network.model.get_submodule(layout.norm[:-1]), "in", self._added(port)))
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

    def _unknown(self, what: str) -> SpecError:
        return fail(
            "E814",
            f"the {what} of `{self.network.name}` is not known, so no edge to it can be patched",
            self.network.span,
            help="patch the site itself: do(layer[0].head[1].z[last] <- source)",
        )

    def _added(self, port: Port) -> Callable[[Tensor], Tensor]:
        def act(stream: Tensor) -> Tensor:
            delta = None if self.inner else self.delta(port)
            return stream if delta is None else stream + delta.to(stream.device)

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
            by_mask: dict[tuple[int, ...], list[Port]] = defaultdict(list)
            for port in ports:
                by_mask[self.by_port[port]].append(port)
            for same in by_mask.values():
                delta = self.delta(same[0])
                if delta is None:
                    continue
                waiting.update(same)
                given = stream + delta.to(stream.device)
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
                for port, tap in own:
                    if port in seen:
                        other = seen.pop(port)
                        if tap is None or tap.columns is None:
                            tensor = other
                        else:
                            columns = tap.columns.to(tensor.device)
                            tensor = tensor.index_copy(-1, columns, other.index_select(-1, columns))
                return tensor

            return act

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles += [hook_tensor(place, side, reading(own)) for (place, side), own in wanted.items()]
        return handles


def _scaled(scale: float) -> Callable[[Tensor], Tensor]:
    return lambda term: term * scale


@contextmanager
def edges_patched(
    network: Network, inputs: InputRows, writes: Sequence[EdgeWrite], padding: str
) -> Iterator[dict[int, tuple[int, Tensor]]]:
    """Within, one forward pass of the network on ``inputs`` has these edges patched. Gives, when it is done, at how many places each
    write acted, and its relative changes there."""
    batch = network.given.batch(network, inputs, padding)  # type: ignore[arg-type]
    edges = _Edges(network, batch, writes)
    with edges.hooked():
        yield edges.changes


__all__ = ["EdgeWrite", "edges_patched"]
