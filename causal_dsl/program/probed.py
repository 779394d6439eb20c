"""The questions of interventions that ride beside a test (:mod:`causal_dsl.planning.probes` makes such tests)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.circuit_members import Members
from causal_dsl.vocabulary.locations import Place, Site

Why = Literal["decided", "idle", "through", "alike"]


@dataclass(frozen=True, eq=False)
class Unmapped:
    """The part of a layer at which no variable is placed, taken from another input.

    ``cell``: of the test. ``site``: the layer's whole vector. ``units``: for each intervention the units it takes,
    coordinates of a vector or tokens of a prompt; the first takes all. ``placed``: the variables at that layer. ``varied``: the
    inputs of the causal model in which the other run may differ. ``why``: ``decided`` (the placed variables decide the answer), ``idle`` (the
    answer does not depend on what is varied), ``through`` (what is varied reaches the answer through the placed variables alone), or
    ``alike`` (with the values of the placed variables in the first input, the model answers the second as the first).
    """

    cell: int
    site: Site
    units: tuple[tuple[int, ...], ...]
    placed: tuple[str, ...]
    varied: tuple[str, ...]
    why: Why
    tokens: bool
    #: whether the rows are all pairs of the test's inputs that differ in ``varied`` alone
    all_pairs: bool = False
    #: units that the test writes beside its variables, by the number of the intervention
    beside: tuple[tuple[int, tuple[int, ...]], ...] = ()
    #: whether a variable that it speaks of is placed at a later layer, too
    early: bool = False
    #: further sets of units, of two or three of many, and the rows in which each of them is taken: of a small vector network they are run
    #: together in one pass, since each intervention of a plan takes its time, whatever its rows
    sets: tuple[tuple[int, ...], ...] = ()
    rows: np.ndarray | None = None
    #: whether its inputs need not pass the `where` of the test
    beyond: bool = False
    #: of tokens of which only some numbers are claimed, these: the others are taken with the token
    claimed: tuple[tuple[int, tuple[int, ...]], ...] = ()
    #: of tokens: units are numbers of the vectors of all tokens side by side, each so wide; 0: units are tokens
    numbers: int = 0


@dataclass(frozen=True, eq=False)
class Replaced:
    """Other values at the places of an ablation. ``names``: of each intervention what is written, ``rows`` the pairs of the test, and
    ``others`` those from which a place is taken."""

    cell: int
    own: str
    names: tuple[str, ...]
    rows: np.ndarray
    others: np.ndarray


@dataclass(frozen=True, eq=False)
class Apart:
    """The parts of what a test writes together, written apart. ``cell``: of the test. ``swaps``: for each intervention which variables it
    takes from which role; ``another`` is the source of another row."""

    cell: int
    swaps: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, eq=False)
class Beyond:
    """The interchange of a cell in pairs that do not pass the `where` of its test."""

    cell: int


@dataclass(frozen=True, eq=False)
class InParts:
    """Where a variable is placed, written in parts. ``parts``: its places, or the numbers of its only one (``one``). ``sets``: for each
    intervention the numbers of the parts that it writes; ``rows``: the pairs of the test."""

    cell: int
    variable: str
    parts: tuple[Place, ...]
    one: bool
    sets: tuple[tuple[int, ...], ...]
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class CircuitRuns:
    """Runs beside interventions on circuits. ``names``: of each of its cells, of which cell of the test it is and what it is called.
    ``sizes``: of each cell of the test, how many weighted edges its circuit has, and each random one. ``random``: of each cell of the
    test, the random circuits themselves."""

    names: tuple[tuple[int, str], ...]
    sizes: tuple[tuple[float, ...], ...]
    random: tuple[tuple[Members, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class AlignmentRuns:
    """Runs in which the places of an alignment are set. ``names``: of each of its cells, of which cell of the test it is (None: of all),
    and what it is called. ``row`` [m]: of which row of the test each of its rows is, ``weight`` [m] how much it counts there.
    ``expected``: of each cell, the codes [m] that the causal model gives. ``exact``: these are all rows that can be drawn."""

    names: tuple[tuple[int | None, str], ...]
    row: np.ndarray
    weight: np.ndarray
    expected: tuple[np.ndarray, ...]
    exact: bool
