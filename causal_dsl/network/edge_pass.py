"""Many interventions on edges as the rows of one forward pass: what :mod:`causal_dsl.network.edges` does receiver by receiver, as sums
over masks.

The output projection of the heads of a layer is applied to what changes in each head, once for all later receivers while what that
gives is kept, else once for those of each layer; the sums over the edges of each receiver are then one product with their masks.
Receivers whose edges are equal share one sum, and one without patched edges takes the stream itself. Where a norm is behind the
projection, its input is mixed for each distinct sum, since a norm is not linear. There is never a tensor for each edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
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

#: How many bytes the terms of the senders may take that are kept for later receivers; all others are made again for each layer.
KEPT = 1 << 28
#: How many heads and other senders are in one block.
TOGETHER = 64


@dataclass(eq=False)
class _MadeTerms:
    """What changes of single heads, or of other senders, in the stream [senders, rows, tokens, width]; ``full`` of them are made."""

    terms: Tensor
    full: int = 0


@dataclass(eq=False)
class _Layer:
    """Writes of a sender that do not meet: ``gap`` is what they change at its site; ``code`` [rows, tokens] says whose masks a token
    has, 0 for none. ``masks`` [codes, heads, receivers] are 0 and 1."""

    gap: Tensor
    code: Tensor
    masks: list[np.ndarray]
    #: where its terms are kept: of which block, from where on
    kept: tuple[_MadeTerms, int] | None = None

    @cached_property
    def of_rows(self) -> np.ndarray | None:
        """Whose masks a row has [rows], 0 for none; None where tokens of a row differ. A token without masks changes nothing."""
        code = self.code.cpu().numpy()
        most: np.ndarray = code.max(axis=1)
        return most if bool(((code == most[:, None]) | (code == 0)).all()) else None


@dataclass(eq=False)
class _Sender:
    component: str
    layer: int | None
    tensor: Tensor
    #: what its change is multiplied with on its way to the stream; None where that is not a linear map
    factor: Tensor | float | None
    parts: list[_Layer] = field(default_factory=list)
    #: of the groups at hand, what the site is with the writes that were added
    mixed: dict[int, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class _Terms:
    """What some writes of a sender change, and for which groups of receivers: ``table`` [codes, heads, groups]."""

    sender: _Sender
    part: _Layer
    table: np.ndarray

    @property
    def heads(self) -> int:
        return self.table.shape[1]


class EdgePass(Edges):
    """The hooks of one forward pass in which the rows of many interventions run together."""

    def __init__(self, network: Network, batch: Any, writes: Sequence[EdgeWrite]):
        super().__init__(network, batch, writes)
        self.senders: list[_Sender] = []
        self.blocks: list[_MadeTerms] = []

    def note(self, component: str, layer: int | None, tensor: Tensor, mine: Sequence[int]) -> None:
        sender = _Sender(component, layer, tensor, self._factor(component, layer))
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
        sums = torch.zeros(len(first), *shape[:2], width, dtype=tensor.dtype, device=tensor.device)
        together: list[_Terms] = []
        self.inner = True
        try:
            for sender in self.senders:
                sender.mixed.clear()
            for sender, own in zip(self.senders, tables, strict=True):
                for part, table in zip(sender.parts, own, strict=True):
                    if table[:, :, first].any():
                        together.append(_Terms(sender, part, table[:, :, first]))
            self._add(sums, [terms for terms in together if terms.sender.factor is not None])
            for terms in together:
                if terms.sender.factor is None:
                    self._mixed(sums, terms)
        finally:
            self.inner = False
        for n, same in enumerate(alike.values()):
            yield [ports[i] for i in same], sums[n]

    def _add(self, sums: Tensor, linear: Sequence[_Terms]) -> None:
        """Add the terms of some senders to the sums of the groups [groups, rows, tokens, width]."""
        groups = sums.shape[0]
        for block, own in self._blocks(linear, sums):
            flat = block.terms[: block.full]
            codes = [terms.part.of_rows for terms, _ in own]
            if any(code is None for code in codes):
                weights = self._weights(own, block.full, groups, [t.part.code.cpu().numpy().ravel() for t, _ in own])
                mixed = torch.from_numpy(weights).to(sums) @ flat.flatten(1, 2).transpose(0, 1)
                sums += mixed.transpose(0, 1).unflatten(1, sums.shape[1:3])
                continue
            # Rows next to each other that have the same masks, as those of one intervention have, are one product.
            each = np.stack(codes)  # type: ignore[arg-type]
            starts = np.flatnonzero(np.r_[True, (each[:, 1:] != each[:, :-1]).any(axis=0)]).tolist()
            weights = self._weights(own, block.full, groups, list(each[:, starts]))
            for weight, start, end in zip(torch.from_numpy(weights).to(sums), starts, [*starts[1:], None], strict=True):
                rows = slice(start, end)
                sums[:, rows].flatten(1).addmm_(weight, flat[:, rows].flatten(1))

    @staticmethod
    def _weights(own: Sequence[tuple[_Terms, int]], senders: int, groups: int, codes: list[np.ndarray]) -> np.ndarray:
        """From which senders of a block each group is patched, by the codes of each of its terms [codes, groups, senders]."""
        found = np.zeros((len(codes[0]), groups, senders), np.float32)
        for (terms, at), code in zip(own, codes, strict=True):
            found[:, :, at : at + terms.heads] = terms.table[code].transpose(0, 2, 1)
        return found

    def _blocks(self, linear: Sequence[_Terms], like: Tensor) -> Iterator[tuple[_MadeTerms, list[tuple[_Terms, int]]]]:
        """The terms of some senders, each at a place of a block."""
        kept: dict[int, tuple[_MadeTerms, list[tuple[_Terms, int]]]] = {}
        others: list[_Terms] = []
        for terms in linear:
            if terms.part.kept is None:
                self._keep(terms, like)
            if terms.part.kept is None:
                others.append(terms)
            else:
                block, at = terms.part.kept
                kept.setdefault(id(block), (block, []))[1].append((terms, at))
        yield from kept.values()
        while others:
            block, own = self._block(others[0].heads, like), []
            while others and block.full + others[0].heads <= len(block.terms):
                own.append((others[0], self._make(others.pop(0), block)))
            yield block, own

    def _keep(self, terms: _Terms, like: Tensor) -> None:
        """Make terms where later receivers find them, while there is room."""
        if not self.blocks or self.blocks[-1].full + terms.heads > len(self.blocks[-1].terms):
            size = max(TOGETHER, terms.heads) * like[0].numel() * like.element_size()
            if sum(block.terms.nbytes for block in self.blocks) + size > KEPT:
                return
            self.blocks.append(self._block(terms.heads, like))
        terms.part.kept = self.blocks[-1], self._make(terms, self.blocks[-1])

    @staticmethod
    def _block(heads: int, like: Tensor) -> _MadeTerms:
        return _MadeTerms(like.new_empty(max(TOGETHER, heads), *like.shape[1:]))

    @staticmethod
    def _make(terms: _Terms, block: _MadeTerms) -> int:
        """Write what changes of each head of a sender in the stream into a block; gives where."""
        factor, gap, at = terms.sender.factor, terms.part.gap.flatten(0, 1), block.full
        block.full += terms.heads
        out = block.terms[at : block.full].flatten(1, 2)
        if isinstance(factor, Tensor):
            gap = gap.unflatten(-1, (terms.heads, -1)).transpose(0, 1)
            if gap.device == out.device and not gap.requires_grad:
                torch.bmm(gap, factor.detach().to(gap), out=out)
            else:
                out.copy_(torch.bmm(gap, factor.to(gap)))
        else:
            assert factor is not None
            out.copy_((gap * factor)[None])
        return at

    def _mixed(self, sums: Tensor, terms: _Terms) -> None:
        """Add the terms of a sender behind whose projection is more than a factor: its heads are mixed for each group."""
        sender, tensor, part = terms.sender, terms.sender.tensor, terms.part
        tail = self.tail(sender.component, sender.layer)
        # of several writes at one token each adds what it changes, from what is there with those before it
        code = part.code.cpu().numpy()
        for n in range(sums.shape[0]):
            weight = torch.from_numpy(terms.table[:, :, n][code]).to(tensor)
            if bool(weight.any()):
                gap = part.gap * weight.repeat_interleave(part.gap.shape[-1] // terms.heads, dim=-1)
                before = sender.mixed.get(n, tensor)
                sums[n] += (tail(before + gap) - tail(before)).to(sums.device)
                sender.mixed[n] = before + gap

    def _factor(self, component: str, layer: int | None) -> Tensor | float | None:
        """What the change of a sender is multiplied with on its way to the stream; None where that is not a linear map."""
        if component in ("embed", "mlp_out"):
            return find_tap(self.network, Site(component, layer)).scale
        return self._projection(layer) if component == "z" else None

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

    def _projection(self, layer: int | None) -> Tensor | None:
        """The output projection [heads, head, width] of a layer, where nothing but a factor is behind it."""
        layout = self.network.layout
        if layout is None or layer is None:
            return None
        own = layout.at(layer)
        module = self.network.layers[layer].get_submodule(own.z[:-1])
        if own.attn_out[:-1] not in (own.attention, own.z[:-1]):
            return None
        weight, scale = _weight(module), find_tap(self.network, Site("attn_out", layer)).scale
        if weight is None:
            return None
        heads = weight.unflatten(0, (self.network.facts.heads or 1, -1))
        return heads if scale == 1 else heads * scale


def _weight(module: nn.Module) -> Tensor | None:
    """The matrix [in, out] of a module that is a linear map; None of any other."""
    if type(module) is nn.Linear:
        return module.weight.T
    if type(module).__name__ == "Conv1D" and isinstance(module.weight, Tensor):
        return module.weight
    return None


def _columns(module: nn.Module, columns: Tensor | None, given: Tensor) -> Tensor:
    """Some columns of what a linear map gives; no one reads the others."""
    weight = _weight(module)
    assert weight is not None
    out = given.new_empty(*given.shape[:-1], weight.shape[1])
    if columns is not None:
        bias = module.bias[columns] if isinstance(module.bias, Tensor) else None
        # the columns of a Linear are rows in memory
        out[..., columns] = nn.functional.linear(given, weight.T[columns], bias)
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
