"""From the features that an alignment declares to features that act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, Span, SpecError, fail
from causal_dsl.features.base import Feature
from causal_dsl.features.chain import Chain
from causal_dsl.features.elementwise import Mask, Standardize
from causal_dsl.features.given import read_directions
from causal_dsl.features.linear import Affine, Axes, LowRank
from causal_dsl.features.natural import principal_axes, spread
from causal_dsl.features.probe import probe_directions
from causal_dsl.features.revnet import RevNet
from causal_dsl.features.rotation import Boundless, Rotation, haar
from causal_dsl.features.sae import Sae
from causal_dsl.features.sae_file import read_sae
from causal_dsl.program import locations


@dataclass(frozen=True)
class _Site:
    """What one member of a chain is made from. ``saved`` are its own tensors where it is rebuilt; ``settings`` are read
    with their defaults here, so that a declaration may leave any of them out that has one."""

    name: str
    settings: Mapping[str, Any]
    width: int
    seed: int
    dtype: torch.dtype
    heads: tuple[int, int] | None
    data: Tensor | None
    labels: Tensor | None
    saved: Mapping[str, Tensor] | None
    span: Span

    def dim(self, setting: str = "dim") -> int:
        """A number of dimensions, at most the width (E723)."""
        if setting not in self.settings:
            raise ValueError(f"`{self.name}` needs {setting}")
        dim = int(self.settings[setting])
        if not 1 <= dim <= self.width:
            raise fail(
                "E723",
                f"`{self.name}` takes {dim} dimensions of a vector of {self.width}",
                self.span,
                help=f"write {setting}={self.width} or less",
            )
        return dim

    def number(self, setting: str, default: float) -> float:
        return float(self.settings.get(setting, default))

    def natural(self) -> Tensor:
        """The natural activations (E722 where there are none that say anything)."""
        if self.data is None:
            raise ValueError(f"`{self.name}` needs natural activations, or the tensors of one that was saved")
        if len(self.data) == 0:
            raise self.unfitted("there are none")
        if not bool(torch.isfinite(self.data).all()):
            raise self.unfitted("some of their numbers are not finite")
        return self.data

    def unfitted(self, why: str) -> SpecError:
        return fail(
            "E722",
            f"`{self.name}` cannot be found from the activations here",
            self.span,
            notes=(why,),
            help="draw the activations from pairs that differ in the variable",
        )


def build(
    chain: Sequence[locations.Feature],
    width: int,
    seed: int,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    heads: tuple[int, int] | None = None,
    data: Tensor | None = None,
    labels: Tensor | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    span: Span = NOWHERE,
) -> Feature:
    """The feature that ``chain`` (outermost first) declares of vectors of ``width`` numbers and type ``dtype``.

    It lies on ``device``, computes in float32 (float64 for float64 vectors), has soft gates, and starts from ``seed``
    together with its own setting ``seed``: the same numbers on every machine. ``heads`` (count, size) says that the
    vector is a concatenation of heads. ``data`` [n, width] are natural activations at the site, from which ``pca``,
    ``standardize`` and ``linear_probe`` are found; later members get them as those before encode them. ``labels`` [n]
    is the class of the variable in each. ``tensors``: rebuild one that was saved (:meth:`Feature.tensors`), for which
    neither data nor files are needed.

    Raises E720 and E721 for a sparse autoencoder that does not fit or cannot be read, E722 where activations do not
    tell the feature, E723 for a feature that takes more than the vector has.
    """
    if not chain:
        raise ValueError("a chain has one feature at least")
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    members: list[Feature] = []
    for place, declared in enumerate(chain):
        if declared.name not in FAMILIES:
            raise ValueError(f"there is no feature `{declared.name}`")
        saved = tensors if tensors is None or len(chain) == 1 else _own(tensors, place)
        settings = dict(declared.settings)
        mixed = (seed * 1_000_003 + int(settings.get("seed", 0))) * 1_000_003 + place  # type: ignore[call-overload]
        site = _Site(declared.name, settings, width, mixed, kind, heads, data, labels, saved, span)
        member = FAMILIES[declared.name](site).to(device)
        members.append(member)
        width, heads = member.size, None
        if data is not None and place + 1 < len(chain):
            with torch.no_grad():
                data = member.encode(data.to(member.device))[0]
    feature = members[0] if len(members) == 1 else Chain(members).to(device)
    if tensors is not None:
        feature.load(tensors)
    feature.forget()
    return feature


def _own(tensors: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    """The tensors of one member of a chain, by its own names."""
    start = f"{place}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _rotation(site: _Site) -> Feature:
    return Rotation(haar(site.width, site.dim(), site.seed), site.dtype)


def _boundless(site: _Site) -> Feature:
    start, end, weight = site.number("start", 50.0), site.number("end", 0.1), site.number("weight", 1.0)
    return Boundless(haar(site.width, site.width, site.seed), start, end, weight, site.dtype)


def _mask(site: _Site) -> Feature:
    over = str(site.settings.get("over", "coordinates"))
    if over not in ("coordinates", "heads"):
        raise ValueError(f"`mask` has gates over coordinates or heads, not over {over}")
    if over == "heads" and site.heads is None:
        raise fail(
            "E723",
            "`mask(over=heads)` is of a vector that is no heads side by side",
            site.span,
            help="place it at q, k, v or z, or write over=coordinates",
        )
    start, end, weight = site.number("start", 1.0), site.number("end", 0.01), site.number("weight", 0.001)
    return Mask(site.width, site.heads if over == "heads" else None, start, end, weight, site.dtype)


def _pca(site: _Site) -> Feature:
    k = site.dim("k")
    if site.saved is not None:
        return _saved_axes(site, "k")
    mean, axes, _ = principal_axes(site.natural())
    if axes.shape[1] < k:
        raise site.unfitted(f"{axes.shape[1]} activations have at most {axes.shape[1]} axes, and k is {k}")
    return Axes("pca", axes[:, :k], mean, site.dtype, "k")


def _standardize(site: _Site) -> Feature:
    if site.saved is not None:
        return Standardize(torch.zeros(site.width), torch.ones(site.width), site.dtype)
    return Standardize(*spread(site.natural()), site.dtype)


def _linear_probe(site: _Site) -> Feature:
    if site.saved is not None:
        return _saved_axes(site, "")
    data = site.natural()
    if site.labels is None:
        raise ValueError("`linear_probe` needs the class of the variable in each activation")
    values, classes = torch.unique(site.labels, return_inverse=True)
    if len(values) < 2:
        raise site.unfitted("the variable has the same value in all of them")
    return Axes("linear_probe", probe_directions(data, classes), data.double().mean(dim=0), site.dtype)


def _subspace(site: _Site) -> Feature:
    if site.saved is not None:
        return _saved_axes(site, "")
    path, key = Path(str(site.settings["path"])), str(site.settings.get("key", ""))
    axes = read_directions(path, key, site.width, site.span)
    return Axes("subspace", axes, torch.zeros(site.width), site.dtype)


def _saved_axes(site: _Site, setting: str) -> Feature:
    """A place for axes that are about to be loaded, as many as were saved."""
    assert site.saved is not None
    axes = site.saved.get("axes")
    size = axes.shape[1] if axes is not None and axes.dim() == 2 else 1
    size = size if not setting else site.dim(setting)
    return Axes(site.name, torch.zeros(site.width, size), torch.zeros(site.width), site.dtype, setting)


def _sae(site: _Site) -> Feature:
    if site.saved is not None and {"code", "out"} <= site.saved.keys():
        return Sae(site.saved, site.dtype)
    latents: Any = site.settings.get("latents") or ()
    return Sae(read_sae(Path(str(site.settings["path"])), tuple(latents), site.width, site.span), site.dtype)


def _affine(site: _Site) -> Feature:
    return Affine(haar(site.width, site.width, site.seed), site.dim(), site.dtype)


def _lowrank(site: _Site) -> Feature:
    return LowRank(haar(site.width, site.dim(), site.seed), site.dtype)


def _revnet(site: _Site) -> Feature:
    layers, hidden = int(site.number("layers", 4)), int(site.number("width", 64))
    return RevNet(site.width, site.dim(), layers, hidden, site.seed, site.dtype)


#: Feature -> its maker. Who adds one adds its settings to the language.
FAMILIES: Mapping[str, Callable[[_Site], Feature]] = {
    "rotation": _rotation,
    "boundless": _boundless,
    "mask": _mask,
    "pca": _pca,
    "standardize": _standardize,
    "sae": _sae,
    "linear_probe": _linear_probe,
    "subspace": _subspace,
    "affine": _affine,
    "lowrank": _lowrank,
    "revnet": _revnet,
}
