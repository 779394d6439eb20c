"""Trained weights in the cache: whole and of the right digest, or trained again.

``trained/DIGEST.safetensors`` are the weights of a finished training, ``trained/DIGEST.part`` a checkpoint of one that
is under way. Both are files of :mod:`causal_dsl.store.tensors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from causal_dsl.store.files import clear_parts
from causal_dsl.store.hashes import cache_root
from causal_dsl.store.tensors import take_tensors, write_tensors


def folder() -> Path:
    """Where trained weights are kept."""
    found = cache_root() / "trained"
    clear_parts(found)
    return found


def weights_path(digest: str) -> Path:
    return folder() / f"{digest}.safetensors"


def part_path(digest: str) -> Path:
    return folder() / f"{digest}.part"


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Keep tensors with what is told of them. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, about)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and what was told of them; None where there is no such file. A damaged one is set aside (W659)."""
    what = "what was kept of a training" if path.suffix == ".part" else "a file of trained weights"
    return take_tensors(path, what)
