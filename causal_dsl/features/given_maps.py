"""Features that are read from files as they are, made where they are used: each once, for vectors of the width that it meets."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.features.base import Feature
from causal_dsl.features.instantiate import build
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.vocabulary.locations import FeatureSite

_Key = tuple[tuple[FeatureSite, ...], int, torch.dtype, torch.device]


@dataclass(eq=False)
class GivenMaps:
    """The features in whose numbers sites are written, by what they are made from. They are no fits: their files decide
    them, and nothing of them is kept from one run to the next."""

    made: dict[_Key, Feature] = field(default_factory=dict)

    def of(self, ref: FeatureRef, like: Tensor) -> Feature:
        """The feature for vectors such as ``like`` [m, width], ready to be used. Raises E720, E721 and E723 as
        :func:`causal_dsl.features.build.build` does."""
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        key = (ref.chain, like.shape[1], dtype, like.device)
        if key not in self.made:
            feature = build(ref.chain, key[1], 0, dtype=dtype, device=like.device, span=ref.span or NOWHERE)
            feature.harden()
            feature.requires_grad_(False)
            with torch.no_grad():
                feature.prepare()
            self.made[key] = feature
        return self.made[key]


__all__ = ["GivenMaps"]
