"""InputRows side by side, as a model is given them: padding, masks and ``position_ids``, and where the tokens of each row lie."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Points:
    """Places in a batch: ``rows`` [m] and ``columns`` [m] of the padded tensor; ``columns`` None where rows have no tokens."""

    rows: Tensor
    columns: Tensor | None
    #: they are every place of the batch, row after row
    every: bool = False

    def view_of(self, tensor: Tensor) -> Tensor | None:
        """The part of a tensor [rows, longest, …] or [rows, …] at these places as a view [m, …]; None where they are not all of it."""
        first = tensor if self.columns is None else tensor.flatten(0, 1)
        return first if self.every and len(first) == len(self) else None

    def copy_of(self, tensor: Tensor) -> Tensor:
        """A copy of what is there [m, …]."""
        view = self.view_of(tensor)
        return tensor[self.on(tensor.device)] if view is None else view.clone()

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The index of a tensor's first axes, on the tensor's device."""
        index = (self.rows,) if self.columns is None else (self.rows, self.columns)
        return tuple(part.to(device) for part in index)

    def __len__(self) -> int:
        return int(self.rows.shape[0])


@dataclass(frozen=True, eq=False)
class Batch:
    """The arguments of a model's forward: ``arguments``, and ``named`` ones. Row r has ``lengths[r]`` tokens and
    starts at ``offsets[r]`` of ``longest``, before 0 where its beginning is not run again. ``each`` is what has a vector of its own: without
    tokens (``row``) what is computed has no axis of them. ``found`` are the places that were asked for."""

    rows: int
    each: Literal["token", "row"]
    longest: int
    offsets: Tensor
    lengths: Tensor
    arguments: tuple[Tensor, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)
    found: dict[tuple[int, int], tuple[Tensor, Tensor | None, Points]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading axes of what the network computes: (rows, longest), or (rows,)."""
        return (self.rows, self.longest) if self.each == "token" else (self.rows,)

    def index(self, places: Tensor) -> tuple[Tensor, ...]:
        """Places as the flattened leading axes number them [m], as an index of these axes."""
        # torch.unravel_index imports sympy, which takes as long as a small run
        return (places // self.longest, places % self.longest) if self.each == "token" else (places,)

    def flat(self, tensor: Tensor) -> Tensor:
        """The output of a module, as one vector for each place [m, width]."""
        return tensor.reshape(-1, tensor.shape[-1]) if self.each == "token" else tensor.reshape(len(tensor), -1)

    def shaped(self, flat: Tensor, like: Tensor, longest: int) -> Tensor:
        """:meth:`flat` of as many rows as there are now, in the shape of what it was made from."""
        return flat.view(-1, longest, like.shape[-1]) if self.each == "token" else flat.view(-1, *like.shape[1:])

    def points(self, rows: Tensor, positions: Tensor | None) -> Points:
        """Unpadded positions of rows, as places in the padded tensors; where there are no tokens, positions say nothing.
        Raises ValueError for one that is not there."""
        key = id(rows), id(positions)  # many sites are looked at in the same places; what is held keeps its id
        if key not in self.found:
            self.found[key] = rows, positions, self._points(rows, positions)
        return self.found[key][2]

    def _points(self, rows: Tensor, positions: Tensor | None) -> Points:
        rows = torch.as_tensor(rows, dtype=torch.long).cpu()
        if rows.numel() and not (int(rows.min()) >= 0 and int(rows.max()) < self.rows):
            raise ValueError(f"rows run from 0 to {self.rows - 1}")
        if self.each == "row":
            return Points(rows, None, len(rows) == self.rows and torch.equal(rows, torch.arange(self.rows)))
        if positions is None:
            raise ValueError("a site of a language network needs a position for each row")
        positions = torch.as_tensor(positions, dtype=torch.long).cpu()
        if positions.shape != rows.shape:
            raise ValueError("there must be as many positions as rows")
        if rows.numel() and not bool(((positions >= 0) & (positions < self.lengths[rows])).all()):
            raise ValueError("a position lies outside its prompt")
        columns = positions + self.offsets[rows]
        count = self.rows * self.longest
        if columns.numel() and int(columns.min()) < 0:
            raise ValueError("a position lies in the beginning of a prompt that is not run")
        every = len(rows) == count and torch.equal(rows * self.longest + columns, torch.arange(count))
        return Points(rows, columns, every)

    def last(self, rows: Tensor) -> Tensor:
        """The unpadded position of each row's last token."""
        return self.lengths[torch.as_tensor(rows, dtype=torch.long).cpu()] - 1


def padded(
    prompts: Sequence[Sequence[int]],
    padding: Literal["left", "right"],
    device: torch.device,
    accepts: Collection[str],
    first_position: int,
) -> Batch:
    """Token ids of prompts, padded at one side; padding tokens are masked and get position 0. ``accepts``: the arguments
    that the forward takes; the first token of each prompt has the number ``first_position``."""
    if not prompts or not all(prompts):
        raise ValueError("a batch needs at least one prompt, and every prompt a token")
    if padding not in ("left", "right"):
        raise ValueError(f"padding is left or right, not {padding!r}")
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    offsets = longest - lengths if padding == "left" else torch.zeros_like(lengths)
    written = np.zeros((len(prompts), longest), dtype=np.int64)  # numpy takes a list for a row sooner than torch does
    for row, (start, prompt) in enumerate(zip(offsets.tolist(), prompts, strict=True)):
        written[row, start : start + len(prompt)] = prompt
    ids = torch.from_numpy(written)
    place = torch.arange(longest)[None, :] - offsets[:, None]
    mask = ((place >= 0) & (place < lengths[:, None])).long()
    more = {
        "attention_mask": mask.to(device),
        "position_ids": (place * mask).to(device) + first_position,
        "use_cache": False,
    }
    known = {name: value for name, value in more.items() if name in accepts or "kwargs" in accepts}
    if "input_ids" in accepts or "kwargs" in accepts:
        return Batch(len(prompts), "token", longest, offsets, lengths, named={"input_ids": ids.to(device), **known})
    return Batch(len(prompts), "token", longest, offsets, lengths, (ids.to(device),), dict(known))


def unpadded(inputs: Tensor, device: torch.device, dtype: torch.dtype) -> Batch:
    """Input vectors [rows, width]."""
    if inputs.ndim != 2 or not inputs.shape[0]:
        raise ValueError(f"a vector network takes [rows, width], not {list(inputs.shape)}")
    nothing = torch.zeros(inputs.shape[0], dtype=torch.long)
    return Batch(len(inputs), "row", 1, nothing, nothing + 1, (inputs.to(device, dtype),))
