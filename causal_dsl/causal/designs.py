"""The draws of a test: pairs (or more) of inputs, row by row, the same on every machine for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Columns, Predicate
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.pooled_inputs import Pooled
from causal_dsl.diagnostics import Span


@dataclass(frozen=True)
class DrawStatement:
    """``roles ~ model(n, seed, balance, exhaustive, split) where …``

    ``where`` may mention roles of earlier statements, whose rows are then fixed. ``balance`` lists (role, variable).
    ``split`` is the part of the model's inputs that every row of every role is drawn from; ``""`` is all of them.

    ``like`` is a role, of an earlier statement or of this one, that all other roles of the statement equal in every input
    but those of ``vary``, in each of which they differ. ``where`` then says so, too: it is ``alike`` and ``written``, the part
    of it that stands in the spec.

    ``strata`` lists (role, variable): of each combination of their values there are as many rows as its probability says.
    ``cover`` does, too: the rows have combinations of their values, each equally often, so chosen that any values of ``t``
    of the variables that can come together do come together in one of them. ``choose`` finds these combinations: it is
    :func:`~causal_dsl.causal.covering.covering_of`, or of strata :func:`~causal_dsl.causal.covering.strata_of`.
    """

    roles: tuple[str, ...]
    model: CausalModel
    n: int | None
    seed: int
    balance: tuple[tuple[str, str], ...]
    exhaustive: bool
    where: Predicate | None
    span: Span
    split: Literal["", "fit", "validation", "test"] = ""
    like: str = ""
    vary: tuple[str, ...] = ()
    alike: Predicate | None = None
    written: Predicate | None = None
    strata: tuple[tuple[str, str], ...] = ()
    cover: tuple[tuple[str, str], ...] = ()
    t: int = 2
    choose: Callable[[Design, DrawStatement], Any] | None = field(default=None, compare=False, repr=False)

    @property
    def even(self) -> tuple[tuple[str, str], ...]:
        """The variables of whose combinations there are equally many rows."""
        return self.balance or self.cover

    def chosen(self, design: Design) -> Any:
        """The result of ``choose``: of strata combinations ``[k, v]`` and probabilities ``[k]``, of ``cover`` combinations alone."""
        assert self.choose is not None
        return self.choose(design, self)

    @property
    def spread(self) -> tuple[tuple[str, str], ...]:
        """The variables by whose values rows are handed out before they are drawn."""
        return self.even or self.strata

    @property
    def said(self) -> Predicate | None:
        """The `where` that stands in the spec."""
        return self.written if self.like else self.where


@dataclass(frozen=True)
class Design:
    """All draws of a test. ``templates`` has one entry a prompt line: its `where` over role ``""``, or None. ``by`` are the
    variables that its inputs are split by, where the spec says so."""

    statements: tuple[DrawStatement, ...]
    templates: tuple[Predicate | None, ...] = ()
    by: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(role for statement in self.statements for role in statement.roles)

    @property
    def exhaustive(self) -> bool:
        """Whether the rows are all there are, each once."""
        return any(statement.exhaustive for statement in self.statements)

    @property
    def models(self) -> dict[str, CausalModel]:
        return {role: statement.model for statement in self.statements for role in statement.roles}

    @property
    def splits(self) -> dict[str, str]:
        """The part of the inputs that each role is drawn from."""
        return {role: statement.split for statement in self.statements for role in statement.roles}


@dataclass
class Drawn:
    """The rows of a design.

    ``values[role][variable]`` are codes ``[n]`` of every variable, and ``template``, the index of the prompt line, where
    there are prompts. ``ids[role]`` ``[n]``: two are equal, in whatever role, just if the network is shown the same
    (:func:`identify`).
    """

    n: int
    values: dict[str, Columns]
    ids: dict[str, np.ndarray]
    exhaustive: bool
    #: how many more were drawn, and left out because nothing is known of what is right in them
    unanswered: int = 0

    def templates(self, role: str) -> np.ndarray:
        """The number of the prompt template of each row of a run [n]; 0 where there are no prompts."""
        return self.values[role].get("template", np.zeros(self.n, np.int64))

    def among(self, rows: np.ndarray) -> Drawn:
        """Some of the rows; the others have no answer."""
        values = {role: {name: codes[rows] for name, codes in own.items()} for role, own in self.values.items()}
        ids = {role: own[rows] for role, own in self.ids.items()}
        return Drawn(len(rows), values, ids, self.exhaustive, self.n - len(rows))

    @cached_property
    def pooled(self) -> Pooled:
        """The inputs of all roles together."""
        return Pooled(self.n, self.values, self.ids)
