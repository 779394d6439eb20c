"""Which attention weights the score of a head adds up, in one prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causal_dsl.base.faults import OwnFault


def looked_for(score: str, ids: Sequence[int]) -> np.ndarray:
    """Of a prompt with these token ids, which weights ``[from, to]`` count for a score; rows without any are left out of its mean.

    ``previous_token``: to the token before. ``duplicate_token``: to earlier tokens that are the same. ``induction``: to the
    tokens that followed those, but for the looking token itself.
    """
    count = len(ids)
    own = np.asarray(ids)
    if score == "previous_token":
        return np.eye(count, k=-1, dtype=bool)
    same = np.tril(own[:, None] == own[None, :], k=-1)
    if score == "duplicate_token":
        return same
    if score != "induction":
        raise OwnFault(f"no attention weights are looked for by the score `{score}`")
    behind = np.zeros_like(same)
    behind[:, 1:] = same[:, :-1]
    return np.tril(behind, k=-1)


__all__ = ["looked_for"]
