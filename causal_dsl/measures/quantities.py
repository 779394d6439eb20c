"""The quantities that a run hands to the scores: one number a pair for each quantity of each forward.

The executors reduce logits to these columns on the device; :mod:`causal_dsl.score` works on the
columns alone and knows no network.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.measures import MEASURES, Measure
from causal_dsl.vocabulary.measures.measure import QUANTITIES


@dataclass(frozen=True)
class ValueRef:
    """Whose token a quantity is about: a variable of the base, of a source, of the label, or a constant.

    ``role`` is a name drawn in the test (``base``, ``source``, …), ``label`` (the causal model run under the
    test's intervention), or ``""`` for a constant, which then stands in ``constant``.
    """

    role: str
    variable: str = ""
    constant: object = None

    def __str__(self) -> str:
        if not self.role:
            return repr(self.constant)
        return self.variable if self.role == "base" else f"{self.role}.{self.variable}"


@dataclass(frozen=True)
class GradientOf:
    """Whose gradients a reading takes: those of a ``metric`` (a :class:`~causal_dsl.measures.per_pair.Pair`) of the base run, in a test with
    these ``sources``."""

    metric: Any
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A place at which something is read: the ``site``, as the spec writes it. ``reading`` is what is computed from what is there
    (:mod:`causal_dsl.vocabulary.readings`); without one, logits are, those that the network would give from there."""

    site: tree.Expr
    reading: tree.Expr | None = None
    #: of a reading of gradients: of which metric, and against what
    gradient: GradientOf | None = None

    def __str__(self) -> str:
        return f"{'' if self.reading is None else ' ' + format_expr(self.reading)} @ {format_expr(self.site)}"


@dataclass(frozen=True)
class Quantity:
    """One number a row, computed from the logits at the read-out, or from what is at the place that ``at`` asks for.

    ``answer``: the code of the causal model's value that the network gives (:data:`NO_ANSWER` where it gives none of them).
    ``logit``: the logit of ``of``. ``log_normalizer``: logsumexp over the vocabulary (or the classes).
    ``order``: how many logits are larger than that of ``of``.
    The name of a measure of the distribution (``kl``, ``entropy``): the number that its record computes. ``said``: the id of the largest of all logits, also
    where the answer is read among some (-1: not looked at, or not one id). ``trace``: a weighted sum of the logits, which
    stays as it is where no logit moves.
    """

    kind: str
    of: ValueRef | None = None
    #: the output at whose read-out it is, where a test asks for it by name; columns are those of one read-out, and have ""
    at: str = ""
    place: Asked | None = None

    def __str__(self) -> str:
        return f"{self.kind} of {self.of} {self.at}" + ("" if self.place is None else str(self.place))

    @property
    def measure(self) -> Measure | None:
        """The measure of the distribution that it is; None of any other quantity."""
        found = None if self.kind in QUANTITIES else MEASURES.get(self.kind)
        return found if found is not None and found.of_distribution else None

    @property
    def whole(self) -> bool:
        """Whether all logits decide it, whichever answers are read."""
        return self.kind in ("log_normalizer", "order") or self.measure is not None

    @property
    def against_base(self) -> bool:
        """Whether it is computed from the logits of the base run, too."""
        return self.measure is not None and self.measure.against_base


def margin_quantities(output: str) -> tuple[Quantity, Quantity]:
    """The logits of the counterfactual answer and of the base's: what an intervention trades for one another."""
    return Quantity("logit", ValueRef("label")), Quantity("logit", ValueRef("base", output))


#: Code of an answer that is not a value of the read-out's domain. It is never right.
NO_ANSWER = np.iinfo(np.int64).min
#: Codes of read-outs that say nothing, and are never right: two logits are the largest, or the largest is not a finite number.
TIED, NOT_FINITE = NO_ANSWER + 1, NO_ANSWER + 2
#: Code of an answer that the network goes on with, where the read-out says what ends it. It is never right.
UNENDED = NO_ANSWER + 3
#: All codes that are no answer.
NO_ANSWERS = (NO_ANSWER, TIED, NOT_FINITE, UNENDED)

#: What stands for a token in such a read-out.
TWO_LARGEST, NO_NUMBER = -2, -1

SAID, TRACE = Quantity("said"), Quantity("trace")
#: What is read beside an attribution: what all terms of each kind add to the logit, their sum, the logit that it has to be, and how
#: far the heads of a layer and the biases behind them are from what attention adds there.
PARTS = ("of_embeddings", "of_attention", "of_mlps", "of_biases")
SUMS = (*PARTS, "of_all", "own_logit", "heads_apart")
#: What is computed beside gradients at a place: how much the metric falls where the baseline stands there.
EXACT = "exact_effect"


@dataclass(frozen=True, eq=False)
class BesideRun:
    """A run beside a test, with ``m`` inputs for its ``n`` rows: ``row`` [m] is whose each is, ``weight`` [m] how much it counts
    there (the weights of a row sum to 1), ``expected`` [m] the code that the causal model gives. ``exact``: they are all that
    can be drawn."""

    columns: dict[Quantity, np.ndarray]
    expected: np.ndarray
    row: np.ndarray
    weight: np.ndarray
    n: int
    exact: bool

    def over_rows(self, numbers: np.ndarray) -> np.ndarray:
        """The mean of a number a run [m], for each row of the test [n]."""
        total = np.bincount(self.row, self.weight * numbers, minlength=self.n)
        return total / np.bincount(
            self.row, self.weight, minlength=self.n
        )  # weights of a row may add up to 1 but for rounding


@runtime_checkable
class HeldElsewhere(Protocol):
    """Numbers that lie elsewhere, and are read when they are asked for."""

    def held(self, quantity: Quantity) -> object:
        """The object that holds one of them."""


@dataclass
class Columns:
    """Numbers of one cell of one test, a row a pair (all arrays have the same length n).

    ``patched[q]``, ``base[q]`` and ``sources[role][q]`` hold quantity q of the patched run, of the unpatched base
    run and of the unpatched source runs. Where a test has no intervention, ``patched`` is empty.
    """

    base: MutableMapping[Quantity, np.ndarray]
    patched: MutableMapping[Quantity, np.ndarray] = field(default_factory=dict)
    sources: dict[str, MutableMapping[Quantity, np.ndarray]] = field(default_factory=dict)
    #: what ran beside the test, by name (:mod:`causal_dsl.planning.alignment_runs`)
    beside: dict[str, BesideRun] = field(default_factory=dict)

    def of_run(self, run: str) -> MutableMapping[Quantity, np.ndarray]:
        """The numbers of ``base``, ``patched`` or a source."""
        return self.base if run == "base" else self.patched if run == "patched" else self.sources[run]

    def held(self, run: str, quantity: Quantity) -> object:
        """The object that holds a number: the same in two cells that share it."""
        own = self.of_run(run)
        return own.held(quantity) if isinstance(own, HeldElsewhere) else own[quantity]
