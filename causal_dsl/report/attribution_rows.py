"""Attributions in the terminal: what each kind of term adds to the logit, and whether all of them add up to it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult


def attributions(test: TestResult) -> Iterator[RenderableType]:
    """The terms of each logit whose attribution a test asks for; nothing where there are none."""
    if not test.attributions:
        return
    yield Text("")
    for check in test.attributions:
        parts = ", ".join(f"{name} {show(value)}" for name, value in check.parts.items())
        line = f"terms of {check.of} in the {check.run} runs, on average: {parts}; sum {show(check.whole)}"
        if check.written:
            line += f", logit {show(check.logit)} with what is written into the stream"
        yield Padding(Text(line), (0, 0, 0, 2))
    held = [check for check in test.attributions if check.holds]
    if held:
        apart = max(max(check.heads_apart, 0.0 if check.written else check.apart) for check in held)
        says = "; the scale of the last norm is held as it is in each run"
        what = "heads add up to attention, and terms to the logit"
        if all(check.written for check in held):
            what = "heads add up to attention"
        yield Padding(Text(f"self-checks: {what} (at most {apart:.1e} apart){says}", style="dim"), (0, 0, 0, 2))


__all__ = ["attributions"]
