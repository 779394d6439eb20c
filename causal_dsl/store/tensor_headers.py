"""The headers of safetensors files, as the library reads and checks them: no tensor is read, and torch is not imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass


@dataclass(frozen=True)
class TensorEntry:
    """A tensor in a file: its type as the file names it (``F32``, ``BF16``), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of its numbers in the file."""
        bits = re.search(r"\d+", self.dtype)
        count = int(bits[0]) if bits is not None else 8  # a truth value is a byte
        for length in self.shape:
            count *= length
        return count // 8


@dataclass(frozen=True)
class TensorHeader:
    """The header of a file: its tensors by their names, and its metadata."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def header_of(path: Path) -> TensorHeader | None:
    """The header of a safetensors file; None where it cannot be read."""
    found = _read(path)
    return None if isinstance(found, str) else found


def header_fault(path: Path) -> str:
    """Why a file is no whole safetensors file; empty where its header says what it holds.

    A file of many gigabytes is refused by its header and its size, before anything reads it whole.
    """
    found = _read(path)
    return found if isinstance(found, str) else ""


def _read(path: Path) -> TensorHeader | str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            tensors = {name: TensorEntry(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
            return TensorHeader(tensors, file.metadata() or {})
    except SafetensorError as error:
        return str(error).removeprefix("Error while deserializing header: ")
    except OSError as error:
        return error.strerror or str(error)


__all__ = ["TensorEntry", "TensorHeader", "header_fault", "header_of"]
