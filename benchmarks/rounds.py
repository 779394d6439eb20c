"""CPU seconds of several pieces of work, measured in turns, and how many times a plain forward pass each takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

#: What the others are compared with.
PLAIN = "plain forward"


def cpu_times(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each run in each round; one round before warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if number:
                times[name].append(time.process_time() - started)
    return times


def print_ratios(times: Mapping[str, list[float]], wide: int) -> None:
    """A row each: the median of its ratio to the plain forward of the same round, and the range; ``wide`` is the width of names."""
    for name, own in times.items():
        ratios = [one / other for one, other in zip(own, times[PLAIN], strict=True)]
        print(f"{name:{wide}s} {statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
