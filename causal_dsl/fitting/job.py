"""One fit of a unit's maps: its features, its optimiser, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.counter import key, permutation
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.features.base import Feature
from causal_dsl.fitting.labels import Labels
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import FitUnit
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store.stepwise import adam_state, restore_adam


@dataclass(frozen=True, eq=False)
class Material:
    """An intervention to fit on, and its labels."""

    resume: g.Resume
    labels: Labels


@dataclass(eq=False)
class Job:
    """A unit fitted from one start. ``fit`` and ``validation`` are its experiments, in one order.

    ``losses``: the mean cross-entropy over each epoch, in nats; ``checks`` that on the validation inputs, with the
    share of right answers. ``best`` holds the maps of the best epoch, ``done`` says that it has ended.
    """

    unit: FitUnit
    restart: int
    features: dict[FeatureRef, Feature]
    fit: list[Material]
    validation: list[Material]
    step: int = 0
    losses: list[float] = field(default_factory=list)
    checks: list[tuple[float, float]] = field(default_factory=list)
    running: float = 0.0
    worse: int = 0
    done: bool = False
    best: dict[str, Tensor] = field(default_factory=dict)
    best_at: int = -1
    #: whether the loss has had a gradient that is not zero; None where it had none at all
    moved: bool | None = None

    def __post_init__(self) -> None:
        self.sizes = [len(material.labels.target) for material in self.fit]
        self.total = sum(self.sizes)
        fitting = self.unit.fitting
        self.steps_an_epoch = -(-self.total // fitting.batch)
        self.steps = self.steps_an_epoch * fitting.epochs
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for feature in self.features.values():
            for times, parameters in feature.parameter_groups():
                groups.setdefault(times, []).extend(each for each in parameters if each.requires_grad)
        told = [{"params": own, "lr": times * fitting.rate} for times, own in sorted(groups.items()) if own]
        self.optimiser = torch.optim.Adam(told) if told else None
        self.gated = any(feature.gates() is not None for feature in self.features.values())
        self._order: tuple[int, np.ndarray] | None = None
        if self.optimiser is None:
            self.done = True

    @property
    def epoch(self) -> int:
        return self.step // self.steps_an_epoch

    def batch(self) -> list[tuple[Material, np.ndarray]]:
        """The pairs of the next step, by experiment; their order depends on the seed and the epoch alone."""
        if self._order is None or self._order[0] != self.epoch:
            stream = key(self.unit.fitting.seed + self.restart, "epoch", self.epoch)
            self._order = (self.epoch, permutation(stream, self.total))
        size = self.unit.fitting.batch
        at = self.step % self.steps_an_epoch * size
        picked = self._order[1][at : at + size]
        bounds = np.concatenate([[0], np.cumsum(self.sizes)])
        found = []
        for number, material in enumerate(self.fit):
            mine = picked[(picked >= bounds[number]) & (picked < bounds[number + 1])] - bounds[number]
            if len(mine):
                found.append((material, mine))
        return found

    def begin_step(self) -> None:
        """Set temperatures and compute the maps, with gradients, once for the step."""
        for feature in self.features.values():
            feature.anneal(self.step / max(1, self.steps - 1))
            feature.prepare()

    def see(self, loss: Tensor) -> None:
        """Look whether a loss has a gradient that is not zero, until one has. What gates add to it is no part of it."""
        if self.moved or not loss.requires_grad or self.optimiser is None:
            return
        own = [one for group in self.optimiser.param_groups for one in group["params"]]
        found = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True)
        self.moved = any(one is not None and bool((one != 0).any()) for one in found)

    def penalty(self) -> Tensor | None:
        """The term that gates add to the loss."""
        return sum((feature.penalty() for feature in self.features.values()), torch.zeros(())) if self.gated else None

    def check(self, loss: float, right: float) -> None:
        """Hear how the maps do on the validation inputs, with hard gates; keep the best, and end where it gets worse.

        Gates harden as the fit goes on, so a fit with gates runs to its end and what it ends with is kept.
        """
        before = min((one for one, _ in self.checks), default=float("inf"))
        self.checks.append((loss, right))
        if self.gated or loss < before:
            self.best, self.best_at, self.worse = self._tensors(), len(self.checks) - 1, 0
        else:
            self.worse += 1
        if self.step >= self.steps or (not self.gated and self.worse >= self.unit.fitting.patience):
            self.done = True

    def _tensors(self) -> dict[str, Tensor]:
        found = {}
        for number, feature in enumerate(self.features.values()):
            for name, tensor in feature.state_dict().items():
                found[f"{number}/{name}"] = tensor.detach().clone()
        return found

    def finish(self) -> None:
        """Take the best maps, ready to be judged."""
        for number, feature in enumerate(self.features.values()):
            if self.best:
                own = {k.split("/", 1)[1]: v for k, v in self.best.items() if k.split("/", 1)[0] == str(number)}
                feature.load_state_dict(own)
            feature.anneal(1.0)
            feature.harden()
            feature.requires_grad_(False)
            with torch.no_grad():
                feature.prepare()

    # ── states, to go on from ───────────────────────────────────────────────────────────────────

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the rest of the fit depends on: tensors, and numbers."""
        tensors = {f"now/{name}": tensor for name, tensor in self._tensors().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        if self.optimiser is not None:
            tensors |= adam_state(self.optimiser)
        numbers = {
            "step": self.step,
            "losses": self.losses,
            "checks": self.checks,
            "running": self.running,
            "worse": self.worse,
            "done": self.done,
            "best_at": self.best_at,
            "moved": self.moved,
        }
        return tensors, numbers

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for number, feature in enumerate(self.features.values()):
            head = f"now/{number}/"
            feature.load_state_dict({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)})
        self.best = {k.removeprefix("best/"): v for k, v in tensors.items() if k.startswith("best/")}
        if self.optimiser is not None:
            restore_adam(self.optimiser, tensors)
        self.step, self.losses, self.running = numbers["step"], list(numbers["losses"]), numbers["running"]
        self.checks = [(loss, share) for loss, share in numbers["checks"]]
        self.worse, self.done, self.best_at = numbers["worse"], numbers["done"], numbers["best_at"]
        self.moved = numbers.get("moved", True)
