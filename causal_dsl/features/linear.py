"""Features that are a projection: f is a product of the vector with a thin matrix, written back by another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from causal_dsl.features.base import Feature, Rest


class Linear(Feature):
    """f = (x - offset) ``into``, and the rest is x - f ``out``: adding f ``out`` gives x back whatever the two maps.

    :meth:`_make` gives ``into`` [width, size] and ``out`` [size, width].
    """

    def _offset(self) -> Tensor | None:
        """The offset that is taken off before f is read [width]."""
        return None

    def _maps(self, like: Tensor) -> tuple[Tensor, Tensor]:
        into, out = self.kept
        return into.to(like.dtype), out.to(like.dtype)

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        into, out = self._maps(x)
        offset = self._offset()
        f = (x if offset is None else x - offset.to(x.dtype)) @ into
        return f, (x - f @ out,)

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        return rest[0] + f @ self._maps(f)[1]

    def _write(self, x: Tensor, f: Tensor, new: Tensor, rest: Rest) -> Tensor:
        return x + (new - f) @ self._maps(x)[1]

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        into, out = self._maps(base)
        if block is not None:
            into, out = into[:, block], out[block]
        return base + ((source - base) @ into) @ out


class Axes(Linear):
    """Fixed orthonormal axes [width, size] about a centre [width]: nothing of it is fitted by the network's answers."""

    def __init__(self, name: str, axes: Tensor, centre: Tensor, dtype: torch.dtype, setting: str = ""):
        super().__init__(name, axes.shape[0], axes.shape[1], dtype)
        self._setting = setting
        self.axes: Tensor
        self.centre: Tensor
        self.register_buffer("axes", axes.to(dtype).contiguous())  # in one layout, loaded or not: it rounds alike
        self.register_buffer("centre", centre.to(dtype))

    def _make(self) -> tuple[Tensor, Tensor]:
        return self.axes, self.axes.T

    def _offset(self) -> Tensor | None:
        return self.centre

    def describe(self) -> str:
        return f"{self.name}({f'{self._setting}={self.size}' if self._setting else ''})"


class LowRank(Linear):
    """``lowrank``: an oblique projection. f = x E with E [width, dim]; it is written back along other directions,
    D [dim, width], where D E = I holds because D = (D0 E)^-1 D0. E and D0 are fitted, from one orthonormal start."""

    def __init__(self, start: Tensor, dtype: torch.dtype):
        super().__init__("lowrank", start.shape[0], start.shape[1], dtype)
        self.into = nn.Parameter(start.to(dtype).clone())
        self.out = nn.Parameter(start.T.to(dtype).contiguous())

    def _make(self) -> tuple[Tensor, Tensor]:
        return self.into, torch.linalg.solve(self.out @ self.into, self.out)

    def describe(self) -> str:
        return f"lowrank(dim={self.size})"


class Affine(Linear):
    """``affine``: all coordinates are mapped by an invertible matrix A [width, width] (fitted, from an orthogonal
    start), and f is the first ``dim`` of x A. It is written back along the first rows of A^-1."""

    def __init__(self, start: Tensor, dim: int, dtype: torch.dtype):
        super().__init__("affine", start.shape[0], dim, dtype)
        self.matrix = nn.Parameter(start.to(dtype).clone())

    def _make(self) -> tuple[Tensor, Tensor]:
        chosen = torch.eye(self.width, self.size, dtype=self.dtype, device=self.device)
        return self.matrix[:, : self.size], torch.linalg.solve(self.matrix.T, chosen).T

    def describe(self) -> str:
        return f"affine(dim={self.size})"
