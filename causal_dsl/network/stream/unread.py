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
    """The value of what is noted; other things as they are."""
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
        if out.numel() == value.numel():
            _assemble(value, out.view(value.shape))
        else:
            out.view(-1).copy_(numbers(value).reshape(-1)[first : first + out.numel()])

    return fill


def _assemble(value: Unread, out: Tensor) -> None:
    """Write what is computed of what is noted into ``out``: what is stacked, joined or turned, part by part, so that nothing
    beside it has to be in memory."""
    stored = value.as_stored
    if stored is not None and out.is_contiguous():
        value.files.read(stored, 0, out)
        return
    operation, args, kwargs, _ = value.made or (None, (), {}, None)
    first: Any = args[0] if args else None
    if operation is _ATEN.stack.default or operation is _ATEN.cat.default:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        begin = 0
        for number, part in enumerate(first):
            size = 1 if operation is _ATEN.stack.default else part.shape[dim]
            room = out.select(dim, number) if operation is _ATEN.stack.default else out.narrow(dim, begin, size)
            begin += size
            _put(part, room)
    elif operation in (_ATEN.t.default, _ATEN.transpose.int):
        _put(first, operation(out, *args[1:]))
    elif (
        operation in SAME
        or operation is _ATEN.clone.default
        or (operation is _ATEN._to_copy.default and isinstance(first, Unread) and first.dtype == _first_dtype(first))
    ):
        _put(first, out)
    else:
        out.copy_(numbers(value))


def _put(value: Any, out: Tensor) -> None:
    if isinstance(value, Unread):
        _assemble(value, out)
    else:
        out.copy_(value)


def _first_dtype(value: Unread) -> torch.dtype | None:
    """The dtype in which all that something is made of is stored; None where it is not one."""
    if value.stored is not None:
        return value.stored.dtype
    assert value.made is not None
    given = value.made[1][0]
    parts = list(given) if isinstance(given, list | tuple) else [given]
    found = {_first_dtype(part) if isinstance(part, Unread) else None for part in parts}
    return found.pop() if len(found) == 1 else None
