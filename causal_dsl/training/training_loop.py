"""The steps of training: Adam on an :class:`~causal_dsl.training.objective.Objective`, from wherever it was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import fail
from causal_dsl.program.program import Training
from causal_dsl.store.stepwise import Checkpoint, adam_state, restore_adam, run
from causal_dsl.training.objective import Objective
from causal_dsl.training.weights import named_tensors, put

#: How many steps the losses are kept of.
_KEPT = 200
#: A loss that has grown to so many times what it was (and more than 1 nat) does not come back.
_DIVERGED = 1000.0

#: Hears of each step that is done: its number from 1, how many there are, and the loss before it.
Tick = Callable[[int, int, float], None]


@dataclass
class TrainingState:
    """How far a training has come: ``step`` steps are done; ``losses`` by name, as (step, mean nats) now and then."""

    step: int = 0
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    first: float | None = None


class Loop:
    """Trains the module of an objective's network in place, in eval mode: dropout is off, as in the tests' runs."""

    def __init__(self, objective: Objective, tick: Tick | None = None):
        self.objective, self.training, self.tick = objective, objective.training, tick
        self.every = max(1, self.training.steps // _KEPT)
        self.model = objective.network.model
        self.progress = TrainingState()
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.is_floating_point()}
        if not self.parameters or any(p.dtype not in (torch.float32, torch.float64) for p in self.parameters.values()):
            kinds = sorted({str(p.dtype).removeprefix("torch.") for p in self.parameters.values()})
            raise fail(
                "E739",
                f"`{objective.network.name}` cannot be trained",
                self.training.span,
                notes=(
                    f"its parameters are {', '.join(kinds)}: steps would be lost in rounding"
                    if kinds
                    else "it has no parameters",
                ),
                help="write dtype=float32 where it is declared" if kinds else "name a network with parameters",
            )
        self.adam = torch.optim.Adam(self.parameters.values(), lr=self.training.rate)

    @property
    def done(self) -> bool:
        return self.progress.step >= self.training.steps

    def run(self, checkpoint: Checkpoint | None = None) -> None:
        """Do the steps that are left; without a checkpoint nothing of them is kept. Raises E737 for a loss that is not a number, or runs away."""
        self.model.requires_grad_(True)
        try:
            run(self, checkpoint)
        finally:
            self.model.requires_grad_(False)
            self.adam.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One step; its losses are kept now and then."""
        objective, progress = self.objective, self.progress
        for group in self.adam.param_groups:
            group["lr"] = rate_at(self.training, progress.step)
        self.adam.zero_grad(set_to_none=True)
        with torch.enable_grad():
            losses = objective.losses(objective.parts(progress.step))
            total = objective.total(losses)
            total.backward()
        loss = total.item()
        progress.first = loss if progress.first is None else progress.first
        self._judge(loss)
        if progress.step % self.every == 0:
            for kind, value in losses.items():
                progress.losses.setdefault(kind, []).append((progress.step, value.item()))
        self.adam.step()
        progress.step += 1
        if self.tick is not None:
            self.tick(progress.step, self.training.steps, loss)

    def _judge(self, loss: float) -> None:
        first = self.progress.first or 0.0
        if math.isfinite(loss) and loss <= max(1.0, first) * _DIVERGED:
            return
        known = [f"{kind} {values[-1][1]:.3g} at step {values[-1][0]}" for kind, values in self.progress.losses.items()]
        raise fail(
            "E737",
            f"training towards `{self.training.alignment.name}` fails at step {self.progress.step}: the loss is {loss:.3g}",
            self.training.span,
            notes=("before it was " + ", ".join(known),) if known else (),
            help=f"train more slowly: rate={self.training.rate / 10:g}"
            if known
            else "the network gives no numbers with the weights that it starts from",
        )

    # ── stopped and taken up again ──────────────────────────────────────────────────────────────

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights and what Adam keeps of each; and the progress."""
        weights = {f"model/{name}": tensor for name, tensor in named_tensors(self.model).items()}
        return {**weights, **adam_state(self.adam)}, vars(self.progress)

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        losses = {kind: [(int(s), float(v)) for s, v in values] for kind, values in about["losses"].items()}
        progress = TrainingState(int(about["step"]), losses, about["first"])
        put(self.model, {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")})
        restore_adam(self.adam, tensors)
        self.progress = progress


def rate_at(training: Training, step: int) -> float:
    """The learning rate of a step: down to nothing in a line, or in half a cosine; or the same throughout."""
    left = 1 - step / training.steps
    if training.decay == "linear":
        return training.rate * left
    if training.decay == "cosine":
        return training.rate * 0.5 * (1 - math.cos(math.pi * left))
    return training.rate


__all__ = ["Loop", "Tick", "TrainingState", "rate_at"]
