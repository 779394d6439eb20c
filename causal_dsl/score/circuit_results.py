"""The result of a circuit beside its scores: its size, the choices of its ablation, what its runs say of themselves, random circuits."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from statistics import median
from typing import TYPE_CHECKING, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.circuit_run_names import RANDOM
from causal_dsl.measures.hypothesis_tests import Tested
from causal_dsl.program.ablations import AblationChoices
from causal_dsl.program.circuit_members import Members, listed
from causal_dsl.program.circuit_members import name as name_of
from causal_dsl.program.edge_sets import EdgeSet
from causal_dsl.program.nodes import EVERYWHERE, Size
from causal_dsl.program.searches import Kept
from causal_dsl.score.as_json import number
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import show

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.vocabulary.ports import Ports

#: How far two runs that should be one may be apart in a logit, as a share of how large the logits are.
CLOSE = 1e-3
#: Scores that differ by no more, of numbers of the size of 1, differ by how logits are rounded: they are tied.
_TIED = 1e-5
_ONE_IN_TWENTY = 0.05
#: Of random circuits as many nodes or edges are told, all together.
_MOST_DRAWN = 10_000
#: Which of two values of a score speaks more for a circuit; None where that depends on the hypothesis.
Better = Literal["high", "low"] | None


@dataclass(frozen=True)
class SelfCheck:
    """Two runs that have to be the same: the largest difference of a number of theirs, of numbers as large as ``scale``."""

    says: str
    apart: float
    scale: float

    @property
    def holds(self) -> bool:
        return self.apart <= CLOSE * max(1.0, self.scale)

    def to_json(self) -> shapes.SelfCheckJson:
        return {"says": self.says, "apart": number(self.apart), "holds": self.holds}


@dataclass(frozen=True)
class RandomCircuits:
    """A score of random circuits: ``values`` of each, and the share of them that are at least as high as the circuit's ``own``, at
    least as good (``better`` says whether a high or a low score is; None: neither is), and at most as high. Where circuits are searched,
    ``searched`` says how these are, and ``own`` is of as small a search. No share where the score has no ``contrast``: it is not compared."""

    values: tuple[float | None, ...]
    as_high: float | None
    as_good: float | None
    own: float | None
    better: Better = "high"
    searched: str = ""
    as_low: float | None = None
    contrast: bool = True

    @property
    def range(self) -> tuple[float, float] | None:
        known = [value for value in self.values if value is not None]
        return (min(known), max(known)) if known else None

    @property
    def median(self) -> float | None:
        known = [value for value in self.values if value is not None]
        return median(known) if known else None

    @property
    def known(self) -> int:
        """How many of them have the score: of others it is undefined."""
        return sum(value is not None for value in self.values)

    @property
    def among(self) -> bool:
        """Whether more than one in twenty are at least as high as the circuit, and more than one in twenty at most as high."""
        if self.few or self.as_high is None or self.as_low is None:
            return False
        return min(self.as_high, self.as_low) > _ONE_IN_TWENTY

    @property
    def few(self) -> bool:
        """Whether they are so few that one of them is more than one in twenty."""
        return len(self.values) < RANDOM

    @property
    def alike(self) -> bool:
        """Whether all of them have the score of the circuit itself, up to rounding."""
        if not self.contrast:
            return False
        if self.as_low is not None:
            return self.as_high == self.as_low == 1
        own, known = self.own, [value for value in self.values if value is not None]  # an older document
        return own is not None and bool(known) and all(abs(value - own) <= _slack(own) for value in known)

    def uncompared(self) -> RandomCircuits:
        """The same of a score that says nothing."""
        return replace(self, as_high=None, as_low=None, as_good=None, contrast=False)

    def to_json(self) -> shapes.RandomCircuitsJson:
        found: shapes.RandomCircuitsJson = {
            "values": [number(value) for value in self.values],
            "as_high": number(self.as_high),
            "as_low": number(self.as_low),
            "as_good": number(self.as_good),
            "own": number(self.own),
            "better": self.better or "neither",
            "searched": self.searched,
        }
        if not self.contrast:
            found["no_contrast"] = True
        return found


@dataclass(frozen=True)
class HypothesisTest:
    """A ``null`` hypothesis about a circuit, and what it was tested by: once, or once for each of its members, whose ``names`` these are.
    No test where the metric is not a number in all pairs."""

    null: str
    tested: tuple[Tested, ...]
    names: tuple[str, ...] = ()

    @property
    def p(self) -> float | None:
        """The p-value: of several tests the smallest times their number (Bonferroni)."""
        if not self.tested:
            return None
        return min(1.0, len(self.tested) * min(one.p for one in self.tested))

    @property
    def rejected(self) -> bool | None:
        """Whether it is rejected at 5%; None where it was not tested."""
        return None if self.p is None else self.p <= 0.05

    @property
    def each(self) -> dict[str, float]:
        """Of each member its p-value, corrected for their number."""
        return {name: min(1.0, len(self.tested) * one.p) for name, one in zip(self.names, self.tested, strict=False)}

    def to_json(self) -> shapes.HypothesisTestJson:
        one = self.tested[0] if len(self.tested) == 1 and not self.names else None
        return {
            "null": self.null,
            "p": number(self.p),
            "rejected": self.rejected,
            "tests": len(self.tested),
            "statistic": None if one is None else number(one.statistic),
            "n": self.tested[0].n if self.tested else 0,
            "members": {name: number(p) for name, p in self.each.items()},
        }


@dataclass(frozen=True)
class Discovered:
    """How a circuit was found: by a ``method`` from a ``metric`` on ``pairs`` pairs of their own, the ``keep`` ``what`` with the highest
    scores ``by`` signed or absolute score (by threshold: all that score at least ``keep``). ``correlation`` with the exact effects of ``sampled`` of them, ``stability`` of the kept set
    (the mean Jaccard index with those of resampled pairs), ``passes`` forwards and backwards, ``ends`` of the metric."""

    what: str
    method: str
    metric: str
    pairs: int
    keep: float
    by: str
    scores: Mapping[str, float]
    correlation: float | None
    sampled: int
    stability: float | None
    passes: tuple[float, float]
    ends: tuple[float, float]
    #: what its gradients are held against: in words, how far they are from it at most, and how large it is
    held: tuple[str, float, float] | None = None

    def to_json(self) -> shapes.DiscoveredJson:
        return {
            "what": self.what,
            "method": self.method,
            "metric": self.metric,
            "pairs": self.pairs,
            "keep": self.keep,
            "by": self.by,
            "scores": {name: number(score) for name, score in self.scores.items()},
            "correlation": number(self.correlation),
            "sampled": self.sampled,
            "stability": number(self.stability),
            "forwards": self.passes[0],
            "backwards": self.passes[1],
            "base": number(self.ends[0]),
            "source": number(self.ends[1]),
            "check": None
            if self.held is None
            else {"says": self.held[0], "apart": number(self.held[1]), "scale": number(self.held[2])},
        }


def _ports(ports: Ports) -> shapes.PortsJson:
    return {"layers": ports.layers, "heads": ports.heads, "kv_heads": ports.kv_heads, "parallel": ports.parallel}


@dataclass(frozen=True)
class CircuitResult:
    """One circuit in one cell."""

    name: str
    size: Size
    choices: AblationChoices
    checks: tuple[SelfCheck, ...]
    random: Mapping[str, RandomCircuits]
    #: the weighted edges of the random circuits
    sizes: tuple[float, ...] = ()
    #: its nodes or its edges
    members: Members = ()
    #: what of it was discovered, and how
    kept: tuple[Kept, ...] = ()
    found: tuple[Discovered, ...] = ()
    #: the null hypotheses that were tested of it, by score
    tests: Mapping[str, HypothesisTest] = field(default_factory=dict)
    #: whether the MLPs of its network read the same stream as the heads of their layer
    parallel: bool = False
    #: the scores of its edges that a file says
    stated: tuple[tuple[str, float], ...] = ()
    #: whether query heads of its network share keys and values
    shared: bool = False
    #: how many other circuits have as many nodes (edges) of each kind, where these are fewer than are drawn; None where they are not
    others: int | None = None
    #: the nodes or the edges of each random circuit, where these are few
    drawn: tuple[tuple[str, ...], ...] = ()
    #: how many of its members are not looked at
    left_out: int = 0
    #: the scores beside which no random circuits stand, since they take passes of their own
    apart: tuple[str, ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        """The scores by which its edges were found, or that a file says of them, by their names; none where there are none."""
        found = {name: score for one in self.found if one.what == "edges" for name, score in one.scores.items()}
        return {**dict(self.stated), **found}

    @property
    def lines(self) -> tuple[str, ...]:
        """Its nodes or its edges, one a line, as files name them; with their token where they are at one."""
        return _lines(self.members)

    def to_json(self) -> shapes.CircuitJson:
        size = self.size
        own = self.members.ports if isinstance(self.members, EdgeSet) else None
        found: shapes.CircuitJson = {
            "name": self.name,
            "kind": "edges" if isinstance(self.members, EdgeSet) else "nodes",
            "members": list(self.lines),
            "size": {
                "nodes": size.nodes,
                "of_nodes": size.of_nodes,
                "edges": size.edges,
                "weighted_edges": size.weighted,
                "of_edges": size.of_edges,
            },
            "choices": self.choices.to_json(),
            "checks": [check.to_json() for check in self.checks],
            "random": {name: one.to_json() for name, one in self.random.items()},
            "random_weighted_edges": list(self.sizes),
            "tests": {name: one.to_json() for name, one in self.tests.items()},
        }
        if own is not None:
            found["ports"] = _ports(own)
        if self.apart:
            found["apart"] = list(self.apart)
        if self.left_out:
            found["left_out"] = self.left_out
        if self.drawn:
            found["random_members"] = [list(lines) for lines in self.drawn]
        if self.found:
            found["found"] = [one.to_json() for one in self.found]
        if self.parallel:
            found["parallel"] = True
        if self.shared:
            found["shared_keys"] = True
        if self.others is not None:
            found["other_circuits"] = self.others
        if self.stated:
            found["stated"] = {name: number(score) for name, score in self.stated}
        return found

    def without_contrast(self, silent: Collection[str]) -> CircuitResult:
        """The same with scores that say nothing, which are not compared; ``silent`` are their names."""
        return replace(self, random={n: one.uncompared() if n in silent else one for n, one in self.random.items()})

    def findings(self) -> tuple[Finding, ...]:
        """The lines beside the numbers of the circuit."""
        found = [
            Finding(
                "circuit_check",
                f"{check.says} does not hold: "
                + (
                    f"the two runs are {show(check.apart)} apart in a logit."
                    if math.isfinite(check.apart)
                    else "a logit is not finite in one of the two runs, and another number in the other."
                ),
            )
            for check in self.checks
            if not check.holds
        ]
        told = {name: random for name, random in self.random.items() if name not in self.tests}
        for name, random in told.items():
            if random.better is not None:
                found += like_random(name, f"`{self.name}`", random)
        return (*found, *self._among_random({name: one for name, one in told.items() if one.better is None}))

    def _among_random(self, told: Mapping[str, RandomCircuits]) -> Iterator[Finding]:
        """The finding that scores lie among those of random circuits: one of all that as many of these have."""
        alike: dict[int, list[str]] = {}
        for name, random in told.items():
            if random.among:
                alike.setdefault(random.known, []).append(f"`{name}`")
        for count, names in alike.items():
            which = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            lie, of_each = ("lies", "") if len(names) == 1 else ("lie", "of each score, ")
            yield Finding(
                "circuit_among_random",
                f"{which} of `{self.name}` {lie} among those of {count} random circuit{'s' * (count > 1)} of its size: {of_each}more "
                "than one in twenty are at least as high, and more than one in twenty at most as high.",
            )


def _lines(members: Members) -> tuple[str, ...]:
    told = []
    for member in listed(members):
        at = member[-1]
        told.append(name_of(member) + ("" if at is None or at == EVERYWHERE else f" [{at}]"))
    return tuple(told)


def lines_of(circuits: Sequence[Members]) -> tuple[tuple[str, ...], ...]:
    """The nodes or the edges of some circuits, as files name them; none where they are too many to be told."""
    return tuple(map(_lines, circuits)) if sum(map(len, circuits)) <= _MOST_DRAWN else ()


def like_random(name: str, circuit: str, random: RandomCircuits) -> list[Finding]:
    """The finding that random circuits are as good by a score."""
    if random.few or random.as_good is None or random.as_good <= _ONE_IN_TWENTY:
        return []
    count = random.known
    which = f" ({random.searched})" if random.searched else ""
    if random.alike:
        every = f"all {count} random circuits" if count > 1 else "the random circuit"
        text = f"`{name}` of {circuit} is {show(random.own)}, and so it is of {every} of its size{which}: this score does not tell it from them."
        return [Finding("circuit_like_random", text)]
    text = f"`{name}` of {circuit} is no {random.better}er than that of {round(random.as_good * count)} of {count} random circuits of its size{which}."
    return [Finding("circuit_like_random", text)]


def _slack(own: float, scale: float = 1.0) -> float:
    return _TIED * max(scale, abs(own))


def random_of(
    own: float | None,
    values: Sequence[float | None],
    better: Better = "high",
    searched: str = "",
    scale: float = 1.0,
) -> RandomCircuits:
    """Where a circuit's score stands among those of random circuits. ``scale``: how large the numbers are that it is rounded like, where
    it is not larger itself."""
    known = [value for value in values if value is not None]
    high = low = None
    if own is not None and known:
        high = sum(value >= own - _slack(own, scale) for value in known) / len(known)
        low = sum(value <= own + _slack(own, scale) for value in known) / len(known)
    good = {"high": high, "low": low, None: None}[better]
    return RandomCircuits(tuple(values), high, good, own, better, searched, low)


__all__ = [
    "CLOSE",
    "CircuitResult",
    "Discovered",
    "HypothesisTest",
    "RandomCircuits",
    "SelfCheck",
    "like_random",
    "lines_of",
    "random_of",
]
