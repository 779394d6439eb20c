"""A function that gives one module twice: what one network's use does to it would be done to the other as well."""

from __future__ import annotations

from itertools import chain
from typing import Any

from torch import nn

from causal_dsl.diagnostics import Span, fail

#: What a tensor is told of the network that it was given to: what was asked of it there, and how often it was given.
_MARK = "_causal_dsl_given"


def claim(model: nn.Module, asked: tuple[Any, ...], span: Span) -> None:
    """Note that a network has this module, with what was ``asked`` of it (weights, dtype, device), before any of it is
    done. Raises E753 where a network has it already, or had, of which something else was asked."""
    for tensor in chain(model.parameters(), model.buffers()):
        before, times = getattr(tensor, _MARK, (asked, 0))
        if before != asked:
            raise _given_twice(span)
        setattr(tensor, _MARK, (asked, times + 1))


def claim_to_train(model: nn.Module, span: Span) -> None:
    """Note that a module is trained, and its numbers changed. Raises E753 where another network has it, too."""
    tensors = list(chain(model.parameters(), model.buffers()))
    if any(getattr(tensor, _MARK, (None, 1))[1] > 1 for tensor in tensors):
        raise _given_twice(span)
    for tensor in tensors:
        setattr(tensor, _MARK, ("trained", 1))


def _given_twice(span: Span) -> Exception:
    return fail(
        "E753",
        "the function returns a module that it returned before",
        span,
        notes=("a change of its weights or dtype for one network would also change the other",),
        help="make a new module in the function, or return copy.deepcopy(module)",
    )


__all__ = ["claim", "claim_to_train"]
