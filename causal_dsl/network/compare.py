"""Numbers of a network compared: how far they may differ by rounding, where they are none, and what its code raised."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from causal_dsl.base.counter import normals
from causal_dsl.base.faults import raise_if_stopped
from causal_dsl.diagnostics import SpecError
from causal_dsl.network.network import Network

#: The largest relative error that rounding explains.
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}


def told(error: BaseException) -> str:
    """An exception in one line, for a note: its class and the start of what it says. Raises KeyboardInterrupt where this process was told to stop."""
    raise_if_stopped()
    if isinstance(error, SpecError):
        return error.diagnostics[0].title
    said = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__


def tolerance_of(dtype: torch.dtype) -> float:
    """The largest relative error that rounding explains in numbers of a type."""
    return _TOLERANCE.get(dtype, 3e-2)


def distance(got: Tensor, expected: Tensor) -> float:
    """The largest relative error of a row. What is not a finite number in both, and the same, does not count; in one: infinite."""
    got, expected = got.float(), expected.float()
    if not got.numel():
        return 0.0
    change = differences(got, expected)
    size = torch.where(expected.isfinite(), expected, 0).norm(dim=-1).clamp_min(1e-20)
    worst = float((change.norm(dim=-1) / size).max())
    return float("inf") if math.isnan(worst) else worst


def differences(got: Tensor, expected: Tensor) -> Tensor:
    """How far numbers are apart: 0 where both are NaN or the same infinity, infinitely far where only one is."""
    same = (got == expected) | (got.isnan() & expected.isnan())
    return torch.where(same, 0, (got - expected).abs().nan_to_num(nan=float("inf"), posinf=float("inf")))


def ranks_of(scores: Tensor) -> Tensor:
    """Each row's ranks around their mean: the same for any rising function of the scores (a scale, a soft cap)."""
    ranks = scores.float().argsort(dim=-1).argsort(dim=-1).float()
    return ranks - (scores.shape[-1] - 1) / 2


def shake(seed: int) -> Callable[[Tensor], Tensor]:
    """Adds noise three times as large as what is there."""

    def edit(old: Tensor) -> Tensor:
        noise = torch.from_numpy(normals(seed, tuple(old.shape), "shake")).float().to(old.device)
        size = old.float().std(dim=-1, keepdim=True, unbiased=False).clamp_min(1e-3)
        return (old.float() + 3 * size * noise).to(old.dtype)

    return edit


def no_numbers(network: Network, logits: Tensor) -> tuple[str, ...]:
    """Where logits are NaN, the weights that are no finite numbers."""
    if not bool(logits.isnan().any()):
        return ()
    found = []
    for name, weights in network.model.named_parameters():
        wrong = 0 if weights.device.type == "meta" else int((~weights.isfinite()).sum())
        if wrong:
            found.append(f"{wrong} of the {weights.numel()} numbers of `{name}` are NaN or infinite")
    return tuple(found)
