"""The plan as data: the intervention graph, the rows of its runs, and the steps that compute it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.displayed import Shown
from causal_dsl.inputs import Inputs
from causal_dsl.planning import graph as g
from causal_dsl.planning.known_sizes import KnownSizes
from causal_dsl.planning.show import to_json, to_mermaid, to_text
from causal_dsl.planning.steps import Step
from causal_dsl.program.answers import Answers
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Program, Test
from causal_dsl.quick_dataclasses import dataclass

if TYPE_CHECKING:
    import networkx as nx

    from causal_dsl.planning.fit_plan import Fits
    from causal_dsl.program.discovery import Discovery


@dataclass(frozen=True, eq=False)
class WorkBefore:
    """What is found before a plan is run: its ``searches`` as a plan, with the test there of each discovery, and the runs on which its
    ``constants`` are found."""

    searches: Plan | None = None
    searched: Mapping[Discovery, str] = field(default_factory=dict)
    constants: Plan | None = None


@dataclass(repr=False)
class Plan(Shown):
    """All the work of one spec file.

    ``drawn`` and ``rows`` hold what its Draw and Forward nodes stand for: the
    settings, and for each row the index of its input in ``inputs[network]``. ``steps`` are the passes that compute it.
    """

    program: Program
    tests: list[Test]
    drawn: dict[g.DrawNode, Drawn]
    inputs: dict[NetworkKey, Inputs]
    rows: dict[g.Forward, np.ndarray]
    scores: dict[str, list[g.ScoreNode]] = field(default_factory=dict)
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
    unplaced: list[Test] = field(default_factory=list)
    #: the plan that it was cut from, from which every process that shares the work makes the same units; None where it is not cut
    uncut: Plan | None = field(default=None, compare=False, repr=False)
    #: bytes that a pass on a CPU may take, where it was cut for so many because they were asked for
    asked: int | None = None
    #: what its blocks take, as far as it was asked
    sizes: KnownSizes = field(default_factory=KnownSizes, compare=False, repr=False)
    _reads: dict[g.Resume, list[g.ReadNode]] = field(default_factory=dict)
    _graph: nx.DiGraph | None = None

    @property
    def networks(self) -> dict[NetworkKey, NetworkRef]:
        """The networks that the plan runs, by who they are."""
        return {test.network.key: test.network for test in self.tests}

    @property
    def graph(self) -> nx.DiGraph:
        """The intervention graph: all scores and what they need; built when it is first asked for."""
        if self._graph is None:
            self._graph = g.graph_of(score for scores in self.scores.values() for score in scores)
        return self._graph

    def score(self, test: Test, nodes: list[g.ScoreNode]) -> None:
        """Enter the scores of a test, one a cell."""
        self.scores[test.name], self._graph = nodes, None

    def text(self, explain: bool = False) -> str:
        """The plan as a person reads it, with its cost; ``explain`` adds what is saved and how it is run."""
        return to_text(self, explain)

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return to_mermaid(self)

    def to_json(self) -> dict[str, Any]:
        """The graph as data (networkx node-link form) with its cost."""
        return to_json(self)

    def reads_of(self, resumes: Iterable[g.Resume]) -> Iterator[g.ReadNode]:
        """What is read of some interventions."""
        if not self._reads:
            for read in g.of_kind(self.graph, g.ReadNode):
                if isinstance(read.run, g.Resume):
                    self._reads.setdefault(read.run, []).append(read)
        for resume in resumes:
            yield from self._reads.get(resume, [])

    def draw_of(self, test: Test) -> Drawn:
        """The settings of a test's runs."""
        return self.drawn[self.scores[test.name][0].label.draw]

    def ids_of(self, test: Test) -> dict[str, np.ndarray]:
        """A number for the input of each row of each role, ``[n]``: of one role, two are equal just if the network reads
        the same tokens, or the same vector."""
        draw, runs = self.scores[test.name][0].label.draw, self.inputs[test.network.key].runs
        rows = {role: self.rows.get(g.Forward(test.network.key, draw, role)) for role in self.drawn[draw].ids}
        # What is not run has only its number among the draws.
        return {r: self.drawn[draw].ids[r] if own is None else runs[own] for r, own in rows.items()}
