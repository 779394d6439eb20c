"""Logits to numbers: the quantities of a read-out, a row a pair, computed where the logits are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from causal_dsl.measures.computed import computed
from causal_dsl.measures.quantities import NO_ANSWER, NO_NUMBER, TWO_LARGEST, Quantity


def measured(quantity: Quantity) -> bool:
    """Whether :func:`measure` computes a quantity."""
    return quantity.kind == "logit" or quantity.whole


def measure(
    logits: Tensor,
    quantities: Sequence[Quantity],
    targets: Mapping[Quantity, Tensor],
    classes: Tensor | None,
    against: Tensor | None,
) -> dict[Quantity, Tensor]:
    """The quantities of a batch of logits, except answers.

    ``logits`` [m, vocabulary] of the run; ``targets[q]`` [m] the id whose logit is asked (-1: none, which gives NaN), or [m, k] ids;
    ``classes`` the columns of the read-out of a vector network that reads some of its classes; ``against`` [m, vocabulary] the
    logits of the base run for measures that compare with it. Scores are computed in float64 whatever the network computes in: bf16
    logits that differ in the last place would otherwise decide a sum.
    """
    found: dict[Quantity, Tensor] = {}
    exact = logits.double() if logits.device.type != "mps" else logits.float()
    seen = exact if classes is None else exact[:, classes]
    for quantity in quantities:
        match quantity.kind:
            case "logit":
                ids = targets[quantity]
                found[quantity] = _logit(exact, ids)
            case "order":
                found[quantity] = _order(logits, exact, classes, targets[quantity])
            case "log_normalizer":
                found[quantity] = torch.logsumexp(seen, dim=1)
            case _ if (record := quantity.measure) is not None:
                runs = [torch.log_softmax(seen, dim=1)]
                if record.against_base:
                    assert against is not None
                    base = against.to(exact.dtype)
                    runs.append(torch.log_softmax(base if classes is None else base[:, classes], dim=1))
                found[quantity] = computed(record, *runs)
    return found


def _order(logits: Tensor, exact: Tensor, classes: Tensor | None, ids: Tensor) -> Tensor:
    """How many logits are larger than that of an id [m]; NaN where there is none, and beside a NaN. Of one id each, logits are compared as the
    network gives them: in float64 they would compare the same."""
    compared = logits if ids.dim() == 1 else exact
    own = _logit(compared, ids)
    seen = compared if classes is None else compared[:, classes]
    larger = (seen > own[:, None]).sum(dim=1).to(exact.dtype)
    unknown = own.isnan() | seen.amax(dim=1).isnan()  # a NaN is the largest
    return torch.where(unknown, torch.nan, larger)


def _logit(logits: Tensor, ids: Tensor) -> Tensor:
    """The logit of an id of each row [m]; of several ids [m, k] the log of the sum of exp, so that exp of it is in the same
    proportion to their probabilities together. NaN where there is none (-1)."""
    if ids.dim() == 1:
        picked = logits.gather(1, ids.clamp(min=0).unsqueeze(1)).squeeze(1)
        return torch.where(ids >= 0, picked, torch.nan)
    picked = torch.where(ids >= 0, logits.gather(1, ids.clamp(min=0)), -torch.inf)
    return torch.where((ids >= 0).any(dim=1), torch.logsumexp(picked, dim=1), torch.nan)


def greedy(logits: Tensor, among: Tensor | None) -> Tensor:
    """The id of the largest logit [m], over ``among`` where given.

    A row says nothing where a logit is NaN, where the largest is infinite (:data:`NO_NUMBER`), and where two logits are
    the largest (:data:`TWO_LARGEST`): taking the first of equals would be an answer that the network does not give.
    """
    seen = logits if among is None else logits[:, among]
    top, best = seen.max(dim=1)
    said = best if among is None else among[best]
    said = torch.where((seen == top[:, None]).sum(dim=1) > 1, TWO_LARGEST, said)
    return torch.where(top.isfinite(), said, NO_NUMBER)


def trace(logits: Tensor, ids: Tensor) -> Tensor:
    """A weighted sum of the logits [m], float32 (of float64, float64), of the columns ``ids`` of the read-out. What is ruled out (minus infinity) counts
    nothing; a logit that is NaN or infinite makes a sum that is not a finite number.

    The weights are fixed numbers between 1/2 and 3/2, scattered over the ids: two rows have one sum where their logits are
    equal, and hardly ever otherwise.
    """
    weights = 0.5 + (ids.to(torch.int64) * 2654435761 % 2**32).to(torch.float32) / 2**32
    finite = torch.where(logits == -torch.inf, 0, logits)
    finite = finite if finite.dtype == torch.float64 else finite.float()
    return finite @ weights.to(finite) / max(1, len(ids)) ** 0.5


__all__ = ["NO_ANSWER", "greedy", "measure", "measured", "trace"]
