"""The nodes of a dictionary as numbers: latents, and the error term, which is what they do not decode to."""

from __future__ import annotations

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.features.base import Feature, Rest
from causal_dsl.features.sae import Sae


@dataclass(eq=False)
class NodeNumbers:
    """Some nodes of ``feature``: the numbers ``chosen`` [k] of it (None: all), and with ``error`` the error term. ``output``: of a feature that
    reads elsewhere than it writes, which of its outputs the vector is."""

    feature: Feature
    chosen: Tensor | None
    error: bool
    output: int = 0

    @torch.no_grad()
    def of(self, read: Tensor, written: Tensor) -> Tensor:
        """The numbers [m, k] of vectors: of those that the feature reads, and of those that it writes (the same, or of another site). The
        error term has as many as a vector has."""
        f, rest = self.feature.encode(read)
        parts = [f if self.chosen is None else f.index_select(1, self.chosen)]
        if self.error:
            parts.append(written.to(f.dtype) - self._decoded(f, read, rest, written.shape[1]))
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def moved(self, read: Tensor, change: Tensor, width: int) -> Tensor:
        """The sum that a change of the numbers [m, k] adds to the vectors [m, width] that are written."""
        f, rest = self.feature.encode(read)
        change = change.to(f.dtype)
        count = f.shape[1] if self.chosen is None else len(self.chosen)
        by = change[:, :count]
        if self.chosen is not None:
            by = torch.zeros_like(f).index_copy(1, self.chosen, by)
        found = (
            self.through(by, f, rest, width) if count else torch.zeros(len(f), width, dtype=f.dtype, device=f.device)
        )
        return found + change[:, count:] if self.error else found

    def through(self, by: Tensor, f: Tensor, rest: Rest, width: int) -> Tensor:
        """The sum that a change of all numbers [m, size] adds to the vectors that are written."""
        if isinstance(self.feature, Sae) and self.feature.across:
            return self.feature.moved(by, self.output, width)
        return self.feature.shift(f, by, rest)

    def _decoded(self, f: Tensor, read: Tensor, rest: Rest, width: int) -> Tensor:
        if isinstance(self.feature, Sae):
            return self.feature.reconstructed(f, read.to(f.dtype), self.output, width)
        return read.to(f.dtype) - self.feature.decode(torch.zeros_like(f), rest)

    def slopes(self, read: Tensor, by: Tensor) -> Tensor:
        """The gradient by the numbers [m, k], where that by the vectors that are written is ``by`` [m, width]: how the vectors move with each
        number, whatever the encoder does."""
        with torch.no_grad():
            f, rest = self.feature.encode(read)
        by = by.to(f.dtype)
        with torch.enable_grad():
            change = torch.zeros_like(f).requires_grad_()
            (found,) = torch.autograd.grad(self.through(change, f, rest, by.shape[1]), change, by)
        parts = [found if self.chosen is None else found.index_select(1, self.chosen)]
        return torch.cat([*parts, by], dim=1) if self.error else parts[0]


__all__ = ["NodeNumbers"]
