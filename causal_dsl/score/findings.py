"""What the numbers say, as typed sentences that can be quoted; and whether an expectation could be missed at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.score.context import Expectation
from causal_dsl.score.numbers import show, show_cell, show_estimate, show_share
from causal_dsl.score.results import CellInfo, Estimate, Finding, Measured
from causal_dsl.score.scores import Best, Chosen, OverCells, Score

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling

#: From this ceiling on, a score of the answers alone leaves too little room to tell.
VACUOUS = 0.95
#: A change of logits, of base patched into itself, that is more than rounding.
NOISY = 1e-2

_RULE = "the most that a rule seeing only the answers of base and source can score"


def cell_findings(
    scores: Mapping[str, Estimate], ceiling: Ceiling | None, info: CellInfo, moved: float | None
) -> list[Finding]:
    """The findings of one cell: from its scores, the output_only ceiling (None without an interchange), what the
    run says of it, and the share of pairs whose read-out moved (None without an intervention)."""
    found = []
    n = scores["accuracy"].n
    if n == 0:
        return [Finding("empty", "No pairs are left to score, so nothing can be said.")]
    if "iia" in scores and ceiling is not None:
        found.append(_against_ceiling(scores["iia"], scores["iia_star"], ceiling))
        if scores["iia_informative"].n == 0:
            found.append(
                Finding("uninformative", f"In none of {n} pairs does the counterfactual answer differ from the base's.")
            )
    if moved == 0:
        found.append(
            Finding(
                "never_moved", f"The read-out moved in none of {n} pairs: the intervention does not reach the answer."
            )
        )
    if info.interventions and all(fired.unreachable and not fired.rows for fired in info.interventions):
        found.append(
            Finding(
                "unreachable",
                "Nothing at the written places can reach the read-out: the effect is zero by the network's shape.",
            )
        )
    if info.interventions and all(fired.change == 0 for fired in info.interventions):
        found.append(Finding("changed_nothing", "The intervention wrote what was already there, on every row."))
    if info.noise_floor is not None and info.noise_floor > NOISY:
        text = (
            f"Patching the base into itself moves logits by up to {show(info.noise_floor)}: smaller effects are noise."
        )
        found.append(Finding("noise", text))
    return found


def _against_ceiling(iia: Estimate, star: Estimate, ceiling: Ceiling) -> Finding:
    top = ceiling.value
    says = f"{show(top)}, {_RULE}"
    if iia.value is None:
        return Finding("empty", "iia is undefined, so nothing can be said.")
    if not top < VACUOUS:
        rule = f"A rule seeing only the answers of base and source scores {show(top)}"
        return Finding("vacuous", f"{rule}, so iia ({show(iia.value)}) cannot tell.")
    low, high = (iia.value, iia.value) if iia.method == "exact" else (iia.low, iia.high)
    shown = f"iia is {show_estimate(iia, against=top)} over {iia.n} pairs"
    if low is None or high is None:
        return Finding("inconclusive", f"{shown}, too few to give an interval; compare with {says}.")
    if low > top:
        more = f"; iia_star is {show(star.value)}" if star.value is not None else ""
        return Finding("supported", f"{shown}, above {says}{more}.")
    if iia.method == "exact":
        return Finding("contradicted", f"{shown}, no more than {says}.")
    if high < top:
        return Finding("contradicted", f"{shown}, below {says}.")
    return Finding("inconclusive", f"{shown}; the interval holds {says}.")


def filter_finding(n: int, kept: int, iia: Estimate | None, unfiltered: Estimate | None) -> Finding:
    """What filtering by ``solved`` did; with the unfiltered score where there is one cell."""
    text = f"Scores are over the {show_share(kept, n)} pairs that the network solves, and speak of those inputs only"
    if iia is not None and unfiltered is not None:
        text += f"; iia is {show(iia.value)} on them and {show(unfiltered.value)} on all"
    return Finding("filtered", text + ".")


def choosing_findings(values: Sequence[Score], cells: int, best: Mapping[Best, tuple[str, int, int]]) -> list[Finding]:
    """For each ``max``, ``min``, ``best`` among the values: on which pairs a cell was chosen, and from how many.

    ``best`` gives, for each :class:`Best`, the chosen cell and the numbers of pairs it was chosen and scored on.
    """
    found: dict[Finding, None] = {}
    for value in values:
        for part in value.walk():
            if isinstance(part, OverCells) and part.which in ("min", "max") and cells > 1:
                how = "chosen and judged on the same pairs, which flatters it"
                if part.which == "min":
                    how = "found and judged on the same pairs"
                text = f"`{part.text}` is the {part.which}imum of {cells} cells, {how}."
                found[Finding("chosen_on_same_pairs", text)] = None
            elif isinstance(part, Best) and part in best:
                cell, chosen, judged = best[part]
                which = f"{cell} of {cells} cells" if cell else "the only cell"
                text = f"`{part.text}` chose {which} on {chosen} pairs, and scored it on {judged} others."
                found[Finding("chosen_on_other_pairs", text)] = None
    return list(found)


def choice_finding(chosen: Chosen, cell: Mapping[str, object], stable: float | None) -> Finding:
    """Which cell ``argmax`` took, and how often the resamples take the same."""
    text = f"`{chosen.text}` is {show_cell(cell)}"
    return Finding("choice", text + (f", as in {100 * stable:.0f}% of resamples." if stable is not None else "."))


def near_bound(measured: Measured) -> Finding | None:
    """A finding where the interval of a score holds its bound (not where all, or none, is asked for and found)."""
    estimate, bound = measured.estimate, measured.bound
    if bound is None or measured.digits == 0 or estimate.low is None or estimate.high is None:
        return None
    if not estimate.low <= bound <= estimate.high or estimate.value == bound in (0, 1):
        return None
    where = f" at {show_cell(measured.cell)}" if measured.cell else ""
    shown = f"{measured.name} is {show_estimate(estimate, against=bound)}{where}"
    return Finding("near_bound", f"`{measured.text}`: {shown}; the interval holds the bound.")


# ── expectations that anything would pass ───────────────────────────────────────────────────────

_PASSERS = {
    "noop": ("W620", "a network that ignores the intervention"),
    "source": ("W621", "a network that copies the source's answer"),
    "output_only": ("W622", "a rule that sees only the answers of base and source"),
}


def vacuous_expectation(ceilings: Mapping[str, Ceiling], expectation: Expectation) -> Diagnostic | None:
    """A warning (W620 to W622) where a trivial rule already passes an expectation that a perfect network passes too.

    An expectation that a perfect network fails (``iia <= 60%``, at a control site) is not meant to tell the two apart.
    """
    perfect = {"iia": 1.0, "iia_informative": 1.0, "iia_star": 1.0}
    if expectation.truth.assume(perfect) != 1:
        return None
    for name, (code, who) in _PASSERS.items():
        ceiling = ceilings.get(name)
        if ceiling is None:
            continue
        # the best rule's own score is known from below; what it may score at most warns of nothing
        least = ceiling.low if name == "output_only" else ceiling.value
        if expectation.truth.assume(_scores(name, least, ceilings.get("output_only"))) != 1:
            continue
        how = "exactly" if ceiling.exact else f"sampled over {ceiling.n} pairs"
        at_least = "at least " if least < ceiling.value else ""
        return Diagnostic(
            code,
            f"{who} passes this expectation",
            expectation.span,
            label=f"its iia is {at_least}{show(least)} ({how})",
            notes=("a pass says nothing that the answers alone do not say",),
            help="draw pairs whose answers differ (`where base.x != source.x`), expect more, or expect `iia_star`",
        )
    return None


def _scores(name: str, score: float, output_only: Ceiling | None) -> dict[str, float]:
    known = {"iia": score}
    if name == "noop":
        known["iia_informative"] = 0.0
    if output_only is not None and output_only.value < 1:
        known["iia_star"] = (score - output_only.value) / (1 - output_only.value)
    return known
