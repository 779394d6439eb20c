"""Features that leave the coordinates of the vector apart: all of them, learned gates on them, one scale for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from causal_dsl.features.base import GATE_RATE, Feature, Gates, Rest
from causal_dsl.features.orthonormal import count_gates


class Whole(Feature):
    """The whole vector: a swap gives the source."""

    def __init__(self, width: int, dtype: torch.dtype = torch.float32):
        super().__init__("whole", width, width, dtype)

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        return x, ()

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        return f

    def _write(self, x: Tensor, f: Tensor, new: Tensor, rest: Rest) -> Tensor:
        return new

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        return source if block is None else torch.where(self._picked(block), source, base)


class Standardize(Feature):
    """``standardize``: each coordinate less its mean, over its standard deviation, on natural activations (a
    coordinate that never changes is only moved). All is f, so that by itself it swaps everything: it is a first step
    before another feature."""

    def __init__(self, mean: Tensor, scale: Tensor, dtype: torch.dtype):
        super().__init__("standardize", len(mean), len(mean), dtype)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", mean.to(dtype))
        self.register_buffer("scale", torch.where(scale > 0, scale, 1).to(dtype))

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        return (x - self.mean.to(x.dtype)) / self.scale.to(x.dtype), ()

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        return f * self.scale.to(f.dtype) + self.mean.to(f.dtype)

    def _write(self, x: Tensor, f: Tensor, new: Tensor, rest: Rest) -> Tensor:
        return x + (new - f) * self.scale.to(x.dtype)

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        return source if block is None else torch.where(self._picked(block), source, base)


class Mask(Feature):
    """``mask``: a learned gate on each coordinate, on each head of a concatenation of heads, or on the vector as a whole (De Cao
    et al. 2020; Csordas et al. 2021; Davies et al. 2023).

    A soft gate is sigmoid(logit / T), and the temperature T falls evenly from ``start`` to ``end``; a judged gate is
    open where its logit is above 0. Logits start at 0: every gate is half open, where its gradient is largest and
    neither side is favoured. One that the fit never moves is reported as undecided, and is shut when judged. The
    penalty is ``weight`` times the sum of the soft gates.

    f has the width of the vector; it is 0 where a gate is shut.
    """

    def __init__(
        self,
        width: int,
        heads: tuple[int, int] | None,
        start: float,
        end: float,
        weight: float,
        dtype: torch.dtype,
        over: str = "",
    ):
        super().__init__("mask", width, width, dtype)
        self.heads, self.over = heads, over or ("coordinates" if heads is None else "heads")
        self.start, self.end, self.weight = start, end, weight
        count, self.each = heads if heads is not None else (width, 1)
        if count * self.each != width:
            raise ValueError(f"{count} heads of {self.each} numbers are no vector of {width}")
        self.logits = nn.Parameter(torch.zeros(count, dtype=dtype))
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(start, dtype=torch.float64))

    def _make(self) -> tuple[Tensor, Tensor]:
        return self._spread(self.logits / self.temperature), self._spread(self.logits.detach() > 0)

    def _spread(self, gates: Tensor) -> Tensor:
        return gates.repeat_interleave(self.each) if self.each > 1 else gates

    def _root(self, like: Tensor) -> Tensor:
        """The roots of the gates [width]: half of a gate on the way in and half on the way out."""
        cooled, opened = self.kept
        return (opened if self.hardened else torch.exp(functional.logsigmoid(cooled) / 2)).to(like.dtype)

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        root = self._root(x)
        f = x * root
        return f, (x - f * root,)

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        return rest[0] + f * self._root(f)

    def _write(self, x: Tensor, f: Tensor, new: Tensor, rest: Rest) -> Tensor:
        return x + (new - f) * self._root(x)

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        cooled, opened = self.kept
        if self.hardened:
            return torch.where(opened & self._picked(block), source, base)
        gates = torch.sigmoid(cooled).to(base.dtype)
        return base + (source - base) * (gates if block is None else gates * self._picked(block))

    def anneal(self, progress: float) -> None:
        self.temperature.fill_(self.start + (self.end - self.start) * progress)
        self.forget()

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        return [(GATE_RATE, [self.logits])]

    def penalty(self) -> Tensor:
        return self.weight * torch.sigmoid(self.logits / self.temperature).sum()

    def gates(self) -> Gates:
        return count_gates(self.logits, self.end)

    def effective_size(self) -> int:
        return self.each * self.gates().open

    def describe(self) -> str:
        return f"mask(over={self.over})"
