"""Orthonormal maps that are learned: a subspace of a size that is given, and one whose size is learned too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from causal_dsl.base.counter import normals
from causal_dsl.features.base import GATE_RATE, UNDECIDED, Gates
from causal_dsl.features.linear import Linear


def haar(width: int, dim: int, seed: int) -> Tensor:
    """An orthonormal matrix [width, dim], float64 on the CPU, drawn evenly among all; the same on every machine up to
    rounding."""
    return sign_fixed(torch.from_numpy(normals(seed, (width, dim), "rotation")))


def sign_fixed(matrix: Tensor) -> Tensor:
    """The orthonormal factor Q of ``matrix`` [width, dim] = Q R whose R has a positive diagonal: there is one only, and
    a matrix that is orthonormal already is its own."""
    q, r = torch.linalg.qr(matrix)
    # In the layout of a tensor that is loaded: another is multiplied in another order, and rounds otherwise.
    return (q * torch.where(r.diagonal() < 0, -1, 1)).contiguous()


class Orthonormal(nn.Module):
    """A learned orthonormal matrix [width, dim]: the factor Q of a parameter that is free."""

    def __init__(self, start: Tensor, dtype: torch.dtype):
        super().__init__()
        self.raw = nn.Parameter(start.to(dtype).clone())
        self._saved: Tensor | None
        self.register_buffer("_saved", None, persistent=False)

    def matrix(self, exact: bool) -> Tensor:
        """The matrix. ``exact``: as it was loaded, bit by bit, unless it was fitted on since; that has no gradient."""
        if exact and self._saved is not None and torch.equal(self._saved, self.raw.detach()):
            return self._saved
        return sign_fixed(self.raw)

    def loaded(self) -> None:
        """The parameter has been set to a matrix that is orthonormal."""
        self._saved = self.raw.detach().clone()


class Rotation(Linear):
    """``rotation``: f is the vector's coordinates in a learned subspace, distributed alignment search (Geiger et al.
    2024, "Finding alignments between interpretable causal variables and distributed neural representations").

    R [width, dim] is orthonormal; a swap is h + ((s - h) R) R^T.
    """

    def __init__(self, start: Tensor, dtype: torch.dtype, name: str = "rotation"):
        super().__init__(name, start.shape[0], start.shape[1], dtype)
        self.orthonormal = Orthonormal(start, dtype)

    def _make(self) -> tuple[Tensor, Tensor]:
        rotation = self.orthonormal.matrix(self.hardened or not torch.is_grad_enabled())
        return rotation, rotation.T

    def tensors(self) -> dict[str, Tensor]:
        with torch.no_grad():
            rotation = self.orthonormal.matrix(True)
        return super().tensors() | {"rotation": rotation.detach().cpu().clone().contiguous()}

    def _slots(self) -> dict[str, Tensor]:
        return {"rotation": self.orthonormal.raw.detach()}

    def _loaded(self) -> None:
        self.orthonormal.loaded()

    def describe(self) -> str:
        return f"{self.name}(dim={self.size})"


class Boundless(Rotation):
    """``boundless``: a rotation of the whole vector, of which the first b * width coordinates are swapped, and b is
    learned: boundless distributed alignment search (Wu et al. 2023, "Interpretability at scale").

    The gate of coordinate i, counted from 0, is sigmoid((b * width - (i + 1/2)) / T): at the boundary it is one half,
    and as T falls (evenly, from ``start`` to ``end`` positions) the gates become the first round(b * width). b starts
    at 1/2 and stays within [1e-3, 1]. The penalty is ``weight`` * b, as in pyvene: the number of gates that are open,
    as a part of all, and not their number. (pyvene's lower boundary, at 0, which leaves the first gate half shut, is
    left out.)
    """

    LOW = 1e-3

    def __init__(self, rotation: Tensor, start: float, end: float, weight: float, dtype: torch.dtype):
        super().__init__(rotation, dtype, "boundless")
        self.start, self.end, self.weight = start, end, weight
        #: whether the gates of what was kept are hard
        self._gated_hard = self.hardened
        self.boundary = nn.Parameter(torch.tensor(0.5, dtype=dtype))
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(start, dtype=torch.float64))
        self.centres: Tensor
        self.register_buffer("centres", torch.arange(self.width, dtype=dtype) + 0.5, persistent=False)

    def _make(self) -> tuple[Tensor, Tensor]:
        if not self.LOW <= float(self.boundary.detach()) <= 1:
            with torch.no_grad():  # beyond its bounds it has no gradient, and would stay there
                self.boundary.clamp_(self.LOW, 1)
        rotation = super()._make()[0]
        self._gated_hard = self.hardened
        return rotation, self._gated(rotation, self.hardened)

    def _gated(self, rotation: Tensor, hard: bool) -> Tensor:
        """The rotation times the roots of its gates: half of a gate is on the way in and half on the way out, so that
        decode undoes encode with soft ones too."""
        if hard:
            return rotation * self.opened()
        return rotation * torch.exp(functional.logsigmoid(self._logits() / self.temperature) / 2)

    def _maps(self, like: Tensor) -> tuple[Tensor, Tensor]:
        rotation, gated = self.kept
        if self._gated_hard is not self.hardened:  # encode and decode of a feature that is being fitted
            gated = self._gated(rotation, self.hardened)
        gated = gated.to(like.dtype)
        return gated, gated.T

    def _logits(self) -> Tensor:
        return self.boundary.clamp(self.LOW, 1) * self.width - self.centres

    def opened(self) -> Tensor:
        """Which coordinates a judged swap moves [width]."""
        return self._logits().detach() > 0

    def anneal(self, progress: float) -> None:
        self.temperature.fill_(self.start + (self.end - self.start) * progress)
        self.forget()

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        return [(1.0, [self.orthonormal.raw]), (GATE_RATE, [self.boundary])]

    def penalty(self) -> Tensor:
        return self.weight * self.boundary.clamp(self.LOW, 1)

    def gates(self) -> Gates:
        return count_gates(self._logits(), self.end)

    def effective_size(self) -> int:
        return int(self.opened().sum())

    def _slots(self) -> dict[str, Tensor]:
        return super()._slots() | {"boundary": self.boundary.detach(), "temperature": self.temperature}

    def describe(self) -> str:
        return "boundless()"


def count_gates(logits: Tensor, temperature: float) -> Gates:
    """The values of gates with these logits [g] at a final temperature."""
    soft = torch.sigmoid(logits.detach() / temperature)
    undecided = (soft > UNDECIDED[0]) & (soft < UNDECIDED[1])
    return Gates(len(logits), int((logits > 0).sum()), int(undecided.sum()))
