"""Directions that someone gives: a subspace out of a file, as from a paper, a probe or another program."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from causal_dsl.diagnostics import Span, fail, shown_path
from causal_dsl.store import reads


def read_directions(path: Path, key: str, width: int, span: Span) -> Tensor:
    """An orthonormal basis [width, k], float64, of the directions in a safetensors file: a tensor [k, width] (a direction a
    row), [width, k], or [width]. ``key`` names the tensor where there are several.

    Raises E720 for another width, E721 for a file that cannot be read or directions that depend on each other.
    """
    found = _tensor(path, key, span)
    shown = shown_path(path)
    if found.ndim == 1:
        found = found[None]
    if found.ndim != 2 or width not in found.shape:
        raise fail(
            "E720",
            f"the directions in `{shown}` are {list(found.shape)}, and the vector here has {width} numbers",
            span,
            help="name directions that were found at this site",
        )
    columns = found.T if found.shape[1] == width else found
    if not bool(torch.isfinite(columns).all()):
        raise fail("E721", f"the directions in `{shown}` are not finite", span, help="mend the file")
    rank = int(torch.linalg.matrix_rank(columns))
    if rank < columns.shape[1]:
        raise fail(
            "E721",
            f"the {columns.shape[1]} directions in `{shown}` span {rank} dimensions only",
            span,
            help="leave out those that the others span",
        )
    basis, triangle = torch.linalg.qr(columns)
    return basis * torch.where(triangle.diagonal() < 0, -1.0, 1.0)  # along the directions, not against them


def directions_shape(path: Path, key: str, span: Span) -> tuple[int, ...]:
    """The shape of the directions in a file, as they stand there. Raises E721 for a file that cannot be read."""
    return tuple(_tensor(path, key, span).shape)


def _tensor(path: Path, key: str, span: Span) -> Tensor:
    from safetensors import SafetensorError, safe_open

    shown = shown_path(path)
    reads.note(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = key or (names[0] if len(names) == 1 else "")
            if name not in names:
                raise fail(
                    "E721",
                    f"`{shown}` holds no tensor `{key}`" if key else f"`{shown}` holds {len(names)} tensors",
                    span,
                    help="write key=…, one of " + ", ".join(names[:12]),
                )
            found: Tensor = file.get_tensor(name).double()
    except (SafetensorError, OSError) as error:
        raise fail(
            "E721",
            f"cannot read the directions in `{shown}`",
            span,
            notes=(str(error)[:200],),
            help="save them with safetensors.torch.save_file",
        ) from error
    return found
