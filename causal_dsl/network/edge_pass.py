"""Many interventions on edges as the rows of one forward pass: what :mod:`causal_dsl.network.edges` does receiver by receiver, as sums
over masks.

The output projection of the heads of a layer is applied to what changes in each head, once for all receivers of a later layer;
the sums over the edges of each receiver are then one contraction with their masks. Receivers whose edges are equal share one sum,
and one without patched edges takes the stream itself. Where a norm is behind the projection, its input is mixed for each distinct
sum, since a norm is not linear. What is kept is the heads before their projection, never a tensor for each edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
_MOST = 1 << 25


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
        found: list[Tensor | None] = [None] * len(first)
        self.inner = True
        try:
            for sender, own in zip(self.senders, tables, strict=True):
                chosen = [table[:, :, first] for table in own]
                if any(table.any() for table in chosen):
                    self._add(sender, chosen, found)
        finally:
            self.inner = False
        for same, delta in zip(alike.values(), found, strict=True):
            if delta is not None:
                yield [ports[i] for i in same], delta

    def _add(self, sender: _Sender, tables: list[np.ndarray], found: list[Tensor | None]) -> None:
        """Add a sender's terms to the sums of the groups; ``tables`` [codes, heads, groups] of each of its parts."""
        tensor = sender.tensor
        weights = [
            torch.from_numpy(table).to(device=tensor.device, dtype=tensor.dtype)[part.code]
            for table, part in zip(tables, sender.parts, strict=True)
        ]  # [rows, tokens, heads, groups]
        live = [n for n in range(len(found)) if any(table[:, :, n].any() for table in tables)]
        linear = self._projection(sender)
        if linear is not None and len(live) > 1:
            rows = max(1, _MOST // (tensor.shape[1] * linear.shape[0] * linear.shape[2]))
            for part, weight in zip(sender.parts, weights, strict=True):
                sums = []
                for start in range(0, len(tensor), rows):
                    gap = part.gap[start : start + rows].unflatten(-1, (linear.shape[0], -1))
                    each = torch.einsum("rthi,hid->rthd", gap, linear.to(gap))
                    sums.append(torch.einsum("rthg,rthd->grtd", weight[start : start + rows][..., live], each))
                for n, term in zip(live, torch.cat(sums, dim=1), strict=True):
                    found[n] = term if found[n] is None else found[n] + term.to(found[n].device)  # type: ignore[union-attr]
            return
        tail = self.tail(sender.component, sender.layer)
        plain = None if sender.component in ("embed", "mlp_out") else tail(tensor)
        for n in live:
            gap = sum(
                part.gap * weight[..., n].repeat_interleave(part.gap.shape[-1] // weight.shape[2], dim=-1)
                for part, weight in zip(sender.parts, weights, strict=True)
            )
            assert isinstance(gap, Tensor)
            term = tail(gap) if plain is None else tail(tensor + gap) - plain
            found[n] = term if found[n] is None else found[n] + term.to(found[n].device)  # type: ignore[union-attr]

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
        if type(module) is nn.Linear:
            weight = module.weight.T
        elif type(module).__name__ == "Conv1D" and isinstance(module.weight, Tensor):
            weight = module.weight
        else:
            return None
        return weight.unflatten(0, (self._heads(sender), -1)) * term.scale


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
