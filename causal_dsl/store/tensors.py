"""Tensors and arrays on disk with a hash of all that a file says: files that are as they were written, or not used.

Tensors are safetensors files; the hash is an entry of the metadata: SHA-256 over the header, without that entry, and the
numbers. Arrays are npz files, with the hash as an array of its own. Any library reads both. The header is put together here, and
not by the library, which writes the entries of the metadata in no fixed order: the same tensors give the same bytes, and the bytes
that were hashed are those that are there.

A hash shows that a file is whole, not whose it is. So a file also says its ``owner``, a key of everything that its content was
computed from, and whoever takes it names the owner that is expected: a whole file of another run under the name of this one is
not taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.store.files import read_file, set_aside, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

_HASH = "causal_dsl_sha256"
_ABOUT = "causal_dsl"
_OWNER = "owner"


class Damaged(Exception):
    """A file is not one that was written here, or is not as it was written; says why."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], owner: str) -> None:
    """Keep torch tensors, what is told of them (plain data), and the key of what they were computed from. Raises :class:`~causal_dsl.store.files.CannotWrite`."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, _sealed(save(ready), {**about, _OWNER: owner}))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], owner: str) -> None:
    """Keep numpy arrays as an ``npz`` file, as :func:`write_tensors`."""
    told = json.dumps({**about, _OWNER: owner}, sort_keys=True).encode()
    more = {_ABOUT: told, _HASH: _digest_of(arrays, told).encode()}
    data = io.BytesIO()
    np.savez(data, **arrays, **{name: np.frombuffer(text, np.uint8) for name, text in more.items()})  # type: ignore[arg-type]
    write_atomic(path, data.getvalue())


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and what was told of them. Raises OSError, and :class:`Damaged`."""
    from safetensors.torch import load

    data = read_file(path)
    about = _about(data)
    about.pop(_OWNER, None)
    return load(data), about


def load_arrays(path: Path, owner: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file, and what was told of them. Raises OSError, and :class:`Damaged`, also for another ``owner``."""
    data = read_file(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        told, expected = (bytes(arrays.pop(name)) for name in (_ABOUT, _HASH))
    except Exception as error:  # a damaged archive fails in many ways: of zip, of zlib, of numpy, of its own names
        raise Damaged("it is cut off or changed, or something else wrote it") from error
    if _digest_of(arrays, told).encode() != expected:
        raise Damaged("its content does not match its hash")
    about: dict[str, Any] = json.loads(told)
    _check_owner(about, owner)
    return arrays, about


def _check_owner(about: dict[str, Any], owner: str | None) -> None:
    found = about.pop(_OWNER, None)
    if owner is not None and found is None:
        raise Damaged("an earlier version wrote it, and did not say what it was computed from")
    if owner is not None and found != owner:
        raise Damaged(
            "it is whole, but it was computed from something else: a file of another run was put in its place"
        )


def take_tensors(path: Path, what: str, owner: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors of a file of the store's own; None where there is none. One that is damaged, or of another ``owner``, is set aside
    (W659)."""
    try:
        data = read_file(path)
        about = _about(data)
        _check_owner(about, owner)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, Damaged) as error:
        set_aside(path, what, str(error))
        return None
    from safetensors.torch import load

    return load(data), about


def take_arrays(path: Path, what: str, owner: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """As :func:`take_tensors`, numpy arrays."""
    try:
        return load_arrays(path, owner)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, Damaged) as error:
        set_aside(path, what, str(error))
        return None


def is_ours(path: Path) -> bool:
    """Whether a file of arrays was written here, judged by the names in it alone."""
    try:
        with zipfile.ZipFile(io.BytesIO(read_file(path))) as file:
            return {f"{_ABOUT}.npy", f"{_HASH}.npy"} <= set(file.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _digest_of(arrays: Mapping[str, np.ndarray], told: bytes) -> str:
    found = hashlib.sha256(told)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode("utf-8", "surrogatepass"))
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _sealed(data: bytes, about: Mapping[str, Any]) -> bytes:
    """A safetensors file with what is told of it and its hash; the same tensors give the same bytes."""
    header, numbers = _parts(data)
    header["__metadata__"] = {_ABOUT: json.dumps(about, sort_keys=True)}
    header["__metadata__"][_HASH] = _digest(header, numbers)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + numbers


def _about(data: bytes) -> dict[str, Any]:
    """The metadata of the tensors of a whole file. Raises :class:`Damaged`."""
    header, numbers = _parts(data)
    try:
        expected = header["__metadata__"].pop(_HASH)
        about = header["__metadata__"][_ABOUT]
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged("something else wrote it: it has no hash") from error
    if _digest(header, numbers) != expected:
        raise Damaged("its content does not match its hash")
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
        raise Damaged("it is cut off, or it is not a safetensors file") from error
    return header, data[8 + length :]


def _digest(header: Mapping[str, Any], numbers: bytes) -> str:
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    found.update(numbers)
    return found.hexdigest()
