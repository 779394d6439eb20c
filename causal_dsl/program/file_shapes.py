"""Features of files against the places where a spec uses them, by the shapes that their files state: no tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from causal_dsl.diagnostics import Diagnostics, shown_path
from causal_dsl.program.components import width
from causal_dsl.program.read_features import Via, family
from causal_dsl.store.tensor_headers import header_of
from causal_dsl.vocabulary.locations import FeatureSite, Place
from causal_dsl.vocabulary.network_facts import Facts

_WEIGHTS = "sae_weights.safetensors"


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the tensors of a safetensors file, or of the weights in a folder of one autoencoder; None where that cannot
    be read, which `run` tells."""
    found = path / _WEIGHTS
    if path.is_file():
        found = path
    elif not found.is_file():
        every = sorted(path.glob("*.safetensors"))
        if len(every) != 1:
            return None
        (found,) = every
    header = header_of(found)
    return None if header is None else {name: tensor.shape for name, tensor in header.tensors.items()}


def shapes_fit(via: Via, places: Sequence[Place], facts: Facts, found: Diagnostics) -> bool:
    """Judge the first feature of a chain by its file: False with E720 (of another width) or E723 (a latent that there is not)."""
    first = via.chain[0]
    if family(first).file is None or via.joined:
        return True
    shapes = tensor_shapes(Path(str(dict(first.settings)["path"])))
    if shapes is None:
        return True
    if family(first).encoder:
        return _dictionary_fits(first, shapes, via, places, facts, found)
    return _directions_fit(first, shapes, via, places, facts, found)


def _dictionary_fits(
    feature: FeatureSite,
    shapes: Mapping[str, tuple[int, ...]],
    via: Via,
    places: Sequence[Place],
    facts: Facts,
    found: Diagnostics,
) -> bool:
    encoder = shapes.get("W_enc", ())
    if len(encoder) != 2:
        return True
    inside, count = encoder
    for place in places:
        known = width(place.site, facts)
        if known is not None and known != inside:
            found.report(
                "E720",
                f"the sparse autoencoder reads vectors of {inside} numbers, and the vector here has {known}",
                via.span,
                notes=(f"it is used at `{place}`",),
                help="use one that was made for this site of this network",
            )
            return False
    latents = dict(feature.settings).get("latents")
    named = latents if isinstance(latents, tuple) else ()
    wrong = [latent for latent in named if latent >= count]
    if not wrong:
        return True
    told = f"`{feature.name}` names latent {wrong[0]}, and there are {count}"
    found.report("E723", told, via.span, help=f"name latents from 0 to {count - 1}")
    return False


def _directions_fit(
    feature: FeatureSite,
    shapes: Mapping[str, tuple[int, ...]],
    via: Via,
    places: Sequence[Place],
    facts: Facts,
    found: Diagnostics,
) -> bool:
    settings = dict(feature.settings)
    name = str(settings.get("key") or "") or (next(iter(shapes)) if len(shapes) == 1 else "")
    shape = shapes.get(name)
    if shape is None or not 1 <= len(shape) <= 2:
        return True
    for place in places:
        known = width(place.site, facts)
        if known is not None and known not in shape:
            shown = shown_path(Path(str(settings["path"])))
            found.report(
                "E720",
                f"the directions in `{shown}` are {list(shape)}, and the vector here has {known} numbers",
                via.span,
                notes=(f"they are used at `{place}`",),
                help="name directions that were found at this site",
            )
            return False
    return True


__all__ = ["shapes_fit", "tensor_shapes"]
