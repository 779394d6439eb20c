"""Counterfactual labels as targets of a loss: what the read-out should say under each intervention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from causal_dsl.counter import key, permutation
from causal_dsl.measures.quantities import Quantity, ValueRef
from causal_dsl.program.answers import Answers
from causal_dsl.program.program import Test

Targets = Callable[[Test, Quantity], np.ndarray]


@dataclass(frozen=True, eq=False)
class Labels:
    """``columns`` [c]: the logits that are compared (None: all); ``target`` [n]: which of them each pair should have, or
    [n, k] any of which, -1 where there are fewer."""

    columns: np.ndarray | None
    target: np.ndarray

    def shuffled(self, seed: int) -> Labels:
        """The same labels, given to other pairs: what is fitted on them cannot know the variable."""
        return Labels(self.columns, self.target[permutation(key(seed, "labels"), len(self.target))])

    def of(self, pairs: np.ndarray, like: Tensor) -> Tensor:
        """The targets of some pairs [k], where the logits are."""
        return torch.from_numpy(self.target[pairs]).to(like.device)


def labels_of(test: Test, answers: Answers, targets: Targets) -> Labels:
    """The targets of a test under its interchange. Of an answer of several tokens the first is the target."""
    ids = targets(test, Quantity("logit", ValueRef("label")))
    if answers.among is None:
        return Labels(None, ids)
    columns = np.unique(np.array(answers.among))
    return Labels(columns, np.where(ids < 0, -1, np.searchsorted(columns, ids)))


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
