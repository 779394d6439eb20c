"""A parameter whose numbers are in memory only while something is computed from it.

It looks like any other: it has a shape, a dtype and a device, and everything that torch computes from it, forwards and
backwards, is computed from its numbers as they are then read. Views of it are noted and made when the numbers are there,
so that what autograd keeps for later is a parameter of this kind too, and no memory of a layer.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from causal_dsl.network.stream.unread import SAME, is_view
from causal_dsl.network.stream.weight_stream import StreamedPart, WeightStream

_ATEN = torch.ops.aten
_EMBEDDING, _MM, _ADDMM = _ATEN.embedding.default, _ATEN.mm.default, _ATEN.addmm.default
_SELECT, _T, _INDEX = _ATEN.index_select.default, _ATEN.t.default, _ATEN.index.Tensor


class Streamed(torch.Tensor):
    """``part`` of a ``stream``, seen through some ``views``."""

    stream: WeightStream
    part: StreamedPart
    views: tuple[tuple[Any, tuple[Any, ...], dict[str, Any], int | None], ...]
    blank: Tensor

    @staticmethod
    def __new__(cls, blank: Tensor, stream: WeightStream, *_: Any) -> Streamed:
        found: Streamed = torch.Tensor._make_wrapper_subclass(
            cls,
            blank.size(),
            strides=blank.stride(),
            storage_offset=blank.storage_offset(),
            dtype=blank.dtype,
            device=stream.device,
        )
        return found

    def __init__(self, blank: Tensor, stream: WeightStream, part: StreamedPart, views: Any = ()):
        self.blank, self.stream, self.part, self.views = blank, stream, part, views

    @classmethod
    def of(cls, stream: WeightStream, part: StreamedPart) -> Streamed:
        """A parameter as it is."""
        return cls(torch.empty(part.shape, dtype=part.dtype, device="meta"), stream, part)

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_view(operation) and isinstance(args[0], Streamed):
            return args[0]._seen(operation, args[1:], kwargs)
        if operation._schema.is_mutable and isinstance(args[0], Streamed):
            raise TypeError("weights that are read from their file as they are needed cannot be changed")
        found = _by_rows(operation, args, kwargs)
        if found is not None:
            return found
        with ExitStack() as stack:

            def read(value: Any) -> Any:
                return value._read(stack) if isinstance(value, Streamed) else value

            return operation(*tree_map(read, args), **tree_map(read, kwargs))

    def _seen(self, operation: Any, more: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation in SAME:
            return Streamed(self.blank, self.stream, self.part, self.views)
        blank = operation(self.blank, *more, **kwargs)
        if isinstance(blank, Tensor):
            return Streamed(blank, self.stream, self.part, (*self.views, (operation, more, kwargs, None)))
        return [
            Streamed(one, self.stream, self.part, (*self.views, (operation, more, kwargs, place)))
            for place, one in enumerate(blank)
        ]

    def _read(self, stack: ExitStack) -> Tensor:
        """Its numbers, until ``stack`` closes."""
        found = stack.enter_context(self.stream.held(self.part))
        for operation, more, kwargs, place in self.views:
            found = operation(found, *more, **kwargs)
            found = found if place is None else found[place]
        return found

    @property
    def turned(self) -> bool:
        """Whether it is the transpose of its parameter."""
        return len(self.views) == 1 and self.views[0][0] is _T

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Streamed({self.part.name!r}, {list(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        raise TypeError("weights that are read from their file as they are needed cannot be copied")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("weights that are read from their file as they are needed cannot be copied")


def _by_rows(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The result of an operation on a matrix outside of layers, without all of it: its rows, or products, piece by piece."""

    def whole(value: Any) -> bool:
        return isinstance(value, Streamed) and value.part.group is None and not value.views

    if operation is _EMBEDDING and whole(args[0]):
        rows, where = _rows(args[0], args[1])
        return rows.index_select(0, where.reshape(-1)).view(*args[1].shape, *rows.shape[1:])
    if operation is _SELECT and whole(args[0]) and args[1] == 0:
        rows, where = _rows(args[0], args[2])
        return rows.index_select(0, where)
    if operation is _INDEX and whole(args[0]) and len(args[1]) == 1 and args[1][0].dtype == torch.long:
        rows, where = _rows(args[0], args[1][0])
        return rows[where]
    if operation is _MM and whole(args[0]) and not isinstance(args[1], Streamed):
        return torch.cat([torch.mm(piece, args[1]) for piece in args[0].stream.pieces(args[0].part)])
    turned = args[-1] if operation in (_MM, _ADDMM) else None
    if not (isinstance(turned, Streamed) and turned.part.group is None and turned.turned):
        return None
    if operation is _MM:
        return torch.cat([torch.mm(args[0], piece.t()) for piece in turned.stream.pieces(turned.part)], dim=1)
    bias, begin, parts = args[0], 0, []
    if bias.ndim != 1:
        return None
    for piece in turned.stream.pieces(turned.part):
        parts.append(torch.addmm(bias[begin : begin + len(piece)], args[1], piece.t(), **kwargs))
        begin += len(piece)
    return torch.cat(parts, dim=1)


def _rows(matrix: Streamed, index: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a matrix that an index names, each once, and where each place of the index is among them."""
    wanted, where = torch.unique(index, return_inverse=True)
    return matrix.stream.rows(matrix.part, wanted.cpu()), where
