"""The jobs of one forward pass, which read or write a tensor as it passes by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span, fail
from causal_dsl.network.site_tensors import FIRST_WRITE, LAST_READ
from causal_dsl.network.tap import Tap
from causal_dsl.vocabulary.locations import Site

Edit = Callable[[Tensor], Tensor]
#: Of a sum of the residual stream, so many roundings of its own size are no more than usual.
_ROUNDED = 8


class Places(Protocol):
    """Where something is read or written: an index of the first axes of the tensor that is there."""

    def on(self, device: torch.device) -> tuple[Tensor, ...]: ...

    def copy_of(self, tensor: Tensor) -> Tensor:
        """A copy of what is there [m, …]."""


@dataclass(eq=False)
class SiteRead:
    """The vectors [m, width] at a site, for m pairs of ``rows`` [m] and unpadded ``positions`` [m] (None: vectors). ``after``: in a
    pass of many rows, what is there once the writes of the site have acted, as the rest of the network goes on with it."""

    site: Site
    rows: Tensor
    positions: Tensor | None = None
    after: bool = False


def reads_in(reads: Sequence[SiteRead], place: np.ndarray) -> tuple[list[SiteRead], list[tuple[int, Tensor]]]:
    """Of some reads what lies in the rows of a batch: ``place`` [rows] is where each row is in it, -1 for the others.
    Gives, beside them, the number of each read and which of its places they are."""
    here, picked = [], []
    for number, read in enumerate(reads):
        rows = place[np.asarray(read.rows)]
        mine = torch.from_numpy(np.flatnonzero(rows >= 0))
        if len(mine):
            at = None if read.positions is None else read.positions[mine]
            here.append(SiteRead(read.site, torch.from_numpy(rows)[mine], at))
            picked.append((number, mine))
    return here, picked


@dataclass(eq=False)
class SiteWrite:
    """``edit`` maps the vectors [m, width] at a site to those that take their place; ``needs`` are the sites whose vectors
    of the same pass it looks at."""

    site: Site
    rows: Tensor
    positions: Tensor | None
    edit: Edit
    needs: tuple[Site, ...] = ()


@dataclass(frozen=True, eq=False)
class WriteCount:
    """A write that happened: at how many places, and the relative change |new - old| / |old| at each, [rows]."""

    rows: int
    change: Tensor


@dataclass(eq=False)
class TapeOutcome:
    """``reads`` in the order asked, each [m, width]; ``logits`` [k, vocabulary or classes] at the read-out, or None.
    ``order``: the numbers of the reads as they happened."""

    reads: list[Tensor]
    logits: Tensor | None
    written: list[WriteCount]
    order: tuple[int, ...] = ()


class Done(Exception):
    """Everything asked for has been read: the rest of the network need not run."""


@dataclass(eq=False)
class TapeJob:
    """One act on a tensor; jobs of one tensor act in the order of ``order``. ``writes``: it changes the tensor it is given."""

    order: tuple[float, int, int]
    act: Callable[[Tensor], Tensor | None]
    writes: bool = False


@dataclass(eq=False)
class Tape:
    """Keeps what a forward reads and writes, and ends it once all is done where ``stop`` says so."""

    reads: list[SiteRead]
    writes: list[SiteWrite]
    stop: bool
    values: dict[int, Tensor] = field(default_factory=dict)
    fired: dict[int, WriteCount] = field(default_factory=dict)

    def check_done(self) -> None:
        if self.stop and len(self.values) == len(self.reads) and len(self.fired) == len(self.writes):
            raise Done

    def store(self, number: int, value: Tensor) -> None:
        """Keep what a read found."""
        self.values[number] = value

    def reader(self, number: int, tap: Tap, points: Places) -> TapeJob:
        """Keep what is at a read's places."""

        def act(hidden: Tensor) -> None:
            value = _columns(points.copy_of(hidden), tap)
            self.store(number, value * tap.scale if tap.scale != 1 else value)

        return TapeJob((tap.rank, 1, number), act)

    def writer(self, number: int, tap: Tap, points: Places) -> TapeJob:
        """Put a write's edit in place of what is there."""

        def act(hidden: Tensor) -> None:
            index = points.on(hidden.device)
            whole = points.copy_of(hidden)
            old = _columns(whole, tap)
            new = self.edited(number, old * tap.scale if tap.scale != 1 else old)
            if tap.scale != 1:  # as a difference, so that writing what is there changes nothing at all
                new = old + (new - old * tap.scale) / tap.scale
            hidden.index_put_(index, _put(whole, tap, new))

        return TapeJob((FIRST_WRITE if tap.rank == LAST_READ else tap.rank, 0, number), act, writes=True)

    def summed(self, number: int, site: Tap, term: Tap, points: Places, before: Callable[[], Tensor]) -> TapeJob:
        """Keep a sum of the residual stream at a read's places: what :meth:`adder` writes, where it writes it."""

        def act(hidden: Tensor) -> None:
            whole = points.copy_of(hidden)
            self.store(number, _columns(before() + (whole * term.scale if term.scale != 1 else whole), site))

        return TapeJob((site.rank, 1, number), act)

    def adder(
        self,
        number: int,
        site: Tap,
        term: Tap,
        points: Places,
        before: Callable[[], Tensor],
        after: Callable[[Tensor], None],
    ) -> TapeJob:
        """Write a sum of the residual stream by adding the difference to the ``term`` that enters it.

        ``before`` gives the stream [m, width] that the term is added to, at the places of the write; ``after`` hears what
        the sum shall be there.
        """

        def act(hidden: Tensor) -> None:
            index = points.on(hidden.device)
            whole = points.copy_of(hidden)
            stream = before()
            old = _columns(stream + whole * term.scale, site)
            new = self.edited(number, old)
            after(new)
            added = _columns(whole, site) + (new - old) / term.scale
            # Where the sum comes out near zero, the rounding of what was added up is what is left, and a norm makes much of it.
            left = new - (_columns(stream, site) + added * term.scale)
            off = left.abs() > _ROUNDED * torch.finfo(new.dtype).eps * new.abs()
            added = torch.where(off, added + left / term.scale, added)
            hidden.index_put_(index, _put(whole, site, added))

        return TapeJob((site.rank, 0, number), act, writes=True)

    def setter(self, number: int, tap: Tap, points: Places, new: Callable[[], Tensor]) -> TapeJob:
        """Put what :meth:`adder` made in place of the sum as it is read: a sum is rounded, and a norm of nearly equal
        numbers makes much of that."""

        def act(hidden: Tensor) -> None:
            index = points.on(hidden.device)
            hidden.index_put_(index, _put(points.copy_of(hidden), tap, new()))

        return TapeJob((tap.rank, 0, number), act, writes=True)

    def edited(self, number: int, old: Tensor) -> Tensor:
        """Apply a write's edit, and note that it fired and by how much it changed what was there."""
        new = self.writes[number].edit(old)
        if new.shape != old.shape:
            raise ValueError(f"an edit of {list(old.shape)} gave {list(new.shape)}")
        new = new.to(device=old.device, dtype=old.dtype)
        with torch.no_grad():
            size = old.float().norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
            change = (new.float() - old.float()).norm(dim=-1) / size
        self.fired[number] = WriteCount(int(old.shape[0]), change)
        return new

    def outcome(self, logits: Tensor | None, span: Span = NOWHERE) -> TapeOutcome:
        """All that was read; raises E421 for a site that the forward never came by."""
        for number, read in enumerate(self.reads):
            if number not in self.values:
                raise fail("E421", f"`{read.site}` was never computed, so it could not be read", span, notes=_NEVER)
        for number, write in enumerate(self.writes):
            if number not in self.fired:
                raise fail("E421", f"the intervention on `{write.site}` never happened", span, notes=_NEVER)
        values = [self.values[number] for number in range(len(self.reads))]
        return TapeOutcome(values, logits, [self.fired[n] for n in range(len(self.writes))], tuple(self.values))


_NEVER = ("the forward pass of this network did not run the module that holds the site",)


def _columns(whole: Tensor, tap: Tap) -> Tensor:
    """The site's own numbers of vectors [m, width], which are kept alone where they are not all."""
    own = tap.spot
    return whole[..., own].contiguous() if isinstance(own, slice) else whole[..., own.to(whole.device)]


def _put(whole: Tensor, tap: Tap, new: Tensor) -> Tensor:
    if tap.columns is None or (isinstance(tap.spot, slice) and new.shape == whole.shape):
        return new
    return whole.index_copy(-1, tap.columns.to(whole.device), new)


def run_jobs(jobs: list[TapeJob], hidden: Tensor) -> Tensor:
    """All jobs of one tensor, in their order: writes before reads at each site, sites as they are computed.

    Gives the very tensor where nothing is written, else a changed copy: models go on using what they handed out.
    """
    if any(job.writes for job in jobs):
        hidden = hidden.clone()
    for job in sorted(jobs, key=lambda job: job.order):
        job.act(hidden)
    return hidden


__all__ = [
    "Done",
    "Edit",
    "Places",
    "SiteRead",
    "SiteWrite",
    "Tape",
    "TapeJob",
    "TapeOutcome",
    "WriteCount",
    "run_jobs",
]
