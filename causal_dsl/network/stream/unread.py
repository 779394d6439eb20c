"""Tensors of which only the shape is known: transformers loads a model of them, and says so what it would do with each.

How a checkpoint becomes a model is a matter of transformers: names change, experts are stacked, numbers are cast. It is
given tensors of this kind in place of a state dict, and what it makes of them is noted and done later, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from causal_dsl.network.stream.tensor_files import StoredTensor, TensorFiles

_ATEN = torch.ops.aten
#: Beside views: what conversions of checkpoints do.
_LATER = {_ATEN._to_copy.default, _ATEN.cat.default, _ATEN.stack.default, _ATEN.clone.default}
#: What leaves numbers and their order as they are.
SAME = {_ATEN.detach.default, _ATEN.alias.default}


def is_view(operation: Any) -> bool:
    """Whether what an operation gives is a view of what it is given."""
    schema = operation._schema
    if schema.is_mutable:
        return False
    return operation is _ATEN._unsafe_view.default or any(one.alias_info is not None for one in schema.returns)


class Unread(torch.Tensor):
    """``stored`` as it lies in ``files``; or what ``operation`` makes of other such tensors (``given``)."""

    files: TensorFiles
    stored: StoredTensor | None
    made: tuple[Any, tuple[Any, ...], dict[str, Any], int | None] | None
    blank: Tensor

    @staticmethod
    def __new__(cls, blank: Tensor, *_: Any) -> Unread:
        found: Unread = torch.Tensor._make_wrapper_subclass(
            cls,
            blank.size(),
            strides=blank.stride(),
            storage_offset=blank.storage_offset(),
            dtype=blank.dtype,
            device=torch.device("cpu"),
        )
        return found

    def __init__(self, blank: Tensor, files: TensorFiles, stored: StoredTensor | None, made: Any = None):
        self.blank, self.files, self.stored, self.made = blank, files, stored, made

    @classmethod
    def of(cls, files: TensorFiles, stored: StoredTensor) -> Unread:
        """A tensor of a file."""
        return cls(torch.empty(stored.shape, dtype=stored.dtype, device="meta"), files, stored)

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not (is_view(operation) or operation in _LATER):
            return operation(*tree_map(numbers, args), **tree_map(numbers, kwargs))
        first = args[0] if isinstance(args[0], Unread) else next(one for one in args[0] if isinstance(one, Unread))
        if operation in SAME:
            return Unread(first.blank, first.files, first.stored, first.made)
        more = {name: value for name, value in kwargs.items() if name not in ("device", "pin_memory", "non_blocking")}
        blank = operation(*tree_map(_blank, args), **more)
        if isinstance(blank, Tensor):
            return Unread(blank, first.files, None, (operation, args, more, None))
        return [Unread(one, first.files, None, (operation, args, more, place)) for place, one in enumerate(blank)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Unread({list(self.shape)}, {self.dtype})"

    @property
    def as_stored(self) -> StoredTensor | None:
        """The stored tensor whose numbers these are in the same order, cast at most; None for others."""
        if self.stored is not None:
            return self.stored
        assert self.made is not None
        operation, args, _, place = self.made
        first = args[0]
        if not isinstance(first, Unread) or place is not None or first.numel() != self.numel():
            return None
        if not (first.blank.is_contiguous() and self.blank.is_contiguous()):
            return None  # between two contiguous forms of as many numbers the order is the same
        found = first.as_stored
        if operation is _ATEN._to_copy.default:
            return found if found is not None and found.dtype == first.dtype else None
        return found if self.dtype == first.dtype else None


def _blank(value: Any) -> Any:
    return value.blank if isinstance(value, Unread) else value


def numbers(value: Any) -> Any:
    """What is computed of what is noted; other things as they are."""
    if not isinstance(value, Unread):
        return value
    if value.stored is not None:
        return value.files.whole(value.stored)
    assert value.made is not None
    operation, args, kwargs, place = value.made
    found = operation(*tree_map(numbers, args), **kwargs)
    return found if place is None else found[place]


def filler(value: Unread) -> Callable[[Tensor, int], None]:
    """A function that writes numbers of a tensor, from the given one on, into a contiguous tensor."""
    stored, files = value.as_stored, value.files
    if stored is not None:
        return lambda out, first: files.read(stored, first, out)

    def fill(out: Tensor, first: int) -> None:
        out.view(-1).copy_(numbers(value).reshape(-1)[first : first + out.numel()])

    return fill
