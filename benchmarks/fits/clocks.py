"""How long the parts of a fit take: ``with clocks["steps"]:``."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.contenders.plain import Once


class Clocks(defaultdict[str, Once]):
    """Seconds by part: ``prompts`` are what is run once, ``steps`` what is fitted, ``checks`` what looks at other pairs."""

    def __init__(self) -> None:
        super().__init__(Once)

    def seconds(self) -> dict[str, tuple[float, float]]:
        """Wall and CPU seconds of each part so far."""
        return {name: (clock.wall, clock.cpu) for name, clock in self.items()}
