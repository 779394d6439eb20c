"""The plan as data: the intervention graph, the rows of its runs, and the steps that compute it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Drawn
from causal_dsl.inputs import Inputs
from causal_dsl.messages.displayed import Shown
from causal_dsl.planning import graph as g
from causal_dsl.planning.steps import Step
from causal_dsl.program.answers import Answers
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Program, Test
from causal_dsl.program.read_features import FeatureRef, Fitting

if TYPE_CHECKING:
    import networkx as nx

    from causal_dsl.program.searches import Discovery


@dataclass(frozen=True, eq=False)
class WorkBefore:
    """The work before a plan is run: its ``searches`` as a plan, with the test there of each discovery, and the runs on which its
    ``constants`` are found."""

    searches: Plan | None = None
    searched: Mapping[Discovery, str] = field(default_factory=dict)
    constants: Plan | None = None


class Remembered:
    """The figures that were computed of a plan and may be asked again: they hold for the very values ``of``. Plans that are made of one another by
    ``replace`` share it; :mod:`causal_dsl.planning.known_sizes` reads and writes it."""

    def __init__(self) -> None:
        self.of: list[Any] = []
        self.tuples: dict[int, Any] = {}
        self.means: dict[int, bool] = {}
        self.found: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[type[Remembered], tuple[()]]:
        return Remembered, ()  # a copy in another process knows nothing: its objects have other numbers


class CellScores(Mapping[str, tuple[g.ScoreNode, ...]]):
    """The scores of each test by its name, one a cell. They and all that they need are the intervention graph, which is made once,
    when it is first asked for: plans that differ in their steps alone share it."""

    def __init__(self, nodes: Mapping[str, Iterable[g.ScoreNode]] = MappingProxyType({})):
        self._nodes = {name: tuple(scores) for name, scores in nodes.items()}

    def __getitem__(self, name: str) -> tuple[g.ScoreNode, ...]:
        return self._nodes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    @cached_property
    def graph(self) -> nx.DiGraph:
        """All scores and what they need."""
        return g.graph_of(score for scores in self._nodes.values() for score in scores)

    @cached_property
    def reads(self) -> Mapping[g.Resume, tuple[g.ReadNode, ...]]:
        """The reads of each intervention."""
        found: dict[g.Resume, list[g.ReadNode]] = {}
        for read in g.of_kind(self.graph, g.ReadNode):
            if isinstance(read.run, g.Resume):
                found.setdefault(read.run, []).append(read)
        return {resume: tuple(reads) for resume, reads in found.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Shown):
    """All the work of one spec file; a value, of which others are made by ``replace``.

    ``drawn`` and ``rows`` hold what its Draw and Forward nodes stand for: the
    settings, and for each row the index of its input in ``inputs[network]``. ``steps`` are the passes that compute it.
    """

    program: Program
    tests: tuple[Test, ...]
    drawn: Mapping[g.DrawNode, Drawn]
    inputs: Mapping[NetworkKey, Inputs]
    rows: Mapping[g.Forward, np.ndarray]
    scores: CellScores = field(default_factory=CellScores)
    steps: tuple[Step, ...] = ()
    #: what is fitted before it is run; None where nothing is
    fits: Fits | None = None
    #: the circuits and constants that are found before it is run
    before: WorkBefore = field(default_factory=WorkBefore)
    #: what the read-out of each test can say
    answers: dict[str, Answers] = field(default_factory=dict, compare=False, repr=False)
    #: names of the switches that are left off
    without: tuple[str, ...] = ()
    #: what would ride beside a test, of which a place is not in the prompts that it would run: these tests are left out
    unplaced: tuple[Test, ...] = ()
    #: the plan that it was cut from, from which every process that shares the work makes the same units; None where it is not cut
    uncut: Plan | None = field(default=None, repr=False)
    #: bytes that a pass on a CPU may take, where it was cut for so many because they were asked for
    asked: int | None = None
    #: what its blocks take, as far as it was asked
    sizes: Remembered = field(default_factory=Remembered, repr=False)

    @property
    def networks(self) -> dict[NetworkKey, NetworkRef]:
        """The networks that the plan runs, by who they are."""
        return {test.network.key: test.network for test in self.tests}

    @property
    def graph(self) -> nx.DiGraph:
        """The intervention graph: all scores and what they need; built when it is first asked for."""
        return self.scores.graph

    def reads_of(self, resumes: Iterable[g.Resume]) -> Iterator[g.ReadNode]:
        """The reads of some interventions."""
        for resume in resumes:
            yield from self.scores.reads.get(resume, ())

    def draw_of(self, test: Test) -> Drawn:
        """The settings of a test's runs."""
        return self.drawn[self.scores[test.name][0].label.draw]

    def rows_of(self, test: Test) -> dict[str, np.ndarray]:
        """For each row of each role that is run, the index of its input ``[n]``."""
        draw = self.scores[test.name][0].label.draw
        rows = ((role, self.rows.get(g.Forward(test.network.key, draw, role))) for role in self.drawn[draw].ids)
        return {role: own for role, own in rows if own is not None}

    def ids_of(self, test: Test) -> dict[str, np.ndarray]:
        """A number for the input of each row of each role, ``[n]``: of one role, two are equal just if the network reads
        the same tokens, or the same vector."""
        rows, runs = self.rows_of(test), self.inputs[test.network.key].runs
        # What is not run has only its number among the draws.
        return {role: runs[rows[role]] if role in rows else own for role, own in self.draw_of(test).ids.items()}


@dataclass(frozen=True, eq=False)
class Experiment:
    """One intervention that maps are fitted on, and the same on the inputs that end the fit."""

    test: Test
    fit: g.Resume
    validation: g.Resume


@dataclass(eq=False)
class FitUnit:
    """Maps that are fitted together, for some experiment writes through all of them; units share nothing."""

    network: NetworkKey
    maps: tuple[FeatureRef, ...]
    experiments: list[Experiment] = field(default_factory=list)

    @property
    def fitting(self) -> Fitting:
        return self.maps[0].fitting

    @property
    def shuffled(self) -> bool:
        """Whether it is fitted on shuffled labels."""
        return self.maps[0].variant == "shuffled"

    def __str__(self) -> str:
        return ", ".join(f"{'+'.join(ref.variables)} @ {ref.place} via {ref}" for ref in self.maps)


@dataclass(eq=False)
class Fits:
    """All that is fitted: ``plan`` holds its runs and inputs. ``dead`` are maps that nothing is fitted of: what is written
    through them cannot reach the answer, so whatever they are, the run is the unpatched one."""

    plan: Plan
    units: list[FitUnit]
    dead: frozenset[FeatureRef] = frozenset()

    @property
    def networks(self) -> list[NetworkKey]:
        return list(dict.fromkeys(unit.network for unit in self.units))
