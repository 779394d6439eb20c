"""Memory that the C library keeps although nothing uses it any more, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


def give_back() -> None:
    """Give back what is free in the heap, where the C library can (glibc).

    Tensors of a pass come and go between smaller things that stay, so what they leave free cannot always be used by the
    next pass: without this a process grows from block to block, to several times what one block needs.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


__all__ = ["give_back"]
