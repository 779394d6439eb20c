"""The tests of a family side by side: how far a score is the same on networks that differ in a seed or a revision.

Networks are a level of their own: their mean, standard deviation and range are over networks, each with the score that it
has on its own pairs, and no pair of one is pooled with pairs of another.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.as_json import number

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.score.results import TestResult

Setting = int | float | str


@dataclass(frozen=True)
class Spread:
    """A score over the networks of a family that differ in the parameter ``over`` alone, in one cell and one setting of
    what else is swept over (``at``).

    ``sd`` is the sample standard deviation (with n - 1), None for one network. ``lowest`` and ``highest`` are the
    parameters of the networks with the smallest and the largest score, ``of`` how many networks have the score.
    """

    score: str
    over: str
    at: Mapping[str, Any]
    of: int
    mean: float
    sd: float | None
    low: float
    high: float
    lowest: Mapping[str, Setting]
    highest: Mapping[str, Setting]

    def to_json(self) -> shapes.SpreadJson:
        return {
            "score": self.score,
            "over": self.over,
            "at": number(dict(self.at)),
            "networks": self.of,
            "mean": number(self.mean),
            "sd": number(self.sd),
            "low": number(self.low),
            "high": number(self.high),
            "lowest": dict(self.lowest),
            "highest": dict(self.highest),
        }


@dataclass(frozen=True)
class FamilyResult:
    """The tests that one declaration was written out to. ``over``: those of its parameters that decide the network."""

    name: str
    tests: tuple[TestResult, ...]
    over: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters in which the tests differ."""
        return tuple(name for name, _ in self.tests[0].variant)

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """Every score over the networks, by each parameter that decides them; empty where all tests have one network."""
        return tuple(spread for over in self.over for spread in self._spreads(over))

    def _spreads(self, over: str) -> Iterator[Spread]:
        found: dict[tuple[str, tuple[tuple[str, Any], ...]], dict[str, tuple[float, dict[str, Setting]]]] = {}
        for test in self.tests:
            network = {name: value for name, value in test.variant if name == over}
            rest = [(name, value) for name, value in test.variant if name != over]
            for cell in test.cells:
                for score, estimate in cell.scores.items():
                    if estimate.value is not None and math.isfinite(estimate.value):
                        at = (*rest, *cell.cell.items())
                        found.setdefault((score, at), {}).setdefault(test.who, (estimate.value, network))
        for (score, at), by_network in found.items():
            values = list(by_network.values())
            numbers = [value for value, _ in values]
            low, high = min(values, key=lambda one: one[0]), max(values, key=lambda one: one[0])
            sd = statistics.stdev(numbers) if len(numbers) > 1 else None
            mean = statistics.fmean(numbers)
            yield Spread(score, over, dict(at), len(numbers), mean, sd, low[0], high[0], low[1], high[1])

    def to_json(self) -> shapes.FamilyJson:
        return {
            "name": self.name,
            "tests": [test.name for test in self.tests],
            "parameters": list(self.parameters),
            "over_networks": list(self.over),
            "spreads": [spread.to_json() for spread in self.spreads],
        }


def families_of(tests: Sequence[TestResult]) -> tuple[FamilyResult, ...]:
    """The families among the tests of a spec, in the order of the spec."""
    found: dict[str, list[TestResult]] = {}
    for test in tests:
        if test.family:
            found.setdefault(test.family, []).append(test)
    return tuple(FamilyResult(name, tuple(members), _over(members)) for name, members in found.items())


def _over(tests: Sequence[TestResult]) -> tuple[str, ...]:
    """The parameters that decide the network: some tests that differ in one of them alone are on two networks."""
    over = []
    for name, _ in tests[0].variant:
        seen: dict[tuple[tuple[str, Setting], ...], set[str]] = {}
        for test in tests:
            rest = tuple(pair for pair in test.variant if pair[0] != name)
            seen.setdefault(rest, set()).add(test.who)
        if any(len(networks) > 1 for networks in seen.values()):
            over.append(name)
    return tuple(over)


__all__ = ["FamilyResult", "Spread", "families_of"]
