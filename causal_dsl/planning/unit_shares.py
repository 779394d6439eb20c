"""Which worker or shard has which unit, and how long that takes: decided by the units and their number alone, so every
machine finds the same."""

from __future__ import annotations

import time
from collections.abc import Sequence

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning.work_units import WorkUnit

#: FLOPs a second and bytes of weights a second that shares are made even by: only their proportion matters, and little.
_FLOPS, _READ = 3e10, 5e8
#: What a unit and a network take, however small, in seconds.
UNIT_SECONDS, _LOAD = 0.02, 1.0
#: What it takes until the first worker of a machine is up, in seconds.
START_SECONDS = 5.0


def seconds_of(unit: WorkUnit, flops: float = _FLOPS) -> float:
    """Seconds that a unit takes on a worker that has its networks, predicted."""
    return UNIT_SECONDS + unit.flops / flops


def load_seconds(unit: WorkUnit) -> float:
    """Seconds until a worker has the networks of a unit."""
    return _LOAD + unit.weights / _READ


#: In the order in which they need each other.
KINDS = ("training", "search", "fit", "constants", "block", "gradients")


@dataclass(frozen=True)
class Shares:
    """The shard, 0 to ``count`` - 1, of every unit by its key, and the ``seconds`` that the units of each kind take, those of
    the shard that takes longest; the units of a kind begin when all of the kind before are stored."""

    whose: dict[str, int]
    seconds: dict[str, float]


def assigned(units: Sequence[WorkUnit], count: int) -> dict[str, int]:
    """The shard of every unit by its key, as :func:`shares`."""
    return shares(units, count).whose


def shares(units: Sequence[WorkUnit], count: int, flops: float = _FLOPS) -> Shares:
    """Units shared out: those of a kind largest first, each to whoever would be done first, given that a network takes time
    to be loaded where it is not yet. ``flops``: multiplications and additions a second."""
    found: dict[str, int] = {}
    seconds: dict[str, float] = {}
    networks: list[set[str]] = [set() for _ in range(count)]
    for kind in KINDS:
        loads = [0.0] * count
        own = [unit for unit in units if unit.kind == kind]
        for unit in sorted(own, key=lambda one: (-one.flops, one.key)):
            name = unit.network or unit.name

            def done(shard: int, unit: WorkUnit = unit, name: str = name, loads: list[float] = loads) -> float:
                loading = 0.0 if name in networks[shard] else load_seconds(unit)
                return loads[shard] + seconds_of(unit, flops) + loading

            shard = min(range(count), key=lambda one: (done(one), one))
            loads[shard] = done(shard)
            networks[shard].add(name)
            found[unit.key] = shard
        seconds[kind] = max(loads)
    return Shares(found, seconds)


def longest_chain(units: Sequence[WorkUnit], flops: float = _FLOPS) -> float:
    """Seconds that any number of workers takes: the largest unit of each kind after the largest of the kind before, on a worker
    that has loaded the network."""
    found = 0.0
    for kind in KINDS:
        found += max((seconds_of(unit, flops) for unit in units if unit.kind == kind), default=0.0)
    return found + min((load_seconds(unit) for unit in units), default=0.0)


def measured_flops() -> float:
    """Multiplications and additions a second of a matrix product in float32 on this machine's processor, as numpy does it."""
    import numpy as np

    size, best = 512, 0.0
    one = np.ones((size, size), np.float32)
    for _ in range(5):
        started = time.perf_counter()
        one @ one
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


__all__ = [
    "KINDS",
    "START_SECONDS",
    "Shares",
    "assigned",
    "load_seconds",
    "longest_chain",
    "measured_flops",
    "seconds_of",
    "shares",
]
