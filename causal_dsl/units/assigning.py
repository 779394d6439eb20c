"""Which shard a unit belongs to: decided by the units and the number of shards alone, so every machine finds the same."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.planning.work_units import WorkUnit

#: FLOPs a second and bytes of weights a second that shares are made even by: only their proportion matters, and little.
_FLOPS, _READ = 3e10, 5e8
#: What a unit and a network take, however small, in seconds.
_UNIT, _LOAD = 0.02, 1.0


def seconds_of(unit: WorkUnit, flops: float = _FLOPS) -> float:
    """Seconds that a unit takes on a worker that has its networks, predicted."""
    return _UNIT + unit.flops / flops


def load_seconds(unit: WorkUnit) -> float:
    """Seconds until a worker has the networks of a unit."""
    return _LOAD + unit.weights / _READ


def assigned(units: Sequence[WorkUnit], count: int) -> dict[str, int]:
    """The shard, 0 to ``count`` - 1, of every unit by its key: those of a kind largest first, each to whoever would be done
    first, given that a network takes time to be loaded where it is not yet."""
    found: dict[str, int] = {}
    networks: list[set[str]] = [set() for _ in range(count)]
    for kind in ("training", "fit", "block"):
        loads = [0.0] * count
        own = [unit for unit in units if unit.kind == kind]
        for unit in sorted(own, key=lambda one: (-one.flops, one.key)):
            name = unit.network or unit.name

            def done(shard: int, unit: WorkUnit = unit, name: str = name, loads: list[float] = loads) -> float:
                loading = 0.0 if name in networks[shard] else load_seconds(unit)
                return loads[shard] + seconds_of(unit) + loading

            shard = min(range(count), key=lambda one: (done(one), one))
            loads[shard] = done(shard)
            networks[shard].add(name)
            found[unit.key] = shard
    return found


__all__ = ["assigned", "load_seconds", "seconds_of"]
