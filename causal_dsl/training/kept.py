"""Trained weights in the cache: whole and of the right digest, or trained again.

``trained/DIGEST.safetensors`` are the weights of a finished training, ``trained/DIGEST.part`` a checkpoint of one that
is under way. Both are safetensors files, written beside their name and then renamed, with a hash of their numbers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from causal_dsl.files import write_atomic
from causal_dsl.program.zoo import cache_root


def folder() -> Path:
    """Where trained weights are kept."""
    return cache_root() / "trained"


def weights_path(digest: str) -> Path:
    return folder() / f"{digest}.safetensors"


def part_path(digest: str) -> Path:
    return folder() / f"{digest}.part"


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Keep tensors with what is told of them. Raises OSError."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    told = json.dumps({**about, "sha256": _hash(ready)}, sort_keys=True)
    write_atomic(path, save(ready, {"about": told}))  # one entry: their order is not kept


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and what was told of them; None where there is no such file, or it is not as it was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
        expected = about.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError):
        return None
    return (tensors, about) if expected == _hash(tensors) else None


def _hash(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.reshape(-1).numpy().tobytes())
    return found.hexdigest()
