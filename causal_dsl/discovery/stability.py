"""The outcome of a search for a circuit: scores, their correlation with exact effects, and how stable the kept set is on resampled pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.discovery.exact_effects import AtToken
from causal_dsl.discovery.part_scores import Scored
from causal_dsl.program.discovery import chosen
from causal_dsl.program.searches import Discovery, Kept
from causal_dsl.store.once import StoredArrays
from causal_dsl.vocabulary.discovery_methods import SAMPLED

#: Resamples of the pairs by which it is told how a set holds.
RESAMPLES = 20
_SEED = 12_036


#: From what share of the numbers compared on scores are far from them.
FAR = 0.1


@dataclass(frozen=True)
class HeldAgainst:
    """The numbers that scores by gradients are held against, in words, how far they are from them at most, and the largest of the numbers compared.
    ``by_steps``: along a path of infinitely many steps they would be equal."""

    says: str
    apart: float
    scale: float
    by_steps: bool = False

    @property
    def told(self) -> tuple[str, float, float]:
        """The same for a report: where they are far apart, what brings them closer."""
        far = self.by_steps and self.apart > FAR * self.scale
        return self.says + (": more steps may bring them closer" if far else ""), self.apart, self.scale


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome of a discovery on ``pairs`` pairs. ``metric`` is what it is found by, ``sampled`` the numbers of some parts and
    ``exact`` their effects."""

    discovery: Discovery
    names: tuple[str, ...]
    scored: Scored
    metric: str
    pairs: int
    sampled: tuple[int, ...]
    exact: tuple[float, ...]
    #: what gradients are held against
    held: HeldAgainst | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The mean score of each node or edge, by its name."""
        return dict(zip(self.names, self.scored.means.tolist(), strict=True))

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of scores with exact effects, over the parts that were looked at; None where one does not vary."""
        scores, exact = self.scored.means[list(self.sampled)], np.array(self.exact)
        if len(exact) < 3 or not np.isfinite(exact).all() or np.ptp(scores) == 0 or np.ptp(exact) == 0:
            return None
        return float(np.corrcoef(scores, exact)[0, 1])

    def stability(self, kept: Kept) -> float | None:
        """The mean Jaccard index of the set that is kept with those of resampled pairs; None of a single group of pairs, and of
        sets that keep nothing."""
        groups = len(self.scored.weights)
        if groups < 2:
            return None
        mine = self._set(self.scored.means, kept)
        stream = Stream(_SEED, "pairs")
        found = []
        for _ in range(RESAMPLES):
            counts = np.bincount(stream.below(groups, groups), minlength=groups)
            weights = counts * self.scored.weights
            other = self._set(weights @ self.scored.groups / max(1e-300, weights.sum()), kept)
            if mine or other:
                found.append(len(mine & other) / len(mine | other))
        return float(np.mean(found)) if found else None

    def _set(self, means: np.ndarray, kept: Kept) -> set[str]:
        scores = dict(zip(self.names, means.tolist(), strict=True))
        return set(chosen(scores, kept, kept.discovery.span, Diagnostics()) or ())


def kept_form(one: Found) -> StoredArrays:
    """The outcome as arrays and plain data, as it is kept."""
    scored, held = one.scored, one.held
    about = {
        "names": list(one.names),
        "ends": [float(end) for end in scored.ends],
        "passes": [float(number) for number in scored.passes],
        "still": [int(number) for number in scored.still],
        "metric": one.metric,
        "pairs": one.pairs,
        "sampled": [int(number) for number in one.sampled],
        "exact": [float(number) for number in one.exact],
        "held": None if held is None else [held.says, held.apart, held.scale, held.by_steps],
    }
    return {"groups": np.asarray(scored.groups), "weights": np.asarray(scored.weights)}, about


def from_kept(discovery: Discovery, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Found:
    """The outcome, from its kept form. The parts themselves are not kept: their names tell them."""
    ends, passes = about["ends"], about["passes"]
    scored = Scored(
        (), arrays["groups"], arrays["weights"], (ends[0], ends[1]), (passes[0], passes[1]), tuple(about["still"])
    )
    held = None if about["held"] is None else HeldAgainst(*about["held"])
    names, sampled, exact = (tuple(about[name]) for name in ("names", "sampled", "exact"))
    return Found(discovery, names, scored, about["metric"], about["pairs"], sampled, exact, held)


def sample(means: np.ndarray) -> tuple[int, ...]:
    """The parts whose exact effect is looked at: half of them those with the largest scores, the others spread over the rest."""
    order = np.argsort(-np.abs(means), kind="stable")
    first = order[: SAMPLED // 2]
    rest = order[SAMPLED // 2 :]
    some = np.linspace(0, len(rest) - 1, SAMPLED - len(first)).astype(int) if len(rest) else np.zeros(0, int)
    return tuple(sorted({*first.tolist(), *rest[some].tolist()}))


def name_of(part: object) -> str:
    """A node, or an edge, as files and specs write it; with its tokens where it is at some."""
    if isinstance(part, AtToken):
        return f"{name_of(part.part)}[{part.position}]"
    return " -> ".join(map(str, part)) if isinstance(part, tuple) else str(part)


__all__ = ["Found", "HeldAgainst", "from_kept", "kept_form", "name_of", "sample"]
