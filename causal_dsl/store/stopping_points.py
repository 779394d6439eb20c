"""The places at which a run can be stopped without losing what was finished: tests put a kill there."""

from __future__ import annotations


def reached(kind: str) -> None:
    """Hear that a step of a kind is finished and kept. It does nothing: tests replace it by something that kills.

    Kinds: ``part`` (a file is written beside its place), ``file`` (it is in its place), ``sweep`` (a block of a run),
    ``fit pass`` (a pass over the prompts of fits), ``fit step`` (a checkpoint of fits), ``fit`` (a finished fit), ``training
    step`` (a checkpoint of a training), ``training``, ``circuits`` (scores of a circuit), ``constants`` (those of an intervention),
    ``gradients`` (those of a test at places), and ``results`` (each file of the results).
    """
