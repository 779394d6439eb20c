"""How far a test supports its hypothesis: one ladder of verdicts, decided by the numbers alone (docs/measures.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from causal_dsl.score.codes import FORBIDDING, FULL, LADDER, REFUTING
from causal_dsl.score.estimates_and_findings import Estimate, Finding, Verdict
from causal_dsl.score.format_numbers import counted, show, show_estimate
from causal_dsl.score.results import CellResult
from causal_dsl.vocabulary.ceiling_rules import CEILINGS, COUNTED

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling

#: From this ceiling on, a score of the answers alone leaves too little room to tell.
VACUOUS = 0.95
#: A network that is right less often than this does not do the task.
SOLVED = 0.9
#: How far an exact iia may lie below the network's accuracy: it has no interval that could meet that of the accuracy.
NEAR = 0.01
#: A ceiling this close to 1 is 1.
_ONE = 1 - 1e-9
#: Scores and ceilings are sums in different orders: what lies no further apart is the same.
_SAME = 1e-9


def bounds(ceilings: Mapping[str, Ceiling]) -> dict[str, tuple[float, float]]:
    """For each ceiling that counts, the least and the most that it may be.

    Those that count are scores of rules of the *answers*. Where a design lets the base's (or the sources') whole input tell
    the label, a network must still compute it: `base_only` and `source_only` are shown, and a finding says so.
    """
    found = {}
    for name in COUNTED:
        ceiling = ceilings.get(name)
        if ceiling is None:
            continue
        low, high = getattr(ceiling, "low", None), getattr(ceiling, "high", None)
        least = ceiling.value if ceiling.exact or low is None else low
        most = ceiling.value if ceiling.exact or high is None else high
        if most == most:
            found[name] = (least, most)
    return found


def top_of(ceilings: Mapping[str, Ceiling]) -> tuple[str, float] | None:
    """The rule that may score most, and that score; `output_only` before others of the same."""
    known = bounds(ceilings)
    if not known:
        return None
    most = max(high for _, high in known.values())
    named = [name for name, (_, high) in known.items() if high == most]
    return ("output_only" if "output_only" in named else named[0]), most


def by_design(ceilings: Mapping[str, Ceiling]) -> str:
    """The rule that is right in every pair, whatever the network: then no iia can tell. ``""`` where there is none."""
    for name in ("source", "noop", "output_only"):
        ceiling = ceilings.get(name)
        if ceiling is not None and ceiling.exact and ceiling.value >= _ONE:
            return name
    return ""


def verdict(
    iia: Estimate,
    accuracy: Estimate,
    ceilings: Mapping[str, Ceiling],
    own: Estimate | None = None,
    star: Estimate | None = None,
    all_of: str = "which are all there are",
    part: str = "",
) -> Verdict:
    """The verdict of one cell from its numbers; :func:`demote` takes its findings into account.

    iia:      with the interval that holds for all cells together where there are several
    accuracy: of the unpatched runs of all that was drawn; ``own``, of those that are scored, where a filter keeps some
    all_of:   how the pairs are all there are, where iia is exact
    part:     of which of them it is, where a `where` leaves some out
    """
    own, value = own or accuracy, iia.value
    if iia.n == 0 or value is None:
        return Verdict("inconclusive", "iia is undefined, so there is no verdict.")
    top = top_of(ceilings)
    shown = f"iia is {show_estimate(iia, against=top[1] if top else None)} over {counted(iia.n)}{part}"
    if (reach := _high(accuracy)) is not None and reach < SOLVED:
        solves = (
            f"the network answers right in {show_estimate(accuracy)} of its unpatched runs, so it does not do the task"
        )
        return Verdict("unsolved", f"{shown}; {solves}.")
    if top is None:
        return Verdict("inconclusive", f"{shown}; there is no ceiling with which to compare it.")
    name, most = top
    rule = f"{show(most)}, the most that {CEILINGS[name].who} can score"
    if iia.method == "exact" and iia.value == 1 and most < _ONE:
        return Verdict(
            "exact", f"{shown}, {all_of}, and no pair is wrong; {CEILINGS[name].who} can score {show(most)}."
        )
    if (
        (stays := ceilings.get("noop")) is not None
        and stays.exact
        and stays.value >= _ONE
        and moved_though_right(iia, own)
    ):
        return Verdict(
            "contradicted",
            f"{shown}; by the causal model an answer that is right for the base stays right in every pair, and the network answers right in {show_estimate(own)} of its unpatched runs.",
        )
    if most >= VACUOUS:
        return Verdict(
            "vacuous",
            f"{CEILINGS[name].who[0].upper()}{CEILINGS[name].who[1:]} can score {show(most)}, so iia ({show(iia.value)}) cannot decide.",
        )
    low, high = (value, value) if iia.method == "exact" else (iia.low, iia.high)
    if low is None or high is None:
        return Verdict("inconclusive", f"{shown}, too few for an interval; compare it with {rule}.")
    if low > most + _SAME:
        more = f"; iia_star is {show(star.value)}" if star is not None and star.value is not None else ""
        least_own = own.value if own.low is None else own.low
        slack = NEAR if iia.method == "exact" else 0.0
        if least_own is None or high >= least_own - slack:
            few = f"; {show(1 - value)} of the pairs fail" if least_own is not None and high < least_own else ""
            return Verdict("supported", f"{shown}, above {rule}{more}{few}.")
        itself = "" if own.value is None else f", and {show(1 - own.value)} of the unpatched runs"
        fails = f"{show(1 - value)} of the pairs fail{itself}"
        return Verdict("partly", f"{shown}, above {rule}{more}; but {fails}.")
    least = max(lower for lower, _ in bounds(ceilings).values())
    if iia.method == "exact" and value <= least + _SAME:
        return Verdict("contradicted", f"{shown}, no more than {rule}.")
    if high < least - _SAME:
        return Verdict("contradicted", f"{shown}, below {rule}.")
    holds = "the interval contains" if iia.method != "exact" and high >= most else "not above"
    return Verdict("inconclusive", f"{shown}; {holds} {rule}.")


def moved_though_right(iia: Estimate, own: Estimate) -> bool:
    """Whether the patched runs are wrong more often than the network by itself."""
    least = own.value if own.method == "exact" else own.low
    high = _high(iia)
    return least is not None and high is not None and high < least - _SAME


def _high(estimate: Estimate) -> float | None:
    return estimate.value if estimate.method == "exact" else estimate.high


def demote(found: Verdict, findings: Sequence[Finding]) -> Verdict:
    """The verdict beside these findings: one that forbids it takes `exact`, `supported` and `partly` to `inconclusive`; and
    nothing is `exact` where what no variable claims moves a single answer."""
    stands = next((finding for finding in findings if finding.code in FORBIDDING and finding.forbids), None)
    if found.code not in (*FULL, "partly") or stands is None:
        moved = next((finding for finding in findings if finding.code in REFUTING), None)
        if found.code != "exact" or moved is None:
            return found
        return Verdict("supported", f"{found.text} It is not exact beside `{moved.code}`: {moved.text}", moved.code)
    return Verdict("inconclusive", f"{found.text} It does not count beside `{stands.code}`: {stands.text}", stands.code)


def settled(cell: CellResult) -> CellResult:
    """The cell with its verdict demoted as its findings ask, and the finding of that verdict first.

    Whoever adds findings to a cell calls this last.
    """
    if cell.verdict is None:
        return cell
    found = demote(cell.verdict, cell.findings)
    rest = tuple(finding for finding in cell.findings if finding.code not in LADDER)
    told = () if next(iter(cell.scores.values())).n == 0 or cell.told_once else (Finding(found.code, found.text),)
    return replace(cell, verdict=found, findings=told + rest)


__all__ = [
    "FULL",
    "LADDER",
    "SOLVED",
    "VACUOUS",
    "bounds",
    "by_design",
    "demote",
    "settled",
    "top_of",
    "verdict",
]
