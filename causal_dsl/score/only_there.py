"""A test with a `where`: whether what it claims holds in pairs that do not pass it."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.score.apart import fails
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show_estimate
from causal_dsl.score.results_beside import BeyondWhere
from causal_dsl.score.verdict import SOLVED

_PART = "The verdict speaks of the pairs that pass it, and of no others."


def beyond_findings(found: BeyondWhere, iia: Estimate) -> list[Finding]:
    """`only_there`: an alarm where the interchange fails beyond the `where` oftener than the test itself explains; information where the
    network does not do the task there."""
    if found.right.value is None or not fails(found.right, 1 - (1.0 if iia.value is None else iia.value), 1):
        if found.own.high is None or found.own.high >= SOLVED:
            return []
        text = (
            f"Of {_pairs(found.own.n, found.pairs)} that do not pass the `where`, the network answers the base right in {show_estimate(found.own)} by "
            f"itself. {_PART}"
        )
        return [Finding("only_there", text, "info")]
    text = (
        f"Of {_pairs(found.right.n, found.answered)} that do not pass the `where`, and whose inputs the network answers right, the interchange gives the "
        f"answer of the causal model in {show_estimate(found.right)}. {_PART}"
    )
    return [Finding("only_there", text)]


def _pairs(n: int, distinct: int) -> str:
    return counted(n) + (f" ({distinct} distinct)" if 0 < distinct < n else "")


def unmapped_beyond(told: Sequence[Finding]) -> list[Finding]:
    """`only_there`, where what no variable claims moves the answer (the findings ``told``) in inputs that need not pass the `where`."""
    alarm = next((one for one in told if one.code == "unmapped_moves" and one.severity == "alarm"), None)
    if alarm is None:
        return []
    return [Finding("only_there", f"Beside inputs that pass the `where`, others were tried. {alarm.text} {_PART}")]


def unmapped_beside(told: Sequence[Finding]) -> list[Finding]:
    """`only_there`, where what a test takes away beside its variables would move the answer (the findings ``told``) if it were not."""
    alarm = next((one for one in told if one.code == "unmapped_moves" and one.severity == "alarm"), None)
    if alarm is None:
        return []
    text = (
        f"The test writes other values beside its variables. Without these: {alarm.text} The verdict speaks of the network in which they are "
        "written, and of no other."
    )
    return [Finding("only_there", text, "info")]


__all__ = ["beyond_findings", "unmapped_beside", "unmapped_beyond"]
