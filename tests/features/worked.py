"""Features of every family with random numbers in them, as a fit would leave them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from causal_dsl.features import Feature, build
from causal_dsl.vocabulary import locations
from causal_dsl.vocabulary.features import FEATURES, FeatureFamily

#: Chains, and families whose settings make another map of them, beside each family by itself.
CHAINS = ("mask_heads", "mask_sites", "chain", "deep", "bent_chain")
ALL = (*FEATURES.own, *CHAINS)


def declared(name: str, **settings: object) -> locations.FeatureSite:
    return locations.FeatureSite(name, tuple(settings.items()))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def chain_of(name: str, width: int, dim: int, path: str = "") -> list[locations.FeatureSite]:
    """What an alignment declares, for vectors of an even width."""
    if name in FEATURES:
        family = FEATURES[name]
        own = {**({family.dim: dim} if family.dim else {}), **({"path": path} if family.file else {})}
        return [declared(name, **family.tiny, **own)]
    return {
        "mask_heads": [declared("mask", over="heads")],
        "mask_sites": [declared("mask", over="sites")],
        "chain": [declared("standardize"), declared("pca", k=max(1, width - 1)), declared("rotation", dim=1)],
        "deep": [declared("boundless"), declared("rotation", dim=dim, seed=0), declared("mask")],
        "bent_chain": [declared("standardize"), declared("revnet", layers=2, width=8, dim=dim), declared("mask")],
    }[name]


def families(name: str) -> list[FeatureFamily]:
    """The records of the members of what is declared under a name."""
    return [FEATURES[member.name] for member in chain_of(name, 2, 1)]


BENT = tuple(name for name in ALL if any(family.bends for family in families(name)))
TRAINED = tuple(name for name in ALL if any(family.trained for family in families(name)))
#: One map that does not bend; what it writes is what is read there again.
LINEAR = tuple(name for name in ALL if name not in BENT and len(families(name)) == 1 and not families(name)[0].encoder)


def fitted(
    name: str, width: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64, start: int = 0
) -> Feature:
    """A feature whose parameters have been moved at random from where they start; ``start`` seeds where that is."""
    data = draw(4 * width + 3, width, seed=seed + 1, dtype=dtype) * 2 + 1
    labels = torch.arange(len(data)) % min(width + 1, dim + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = FILES[name](Path(folder), width, dim, seed) if families(name)[0].file else ""
        feature = build(
            chain_of(name, width, dim, path),
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


def _sae(folder: Path, width: int, dim: int, seed: int) -> str:
    write_sae(folder, numbers_of_sae(width, 2 * width, seed), {"architecture": "standard"})
    return str(folder)


def _directions(folder: Path, width: int, dim: int, seed: int) -> str:
    save_file({"directions": draw(dim, width, seed=seed)}, folder / "directions.safetensors")
    return str(folder / "directions.safetensors")


#: What a family that is read from files is read from here: (folder, width, dim, seed) to its path.
FILES: dict[str, Callable[[Path, int, int, int], str]] = {"sae": _sae, "subspace": _directions}
