"""The budget of a run, and what its plan predicts that it takes, before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checked import Checked
from causal_dsl.diagnostics import Diagnostic, Span
from causal_dsl.planning.cost import cost_of
from causal_dsl.planning.flops import layer_flops
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import layers_of

#: Forward and backward of a step of a fit take about three times as much as the forward alone.
_WITH_GRADIENTS = 3


@dataclass(frozen=True)
class RunBudget:
    """Wall-clock seconds from the request to the last block; floating-point operations; bytes of the whole process."""

    seconds: float
    flops: float
    memory: int

    def within(self, most: RunBudget) -> RunBudget:
        """This budget, where it asks for no more than ``most``."""
        return RunBudget(min(self.seconds, most.seconds), min(self.flops, most.flops), min(self.memory, most.memory))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Predicted:
    """The predicted cost of a plan: ``flops`` of its passes and at most of its fits, ``memory`` of the passes beside the weights,
    ``seconds`` at least (None: this machine's speed is not known). ``uncounted``: work that no plan counts."""

    flops: float
    memory: int
    seconds: float | None = None
    uncounted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "uncounted": list(self.uncounted)}


def predicted(checked: Checked, plan: Plan) -> Predicted:
    """The cost of all that a plan runs."""
    cost = cost_of(plan)
    flops = cost.flops + _of_fits(plan)
    uncounted = []
    if checked.searches is not None:
        flops += cost_of(checked.searches).flops
        uncounted.append("gradients, by which circuits are found")
    if any(ref.training is not None for ref in plan.networks.values()):
        uncounted.append("training networks that are not in the cache")
    return Predicted(flops, cost.process_bytes, None, tuple(uncounted))


def _of_fits(plan: Plan) -> float:
    """The most that the fits of a plan take: every step of every epoch, as whole forward and backward passes."""
    if plan.fits is None:
        return 0.0
    total, own = 0.0, plan.fits.plan
    for unit in plan.fits.units:
        fitting, inputs = unit.fitting, own.inputs[unit.network]
        pairs = sum(own.drawn[one.fit.base.draw].n for one in unit.experiments)
        steps = -(-pairs // fitting.batch) * fitting.epochs * fitting.restarts
        if fitting.file or not any(ref.trained for ref in unit.maps):
            continue
        tokens = float(np.mean(inputs.lengths))
        row = tokens * layers_of(inputs.facts) * layer_flops(inputs.facts)
        total += _WITH_GRADIENTS * steps * fitting.batch * row
    return total


def seconds_at_least(flops: float) -> float | None:
    """How long the operations take at the speed of a large matrix product on this machine; None where a run takes a GPU."""
    import time

    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return None
    size = 512
    one = torch.full((size, size), 0.5)
    fastest = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        one @ one
        fastest = min(fastest, time.perf_counter() - began)
    return flops * fastest / (2.0 * size**3)


def megabytes(count: float) -> str:
    """Bytes in MB: whole ones, and of few bytes their first two digits, so that a limit never reads as 0."""
    return f"{count / 1e6:,.0f} MB" if count >= 1e7 or not count else f"{count / 1e6:.2g} MB"


def refused(found: Predicted, allowed: RunBudget, span: Span) -> Diagnostic | None:
    """E887 where a run is over its budget before it starts."""
    over = []
    if found.flops > allowed.flops:
        over.append(f"{found.flops:.3g} floating-point operations, of {allowed.flops:.3g} that it may take")
    if found.memory > allowed.memory:
        over.append(f"{megabytes(found.memory)} beside the weights, of {megabytes(allowed.memory)} in all")
    if found.seconds is not None and found.seconds > allowed.seconds:
        over.append(f"at least {found.seconds:.3g} s at the speed of this machine, of {allowed.seconds:g} s")
    if not over:
        return None
    return Diagnostic(
        "E887",
        "the run would be over its budget, so it was not started",
        span,
        notes=tuple(f"the plan predicts {one}" for one in over),
        help="draw fewer pairs (`n=`), sweep over fewer cells, name one test, or ask for more where the server allows it",
    )


def memory_of_passes(allowed: RunBudget) -> int:
    """The share of a process's memory that its passes may take: half, for weights and libraries are beside them."""
    return max(1_000_000, allowed.memory // 2)


def with_seconds(found: Predicted) -> Predicted:
    """The same with the time that it takes at least."""
    return replace(found, seconds=seconds_at_least(found.flops))
