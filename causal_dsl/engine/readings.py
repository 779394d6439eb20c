"""Logits to numbers for one test: its answers, the logits that its metrics ask for, divergences from the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from causal_dsl.causal.designs import Drawn
from causal_dsl.engine.readout import greedy, measure, measured, trace
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning.memory import MOST_LOGITS_CPU, MOST_LOGITS_DEVICE
from causal_dsl.program.answers import Answers
from causal_dsl.program.program import Test


class Targets(Protocol):
    """Gives the ids [n] whose logits a quantity of a test asks for, for all pairs of the test, after the prompts of a role."""

    def __call__(self, test: Test, quantity: Quantity, role: str = "base", /) -> np.ndarray: ...


class Numbers:
    """Reads one test's numbers off logits of all columns of the read-out, or of those in :attr:`columns`. ``drawn`` are its pairs."""

    def __init__(
        self,
        test: Test,
        answers: Answers,
        targets: Targets,
        quantities: Sequence[Quantity],
        vocabulary: int,
        drawn: Drawn,
    ):
        self.test, self.answers = test, answers
        #: the prompt line of each pair in each role, where answers are not spelled alike after all of them
        self.lines = {role: drawn.templates(role) for role in drawn.values} if answers.lines else {}
        self.targets = {
            (q, role): targets(test, q, role) if role else targets(test, q)
            for q in dict.fromkeys(quantities)
            if q.of is not None
            for role in self.lines or ("",)
        }
        self.vocabulary = vocabulary
        #: whether what it can say is the logits that the read-out names, and no word beside them
        self.classes = test.readout.kind == "logits"
        #: whether something is asked of how likely answers are: among all that the network can say, not among the read ones
        self.whole = any(q.whole for q in quantities)
        self.columns = self._columns()

    def _columns(self) -> np.ndarray | None:
        """The columns of the unembedding that are needed [c], sorted; None: all of them."""
        if self.answers.among is None or self.answers.longest > 1 or self.classes or self.whole:
            return None
        wanted = np.unique(
            np.concatenate(
                [
                    *(np.array(own.among) for own in self.answers.spellings),
                    *(ids.reshape(-1) for ids in self.targets.values()),
                ]
            )
        )
        wanted = wanted[wanted >= 0]
        return wanted if len(wanted) < self.vocabulary else None

    @property
    def steps(self) -> int:
        """How many tokens the longest answer has."""
        return self.answers.longest

    def spoken(self, logits: Tensor, pruned: bool) -> Tensor:
        """The answer of each row [m, spellings], where one token is read: among the answers of each spelling, or all that can be said."""
        if self.answers.among is None:
            return self.said(logits, pruned)[:, None]
        return torch.stack([self._largest(own.among, logits, pruned) for own in self.answers.spellings], dim=1)

    def said(self, logits: Tensor, pruned: bool) -> Tensor:
        """The token (or class) that each row says [m]."""
        return self._largest(self.answers.among, logits, pruned)

    def _largest(self, ids: Sequence[int] | None, logits: Tensor, pruned: bool) -> Tensor:
        among = self._on(ids, logits, pruned)
        found = _by_parts(logits, lambda part: greedy(part, among), torch.int64)
        if pruned and self.columns is not None:
            ids = torch.from_numpy(self.columns).to(found.device)
            return torch.where(found >= 0, ids[found.clamp(min=0)], found)
        return found

    def overall(self, logits: Tensor) -> np.ndarray:
        """The id of the largest of all logits of each row [m]; negative where there is not one."""
        return _by_parts(logits, lambda part: greedy(part, None), torch.int64).cpu().numpy()

    def trace(self, logits: Tensor, pruned: bool) -> Tensor:
        """A sum of the logits of each row [m] that stays where none of them moves: of those that are compared."""
        held = self._compared(logits.shape[1])
        ids = torch.from_numpy(held).to(logits.device)
        some = len(held) < logits.shape[1] and not (pruned and self.columns is not None)
        return _by_parts(logits, lambda part: trace(part[:, ids] if some else part, ids), torch.float64)

    def _compared(self, count: int) -> np.ndarray:
        """The columns of ``count`` logits whose largest is the answer, with those that metrics ask for where only some are computed."""
        if self.columns is not None:
            return self.columns
        if not self.classes or self.answers.among is None:
            return np.arange(count)
        named = np.unique(np.array(self.answers.among))
        return named[named >= 0]

    def _on(self, ids: Sequence[int] | np.ndarray | None, logits: Tensor, pruned: bool) -> Tensor | None:
        """Ids as columns of the logits that are at hand; -1 stays."""
        if ids is None:
            return None
        columns = np.asarray(ids, dtype=np.int64)
        if pruned and self.columns is not None:
            columns = np.where(columns >= 0, np.searchsorted(self.columns, columns), -1)
        return torch.from_numpy(columns).to(logits.device)

    def read(
        self,
        quantities: Sequence[Quantity],
        logits: Tensor,
        rows: Tensor,
        pairs: np.ndarray,
        said: np.ndarray,
        against: tuple[Tensor, Tensor] | None,
        pruned: bool,
        whole: Mapping[Quantity, np.ndarray] = MappingProxyType({}),
        role: str = "base",
    ) -> dict[Quantity, np.ndarray]:
        """The quantities of pairs [m], whose logits are ``logits[rows]``.

        ``said`` [rows of the logits, steps] the tokens that each says; ``against``: logits of base runs, and the row of each
        pair among them; ``whole[q]`` [rows of the logits] what is known of each row already; ``role``: whose prompts they are of.
        """
        lines = self.lines[role][pairs] if self.lines else None
        size = _rows_at_once(logits)
        classes = self._on(self.answers.among, logits, pruned) if self.classes else None
        if classes is not None and len(classes) >= logits.shape[1] and not (pruned and self.columns is not None):
            classes = None
        found: dict[Quantity, np.ndarray] = {}
        for start in range(0, len(pairs) if any(map(measured, quantities)) else 0, size):
            part = slice(start, start + size)
            targets = {
                q: self._on(self.targets[q, role if self.lines else ""][pairs[part]], logits, pruned)
                for q in quantities
                if q.of is not None
            }
            base = None if against is None else against[0].index_select(0, against[1][part])
            picked = logits.index_select(0, rows[part])
            for quantity, values in measure(picked, quantities, targets, classes, base).items():
                found.setdefault(quantity, np.empty(len(pairs)))[part] = values.cpu().numpy()
        for quantity in quantities:
            if quantity.kind == "answer":
                found[quantity] = self.answers.codes_of(said[rows.cpu().numpy()], lines)
            elif quantity in whole:
                found[quantity] = whole[quantity][rows.cpu().numpy()]
        return {quantity: found[quantity] for quantity in quantities}


def _by_parts(logits: Tensor, number: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
    """A number for each row [m], computed of some rows at a time. The room for all is taken before: what stays would else
    lie in the gaps that the parts leave, so that no gap fits the next part, and the process grows part by part."""
    found = torch.empty(len(logits), dtype=dtype, device=logits.device)
    size = _rows_at_once(logits)
    for start in range(0, len(logits), size):
        found[start : start + size] = number(logits[start : start + size])
    return found


def _rows_at_once(logits: Tensor) -> int:
    most = MOST_LOGITS_CPU if logits.device.type == "cpu" else MOST_LOGITS_DEVICE
    return max(1, most // max(1, logits.shape[1]))
