"""Counterfactual labels as targets of a loss: what the read-out should say under each intervention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from causal_dsl.base.counter import key, permutation
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Drawn
from causal_dsl.engine.readings import Targets
from causal_dsl.measures.quantities import Quantity, ValueRef
from causal_dsl.program.answers import Answers
from causal_dsl.program.program import Test


@dataclass(frozen=True, eq=False)
class Labels:
    """``columns`` [c]: the logits that are compared (None: all); ``target`` [n]: which of them each pair should have, or
    [n, k] any of which, -1 where there are fewer. Where prompts are followed by answers of several spellings, ``spelling`` [n]
    is that of each pair, and ``own`` [spellings, c] says which of the columns are compared after its prompt."""

    columns: np.ndarray | None
    target: np.ndarray
    spelling: np.ndarray | None = None
    own: np.ndarray | None = None

    def shuffled(self, seed: int) -> Labels:
        """The same labels, given to other pairs of the same spelling: what is fitted on them cannot know the variable."""
        target = self.target.copy()
        kinds = np.zeros(len(target), np.int64) if self.spelling is None else self.spelling
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            target[rows] = self.target[rows[permutation(key(seed, "labels"), len(rows))]]
        return replace(self, target=target)

    def of(self, pairs: np.ndarray, like: Tensor) -> Tensor:
        """The targets of some pairs [k], where the logits are."""
        return torch.from_numpy(self.target[pairs]).to(like.device)

    def compared(self, logits: Tensor, pairs: np.ndarray) -> Tensor:
        """The logits of some pairs [k, columns], those that no answer after the prompt has at the bottom."""
        if self.own is None or self.spelling is None:
            return logits
        inside = torch.from_numpy(self.own[self.spelling[pairs]]).to(logits.device)
        return logits.masked_fill(~inside, -torch.inf)


def labels_of(test: Test, answers: Answers, targets: Targets, drawn: Drawn) -> Labels:
    """The targets of a test under its interchange. Of an answer of several tokens the first is the target. ``drawn`` are its pairs."""
    ids = targets(test, Quantity("logit", ValueRef("label")))
    spelling = answers.spelling(drawn.templates("base")) if answers.lines else None
    if answers.among is None:
        return Labels(None, ids, spelling)
    columns = np.unique(np.concatenate([np.array(own.among) for own in answers.spellings]))
    own = None
    if answers.lines:
        own = np.stack([np.isin(columns, np.array(one.among)) for one in answers.spellings])
    return Labels(columns, np.where(ids < 0, -1, np.searchsorted(columns, ids)), spelling, own)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The sum over rows of -log p(target), in nats; of bf16 logits as float32 ones. A row without a target adds nothing."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if target.dim() == 2:
        some = (target >= 0).any(dim=1)
        logs = torch.log_softmax(wide[some], dim=1).gather(1, target[some].clamp(min=0))
        return -torch.logsumexp(logs.masked_fill(target[some] < 0, -torch.inf), dim=1).sum()
    return functional.cross_entropy(wide, target, reduction="sum")


def right(logits: Tensor, target: Tensor) -> Tensor:
    """How many rows say their target; a row with a NaN says nothing."""
    said = logits.argmax(dim=1)
    hits = said == target if target.dim() == 1 else (said[:, None] == target).any(dim=1)
    return (hits & ~logits.isnan().any(dim=1)).sum()
