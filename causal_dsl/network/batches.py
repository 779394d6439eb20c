"""Prompts side by side: padding, masks and ``position_ids``, and where the tokens of each prompt lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Points:
    """Places in a batch: ``rows`` [m] and ``columns`` [m] of the padded tensor; ``columns`` None for vectors."""

    rows: Tensor
    columns: Tensor | None

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The index of a tensor's first axes, on the tensor's device."""
        index = (self.rows,) if self.columns is None else (self.rows, self.columns)
        return tuple(part.to(device) for part in index)

    def __len__(self) -> int:
        return int(self.rows.shape[0])


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts padded to the longest: ``ids``, ``mask`` and ``position_ids`` [rows, longest]; row r starts at
    ``offsets[r]`` and has ``lengths[r]`` tokens. For vector networks ``ids`` is the input [rows, width] itself."""

    ids: Tensor
    mask: Tensor | None
    position_ids: Tensor | None
    offsets: Tensor
    lengths: Tensor

    @property
    def rows(self) -> int:
        return int(self.ids.shape[0])

    @property
    def longest(self) -> int:
        return int(self.ids.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading axes of what the network computes: (rows, longest), or (rows,) for vectors."""
        return (self.rows,) if self.mask is None else (self.rows, self.longest)

    def points(self, rows: Tensor, positions: Tensor | None) -> Points:
        """Unpadded positions of rows, as places in the padded tensors. Raises ValueError for one that is not there."""
        rows = torch.as_tensor(rows, dtype=torch.long).cpu()
        if rows.numel() and not (int(rows.min()) >= 0 and int(rows.max()) < self.rows):
            raise ValueError(f"rows run from 0 to {self.rows - 1}")
        if self.mask is None:
            return Points(rows, None)
        if positions is None:
            raise ValueError("a site of a language network needs a position for each row")
        positions = torch.as_tensor(positions, dtype=torch.long).cpu()
        if positions.shape != rows.shape:
            raise ValueError("rows and positions must be as many")
        if rows.numel() and not bool(((positions >= 0) & (positions < self.lengths[rows])).all()):
            raise ValueError("a position lies outside its prompt")
        return Points(rows, positions + self.offsets[rows])

    def last(self, rows: Tensor) -> Tensor:
        """The unpadded position of each row's last token."""
        return self.lengths[torch.as_tensor(rows, dtype=torch.long).cpu()] - 1


def batch_of_prompts(
    prompts: Sequence[Sequence[int]], padding: Literal["left", "right"], device: torch.device
) -> Batch:
    """Token ids of prompts, padded at one side; padding tokens are masked and get position 0."""
    if not prompts or not all(prompts):
        raise ValueError("a batch needs at least one prompt, and every prompt a token")
    if padding not in ("left", "right"):
        raise ValueError(f"padding is left or right, not {padding!r}")
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    offsets = longest - lengths if padding == "left" else torch.zeros_like(lengths)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        start = int(offsets[row])
        ids[row, start : start + len(prompt)] = torch.tensor(prompt)
    place = torch.arange(longest)[None, :] - offsets[:, None]
    mask = ((place >= 0) & (place < lengths[:, None])).long()
    return Batch(ids.to(device), mask.to(device), (place * mask).to(device), offsets, lengths)


def batch_of_vectors(inputs: Tensor, device: torch.device, dtype: torch.dtype) -> Batch:
    """Input vectors [rows, width]."""
    if inputs.ndim != 2 or not inputs.shape[0]:
        raise ValueError(f"a vector network takes [rows, width], not {list(inputs.shape)}")
    nothing = torch.zeros(inputs.shape[0], dtype=torch.long)
    return Batch(inputs.to(device, dtype), None, None, nothing, nothing + 1)
