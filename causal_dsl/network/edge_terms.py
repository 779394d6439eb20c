"""The changes that the senders of a pass of edges make in the residual stream, and where these terms are kept for later receivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.edge_norms import RootMeanSquare
from causal_dsl.planning.edge_room import KEPT, TOGETHER, weights_kept


class Room:
    """The memory that passes of a network use again, one after another, which the kernel need not hand out anew, page by page, and what
    is known of its norms. ``kept`` bytes of the memory may hold terms of senders."""

    def __init__(self, kept: int | None = None) -> None:
        self.kept = KEPT if kept is None else kept
        self._held: dict[tuple[str, int], Tensor] = {}
        #: the formulas of norms, as far as they were looked for
        self.norms: dict[nn.Module, RootMeanSquare | None] = {}
        #: the modules whose output linear maps read as it is; None before it was looked at
        self.read_as_it_is: dict[nn.Module, nn.Module] | None = None
        self._weighted: dict[nn.Module, Tensor] = {}
        self._left = weights_kept(self.kept)

    def weighted(self, module: nn.Module, matrix: Tensor, by: Tensor) -> Tensor | None:
        """The matrix [out, in] of a linear map times the weight of the norm before it; None where no more are kept."""
        size = matrix.numel() * matrix.element_size()
        if module not in self._weighted and size <= self._left:
            self._left -= size
            self._weighted[module] = matrix.detach() * by
        return self._weighted.get(module)

    def take(self, use: str, number: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of any numbers, the same memory for each ``use`` and number."""
        size = prod(shape)
        held = self._held.get((use, number))
        if held is None or held.numel() < size or held.dtype != like.dtype or held.device != like.device:
            self._held.pop((use, number), None)
            held = self._held[use, number] = like.new_empty(size)
        return held[:size].view(shape)


@dataclass(eq=False)
class MadeTerms:
    """The changes of single heads, or of other senders, in the stream [senders, rows, tokens, width]; ``full`` of them are made."""

    terms: Tensor
    full: int = 0


@dataclass(eq=False)
class SentWrites:
    """Writes of a sender that do not meet: ``gap`` is what they change at its site, as long as terms are made of it; ``code`` [rows,
    tokens] says whose masks a token has, 0 for none. ``masks`` [codes, heads, receivers] are 0 and 1, or -1 and 0 where receivers are
    given a sum from zero on (``emptied`` [codes])."""

    gap: Tensor | None
    code: Tensor
    masks: list[np.ndarray]
    emptied: list[bool] = field(default_factory=lambda: [False])
    #: where its terms are kept: of which block, from where on
    kept: tuple[MadeTerms, int] | None = None

    @cached_property
    def of_rows(self) -> np.ndarray | None:
        """Whose masks a row has [rows], 0 for none; None where tokens of a row differ. A token without masks changes nothing."""
        code = self.code.cpu().numpy()
        most: np.ndarray = code.max(axis=1)
        return most if bool(((code == most[:, None]) | (code == 0)).all()) else None


@dataclass(eq=False)
class SentChange:
    """The change that the writes of a sender make: ``tensor`` is what its site gives [rows, tokens, …]."""

    component: str
    layer: int | None
    tensor: Tensor
    #: what its change is multiplied with on its way to the stream; None where that is not a linear map
    factor: Tensor | float | None
    parts: list[SentWrites] = field(default_factory=list)
    #: of the groups at hand, what the site is with the writes that were added
    mixed: dict[int, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class SentTerms:
    """The change that some writes of a sender make, and for which groups of receivers: ``table`` [codes, heads, groups]."""

    sender: SentChange
    part: SentWrites
    table: np.ndarray

    @property
    def heads(self) -> int:
        return self.table.shape[1]


class TermBlocks:
    """The terms of senders in the stream, in blocks: kept for later receivers while there is room, and made anew beyond that.
    ``senders``: how many the pass has, by which the first block is measured."""

    def __init__(self, room: Room, senders: int):
        self.room, self.senders = room, senders
        self.blocks: list[MadeTerms] = []

    def of(self, linear: Sequence[SentTerms], like: Tensor) -> Iterator[tuple[MadeTerms, list[tuple[SentTerms, int]]]]:
        """The terms of some senders, each at a place of a block."""
        kept: dict[int, tuple[MadeTerms, list[tuple[SentTerms, int]]]] = {}
        others: list[SentTerms] = []
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

    def _keep(self, terms: SentTerms, like: Tensor) -> None:
        """Make terms where later receivers find them, while there is room."""
        if not self.blocks or self.blocks[-1].full + terms.heads > len(self.blocks[-1].terms):
            room = self.room.kept // (like[0].numel() * like.element_size()) - sum(
                len(block.terms) for block in self.blocks
            )
            if room < terms.heads:
                return
            # one for all senders, if nothing is written twice at one place
            size = TOGETHER if self.blocks else max(TOGETHER, self.senders)
            self.blocks.append(self._block(terms.heads, like, min(size, room), len(self.blocks)))
        terms.part.kept = self.blocks[-1], self._make(terms, self.blocks[-1])
        terms.part.gap = None  # the terms have it

    def _block(self, heads: int, like: Tensor, size: int = TOGETHER, number: int = -1) -> MadeTerms:
        return MadeTerms(self.room.take("terms", number, (max(size, heads), *like.shape[1:]), like))

    @staticmethod
    def _make(terms: SentTerms, block: MadeTerms) -> int:
        """Write what changes of each head of a sender in the stream into a block; gives where."""
        assert terms.part.gap is not None
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


__all__ = ["KEPT", "MadeTerms", "Room", "SentChange", "SentTerms", "SentWrites", "TermBlocks"]
