"""Whether what a map writes lies where the site's natural values lie."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from causal_dsl.features.base import Feature
from causal_dsl.fitting.precomputed import FitActivations
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import FitUnit
from causal_dsl.program.read_features import FeatureRef

#: How many times as far from the middle as it ever gets a number is called far; and what of the site's size a number that
#: never moves counts for.
FAR, DEAD = 3.0, 0.1
_LOOKED_AT = 512


@torch.no_grad()
def share_off_manifold(
    unit: FitUnit, ref: FeatureRef, feature: Feature, cache: FitActivations, natural: Tensor
) -> float:
    """Of the vectors that a map writes, the share with a number further from the middle of what that number takes
    naturally than three times as far as it ever gets."""
    data = natural.double()
    low, high = data.amin(0), data.amax(0)
    half = ((high - low) / 2).clamp_min(DEAD * float(data.pow(2).mean().sqrt()))
    far, count = 0, 0
    for experiment in unit.experiments:
        writes = [w for w in experiment.fit.writes if w.feature is not None and w.feature.map == ref]
        pairs = np.arange(min(_LOOKED_AT, cache.plan.drawn[experiment.fit.base.draw].n))
        if not writes or not all(isinstance(write.value, g.Capture) for write in writes):
            continue

        def at(capture: g.Capture, pairs: np.ndarray = pairs) -> Tensor:
            rows = cache.of(capture, pairs)
            return rows.reshape(len(pairs), -1) if ref.joined else rows

        vectors = at(g.Capture(experiment.fit.base, ref.place))
        for write in writes:
            assert isinstance(write.value, g.Capture) and write.feature is not None
            block = None if write.feature.block is None else slice(*write.feature.block)
            vectors = feature.swap(vectors, at(write.value), block)
        away = (vectors.double() - (low + high) / 2).abs() > FAR * half
        far += int(away.any(1).sum())
        count += len(vectors)
    return far / count if count else 0.0
