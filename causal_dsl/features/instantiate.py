"""From the features that an alignment declares to features that act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span, SpecError, fail
from causal_dsl.features.base import Feature
from causal_dsl.features.chain import Chain
from causal_dsl.features.linear import Axes
from causal_dsl.vocabulary import locations
from causal_dsl.vocabulary.features import FEATURES, FeatureFamily
from causal_dsl.vocabulary.plugins import made


@dataclass(frozen=True)
class Making:
    """The material of one member of a chain: vectors of ``width`` numbers, computed in ``dtype``, from ``seed``.

    ``heads`` (count, size) says that the vector is heads side by side. ``data`` [n, width] are natural activations there,
    ``labels`` [n] the class of the variable in each; ``saved`` are its own tensors where it is rebuilt."""

    family: FeatureFamily
    settings: Mapping[str, Any]
    width: int
    seed: int
    dtype: torch.dtype
    heads: tuple[int, int] | None
    data: Tensor | None
    labels: Tensor | None
    saved: Mapping[str, Tensor] | None
    span: Span
    #: what of the activations its function has asked for
    asked: set[str] = field(default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        if name in ("data", "labels"):
            object.__getattribute__(self, "asked").add(name)
        return object.__getattribute__(self, name)

    @property
    def name(self) -> str:
        return self.family.name

    def setting(self, name: str) -> Any:
        """A setting; its default where a declaration leaves it out."""
        if name not in self.settings and self.family.settings[name].required:
            raise ValueError(f"`{self.name}` needs {name}")
        return self.settings.get(name, self.family.settings[name].default)

    def dim(self, setting: str = "dim") -> int:
        """A number of dimensions, at most the width (E723)."""
        dim = int(self.setting(setting))
        if not 1 <= dim <= self.width:
            raise fail(
                "E723",
                f"`{self.name}` takes {dim} dimensions of a vector of {self.width}",
                self.span,
                help=f"write {setting}={self.width} or less",
            )
        return dim

    def number(self, setting: str) -> float:
        return float(self.setting(setting))

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

    def saved_axes(self, setting: str = "") -> Axes:
        """A place for axes that are about to be loaded, as many as were saved."""
        assert self.saved is not None
        axes = self.saved.get("axes")
        size = axes.shape[1] if axes is not None and axes.dim() == 2 else 1
        size = size if not setting else self.dim(setting)
        return Axes(self.name, torch.zeros(self.width, size), torch.zeros(self.width), self.dtype, setting)


def build(
    chain: Sequence[locations.FeatureSite],
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
        if declared.name not in FEATURES:
            raise ValueError(f"there is no feature `{declared.name}`")
        saved = tensors if tensors is None or len(chain) == 1 else _own(tensors, place)
        settings = dict(declared.settings)
        mixed = (seed * 1_000_003 + int(settings.get("seed", 0))) * 1_000_003 + place  # type: ignore[call-overload]
        family = FEATURES.at(declared.name, span)
        making = Making(family, settings, width, mixed, kind, heads, data, labels, saved, span)
        member: Feature = FEATURES.call(
            declared.name, lambda making=making: made(making.family.make)(making).to(device), span=span
        )
        member.made_from_inputs = bool(making.asked)
        members.append(member)
        width, heads = member.size, None
        if data is not None and place + 1 < len(chain):
            with torch.no_grad():
                data = member.encode(data.to(member.device))[0]
    feature = members[0] if len(members) == 1 else Chain(members).to(device)
    feature.made_from_inputs = any(member.made_from_inputs for member in members)
    if tensors is not None:
        feature.load(tensors)
    feature.forget()
    return feature


def _own(tensors: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    """The tensors of one member of a chain, by its own names."""
    start = f"{place}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
