"""Gradients at places in the terminal: the exact effects of the same places, beside them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult


def gradients(test: TestResult) -> Iterator[RenderableType]:
    """The numbers that the gradients of a test are held against; nothing where there are none."""
    if test.gradients:
        yield Text("")
    for check in test.gradients:
        exact = check.both[1]
        told = f"the metric falls by {show(float(exact[0]))}" if len(exact) == 1 else ""
        if check.correlation is not None:
            told = f"correlation with the exact effects of {len(exact)} places: {show(check.correlation)}"
        elif len(exact) > 1:
            told = f"exact effects of {len(exact)} places"
        line = f"{check.text}: {told} (at most {show(check.apart)} apart, of {show(check.scale)})"
        if check.steps:
            line += "; what is apart is due to the finite number of steps"
        yield Padding(Text(line, style="dim"), (0, 0, 0, 2))


__all__ = ["gradients"]
