"""Tensors on disk with a hash of all that a file says: safetensors files that are as they were written, or not used.

The hash is an entry of the file's metadata: SHA-256 over its header, without that entry, and its numbers. Any library reads
these files.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.store.files import set_aside, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

_HASH = "causal_dsl_sha256"
_ABOUT = "causal_dsl"


class Damaged(Exception):
    """A file is not one that was written here, or is not as it was written; says why."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Keep torch tensors, and what is told of them (plain data). Raises :class:`~causal_dsl.store.files.CannotWrite`."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, _sealed(save(ready), about))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Keep numpy arrays, as :func:`write_tensors`."""
    from safetensors.numpy import save

    write_atomic(path, _sealed(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}), about))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and what was told of them. Raises OSError, and :class:`Damaged`."""
    from safetensors.torch import load

    data = path.read_bytes()
    about = _about(data)
    return load(data), about


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """As :func:`load_tensors`, numpy arrays."""
    from safetensors.numpy import load

    data = path.read_bytes()
    about = _about(data)
    return dict(load(data)), about


def take_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors of a file of the store's own; None where there is none. A damaged one is set aside (W659)."""
    try:
        data = path.read_bytes()
        about = _about(data)
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        set_aside(path, what, str(error))
        return None
    from safetensors.torch import load

    return load(data), about


def take_arrays(path: Path, what: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """As :func:`take_tensors`, numpy arrays."""
    try:
        return load_arrays(path)
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        set_aside(path, what, str(error))
        return None


def is_ours(path: Path) -> bool:
    """Whether a file was written here, judged by its header alone."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(length)) if length <= size - 8 else {}
        return _HASH in header["__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
        return False


def _sealed(data: bytes, about: Mapping[str, Any]) -> bytes:
    """A safetensors file with what is told of it and its hash; the same tensors give the same bytes."""
    header, numbers = _parts(data)
    header["__metadata__"] = {_ABOUT: json.dumps(about, sort_keys=True)}
    header["__metadata__"][_HASH] = _digest(header, numbers)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + numbers


def _about(data: bytes) -> dict[str, Any]:
    """What is told of the tensors of a whole file. Raises :class:`Damaged`."""
    header, numbers = _parts(data)
    try:
        expected = header["__metadata__"].pop(_HASH)
        about = header["__metadata__"][_ABOUT]
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged("something else wrote it: it has no hash") from error
    if _digest(header, numbers) != expected:
        raise Damaged("its content is not that of its hash")
    found: dict[str, Any] = json.loads(about)
    return found


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        length = struct.unpack_from("<Q", data)[0]
        if length > len(data) - 8:
            raise ValueError
        header = json.loads(data[8 : 8 + length])
        if not isinstance(header, dict):
            raise TypeError
    except (struct.error, ValueError, TypeError, RecursionError) as error:
        raise Damaged("it is cut off, or it is no safetensors file") from error
    return header, data[8 + length :]


def _digest(header: Mapping[str, Any], numbers: bytes) -> str:
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    found.update(numbers)
    return found.hexdigest()
