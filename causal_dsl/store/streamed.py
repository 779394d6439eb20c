"""Safetensors files that are larger than memory: written part by part, readable by any library.

The library itself writes arrays that are in memory, all at once; these may lie in files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

#: Bytes that are copied at a time.
_PART = 2**24
_NAMES = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}


def write_streamed(path: Path, arrays: Sequence[tuple[str, np.ndarray]], about: Mapping[str, str]) -> None:
    """Write arrays of float32 or int64, which may lie in files, under their names; ``about`` is the metadata. Raises OSError."""
    header: dict[str, object] = {"__metadata__": dict(about)}
    begin = 0
    for name, array in arrays:
        end = begin + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    with path.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for _, array in arrays:
            step = max(1, _PART // max(1, array.nbytes // max(1, len(array))))
            for start in range(0, len(array), step):
                part = np.ascontiguousarray(array[start : start + step])
                file.write(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes())


__all__ = ["write_streamed"]
