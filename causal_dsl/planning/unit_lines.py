"""What ``plan`` says of the units of a spec: how many, what they move, the largest, and how long some workers take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from causal_dsl.planning.unit_shares import KINDS, UNIT_SECONDS, load_seconds, longest_chain, measured_flops, shares
from causal_dsl.planning.work_units import WorkUnit, units_of_plan

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.planning.plan import Plan

_MANY = {"training": "trainings", "fit": "groups of fits", "block": "blocks"}
_ONE = {"training": "training", "fit": "group of fits", "block": "block"}


def summed(plan: Plan, memory: int | None = None, workers: int | None = None) -> shapes.UnitsJson:
    """The units of a plan in numbers; with ``workers`` the predicted time too, from a matrix product that is measured."""
    units = units_of_plan(plan, plan.program.path, {}, memory)
    largest = max(units, key=lambda unit: unit.flops, default=None)
    found: shapes.UnitsJson = {
        "trainings": sum(unit.kind == "training" for unit in units),
        "fits": sum(unit.kind == "fit" for unit in units),
        "blocks": sum(unit.kind == "block" for unit in units),
        "bytes": sum(unit.bytes for unit in units),
        "flops": sum(unit.flops for unit in units),
        "largest": None
        if largest is None
        else {"label": largest.label, "flops": largest.flops, "bytes": largest.bytes},
        "workers": None,
    }
    if workers is not None:
        found["workers"] = _predicted(units, workers)
    return found


def _predicted(units: Sequence[WorkUnit], workers: int) -> shapes.WorkersJson:
    rate = measured_flops()
    seconds = shares(units, workers, rate).seconds
    return {
        "workers": workers,
        "flops_a_second": rate,
        "seconds": sum(seconds.values()),
        "at_least": longest_chain(units, rate),
        "loading": max((load_seconds(unit) for unit in units), default=0.0),
    }


def lines(found: shapes.UnitsJson, each: str = "") -> list[str]:
    """The same in words. ``each``: what each worker has of its own, where their number follows from this machine."""
    counts = {"training": found["trainings"], "fit": found["fits"], "block": found["blocks"]}
    named = [f"{counts[kind]:,} {(_ONE if counts[kind] == 1 else _MANY)[kind]}" for kind in KINDS if counts[kind]]
    largest, workers = found["largest"], found["workers"]
    if largest is None:
        return []
    told = [
        f"{_and(named)} to share between workers; {_bytes(found['bytes'])} to and from the store; "
        f"the largest is {largest['label']}: {largest['flops'] / 1e9:,.3g} GFLOP, {_bytes(largest['bytes'])}"
    ]
    if workers is not None:
        count, why = workers["workers"], f", one for each {each} of this machine" if each else ""
        told.append(
            f"estimated for {count} worker{'s' * (count != 1)}{why}: {_seconds(workers['seconds'])}, and for any number at least "
            f"{_seconds(workers['at_least'])}, the longest chain of units that need each other; computed from "
            f"{workers['flops_a_second'] / 1e9:,.0f} GFLOP a second, which a matrix product takes here, so a network takes longer, "
            f"with {_seconds(workers['loading'])} to load a network and {round(1000 * UNIT_SECONDS)} ms for what a unit takes beside"
        )
    return told


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
