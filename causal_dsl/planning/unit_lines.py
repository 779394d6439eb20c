"""The lines of ``plan`` on the units of a spec: how many, what they move, the largest, and how long some workers take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from causal_dsl.planning.unit_shares import (
    KINDS,
    START_SECONDS,
    UNIT_SECONDS,
    load_seconds,
    longest_chain,
    measured_flops,
    shares,
)
from causal_dsl.planning.work_units import WorkUnit, units_of_plan

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.planning.plan import Plan

_NAMES = {
    "training": ("training", "trainings"),
    "search": ("search for a circuit", "searches for circuits"),
    "fit": ("group of fits", "groups of fits"),
    "constants": ("intervention whose constants are found", "interventions whose constants are found"),
    "block": ("block", "blocks"),
    "gradients": ("reading by gradients", "readings by gradients"),
}


def summed(
    plan: Plan, memory: int | None = None, workers: int | None = None, cores: int | None = None
) -> shapes.UnitsJson:
    """The units of a plan in numbers; with ``workers`` the predicted time too, from a matrix product that is measured;
    more of them than the ``cores`` of this machine get no faster."""
    units = units_of_plan(plan, plan.program.path, {}, memory)
    largest = max(units, key=lambda unit: unit.flops, default=None)
    counts = Counter(unit.kind for unit in units)
    found: shapes.UnitsJson = {
        "trainings": counts["training"],
        "searches": counts["search"],
        "fits": counts["fit"],
        "constants": counts["constants"],
        "blocks": counts["block"],
        "gradients": counts["gradients"],
        "bytes": _moved(units, workers or 1),
        "flops": sum(unit.flops for unit in units),
        "largest": None
        if largest is None
        else {"label": largest.label, "flops": largest.flops, "bytes": largest.bytes},
        "workers": None,
    }
    if workers is not None:
        found["workers"] = _predicted(units, workers, cores)
    return found


def _moved(units: Sequence[WorkUnit], workers: int) -> int:
    """Bytes to and from the store: each result is written once, and read once to be scored; each worker reads those that blocks and
    gradients need."""
    needed = sum(unit.bytes for unit in units if unit.kind not in ("block", "gradients"))
    return 2 * sum(unit.bytes for unit in units) + workers * needed


def _predicted(units: Sequence[WorkUnit], workers: int, cores: int | None) -> shapes.WorkersJson:
    rate = measured_flops()
    at_once = min(workers, cores or workers)
    loading = max((load_seconds(unit) for unit in units), default=0.0)
    return {
        "workers": workers,
        "flops_a_second": rate,
        "at_once": at_once,
        "seconds": sum(shares(units, at_once, rate).seconds.values()),
        "at_least": longest_chain(units, rate),
        "loading": loading,
        "alone": sum(shares(units, 1, rate).seconds.values()),
        "beside": START_SECONDS + loading,
    }


def lines(found: shapes.UnitsJson, each: str = "") -> list[str]:
    """The same in words. ``each``: what each worker has of its own, where their number follows from this machine."""
    counts = dict(
        zip(
            KINDS,
            (found[name] for name in ("trainings", "searches", "fits", "constants", "blocks", "gradients")),
            strict=True,
        )
    )
    named = [f"{counts[kind]:,} {_NAMES[kind][counts[kind] != 1]}" for kind in KINDS if counts[kind]]
    largest, workers = found["largest"], found["workers"]
    if largest is None:
        return []
    told = [
        f"{_and(named)} to share between workers; {_bytes(found['bytes'])} to and from the store; "
        f"the largest is {largest['label']}: {largest['flops'] / 1e9:,.3g} GFLOP, and it writes {_bytes(largest['bytes'])}"
    ]
    if workers is not None:
        count, why = workers["workers"], f", one for each {each} of this machine" if each else ""
        told.append(
            f"estimated for {count} worker{'s' * (count != 1)}{why}: {_seconds(workers['seconds'])}, and for any number at least "
            f"{_seconds(workers['at_least'])}, the longest chain of units that need each other; computed from "
            f"{workers['flops_a_second'] / 1e9:,.0f} GFLOP a second, which a matrix product takes here, so a network takes longer, "
            f"with {_seconds(workers['loading'])} to load a network and {round(1000 * UNIT_SECONDS)} ms for what a unit takes beside"
        )
        if workers["at_once"] < count:
            cores = workers["at_once"]
            told.append(
                f"this machine has {cores} core{'s' * (cores != 1)}, so {count} workers on it are estimated to be as fast as {cores}; on a cluster or as shards they may be faster"
            )
        whole = workers["seconds"] + workers["beside"]
        told.append(
            f"one process, by the same estimate: {_seconds(workers['alone'])}; beside the units, `run --workers` takes {_seconds(workers['beside'])} to start "
            f"and to load a network once more for the scores: {_seconds(whole)} in all, {_gain(workers['alone'], whole)}"
        )
    return told


def _gain(alone: float, whole: float) -> str:
    if whole >= alone:
        return "which is no gain"
    return f"{alone / whole:.2g} times as fast"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def _seconds(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:,.1f} hours"
    return f"{seconds / 60:,.0f} minutes" if seconds >= 120 else f"{seconds:,.1f} s"


__all__ = ["lines", "summed"]
