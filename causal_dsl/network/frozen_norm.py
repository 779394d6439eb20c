"""A norm as the linear map that it is where its scale is held: y = g (x - mean) / s + b, with the s of each vector.

No class is looked up: gain, bias and whether the mean is taken off are read from what the module makes of a few vectors, and what it
makes of the vectors at hand has to be that map.
"""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span, fail

#: By how many roundings the module may differ from the map.
_ROUNDED = 200


@dataclass(eq=False)
class FrozenNorm:
    """``module`` norms vectors of ``width`` numbers of ``dtype`` on ``device``. Raises E842 where it is no such norm."""

    module: nn.Module
    width: int
    dtype: torch.dtype
    device: torch.device
    span: Span
    gain: Tensor = field(init=False)
    bias: Tensor = field(init=False)
    centred: bool = field(init=False)

    def __post_init__(self) -> None:
        turns = torch.ones(self.width, dtype=torch.float64, device=self.device)
        turns[1::2] = -1
        if self.width % 2 and self.width > 1:
            turns[-1], turns[-2], turns[-3] = -2, 1, 1
        zero, plain, moved = self._of(torch.stack([0 * turns, turns, turns + 3]))
        self.bias = zero
        self.gain = (plain - zero) / turns
        size = float((plain - zero).abs().max().clamp_min(1e-30))
        self.centred = bool((moved - plain).abs().max() <= _ROUNDED * torch.finfo(self.dtype).eps * size)

    def _of(self, vectors: Tensor) -> Tensor:
        found: Tensor = self.module(vectors[None].to(self.dtype))
        return found[0].double()

    def scales(self, vectors: Tensor) -> Tensor:
        """The factor [m] by which the norm multiplies each vector [m, width], without the gain."""
        vectors = vectors.to(self.device).double()
        moved = vectors - vectors.mean(dim=1, keepdim=True) if self.centred else vectors
        given, plain = self._of(vectors) - self.bias, moved * self.gain
        found = (given * plain).sum(dim=1) / plain.square().sum(dim=1).clamp_min(1e-300)
        left = (given - found[:, None] * plain).abs().amax(dim=1)
        size = given.abs().amax(dim=1) + self.bias.abs().max() + 1e-30
        if not bool((left <= _ROUNDED * torch.finfo(self.dtype).eps * size).all()):
            raise fail(
                "E842",
                f"a `{type(self.module).__name__}` is not a norm whose scale can be held",
                self.span,
                notes=("it does not multiply each vector by one number and each coordinate by another",),
                help="read the stream itself: logit(…) @ layer[0].resid_post[…]",
            )
        return found

    def back(self, directions: Tensor, scales: Tensor) -> Tensor:
        """The directions [m, width] in the vectors that are normed, of directions in what the norm gives."""
        found = directions * self.gain * scales[:, None]
        return found - found.mean(dim=1, keepdim=True) if self.centred else found


__all__ = ["FrozenNorm"]
