"""The messages between the server and the process that checks for it, and how they are put on a pipe."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.tools.lsp.spec_summary import Summary

LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class CheckRequest:
    """A text to be checked. ``tests``: those wanted, empty for all. ``cost``: of which test the cost is asked, and nothing else."""

    number: int
    name: str
    text: str
    folder: Path
    unsaved: Mapping[Path, str] = field(default_factory=dict)
    tests: tuple[str, ...] = ()
    cost: str = ""


@dataclass(frozen=True)
class StopRequest:
    """The answer to this request is not wanted any more."""

    number: int


@dataclass(frozen=True)
class CheckAnswer:
    """The answer of a check, beside faults of syntax. ``reads``: the files that it depends on. ``stopped``: it was given up."""

    number: int
    diagnostics: tuple[Diagnostic, ...] = ()
    summary: Summary | None = None
    reads: tuple[Path, ...] = ()
    seconds: float = 0.0
    cost: str = ""
    stopped: bool = False


def packed(message: Any) -> bytes:
    """A message as bytes, its length before it."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def next_message(stream: BinaryIO) -> Any:
    """The next message of a pipe; None at its end. Both ends are processes of this package."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    data = stream.read(size)
    return pickle.loads(data) if len(data) == size else None


__all__ = ["LENGTH", "CheckAnswer", "CheckRequest", "StopRequest", "next_message", "packed"]
