"""``causal-dsl zoo train``: a shipped network made again from its script."""

from __future__ import annotations

from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span, fail, shown_path
from causal_dsl.network.zoo import equality_gpt2
from causal_dsl.network.zoo.equality_gpt2 import Tick
from causal_dsl.program.zoo_entries import entry_of

__all__ = ["Tick", "Trained", "train_zoo"]


@dataclass(frozen=True)
class Trained:
    """Where the network was written, and its accuracy (0 to 1) on what it was trained on and on what was held out."""

    folder: Path
    seen: float
    held_out: float


def train_zoo(
    name: str,
    out: Path,
    steps: int | None = None,
    seed: int = 0,
    tick: Tick | None = None,
    span: Span = NOWHERE,
) -> Trained:
    """Train a network of the zoo and write it to the folder ``out``; ``steps`` None: as many as the shipped one had.

    ``tick(step, steps, loss)`` is called after every step. Raises E650 (no such network), E651 (it is not trained
    here), E653 (the folder cannot be written).
    """
    entry = entry_of(name, span)
    if not entry.trainable:
        raise fail("E651", f"`{name}` is not trained by this package", span, notes=(f"it is {entry.source}",))
    if steps is not None and steps < 1:
        raise fail("E651", f"cannot train for {steps} steps", span, help="leave out --steps, or give at least 1")
    try:
        out.mkdir(parents=True, exist_ok=True)  # before the minutes of training, not after
        model = equality_gpt2.train(steps, seed, tick)
        equality_gpt2.save(model, out)
    except OSError as error:
        raise fail("E653", f"cannot write {shown_path(out)}", span, notes=(str(error),)) from error
    seen, held_out = equality_gpt2.quadruples()
    return Trained(out, equality_gpt2.accuracy(model, seen), equality_gpt2.accuracy(model, held_out))
