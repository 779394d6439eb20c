"""Does a user's function make the same network each time?

A function that draws weights and sets no seed makes another network in each process, and every score is then of a
network that nobody has any more. So it is called with the seeds of torch, numpy and Python set; and a quick one is
called again, which tells weights that are drawn from those that are loaded over what was drawn.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

import numpy as np
import torch
from torch import nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Span

#: One that nobody would set: a function that sets its own is told by it.
_SEED = 915_872_643
#: A call longer than this, or a network larger, is not made again.
_SECONDS, _PARAMETERS = 3.0, 5_000_000


@dataclass
class RandomState:
    """How long a call with fixed random numbers took: its ``seconds``."""

    seconds: float = 0.0


@contextmanager
def seeded(seed: int = _SEED) -> Iterator[RandomState]:
    """Random numbers as ``seed`` gives them, within the block; those of the caller are left as they were."""
    told, started = RandomState(), time.perf_counter()
    mine, numbers = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield told
        finally:
            told.seconds = time.perf_counter() - started
            random.setstate(mine)
            np.random.set_state(numbers)


def drawn_weights(
    make: Callable[[], nn.Module], model: nn.Module, draws: RandomState, function: str, span: Span
) -> tuple[Diagnostic, ...]:
    """W667 where ``make``, called again with another seed, gives other weights than those of ``model``."""
    count = sum(p.numel() for p in model.parameters())
    if draws.seconds > _SECONDS or count > _PARAMETERS:
        return ()
    with seeded(_SEED + 1), redirect_stdout(io.StringIO()):
        other = make()
    if _same(model, other):
        return ()
    with seeded(_SEED), redirect_stdout(io.StringIO()):
        again = make()
    if _same(model, again):
        title = f"`{function}` draws weights at random and sets no seed"
        notes: tuple[str, ...] = (
            "another seed gives another network; here one fixed seed is set for it, the same in each run",
        )
    else:
        title = f"`{function}` gives another network each time it is called"
        notes = (
            "called twice with the same seeds of torch, numpy and Python, it gave two",
            "the scores belong to a network that no later run can reproduce",
        )
    return (
        Diagnostic(
            "W667",
            title,
            span,
            notes=notes,
            help="load trained weights in it, or set the seed there: torch.manual_seed(0)",
        ),
    )


def _same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    if mine.keys() != theirs.keys():
        return False
    return all(
        value.shape == theirs[name].shape and torch.equal(value.cpu(), theirs[name].cpu().to(value.dtype))
        for name, value in mine.items()
        if isinstance(value, torch.Tensor) and isinstance(theirs[name], torch.Tensor)
    )


__all__ = ["RandomState", "drawn_weights", "seeded"]
