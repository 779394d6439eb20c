"""The numbers of what was read at a place: one for each pair of a watch (records in ``vocabulary/readings``)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from causal_dsl.engine.looked_at import Looks
from causal_dsl.planning import graph as g
from causal_dsl.planning.head_scores import looked_for
from causal_dsl.program.program import PlaceRead
from causal_dsl.vocabulary.locations import Place

Run = g.Forward | g.Resume


def base_of(run: Run) -> g.Forward:
    """The run whose prompts a run has."""
    return run.base if isinstance(run, g.Resume) else run


def vectors(looks: Looks, run: Run, place: Place) -> Tensor:
    """The vectors [pairs, width] at a place of one token, in float64."""
    return looks.values[run, place][torch.from_numpy(looks.layout.watches[run, place].at)].double()


def norm(looks: Looks, run: Run, look: PlaceRead) -> np.ndarray:
    """The norms of the vectors [pairs]."""
    return _numpy(vectors(looks, run, look.places[0]).norm(dim=1))


def cosine(looks: Looks, run: Run, look: PlaceRead) -> np.ndarray:
    """The cosines [pairs] of the vectors at two places; NaN where one of them is zero."""
    one, other = (vectors(looks, run, place) for place in look.places)
    return _numpy((one * other.to(one.device)).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1).to(one.device)))


def attention(looks: Looks, run: Run, look: PlaceRead) -> np.ndarray:
    """The attention weights [pairs] of one head from a token to the tokens of ``key``, added up."""
    (place,), (head,) = look.places, look.arguments
    watch = looks.layout.watches[run, place]
    weights = _by_heads(looks, run, place)[:, head]
    which, tokens = looks.context.layouts.tokens(Place(place.site, place.key), base_of(run), watch.pairs)
    found = np.zeros(len(watch.pairs))
    np.add.at(found, which, _numpy(weights)[which, tokens])
    return found


def of_pattern(looks: Looks, run: Run, look: PlaceRead) -> np.ndarray:
    """A score [pairs] of one head, from its attention weights between all tokens."""
    (place,), (head,) = look.places, look.arguments
    key = ("head scores", run, place, look.kind)
    if key not in looks.shared:
        looks.shared[key] = _scores(looks, run, place, look.kind)
    return np.asarray(looks.shared[key][:, head])


def _scores(looks: Looks, run: Run, place: Place, score: str) -> np.ndarray:
    """The scores [pairs, heads] of all heads of a layer."""
    layout, plan = looks.layout, looks.context.plan
    watch, base = layout.watches[run, place], base_of(run)
    weights = _numpy(_by_heads(looks, run, place))
    prompts = plan.inputs[layout.network].rows(plan.rows[base][watch.pairs])
    begins = np.searchsorted(watch.which, np.arange(len(watch.pairs) + 1))
    found = np.full((len(watch.pairs), weights.shape[1]), np.nan)
    for pair in range(len(watch.pairs)):
        ids = [int(token) for token in prompts[pair]]
        mask = looked_for(score, ids)
        rows = mask.any(axis=1)
        mine = weights[begins[pair] : begins[pair + 1], :, : len(ids)]
        if rows.any():
            found[pair] = np.einsum("thk,tk->th", mine, mask)[rows].mean(axis=0)
    return found


def _by_heads(looks: Looks, run: Run, place: Place) -> Tensor:
    """Attention weights [tokens that look, heads, tokens] at a place of all heads."""
    watch = looks.layout.watches[run, place]
    values = looks.values[run, place][torch.from_numpy(watch.at)]
    return values.view(len(watch.at), len(place.site.heads), -1)


def _numpy(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.double().cpu().numpy()
    return found


__all__ = ["attention", "base_of", "cosine", "norm", "of_pattern", "vectors"]
