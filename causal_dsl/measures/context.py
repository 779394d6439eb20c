"""The context of a test for the compiler of its metrics, and the outcome: values to measure, quantities to collect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.of_circuits import Faithfulness, FaithfulnessMedian, FaithfulnessPerPair, OfCircuit
from causal_dsl.measures.per_cell import (
    CellScore,
    OfOutput,
    Order,
    PairMean,
    ScoreOp,
    asks,
)
from causal_dsl.measures.per_pair import ANSWER, AtOutput, Change, Need, Pair, at_outputs
from causal_dsl.measures.quantities import Quantity, ValueRef
from causal_dsl.measures.ratios import (
    Ratio,
    Recovered,
    RecoveredMedian,
    RecoveredPerPair,
    RelativeChange,
    RelativeChangeMedian,
    RelativeChangePerPair,
)
from causal_dsl.measures.units import RATIO, TRUTH
from causal_dsl.syntax import tree


@dataclass(frozen=True)
class OnCircuit:
    """The facts of a circuit that its scores need: whether what is ``outside`` of it is written, and how many members it
    has in each cell (``counts``)."""

    outside: bool
    counts: tuple[tuple[frozenset[tuple[str, Any]], int], ...]
    #: of each cell, the weighted edges of its circuit as a share of all edges
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class LongValue:
    """A value of several tokens, as it is written, and notes on how it is ``said``."""

    value: str
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class TestContext:
    """A test as far as its metrics are concerned; no network is needed.

    roles:          names drawn in the test, the base first
    variables:      variables of the base's model, each with its values (None where they are not finite)
    output:         the variable that is read out
    members:        the test's members; its ``expect`` and ``report`` lines are compiled, the others ignored
    metrics:        the spec's own metrics by name
    interchange:    a causal variable is interchanged, so there is a counterfactual label
    intervened:     there is any intervention, so there is a patched run
    parameters:     the sweep's parameters, each with its values; empty where the test is one cell
    answers:        the only values the read-out can give; None where it is the whole vocabulary
    stated:         whether the causal model says what the output is
    number:         of an output that is a real number, the metric that reads it
    several:        the same for each output by itself, where the test reads several; ``output`` is then the first
    several_tokens: for a value reference, one of its values that takes several tokens, or None if each takes one
    """

    __test__ = False  # not a pytest class

    name: str
    roles: tuple[str, ...]
    variables: Mapping[str, tuple[Any, ...] | None]
    output: str
    members: tuple[tree.Node, ...] = ()
    metrics: Mapping[str, tree.Expr] = field(default_factory=dict)
    interchange: bool = False
    intervened: bool = False
    parameters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    answers: tuple[Any, ...] | None = None
    several_tokens: Callable[[ValueRef], LongValue | None] | None = None
    #: the interventions on a circuit that its cells do, one in each; None where there is none, or not one alone
    circuit: OnCircuit | None = None
    #: the choices in which the ablations of its cells differ: of circuits, edges and paths
    differ: tuple[str, ...] = ()
    #: the placed variables that lead to the output, where a line asks for measures of the whole alignment
    placed: tuple[str, ...] = ()
    span: Span = NOWHERE
    several: Mapping[str, TestContext] = field(default_factory=dict)
    number: Pair | None = None
    #: whether the causal model says what the output is
    stated: bool = True

    @property
    def sources(self) -> tuple[str, ...]:
        return self.roles[1:]

    @property
    def cells(self) -> int:
        """The number of cells of the sweep, 1 where there is none."""
        return int(np.prod([len(values) for values in self.parameters.values()], dtype=np.int64))

    @property
    def outputs(self) -> Mapping[str, TestContext]:
        """The outputs that are read, each with the test as it is for that one."""
        return self.several or {self.output: self}

    @property
    def main(self) -> str:
        """The run that a metric speaks of: the patched run, or the base run where nothing is intervened on."""
        return "patched" if self.intervened else "base"


@dataclass(frozen=True)
class Reported:
    """One ``report`` line."""

    text: str
    span: Span
    value: CellScore


@dataclass(frozen=True)
class Expectation:
    """One ``expect`` line; ``truth`` is 1, 0 or NaN (cannot be judged) a cell."""

    text: str
    span: Span
    truth: CellScore

    @property
    def comparisons(self) -> tuple[CellScore, ...]:
        """The comparisons it is made of, in the order of the text."""
        found: list[CellScore] = []
        stack: list[Any] = [self.truth]
        while stack:
            node = stack.pop()
            if isinstance(node, ScoreOp) and node.op in ("and", "or", "not"):
                stack.extend(reversed(node.operands))
            else:
                found.append(node)
        return tuple(found)


@dataclass(frozen=True)
class TestScores:
    """The scores of a test: compiled, and not yet run."""

    __test__ = False  # not a pytest class

    context: TestContext
    always: dict[str, CellScore]
    expectations: tuple[Expectation, ...]
    reports: tuple[Reported, ...]
    #: further quantities that are read of the patched runs
    also: frozenset[Quantity] = frozenset()
    #: of one output of a test that reads several: what the lines of that test ask of it, and whether they ask of attributes
    asked_of_it: tuple[AtOutput, ...] = ()
    needed: frozenset[Need] = frozenset()
    attributes: bool = False

    @property
    def values(self) -> tuple[CellScore, ...]:
        """All that is measured: the constant scores, the expectations, the reports."""
        lines = [*(e.truth for e in self.expectations), *(r.value for r in self.reports)]
        return (*self.always.values(), *lines)

    @property
    def asked(self) -> dict[str, CellScore]:
        """The scores of a cell that the test's own lines speak of, by their text, in the order of the lines.

        Beside a ratio of means stand the same as a mean of ratios and as their median, under their own names.
        """
        found: dict[str, CellScore] = {}
        stack: list[Any] = list(reversed(self.values[len(self.always) :]))
        while stack:
            value = stack.pop()
            if not isinstance(value, CellScore):
                continue
            if value.over_cells or value.unit == TRUTH:
                stack.extend(reversed(value.parts))
                continue
            found.setdefault(value.text, value)
            for part in value.walk():
                for other in beside(part):
                    found.setdefault(other.text, other)
        return found

    @property
    def cell_scores(self) -> dict[str, CellScore]:
        """Every score that has a value in each cell, by its name: the constant ones, then those asked for."""
        return {**self.always, **{name: score for name, score in self.asked.items() if name not in self.always}}

    @property
    def quantities(self) -> dict[str, set[Quantity]]:
        """The quantities to be collected, by run: ``base``, ``patched``, and the name of each source that is read."""
        own = {ANSWER} if self.context.number is None else set()
        wanted: dict[str, set[Quantity]] = {"base": set(own)}
        if self.context.intervened:
            wanted["patched"] = {*own, *self.also}
        for score in self.values:
            for run, quantity in score.needs():
                wanted.setdefault(run, set()).add(quantity)
        for run, quantity in self.needed:
            wanted.setdefault(run, set()).add(quantity)
        return wanted

    def of(self, output: str, whole: TestScores) -> TestScores:
        """These scores of one output, told of what the lines of the ``whole`` test ask of it."""
        needs = [need for score in whole.values for need in score.needs()]
        needed = frozenset((run, replace(quantity, at="")) for run, quantity in needs if quantity.at == output)
        parts = [part for score in whole.values for part in score.walk()]
        pairs = (pair for part in parts for pair in at_outputs(part))
        return replace(
            self,
            needed=needed,
            asked_of_it=tuple(dict.fromkeys(p for p in pairs if p.output == output)),
            attributes=any(isinstance(part, OfOutput) and part.output == output and asks(part) for part in parts),
        )

    def per_pair(self, frame: CellData) -> dict[str, np.ndarray]:
        """The numbers behind the scores of a cell, one a pair: for the table of pairs."""
        found = {pair.text: pair.metric.of(frame, self.context.main) for pair in self.asked_of_it}
        if self.context.number is not None:
            found[self.context.number.text] = self.context.number.of(frame, self.context.main)
        for score in self.values:
            for part in score.walk():
                if isinstance(part, PairMean | Order):
                    found.setdefault(part.pair.text, part.pair.of(frame, part.run))
                elif isinstance(part, Ratio | OfCircuit):
                    found.setdefault(part.pair.text, part.pair.of(frame, self.context.main))
        return found


def beside(score: CellScore) -> Iterator[CellScore]:
    """The other averages of a ratio of means, or the median of a change, each under its own name."""
    match score:
        case Recovered() if type(score) is Recovered:
            for name, kind in (("recovered_per_pair", RecoveredPerPair), ("recovered_median", RecoveredMedian)):
                yield kind(f"{name}({score.asked})", RATIO, score.pair, score.clean, score.asked)
        case RelativeChange() if type(score) is RelativeChange:
            for name, other in (
                ("relative_change_per_pair", RelativeChangePerPair),
                ("relative_change_median", RelativeChangeMedian),
            ):
                yield other(f"{name}({score.pair.text})", RATIO, score.pair)
        case Faithfulness() if type(score) is Faithfulness:
            for name, one in (
                ("faithfulness_per_pair", FaithfulnessPerPair),
                ("faithfulness_median", FaithfulnessMedian),
            ):
                yield one(f"{name}({score.pair.text})", RATIO, score.pair, score.outside)
        case PairMean(pair=Change()):
            text = f"median({score.pair.text})"
            yield Order(text, score.unit, "median", score.pair, score.run)
