"""Features of every family with random numbers in them, as a fit would leave them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from causal_dsl.features import Feature, build
from causal_dsl.program import locations

LINEAR = ("rotation", "boundless", "mask", "mask_heads", "pca", "standardize", "linear_probe", "affine", "lowrank")
NESTED = ("sae", "chain", "deep")
BENT = ("revnet", "bent_chain")
ALL = (*LINEAR, *NESTED, *BENT)


def declared(name: str, **settings: object) -> locations.Feature:
    return locations.Feature(name, tuple(settings.items()))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def chain_of(name: str, width: int, dim: int, path: str = "") -> list[locations.Feature]:
    """What an alignment declares, for vectors of an even width."""
    rotation = declared("rotation", dim=dim, seed=0)
    return {
        "mask_heads": [declared("mask", over="heads")],
        "chain": [declared("standardize"), declared("pca", k=max(1, width - 1)), declared("rotation", dim=1)],
        "deep": [declared("boundless"), rotation, declared("mask")],
        "bent_chain": [declared("standardize"), declared("revnet", layers=2, width=8, dim=dim), declared("mask")],
        "rotation": [rotation],
        "pca": [declared("pca", k=dim)],
        "sae": [declared("sae", path=path)],
        "affine": [declared("affine", dim=dim)],
        "lowrank": [declared("lowrank", dim=dim)],
        "revnet": [declared("revnet", layers=3, width=8, dim=dim)],
    }.get(name, [declared(name)])


def fitted(
    name: str, width: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64, start: int = 0
) -> Feature:
    """A feature whose parameters have been moved at random from where they start; ``start`` seeds where that is."""
    data = draw(4 * width + 3, width, seed=seed + 1, dtype=dtype) * 2 + 1
    labels = torch.arange(len(data)) % min(width + 1, dim + 1)
    with tempfile.TemporaryDirectory() as folder:
        if name == "sae":
            write_sae(Path(folder), numbers_of_sae(width, 2 * width, seed), {"architecture": "standard"})
        feature = build(
            chain_of(name, width, dim, folder),
            width,
            start,
            dtype=dtype,
            device="cpu",
            heads=(width // 2, 2),
            data=data,
            labels=labels,
        )
    for number, parameter in enumerate(feature.parameters()):
        with torch.no_grad():
            parameter += 0.3 * draw(*parameter.shape, seed=seed + number + 2).to(parameter.dtype)
    feature.anneal(0.5)
    feature.prepare()
    return feature


def numbers_of_sae(width: int, count: int, seed: int, kind: str = "standard") -> dict[str, Tensor]:
    """Random weights under the names that SAELens gives them."""
    shapes = {"W_enc": (width, count), "W_dec": (count, width), "b_dec": (width,)}
    if kind == "gated":
        shapes |= {"b_gate": (count,), "r_mag": (count,), "b_mag": (count,)}
    else:
        shapes |= {"b_enc": (count,)}
    if kind == "jumprelu":
        shapes |= {"threshold": (count,)}
    found = {name: draw(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}
    if kind == "jumprelu":
        found["threshold"] = found["threshold"].abs()
    return found


def write_sae(folder: Path, numbers: dict[str, Tensor], config: dict[str, object] | None) -> None:
    save_file({name: tensor.contiguous() for name, tensor in numbers.items()}, folder / "sae_weights.safetensors")
    if config is not None:
        (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
