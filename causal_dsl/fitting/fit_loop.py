"""All fits of a network in one batch: each step runs a batch of every fit that goes on, in one pass.

Fits share no number: the gradient of each is that of its own rows, so a fit comes out as it would alone, but for the
rounding of sums that are taken in larger matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, SpecError, fail
from causal_dsl.fitting.job import Job, Material
from causal_dsl.fitting.labels import cross_entropy, right
from causal_dsl.fitting.step_rows import Part, Stepper
from causal_dsl.vocabulary.features import FEATURES

T = TypeVar("T")
#: Validation pairs of one job that are run together.
_PIECE = 256


class FittingLoop:
    """The fits of a network as work in steps (:mod:`causal_dsl.store.stepwise`).

    ``jobs`` by what they are kept under. ``most``: rows of one pass; more than fit in it are run in several passes a step.
    ``tick(steps, what to say)`` is called after each step.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        stepper: Stepper,
        most: int,
        tick: Callable[[int, str], None] = lambda steps, said: None,
    ):
        self.jobs, self.stepper, self.most, self.tick = jobs, stepper, most, tick

    @property
    def done(self) -> bool:
        return all(job.done for job in self.jobs.values())

    def step(self) -> None:
        """A step of every fit that goes on. Raises E728 for a loss that is not a number, E766 for one without gradients."""
        every = list(self.jobs.values())
        going = [job for job in every if not job.done]
        for group in _groups(((job, job.unit.fitting.batch) for job in going), self.most):
            _step(group, self.stepper)
        _check([job for job in going if job.step % job.steps_an_epoch == 0], self.stepper, self.most)
        self.tick(len(going), _said(every, going))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """How far all fits are."""
        states = {name: job.state() for name, job in self.jobs.items()}
        tensors = {f"{name}|{key}": tensor for name, (own, _) in states.items() for key, tensor in own.items()}
        return tensors, {name: about for name, (_, about) in states.items()}

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """States of more fits are those of a run that was stopped when it had finished some."""
        told = {name: about[name] for name in self.jobs}
        for name, job in self.jobs.items():
            head = f"{name}|"
            job.restore({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}, told[name])


def _groups(sized: Iterable[tuple[T, int]], most: int) -> Iterator[list[T]]:
    """Groups of fits that go into one pass together, one at least; each comes with the rows that it takes."""
    group: list[T] = []
    rows = 0
    for one, size in sized:
        if group and rows + size > most:
            yield group
            group, rows = [], 0
        group.append(one)
        rows += size
    if group:
        yield group


def _step(jobs: Sequence[Job], stepper: Stepper) -> None:
    """One step of some fits, in one pass."""
    parts, owners = [], []
    with torch.enable_grad():
        for job in jobs:
            job.begin_step()
            for material, pairs in job.batch():
                parts.append(Part(material.resume, pairs, job.features, material.labels.columns))
                owners.append((job, material, pairs))
        logits = stepper.logits(parts)
        losses: dict[Job, torch.Tensor] = {}
        counts: dict[Job, int] = {}
        for (job, material, pairs), found in zip(owners, logits, strict=True):
            loss = cross_entropy(material.labels.compared(found, pairs), material.labels.of(pairs, found))
            losses[job] = losses[job] + loss if job in losses else loss
            counts[job] = counts.get(job, 0) + len(pairs)
        means = {job: loss / counts[job] for job, loss in losses.items()}
        whole = []
        for job, mean in means.items():
            if not mean.requires_grad and any(
                stepper.reaches(part) for part, (own, _, _) in zip(parts, owners, strict=True) if own is job
            ):
                raise _without_gradient(job)
            job.see(mean)
            penalty = job.penalty()
            whole.append(mean if penalty is None else mean + penalty.to(mean.device, mean.dtype))
            assert job.optimiser is not None
            job.optimiser.zero_grad(set_to_none=True)
        total = torch.stack(
            [loss.reshape(()).float() if loss.dtype != torch.float64 else loss.reshape(()) for loss in whole]
        ).sum()
        if total.requires_grad:  # else no pair of the step is reached by a write
            total.backward()
    values = torch.stack([losses[job].detach().double().cpu().reshape(()) for job in jobs]).tolist()
    for job, value in zip(jobs, values, strict=True):
        assert job.optimiser is not None
        _finite(job, value)
        job.optimiser.step()
        for feature in job.features.values():
            feature.forget()
        job.running += value
        job.step += 1
        if job.step % job.steps_an_epoch == 0:
            job.losses.append(job.running / job.total)
            job.running = 0.0


def _finite(job: Job, loss: float) -> None:
    """Refuse a loss that is not a number: what comes after means nothing (E728)."""
    if np.isfinite(loss):
        return
    raise fail(
        "E728",
        f"the loss of a fit is not a number at step {job.step + 1}",
        job.unit.maps[0].span or NOWHERE,
        notes=(
            f"fitted is {job.unit}",
            "loss by epoch: " + (", ".join(f"{one:.3g}" for one in job.losses[-5:]) or "none yet"),
        ),
        help="use a smaller `rate`, or a dtype of more digits (--dtype float32)",
    )


def _without_gradient(job: Job) -> SpecError:
    """E766: the answers are no differentiable function of what the maps of a fit write."""
    others = [f"{name}()" for name, kind in FEATURES.items() if not kind.trained and kind.file is None]
    return fail(
        "E766",
        "the answer has no gradient with respect to the place of a fit",
        job.unit.maps[0].span or NOWHERE,
        notes=(
            f"fitted is {job.unit}",
            "no gradient passes from the answer to this place, as through a comparison, an argmax or a detached tensor, so a fit cannot learn from it",
        ),
        help=f"use a feature that needs no gradient ({', '.join(others)}), or write the place without a feature",
    )


@torch.no_grad()
def _check(jobs: Sequence[Job], stepper: Stepper, most: int) -> None:
    """The loss and the share of right answers on the validation inputs, with hard gates; several jobs in one pass."""
    for job in jobs:
        for feature in job.features.values():
            feature.harden()
            feature.prepare()
    sums = {job: [0.0, 0, 0] for job in jobs}
    for group in _groups(_pieces(jobs, most), most):
        parts = [Part(m.resume, pairs, job.features, m.labels.columns) for job, m, pairs in group]
        for (job, material, pairs), found in zip(group, stepper.logits(parts), strict=True):
            target, found = material.labels.of(pairs, found), material.labels.compared(found, pairs)
            sums[job][0] += float(cross_entropy(found, target))
            sums[job][1] += int(right(found, target))
            sums[job][2] += len(pairs)
    for job in jobs:
        for feature in job.features.values():
            feature.soften()
        loss, hits, count = sums[job]
        job.check(loss / count, hits / count)


def _pieces(jobs: Sequence[Job], most: int) -> Iterator[tuple[tuple[Job, Material, np.ndarray], int]]:
    """The validation pairs of jobs, at most so many in one piece. A job's pieces do not depend on who else is there."""
    size = min(most, _PIECE)
    for job in jobs:
        for material in job.validation:
            every = np.arange(len(material.labels.target))
            for piece in (every[start : start + size] for start in range(0, len(every), size)):
                yield (job, material, piece), len(piece)


def _said(jobs: Sequence[Job], going: Sequence[Job]) -> str:
    """The mean loss of the last epoch, for the bar."""
    last = [job.losses[-1] for job in going if job.losses]
    told = f"{len(jobs) - len(going)} of {len(jobs)} fits done"
    return f"{told}, loss {np.mean(last):.3f}" if last else told
