"""All fits of a network in one batch: each step runs a batch of every fit that goes on, in one pass.

Fits share no number: the gradient of each is that of its own rows, so a fit comes out as it would alone, but for the
rounding of sums that are taken in larger matrices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.fitting.job import Job, Material
from causal_dsl.fitting.labels import cross_entropy, right
from causal_dsl.fitting.rows import Part, Stepper

#: Seconds after which the state of all fits is kept on disk.
KEEP_EVERY = 10.0


def run(
    jobs: Sequence[Job], stepper: Stepper, most: int, keep: Callable[[], None] = lambda: None,
    tick: Callable[[int, str], None] = lambda steps, said: None,
) -> None:  # fmt: skip
    """Fit every job to its end.

    ``most``: rows of one pass; more jobs than fit in it are run in several passes a step. ``keep`` is called between steps,
    every some seconds, and once at the end; ``tick(steps, what to say)`` after each step. Raises E728 for a loss that is
    no number.
    """
    kept = time.monotonic()
    while going := [job for job in jobs if not job.done]:
        for group in _groups(going, most):
            _step(group, stepper)
        ended = [job for job in going if job.step % job.steps_an_epoch == 0]
        for job in ended:
            _check(job, stepper, most)
        tick(len(going), _said(jobs, going))
        if time.monotonic() - kept > KEEP_EVERY:
            keep()
            kept = time.monotonic()
    keep()


def _groups(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    group: list[Job] = []
    rows = 0
    for job in jobs:
        size = job.unit.fitting.batch
        if group and rows + size > most:
            yield group
            group, rows = [], 0
        group.append(job)
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
            loss = cross_entropy(found, material.labels.of(pairs, found))
            losses[job] = losses[job] + loss if job in losses else loss
            counts[job] = counts.get(job, 0) + len(pairs)
        means = {job: loss / counts[job] for job, loss in losses.items()}
        whole = []
        for job, mean in means.items():
            penalty = job.penalty()
            whole.append(mean if penalty is None else mean + penalty.to(mean.device, mean.dtype))
            assert job.optimiser is not None
            job.optimiser.zero_grad(set_to_none=True)
        torch.stack(
            [loss.reshape(()).float() if loss.dtype != torch.float64 else loss.reshape(()) for loss in whole]
        ).sum().backward()
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
    """Refuse a loss that is no number: what comes after means nothing (E728)."""
    if np.isfinite(loss):
        return
    raise fail(
        "E728", f"the loss of a fit is no number at step {job.step + 1}", job.unit.maps[0].span or NOWHERE,
        notes=(f"fitted is {job.unit}", "loss by epoch: " + (", ".join(f"{one:.3g}" for one in job.losses[-5:]) or "none yet")),
        help="use a smaller `rate`, or a dtype of more digits (--dtype float32)",
    )  # fmt: skip


@torch.no_grad()
def _check(job: Job, stepper: Stepper, most: int) -> None:
    """The loss and the share of right answers on the validation inputs, with hard gates."""
    for feature in job.features.values():
        feature.harden()
        feature.prepare()
    loss, hits, count = 0.0, 0, 0
    for material, pairs in _pieces(job.validation, most):
        found = stepper.logits([Part(material.resume, pairs, job.features, material.labels.columns)])[0]
        target = material.labels.of(pairs, found)
        loss += float(cross_entropy(found, target))
        hits += int(right(found, target))
        count += len(pairs)
    for feature in job.features.values():
        feature.soften()
    job.check(loss / count, hits / count)


def _pieces(materials: Sequence[Material], most: int) -> Iterator[tuple[Material, np.ndarray]]:
    for material in materials:
        every = np.arange(len(material.labels.target))
        for start in range(0, len(every), most):
            yield material, every[start : start + most]


def _said(jobs: Sequence[Job], going: Sequence[Job]) -> str:
    """The mean loss of the last epoch, for the bar."""
    last = [job.losses[-1] for job in going if job.losses]
    told = f"{len(jobs) - len(going)} of {len(jobs)} fits done"
    return f"{told}, loss {np.mean(last):.3f}" if last else told
