"""Hooks by hand on a plain transformers model: a step as a careful user writes it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.contenders.plain import Stopped, contiguous_unembedding, load_model
from benchmarks.fits.clocks import Clocks
from benchmarks.fits.workloads import COMPARED, FitArrays, Fitted


def orthonormal(raw: Tensor) -> Tensor:
    """The factor Q of a free parameter, whose R has a positive diagonal."""
    q, r = torch.linalg.qr(raw)
    return q * torch.where(r.diagonal() < 0, -1, 1)


class Fitter:
    """Fits cell by cell; a class says how ``logits(which, pairs, rotation)`` are come by (``which``: "" or "check_")."""

    #: The part of the rate that makes steps as long as those of the others.
    slower = 1.0

    def __init__(self, folder: Path):
        self.model = load_model(folder)
        contiguous_unembedding(self.model)
        self.clocks = Clocks()
        self.vectors: list[Tensor] = []

    def fit(self, arrays: FitArrays) -> Fitted:
        """Every cell, from its start to the end of its order."""
        with self.clocks["prompts"]:
            self.begin(arrays)
        losses, checks = [], []
        for cell in range(len(arrays.layers)):
            self.cell = cell
            found = self._fit(arrays, cell)
            losses.append(
                [sum(found[0][i : i + arrays.epoch]) / arrays.epoch for i in range(0, len(found[0]), arrays.epoch)]
            )
            checks.append(found[1])
        return Fitted(np.array(losses), np.array(checks))

    def _fit(self, arrays: FitArrays, cell: int) -> tuple[list[float], list[tuple[float, float]]]:
        self.start(arrays, cell)
        adam = torch.optim.Adam(self.parameters(), lr=arrays.rate * self.slower)
        losses, checks = [], []
        for step, pairs in enumerate(arrays.order[cell], 1):
            with self.clocks["steps"]:
                loss = functional.cross_entropy(self.logits("", pairs), torch.from_numpy(arrays.target[pairs]))
                adam.zero_grad(set_to_none=True)
                loss.backward()
                adam.step()
                losses.append(float(loss.detach()))
            if step % arrays.epoch == 0:
                with self.clocks["checks"], torch.no_grad():
                    target = torch.from_numpy(arrays.check_target)
                    logits = self.logits("check_", np.arange(len(target)))
                    right = (logits.argmax(1) == target).float().mean()
                    checks.append((float(functional.cross_entropy(logits, target)), float(right)))
        return losses, checks

    def written(self, arrays: FitArrays) -> tuple[np.ndarray, np.ndarray]:
        """The vectors [cells, k, width] that are written by the first rotations, and the logits [cells, k, vocabulary]."""
        self.begin(arrays)
        vectors, logits = [], []
        for cell in range(len(arrays.layers)):
            self.cell = cell
            self.start(arrays, cell)
            with torch.no_grad():
                logits.append(self.logits("", np.arange(COMPARED)).numpy())
            vectors.append(self.vectors.pop().numpy())
            self.vectors.clear()
        return np.stack(vectors), np.stack(logits)

    # ── what a way of doing it says ─────────────────────────────────────────────────────────────

    def begin(self, arrays: FitArrays) -> None:
        """What is done once for all cells and steps."""
        self.arrays = arrays

    def start(self, arrays: FitArrays, cell: int) -> None:
        """The parameter of a cell."""
        self.raw = torch.nn.Parameter(torch.from_numpy(arrays.starts[cell]).clone())

    def parameters(self) -> list[torch.nn.Parameter]:
        return [self.raw]

    def logits(self, which: str, pairs: np.ndarray) -> Tensor:
        """The logits at the last token of some pairs, written through the rotation as it is now."""
        raise NotImplementedError

    # ── common ──────────────────────────────────────────────────────────────────────────────────

    def rows(self, name: str, pairs: np.ndarray) -> Tensor:
        return torch.from_numpy(getattr(self.arrays, name)[pairs])

    def swapped(self, base: Tensor, source: Tensor) -> Tensor:
        rotation = orthonormal(self.raw)
        found = base + ((source - base) @ rotation) @ rotation.T
        self.vectors[:] = [found.detach()]
        return found

    @torch.no_grad()
    def stream(self, rows: Tensor, layer: int, last: bool) -> Tensor:
        """What leaves a layer, of all tokens or the last, from a forward that stops there."""
        kept: list[Tensor] = []

        def see(_: Any, args: Any, output: Tensor) -> None:
            kept.append(output[:, -1].clone() if last else output.clone())
            raise Stopped

        handle = self.model.model.layers[layer].register_forward_hook(see)
        with suppress(Stopped):
            self.model.model(rows, use_cache=False)
        handle.remove()
        return kept[0]


class Hooks(Fitter):
    """For each step the source's forward, which stops at the layer, and the base's with a hook that writes."""

    def logits(self, which: str, pairs: np.ndarray) -> Tensor:
        layer = int(self.arrays.layers[self.cell])
        source = self.stream(self.rows(f"{which}source", pairs), layer, last=True)

        def write(_: Any, args: Any, output: Tensor) -> Tensor:
            return torch.cat([output[:, :-1], self.swapped(output[:, -1], source)[:, None]], dim=1)

        handle = self.model.model.layers[layer].register_forward_hook(write)
        logits = self.model(self.rows(f"{which}base", pairs), use_cache=False, logits_to_keep=1).logits
        handle.remove()
        return logits[:, -1]


class Resumed(Fitter):
    """Sources and the bases' streams are kept; a step calls the layers above by hand, with all tokens of the bases."""

    def begin(self, arrays: FitArrays) -> None:
        super().begin(arrays)
        self.kept = {
            (layer, which): (
                self.stream(torch.from_numpy(getattr(arrays, f"{which}base")), layer, last=False),
                self.stream(torch.from_numpy(getattr(arrays, f"{which}source")), layer, last=True),
            )
            for layer in np.unique(arrays.layers).tolist()
            for which in ("", "check_")
        }

    def logits(self, which: str, pairs: np.ndarray) -> Tensor:
        layer, inner = int(self.arrays.layers[self.cell]), self.model.model
        bases, sources = self.kept[layer, which]
        base, source = bases[pairs], sources[pairs]
        hidden = torch.cat([base[:, :-1], self.swapped(base[:, -1], source)[:, None]], dim=1)
        angles = inner.rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
        for block in inner.layers[layer + 1 :]:
            hidden = block(hidden, position_embeddings=angles, attention_mask=None)
        logits: Tensor = self.model.lm_head(inner.norm(hidden[:, -1].contiguous()))
        return logits
