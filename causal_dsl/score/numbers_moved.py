"""`unmapped_moves` of an output that is a number: what no variable claims moves the number."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate
from causal_dsl.score.unmapped import Taken, Unclaimed, exceeds, listed


def number_findings(found: Unclaimed, least: float, usual: float) -> list[Finding]:
    """The finding on the ``taken`` units of a layer by which the number moves by more than ``least``. ``usual``: how far the network's number is from the causal model's in
    nine of ten inputs. It is an alarm, unless the network has errors of its own and the number moves in mixtures alone."""
    moving = [one for one in found.taken if exceeds(one.moved, found.natural, len(found.taken))]
    if not moving:
        return []
    erring = bool(found.natural)
    most = min(moving, key=lambda one: (erring and one.mixed, len(one.units), -(one.moved.value or 0.0)))
    of = counted(most.moved.n, "mixture" if most.mixed else "pair")
    told = (
        f"`{found.output}` moves by more than {show(least)} in {show_estimate(most.moved)} of {of} of inputs for which the network gives it right if {most.how}. "
        f"{_nothing_there(most)}, and {_because(found)}. In nine of ten inputs the network's `{found.output}` is no further than {show(usual)} from that of the "
        "causal model."
    )
    if erring and most.mixed:
        return [Finding("unmapped_moves", told, "info", False)]
    return [Finding("unmapped_moves", told)]


def _nothing_there(one: Taken) -> str:
    if not one.unwritten:
        return "No variable is placed there"
    return f"{listed(one.unwritten)} {_is(one.unwritten)} placed there and not written"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _because(found: Unclaimed) -> str:
    names = listed(found.placed)
    if found.why == "decided":
        return f"in the causal model {names} alone determine{'s' * (len(found.placed) == 1)} `{found.output}`"
    if found.why == "other":
        return (
            f"{found.carrier}, taken alone from the other input, gives the number that the causal model then has in {show(found.followed)} of such pairs: what "
            f"`{found.output}` needs beside {names} is there"
        )
    return f"the causal model gives both inputs the same `{found.output}`, with the value{'s' * (len(found.placed) > 1)} of {names} in the first"


__all__ = ["number_findings"]
