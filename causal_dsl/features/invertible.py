"""A feature that bends: an invertible network finds f in the vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from causal_dsl.base.counter import key, normals, permutation
from causal_dsl.features.base import Feature, Rest


class Coupling(nn.Module):
    """One additive coupling of an invertible network (Dinh et al. 2015, NICE): a hidden layer of ``hidden`` units reads
    the ``width`` - ``moved`` last coordinates and shifts the ``moved`` first ones. It starts as no shift; the rest of its
    start depends on ``seed`` and the ``number`` of the coupling."""

    def __init__(self, width: int, moved: int, hidden: int, seed: int, number: int, dtype: torch.dtype):
        super().__init__()
        self.moved = moved
        seen = width - moved
        first = torch.from_numpy(normals(seed, (seen, hidden), f"coupling {number}")) / max(1, seen) ** 0.5
        self.into = nn.Parameter(first.to(dtype))
        self.into_bias = nn.Parameter(torch.zeros(hidden, dtype=dtype))
        self.out = nn.Parameter(torch.zeros((hidden, moved), dtype=dtype))
        self.order: Tensor
        self.register_buffer("order", torch.from_numpy(permutation(key(seed, "order", number), width)))

    def shift(self, seen: Tensor) -> Tensor:
        dtype = seen.dtype
        hidden = functional.gelu(seen @ self.into.to(dtype) + self.into_bias.to(dtype))
        return hidden @ self.out.to(dtype)

    def forth(self, x: Tensor) -> Tensor:
        moved, seen = x[:, self.order].split((self.moved, x.shape[1] - self.moved), dim=1)
        return torch.cat((moved + self.shift(seen), seen), dim=1)

    def back(self, x: Tensor, inverse: Tensor) -> Tensor:
        moved, seen = x.split((self.moved, x.shape[1] - self.moved), dim=1)
        return torch.cat((moved - self.shift(seen), seen), dim=1)[:, inverse]


class RevNet(Feature):
    """``revnet``: f is the first ``dim`` coordinates of what an invertible network makes of the vector.

    ``layers`` couplings, each after a random order of the coordinates that stays as it is. It starts as a choice of
    ``dim`` coordinates. A swap decodes the f of the source with the rest of the base, and takes off the rounding that
    decoding the base's own f shows. Such a map finds a variable in nearly any network, trained or not, so that a high score says
    little without its controls (Sutter et al. 2025, "The non-linear representation dilemma").
    """

    nonlinear = True

    def __init__(self, width: int, dim: int, layers: int, hidden: int, seed: int, dtype: torch.dtype):
        super().__init__("revnet", width, dim, dtype)
        self.hidden = hidden
        self.couplings = nn.ModuleList(
            Coupling(width, (width + 1) // 2, hidden, seed, number, dtype) for number in range(layers)
        )

    def _make(self) -> list[Tensor]:
        return [torch.argsort(coupling.order) for coupling in self.couplings]

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        for coupling in self.couplings:
            x = coupling.forth(x)
        return x[:, : self.size], (x[:, self.size :],)

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        x = torch.cat((f, rest[0]), dim=1)
        for coupling, inverse in zip(reversed(self.couplings), reversed(self.kept), strict=True):
            x = coupling.back(x, inverse)
        return x

    def describe(self) -> str:
        return f"revnet(layers={len(self.couplings)}, width={self.hidden}, dim={self.size})"
