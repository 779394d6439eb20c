"""Features that are read from files as they are, made where they are used: each once, for vectors of the width that it meets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.features.base import Feature
from causal_dsl.features.instantiate import build
from causal_dsl.features.node_numbers import NodeNumbers
from causal_dsl.program.dictionaries import NodeParts
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

    def nodes(self, parts: NodeParts, seen: Sequence[Tensor]) -> tuple[NodeNumbers, Tensor]:
        """Some nodes of a dictionary, and the vectors [m, width] that it reads, side by side, of those that were ``seen``: of a feature that
        writes elsewhere the last ones are the written."""
        read = torch.cat([one.to(seen[0].device) for one in seen[:-1]], dim=1) if len(seen) > 1 else seen[0]
        feature = self.of(parts.feature, read)
        chosen = None if parts.whole else torch.tensor(parts.latents, dtype=torch.int64, device=read.device)
        if (
            chosen is not None and len(chosen) and int(chosen.max()) >= feature.size
        ):  # the file is not the one that was checked
            raise fail(
                "E723",
                f"`{parts.feature.chain[0].shown}` names latent {int(chosen.max())}, and there are {feature.size}",
                parts.feature.span or NOWHERE,
                help=f"name each once, from 0 to {feature.size - 1}",
            )
        return NodeNumbers(feature, chosen, parts.error, parts.feature.output), read


__all__ = ["GivenMaps"]
