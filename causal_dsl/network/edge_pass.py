"""Many interventions on edges as the rows of one forward pass: what :mod:`causal_dsl.network.edges` does receiver by receiver, as sums
over masks.

The output projection of the heads of a layer is applied to what changes in each head, once for all receivers of a later layer;
the sums over the edges of each receiver are then one contraction with their masks. Receivers whose edges are equal share one sum,
and one without patched edges takes the stream itself. Where a norm is behind the projection, its input is mixed for each distinct
sum, since a norm is not linear. What is kept is the heads before their projection, never a tensor for each edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.edges import Edges, EdgeWrite
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port

#: How many numbers the outputs of single heads may have at once; of more rows they are made part by part.
_MOST = 1 << 20
#: The number of heads and other senders from which their terms are added together.
_TOGETHER = 32


@dataclass(eq=False)
class _Layer:
    """Writes of a sender that do not meet: ``gap`` is what they change at its site; ``code`` [rows, tokens] says whose masks a token
    has, 0 for none. ``masks`` [codes, heads, receivers] are 0 and 1."""

    gap: Tensor
    code: Tensor
    masks: list[np.ndarray]


@dataclass(eq=False)
class _Sender:
    component: str
    layer: int | None
    tensor: Tensor
    parts: list[_Layer] = field(default_factory=list)
    #: of the groups at hand, what the site is with the writes that were added
    mixed: dict[int, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class _Terms:
    """What some writes of a sender change, and for which groups of receivers: ``weights`` [rows, tokens, groups, heads]."""

    sender: _Sender
    part: _Layer
    weights: Tensor


class EdgePass(Edges):
    """The hooks of one forward pass in which the rows of many interventions run together."""

    def __init__(self, network: Network, batch: Any, writes: Sequence[EdgeWrite]):
        super().__init__(network, batch, writes)
        self.senders: list[_Sender] = []

    def note(self, component: str, layer: int | None, tensor: Tensor, mine: Sequence[int]) -> None:
        sender = _Sender(component, layer, tensor)
        for number in mine:
            index, tap, new = self.made(number, tensor)
            self._put(sender, number, index, tap, new)
        self.senders.append(sender)

    def _put(self, sender: _Sender, number: int, index: tuple[Tensor, ...], tap: Tap, new: Tensor) -> None:
        """Into the first part none of whose tokens it meets."""
        part = next((part for part in sender.parts if not bool(part.code[index].any())), None)
        if part is None:
            shape = sender.tensor.shape[:2]
            code = torch.zeros(shape, dtype=torch.long, device=sender.tensor.device)
            heads = self._heads(sender)
            part = _Layer(torch.zeros_like(sender.tensor), code, [np.zeros((heads, self.count), np.uint8)])
            sender.parts.append(part)
        rows = sender.tensor[index]
        changed = new if tap.columns is None else rows.index_copy(-1, tap.columns.to(rows.device), new)
        part.gap.index_put_(index, changed - rows)
        part.code.index_put_(index, torch.tensor(len(part.masks), device=part.code.device))
        part.masks.append(self._bits(number, self._heads(sender)))

    @property
    def count(self) -> int:
        """How many receivers there are."""
        return len(self.writes[0].to.ports)

    def _heads(self, sender: _Sender) -> int:
        return (self.network.facts.heads or 1) if sender.component == "z" else 1

    def _bits(self, number: int, heads: int) -> np.ndarray:
        """The masks of a write [heads, receivers]."""
        write = self.writes[number]
        found = np.zeros((heads, self.count), np.uint8)
        own = write.write.site.heads if heads > 1 else (0,)
        for head, mask in zip(own or range(heads), write.to.masks, strict=True):
            raw = np.frombuffer(mask.to_bytes((self.count + 7) // 8, "little"), np.uint8)
            found[head] = np.unpackbits(raw, bitorder="little")[: self.count]
        return found

    def deltas(self, ports: Sequence[Port]) -> Iterator[tuple[list[Port], Tensor]]:
        """Receivers that are given the same, and how much more that is than the stream [rows, tokens, width]."""
        numbers = [self.writes[0].to.ports.number(port) for port in ports]
        tables = [[np.stack(part.masks)[:, :, numbers] for part in sender.parts] for sender in self.senders]
        alike: dict[bytes, list[int]] = {}
        for i in range(len(ports)):
            key = b"".join(table[:, :, i].tobytes() for own in tables for table in own)
            if any(key):
                alike.setdefault(key, []).append(i)
        first = [same[0] for same in alike.values()]
        if not first:
            return
        shape = self.senders[0].tensor.shape
        width = self.network.facts.width or shape[-1]
        tensor = self.senders[0].tensor
        sums = torch.zeros(*shape[:2], len(first), width, dtype=tensor.dtype, device=tensor.device)
        waiting: list[_Terms] = []
        self.inner = True
        try:
            for sender in self.senders:
                sender.mixed.clear()
            for sender, own in zip(self.senders, tables, strict=True):
                for part, table in zip(sender.parts, own, strict=True):
                    if table[:, :, first].any():
                        waiting.append(_Terms(sender, part, self._weights(part, table[:, :, first], tensor)))
                    if sum(terms.weights.shape[-1] for terms in waiting) > _TOGETHER:
                        self._add(sums, waiting)
                        waiting = []
            self._add(sums, waiting)
        finally:
            self.inner = False
        for n, same in enumerate(alike.values()):
            yield [ports[i] for i in same], sums[:, :, n]

    @staticmethod
    def _weights(part: _Layer, table: np.ndarray, like: Tensor) -> Tensor:
        """Which heads of a sender each group is patched from, token by token [rows, tokens, groups, heads]."""
        masks = torch.from_numpy(np.ascontiguousarray(table.transpose(0, 2, 1))).to(
            device=like.device, dtype=like.dtype
        )
        return masks[part.code.to(like.device)]

    def _add(self, sums: Tensor, waiting: Sequence[_Terms]) -> None:
        """Add the terms of some senders to the sums of the groups [rows, tokens, groups, width], part of the rows by part."""
        linear = [terms for terms in waiting if self._factor(terms.sender) is not None]
        heads = sum(terms.weights.shape[-1] for terms in linear)
        step = max(1, _MOST // max(1, sums.shape[1] * heads * sums.shape[-1]))
        for start in range(0, len(sums), step) if linear else ():
            rows = slice(start, start + step)
            each = torch.cat([self._each(terms, rows).to(sums.device) for terms in linear], dim=2)
            weights = torch.cat([terms.weights[rows] for terms in linear], dim=3)
            sums[rows].flatten(0, 1).baddbmm_(weights.flatten(0, 1), each.flatten(0, 1))
        for terms in waiting:
            if self._factor(terms.sender) is None:
                self._mixed(sums, terms)

    def _each(self, terms: _Terms, rows: slice) -> Tensor:
        """What changes of each head of a sender in the stream [rows, tokens, heads, width]."""
        factor, gap = self._factor(terms.sender), terms.part.gap[rows]
        if isinstance(factor, Tensor):
            return torch.einsum("rthi,hid->rthd", gap.unflatten(-1, (factor.shape[0], -1)), factor.to(gap))
        assert factor is not None
        return (gap * factor)[:, :, None]

    def _mixed(self, sums: Tensor, terms: _Terms) -> None:
        """Add the terms of a sender behind whose projection is more than a factor: its heads are mixed for each group."""
        tensor, part = terms.sender.tensor, terms.part
        tail = self.tail(terms.sender.component, terms.sender.layer)
        # of several writes at one token each adds what it changes, from what is there with those before it
        for n in range(sums.shape[2]):
            weight = terms.weights[:, :, n].to(tensor.device)
            if bool(weight.any()):
                gap = part.gap * weight.repeat_interleave(part.gap.shape[-1] // weight.shape[-1], dim=-1)
                before = terms.sender.mixed.get(n, tensor)
                sums[:, :, n] += (tail(before + gap) - tail(before)).to(sums.device)
                terms.sender.mixed[n] = before + gap

    def _factor(self, sender: _Sender) -> Tensor | float | None:
        """What the change of a sender is multiplied with on its way to the stream; None where that is not a linear map."""
        if sender.component in ("embed", "mlp_out"):
            return find_tap(self.network, Site(sender.component, sender.layer)).scale
        return self._projection(sender)

    @contextmanager
    def narrowed(self, layer: int, ports: Sequence[Port]) -> Iterator[None]:
        """The projections of attention compute the columns of these receivers alone; nothing else of this run is looked at."""
        modules: dict[nn.Module, list[Tensor]] = {}
        for kind in ("q", "k", "v"):
            every = find_tap(self.network, Site(kind, layer, (0,)))
            if every.side == "out" and _weight(every.module) is not None and "forward" not in every.module.__dict__:
                modules.setdefault(every.module, [])
        for port in ports:
            tap = find_tap(self.network, Site(port.kind, layer, (port.head,))) if port.kind != "mlp" else None
            if tap is not None and tap.module in modules and tap.columns is not None:
                modules[tap.module].append(tap.columns)
        with ExitStack() as stack:
            for module, columns in modules.items():
                module.forward = partial(_columns, module, torch.cat(columns) if columns else None)
                stack.callback(module.__dict__.pop, "forward")
            yield

    def _projection(self, sender: _Sender) -> Tensor | None:
        """The output projection [heads, head, width] of a layer, where nothing but a factor is behind it."""
        layout = self.network.layout
        if sender.component != "z" or layout is None or sender.layer is None:
            return None
        own = layout.at(sender.layer)
        term = find_tap(self.network, Site("attn_out", sender.layer))
        module = self.network.layers[sender.layer].get_submodule(own.z[:-1])
        if own.attn_out[:-1] not in (own.attention, own.z[:-1]):
            return None
        weight = _weight(module)
        return None if weight is None else weight.unflatten(0, (self._heads(sender), -1)) * term.scale


def _weight(module: nn.Module) -> Tensor | None:
    """The matrix [in, out] of a module that is a linear map; None of any other."""
    if type(module) is nn.Linear:
        return module.weight.T
    if type(module).__name__ == "Conv1D" and isinstance(module.weight, Tensor):
        return module.weight
    return None


def _columns(module: nn.Module, columns: Tensor | None, given: Tensor) -> Tensor:
    """Some columns of what a linear map gives; the others are 0."""
    weight = _weight(module)
    assert weight is not None
    out = given.new_zeros(*given.shape[:-1], weight.shape[1])
    if columns is not None:
        bias = module.bias
        made = given @ weight[:, columns]
        out[..., columns] = made + bias[columns] if isinstance(bias, Tensor) else made
    return out


@contextmanager
def edges_together(
    network: Network, inputs: InputRows, writes: Sequence[EdgeWrite], padding: str
) -> Iterator[dict[int, tuple[int, Tensor]]]:
    """As :func:`causal_dsl.network.edges.edges_patched`, for the rows of many interventions at once."""
    batch = network.given.batch(network, inputs, padding)  # type: ignore[arg-type]
    edges = EdgePass(network, batch, writes)
    with edges.hooked():
        yield edges.changes


__all__ = ["EdgePass", "edges_together"]
