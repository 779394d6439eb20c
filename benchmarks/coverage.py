"""How often 95% intervals hold the truth: ``python -m benchmarks.coverage``, some minutes.

Data are simulated whose truth is known, for few and many distinct inputs, shares near 0 and 1, and four designs:

- ``draws``: pairs drawn with replacement from a fixed table of all pairs of k bases and k sources. The truth is the table's
  mean, and an interval is about more draws.
- ``pairs``: every pair has a base and a source of its own.
- ``bases``: k bases, each with eight sources of its own, so that pairs of one base vary together.
- ``grid``: every one of k bases with every one of k sources, each of which has an effect.

In the last three inputs are drawn from a population without end, and an interval is about inputs that were not drawn. An
effect is a normal number on the probit scale, as large as the independent part (``shared``), or none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from causal_dsl.score.intervals import LEVEL, MeanOf, Resampling, percentiles
from causal_dsl.score.poisson import PoissonWeights
from causal_dsl.score.samples import FEW

INPUTS = (4, 6, 8, 12, 16, 32, 64)
SHARES = (0.5, 0.1, 0.9, 0.03, 0.97)
DESIGNS = ("draws", "pairs", "bases", "grid")
#: Where the coverage of a 95% interval should lie.
BAND = (0.93, 0.97)


@dataclass(frozen=True)
class Setting:
    """One design: ``inputs`` distinct bases, a true ``share``, effects of inputs or none."""

    design: str
    inputs: int
    share: float
    shared: bool

    @property
    def pairs(self) -> int:
        return {"draws": 256, "pairs": self.inputs, "bases": 8 * self.inputs, "grid": self.inputs**2}[self.design]

    @property
    def few(self) -> bool:
        """Whether the product says that no interval keeps its coverage."""
        return (self.pairs if self.design == "draws" else self.inputs) < FEW


def settings() -> Iterator[Setting]:
    """All settings, those without effects first; alone, a pair has none."""
    for design in DESIGNS:
        for shared in (False, True):
            if design == "pairs" and shared:
                continue
            for share in SHARES:
                for inputs in INPUTS:
                    yield Setting(design, inputs, share, shared)


def sample(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, Resampling, float]:
    """Hits of pairs [n], how they are resampled, and the truth."""
    k, size = setting.inputs, 1.0 if setting.shared else 0.0
    roles = 1 if setting.design == "bases" else 2
    middle = float(ndtri(setting.share)) * (1 + roles * size**2) ** 0.5
    bases, sources = rng.normal(size=k) * size, rng.normal(size=k) * size
    if setting.design == "draws":
        table = rng.random((k, k)) < ndtr(middle + bases[:, None] + sources)
        base, source = rng.integers(0, k, (2, setting.pairs))
        return table[base, source], Resampling({"base": base, "source": source}, draws=True), float(table.mean())
    if setting.design == "pairs":
        ids = np.arange(k)
        return rng.random(k) < setting.share, Resampling({"base": ids, "source": ids}), setting.share
    if setting.design == "bases":
        base = np.repeat(np.arange(k), 8)
        hits = rng.random(len(base)) < ndtr(middle + bases[base])
        return hits, Resampling({"base": base, "source": np.arange(len(base))}), setting.share
    base, source = (side.reshape(-1) for side in np.indices((k, k)))
    hits = rng.random(k * k) < ndtr(middle + bases[base] + sources[source])
    return hits, Resampling({"base": base, "source": source}), setting.share


def coverage(setting: Setting, trials: int, seed: int = 0) -> tuple[float, float]:
    """The share of intervals that hold the truth, and their mean width."""
    rng = np.random.default_rng(
        [seed, *setting.design.encode(), setting.inputs, round(1000 * setting.share), setting.shared]
    )
    held, widths = 0, []
    for _ in range(trials):
        hits, resampling, truth = sample(setting, rng)
        found = MeanOf(hits.astype(np.float64), np.ones(len(hits), bool), True, resampling).interval()
        low, high = found[0] if found is not None else (0.0, 1.0)
        held += low - 1e-12 <= truth <= high + 1e-12
        widths.append(high - low)
    return held / trials, float(np.mean(widths))


def resampled(setting: Setting, trials: int, seed: int = 0) -> dict[str, float]:
    """The share of bootstrap intervals of a share that hold the truth, by how inputs are resampled: ``drawn`` with replacement, or as
    many times as a ``poisson`` number says, as those of very many pairs are."""
    rng = np.random.default_rng([seed, *setting.design.encode(), setting.inputs, round(1000 * setting.share)])
    held = {"drawn": 0, "poisson": 0}
    for _ in range(trials):
        hits, resampling, truth = sample(setting, rng)
        drawn = np.concatenate([weights for weights in resampling.weights(400)]).T
        for name, weights in (("drawn", drawn), ("poisson", PoissonWeights(resampling.inverses, 400).of(slice(None)))):
            total = weights.sum(axis=0, dtype=np.float64)
            found = percentiles(np.where(total > 0, hits @ weights.astype(np.float64) / np.maximum(total, 1), np.nan))
            held[name] += found is not None and found[0] - 1e-12 <= truth <= found[1] + 1e-12
    return {name: count / trials for name, count in held.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--designs", default=",".join(DESIGNS))
    parser.add_argument(
        "--bootstrap", action="store_true", help="hold both ways of resampling inputs beside each other"
    )
    given = parser.parse_args(arguments)
    if given.bootstrap:
        print(f"coverage of {100 * LEVEL:.0f}% bootstrap intervals, {given.trials} trials each: drawn, Poisson")
        for setting in settings():
            if (
                setting.inputs == INPUTS[-1]
                and setting.share in (0.5, 0.9)
                and setting.design in given.designs.split(",")
            ):
                found = resampled(setting, given.trials)
                alone = "shared" if setting.shared else "alone"
                told = " ".join(f"{share:.3f}" for share in found.values())
                print(f"{setting.design:6} {alone:6} {setting.share:5.2f}  {told}", flush=True)
        return 0
    print(
        f"coverage of {100 * LEVEL:.0f}% intervals, {given.trials} trials each; ~: `few_inputs` is said; !: outside {BAND}"
    )
    head = ""
    for setting in settings():
        if setting.design not in given.designs.split(","):
            continue
        row = f"{setting.design:6} {'shared' if setting.shared else 'alone':6} {setting.share:5.2f}"
        if row != head:
            print(f"\n{row} ", end="")
            head = row
        held, _ = coverage(setting, given.trials)
        mark = "~" if setting.few else " " if BAND[0] <= held <= BAND[1] else "!"
        print(f" {setting.inputs}: {held:.3f}{mark}", end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
