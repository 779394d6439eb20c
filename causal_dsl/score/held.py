"""How much more than its variable a place holds: which vectors it takes, and where they lie for the values of the variable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.codes import FULL
from causal_dsl.score.copied import SAME, linearly_off
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import show
from causal_dsl.score.table_codes import is_table

#: Of the spread of a number, the decimals in which two vectors are one.
_DIGITS = 6
#: Vectors of one value that lie within this share of the way to those of another are that value, with some noise.
_NOISE = 0.05
#: The same where it is not known whether other inputs show there, too; and up to how many numbers that is asked.
_FAR, _FEW = 1 / 3, 2
#: From this share of the variance within the values of a variable on, that is told.
_MUCH = 0.5
#: From this share on, vectors of their own are a code, and none of a variable with something else in it; and the same of all that varies
#: at the place, whatever other inputs do there.
_SOME = 0.25
#: Settings whose distances are looked at.
_MOST = 512


@dataclass(frozen=True)
class HoldsMore:
    """The part of a variable that a place holds. ``vectors`` that it takes over the ``inputs`` that were looked at, ``values`` of the
    variable and ``settings`` of the inputs that it depends on among them; ``within``, the share of the variance between these
    settings that lies within a value; ``code``: whether it is a code of the inputs that makes none alike that the variable does."""

    variable: str
    place: str
    vectors: int
    inputs: int
    settings: int
    values: int
    within: float
    code: bool
    #: of a place of one number: the share of its variance, over all inputs, that lies within a value (a code of several numbers varies)
    spread: float = 0.0
    #: whether it is a table of the inputs (:mod:`causal_dsl.score.table_codes`)
    table: bool = False


def held(
    variable: str,
    place: str,
    vectors: np.ndarray,
    above: Mapping[str, np.ndarray],
    values: np.ndarray,
    inputs: Mapping[str, np.ndarray],
) -> HoldsMore:
    """The part that ``vectors`` [n, width] at a place hold, in n distinct inputs: ``above`` are the codes [n] of the inputs that the variable
    depends on, ``values`` its own, ``inputs`` those of all inputs."""
    spread = np.ptp(vectors, axis=0)
    scaled = vectors / np.where(spread > 0, spread, 1.0)
    patterns = _numbered(np.round(scaled, _DIGITS))
    settings = _numbered(np.stack(list(above.values()), axis=1)) if above else np.zeros(len(vectors), np.int64)
    count, kinds = int(settings.max()) + 1, int(patterns.max()) + 1
    sums = np.stack([np.bincount(settings, column) for column in scaled.T], axis=1)
    means = sums / np.bincount(settings)[:, None]
    first = np.unique(settings, return_index=True)[1]
    own = np.unique(values[first], return_inverse=True)[1].reshape(-1)
    codes = int(own.max()) + 1
    together = len(np.unique(np.stack([patterns, settings], axis=1), axis=0))
    # nothing but these inputs shows there, each setting once
    alone = together == count == kinds and count < len(vectors)
    return HoldsMore(
        variable,
        place,
        kinds,
        len(vectors),
        count,
        codes,
        _within(means, own),
        1 < codes < count <= _MOST
        and kinds in (count, len(vectors))
        and together == kinds
        and _code(means, own, alone),
        _within(scaled, np.unique(values, return_inverse=True)[1].reshape(-1)) if scaled.shape[1] == 1 else 0.0,
        is_table(scaled, inputs, values),
    )


def _distances(means: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    found: np.ndarray = cdist(means, means)
    return found


def _far_and_near(distances: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far from each setting the farthest with its value is, and the nearest with another one."""
    same = own[:, None] == own[None]
    return np.where(same, distances, 0).max(axis=1), np.where(same, np.inf, distances).min(axis=1)


def lie_apart(vectors: np.ndarray, above: Mapping[str, np.ndarray], values: np.ndarray) -> bool:
    """Whether all settings with one value of a variable lie nearer to each other than to any with another one; arguments as of :func:`held`."""
    spread = np.ptp(vectors, axis=0)
    settings = _numbered(np.stack(list(above.values()), axis=1)) if above else np.zeros(len(vectors), np.int64)
    if not np.isfinite(spread).all() or int(settings.max()) >= _MOST:
        return False
    scaled = vectors / np.where(spread > 0, spread, 1.0)
    means = np.stack([np.bincount(settings, column) for column in scaled.T], axis=1) / np.bincount(settings)[:, None]
    own = np.unique(values[np.unique(settings, return_index=True)[1]], return_inverse=True)[1].reshape(-1)
    far, near = _far_and_near(_distances(means), own)
    return bool((far < (1 - SAME) * near).all())


def _code(means: np.ndarray, own: np.ndarray, alone: bool) -> bool:
    """Whether settings [s, width] that have one value of the variable, [s], are not near each other, nor the variable a linear
    map of them (of as many directions as there are settings, anything is)."""
    off, rank = linearly_off(own.astype(float)[:, None], means)
    if off <= SAME and rank < len(means):
        return False
    distances = _distances(means)
    far, near = _far_and_near(distances, own)
    if (far < (1 - SAME) * near).all():
        return False  # each value is a cluster of its own, with some jitter
    apart = float(np.median(far / np.maximum(near, 1e-300)))
    if alone:
        return apart > _NOISE
    # Other inputs show there as well, or there are none: a trained layer tells all of them apart, too. A code of few numbers scatters.
    nearest = (distances + np.diag(np.full(len(own), np.inf))).argmin(axis=1)
    told = float((own[nearest] == own).mean())
    return means.shape[1] <= _FEW and apart > _FAR and told < (1 + float(np.bincount(own).max()) / len(own)) / 2


def _within(means: np.ndarray, own: np.ndarray) -> float:
    """The share of the variance of ``means`` [s, width] that lies within the values [s] of the variable."""
    total = float(((means - means.mean(axis=0)) ** 2).sum())
    middles = np.stack([np.bincount(own, column) for column in means.T], axis=1) / np.bincount(own)[:, None]
    return float(((means - middles[own]) ** 2).sum()) / total if total > 0 else 0.0


def _numbered(rows: np.ndarray) -> np.ndarray:
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def held_findings(found: HoldsMore, beside: str) -> list[Finding]:
    """`holds_more`, ``beside`` a verdict: an alarm of a code of the inputs that passes for the variable, information where most of
    what varies is not the variable."""
    if found.vectors < found.values and beside in FULL:
        text = (
            f"{found.place} takes {found.vectors} vectors over {found.inputs} inputs, fewer than the {found.values} values of "
            f"`{found.variable}` in them: the place does not tell all values apart, and the verdict speaks of those that it does."
        )
        return [Finding("holds_less", text)]
    shown = f"{found.place} takes {found.vectors} vectors over {found.inputs} inputs, for {found.values} values of `{found.variable}`"
    share = f"{show(found.within)} of the variance between settings of the inputs of `{found.variable}` lies within its values"
    if found.code and found.within >= _SOME and beside in (*FULL, "partly"):
        text = f"{shown}: every setting of the inputs on which it depends has its own vector, and the vectors of one value are not near each other ({share}). The place holds a code of these inputs; settings with the same value of `{found.variable}` become alike only after it."
        return [Finding("holds_more", text)]
    if found.table and beside in (*FULL, "partly"):
        text = f"{shown}, one for each input, and near vectors have no more in common than any: the nearest input shares no value more often than by chance, and no map of the second degree tells `{found.variable}` of inputs that it was not fitted on. The place holds a table of the inputs, from which `{found.variable}` is read only after it."
        return [Finding("holds_more", text)]
    if found.vectors > found.values and found.within >= _MUCH:
        return [Finding("holds_more", f"{shown}. {share}: the place holds more than the variable.", "info")]
    if found.vectors > found.values and found.spread >= _SOME:
        share = f"{show(found.spread)} of the variance of this number lies within its values"
        return [Finding("holds_more", f"{shown}. {share}: the place holds more than the variable.", "info")]
    return []


__all__ = ["HoldsMore", "held", "held_findings", "lie_apart"]
