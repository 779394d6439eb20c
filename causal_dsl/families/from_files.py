"""Maps that are read from files as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import FeatureFamily
from causal_dsl.vocabulary.settings import Setting

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def sae(making: Making) -> Feature:
    from pathlib import Path

    from causal_dsl.features.sae import Sae
    from causal_dsl.features.sae_file import read_sae

    if making.saved is not None and {"code", "out"} <= making.saved.keys():
        return Sae(making.saved, making.dtype)
    latents = tuple(making.setting("latents") or ())
    return Sae(read_sae(Path(str(making.setting("path"))), latents, making.width, making.span), making.dtype)


def subspace(making: Making) -> Feature:
    from pathlib import Path

    import torch

    from causal_dsl.features.given_directions import read_directions
    from causal_dsl.features.linear import Axes

    if making.saved is not None:
        return making.saved_axes()
    path, key = Path(str(making.setting("path"))), str(making.setting("key"))
    axes = read_directions(path, key, making.width, making.span)
    return Axes("subspace", axes, torch.zeros(making.width), making.dtype)


_PATH = Setting("string", positional=True, required=True, says="the file, or the folder that holds it")

FAMILY = (
    FeatureFamily(
        "sae",
        {
            "path": _PATH,
            "latents": Setting("ints", (), low=0, says="the numbers of the latents; all of them where none are named"),
        },
        f"{__name__}:sae",
        "latents of a sparse autoencoder (all, if none are named); its error stays the base's",
        "files as SAELens writes them; the site, heads and network that `cfg.json` names are checked against the spec "
        "(E515, E516, W517, W518)",
        unsized=True,
        numbers=lambda width, said: 2 * (width + 1) * (len(said["latents"] or ()) or 8 * width),
        file=("file or folder", "a folder with cfg.json and sae_weights.safetensors"),
        encoder=True,
    ),
    FeatureFamily(
        "subspace",
        {
            "path": _PATH,
            "key": Setting("string", "", says="the name of the tensor in the file, where it holds several"),
        },
        f"{__name__}:subspace",
        "the span of given directions, one in each row",
        file=("file", "a safetensors file"),
        axes=True,
        complete=True,
    ),
)
