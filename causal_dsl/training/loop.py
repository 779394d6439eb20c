"""The steps of training: Adam on an :class:`~causal_dsl.training.objective.Objective`, from wherever it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import fail
from causal_dsl.program.program import Training
from causal_dsl.training.objective import Objective
from causal_dsl.training.weights import named_tensors, put

#: Seconds between two checkpoints.
EVERY = 10.0
#: How many steps the losses are kept of.
_KEPT = 200
#: A loss that has grown to so many times what it was (and more than 1 nat) does not come back.
_DIVERGED = 1000.0

Tick = Callable[[int, int, float], None]


class Net(Protocol):
    """What is trained: a :class:`causal_dsl.network.network.Network` has its module in ``model``."""

    model: nn.Module


@dataclass
class Progress:
    """How far a training has come: ``step`` steps are done; ``losses`` by name, as (step, mean nats) now and then."""

    step: int = 0
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    first: float | None = None


class Loop:
    """Trains the module of an objective's network in place, in eval mode: dropout is off, as in the tests' runs."""

    def __init__(self, objective: Objective):
        self.objective, self.training = objective, objective.training
        self.model = objective.network.model
        self.progress = Progress()
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

    def run(self, save: Callable[[dict[str, Tensor], Progress], None], tick: Tick) -> None:
        """Do the steps that are left. ``save`` is given a checkpoint every few seconds, and when it is interrupted;
        ``tick(step, steps, loss)`` is called after every step. Raises E737 for a loss that is no number, or runs away.
        """
        training, progress = self.training, self.progress
        every = max(1, training.steps // _KEPT)
        saved = time.monotonic()
        self.model.requires_grad_(True)
        try:
            while progress.step < training.steps:
                loss = self.step(every)
                tick(progress.step, training.steps, loss)
                if time.monotonic() - saved >= EVERY and progress.step < training.steps:
                    save(self.checkpoint(), progress)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            save(self.checkpoint(), progress)
            raise
        finally:
            self.model.requires_grad_(False)
            self.adam.zero_grad(set_to_none=True)

    def step(self, every: int = 1) -> float:
        """One step; its losses are kept where its number is a multiple of ``every``. Gives the sum that was minimised."""
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
        if progress.step % every == 0:
            for kind, value in losses.items():
                progress.losses.setdefault(kind, []).append((progress.step, value.item()))
        self.adam.step()
        progress.step += 1
        return loss

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

    def checkpoint(self) -> dict[str, Tensor]:
        """All that the next step depends on, beside its number: weights, and what Adam keeps of each."""
        found = {f"model.{name}": tensor for name, tensor in named_tensors(self.model).items()}
        for name, parameter in self.parameters.items():
            for key, value in self.adam.state.get(parameter, {}).items():
                found[f"adam.{key}.{name}"] = value
        return found

    def resume(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Go on from a checkpoint. Raises KeyError or RuntimeError where it is of something else."""
        weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        state = {}
        for number, (name, parameter) in enumerate(self.parameters.items()):
            kept = {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            if kept["exp_avg"].shape != parameter.shape or kept["exp_avg_sq"].shape != parameter.shape:
                raise RuntimeError("other shapes")
            state[number] = kept
        put(self.model, weights)
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": state, "param_groups": groups})
        self.progress = progress


def rate_at(training: Training, step: int) -> float:
    """The learning rate of a step: down to nothing in a line, or in half a cosine; or the same throughout."""
    left = 1 - step / training.steps
    if training.decay == "linear":
        return training.rate * left
    if training.decay == "cosine":
        return training.rate * 0.5 * (1 - math.cos(math.pi * left))
    return training.rate


__all__ = ["EVERY", "Loop", "Progress", "Tick", "rate_at"]
