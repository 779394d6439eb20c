"""Findings: typed sentences about the numbers that can be quoted; and whether an expectation could fail at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import Diagnostic, Span
from causal_dsl.measures.context import Expectation
from causal_dsl.measures.per_cell import Best, CellScore, Chosen, OverCells
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate, show_percent, show_share
from causal_dsl.score.results import CellInfo, Measured
from causal_dsl.score.verdict import VACUOUS, by_design
from causal_dsl.vocabulary.ceiling_rules import CEILINGS, COUNTED
from causal_dsl.vocabulary.measures import given, perfect

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.causal.cover import DrawScope
from causal_dsl.causal.drawn_parts import DrawnPart

#: A change of logits, of base patched into itself, that is more than rounding.
NOISY = 1e-2
#: A change of the trace of the logits that is more than rounding, as a share of its size.
STILL = 1e-5
#: The same of a network of float64.
STILL_WIDE = 1e-10
#: Written vectors that lie outside of what their site takes, as a share of all, from which on that is said.
OUTSIDE = 0.05
#: Runs that say nothing, as a share of all, from which on they decide a score.
DECIDES = 0.01
#: Runs that say something else than an answer, as a share of those looked at, from which on that is an alarm.
MOSTLY = 0.5


def cell_findings(
    n: int, informative: int | None, info: CellInfo, moved: float | None, still: bool | None
) -> list[Finding]:
    """The findings of one cell, beside its verdict.

    n, informative: the number of pairs, and of those whose label differs from the base's answer (None: no label)
    moved:          the share of pairs whose answer moved (None without an intervention)
    still:          whether no logit moved in any pair (None where that is not known)
    """
    found = []
    if n == 0:
        return [Finding("empty", "No pairs are left to score, so there is no result.")]
    if informative == 0:
        found.append(
            Finding("uninformative", f"The counterfactual answer differs from the base's in none of {counted(n)}.")
        )
    if moved == 0:
        text = f"The answer changed in none of {counted(n)}"
        if still:
            text += ", and no compared logit changed by more than rounding: the written values have no effect on them."
        else:
            text += "; some of the compared logits did move." if still is not None else "."
        found.append(Finding("never_moved", text))
    if info.interventions and all(fired.unreachable and not fired.rows for fired in info.interventions):
        found.append(
            Finding(
                "unreachable",
                "Nothing at the written places can reach the read-out: the effect is zero by the network's shape.",
            )
        )
    if info.interventions and all(fired.change == 0 for fired in info.interventions):
        found.append(
            Finding("changed_nothing", "In every row the intervention wrote the value that was already there.")
        )
    if info.noise_floor is not None and info.noise_floor > NOISY:
        text = (
            f"Patching the base into itself moves logits by up to {show(info.noise_floor)}: smaller effects are noise."
        )
        found.append(Finding("noise", text))
    out, of = info.off_manifold
    if out > OUTSIDE * of:
        text = f"{show_share(out, of)} written vectors are off-manifold: one of their numbers lies more than three half ranges from the middle of the range that the site takes by itself, or no vector that the site takes by itself is near."
        if info.averages:
            text += " They are means over runs, and a mean need not be near what any run has."
        found.append(Finding("outside", text, "info" if info.averages else None))
    return found


def said_nothing(tied: int, broken: int, runs: int, which: str) -> list[Finding]:
    """Runs that say nothing and so are never right: of ``runs``, in how many two logits were the largest, and in how many
    the largest was no finite number. ``which`` says of what runs this is."""
    found = []
    if broken:
        text = f"In {show_share(broken, runs)} {which} a logit is NaN or the largest is infinite: such a run has no answer and never counts as right."
        found.append(Finding("non_finite", text))
    if tied:
        text = f"In {show_share(tied, runs)} {which} two logits tie for the largest: such a run has no answer and never counts as right."
        found.append(Finding("ties", text, forbids=tied > DECIDES * runs))
    return found


def not_said(missing: int, looked: int, which: str, instead: str) -> list[Finding]:
    """Runs whose largest logit of all is not an answer, where the answer is read among some; an alarm where they are most."""
    if not missing:
        return []
    most = missing >= MOSTLY * looked
    text = f"In {show_share(missing, looked)} {which} that were checked, the largest of all logits is not an answer ({instead}): the answers are compared only with each other."
    return [Finding("not_said", text, "alarm" if most else "info", most)]


#: How far the bounds of a ceiling lie apart where little is known of it.
APART = 0.1


def ceiling_unknown(ceilings: Mapping[str, Ceiling]) -> list[Finding]:
    """A finding where the bounds of the output_only ceiling lie far apart."""
    ceiling = ceilings.get("output_only")
    low, high = getattr(ceiling, "low", None), getattr(ceiling, "high", None)
    if ceiling is None or ceiling.exact or low is None or high is None or high - low <= APART:
        return []
    text = f"The best rule that sees only the answers scores between {show(low)} and {show(high)}: too few pairs share their answers for closer bounds, and the verdict uses the higher one."
    return [Finding("ceiling_unknown", text)]


def design_finding(name: str, numbered: bool) -> Finding:
    """Said once of a sweep whose pairs leave no room: a rule that knows nothing of the inside is always right."""
    text = (
        f"{CEILINGS[name].always}, so no iia can exceed the score (1.000) of a rule that knows nothing about the inside"
    )
    if name == "noop":
        return Finding("vacuous", text + ".")
    rise = " (`^` marks where)" if numbered else ""
    return Finding("vacuous", f"{text}. The sweep shows where iia rises{rise}, not which variable is there.")


#: From here on a rule of one whole input knows nearly all labels.
LEAKS = 0.95


def leak_finding(ceilings: Mapping[str, Ceiling]) -> list[Finding]:
    """The finding on what one whole input tells of the counterfactual answers, where the answers alone do not: `where`, `balance` or
    domains that depend on each other tell the rest."""
    answers = ceilings.get("output_only")
    found = []
    for name, whole in (("base_only", "base"), ("source_only", "source")):
        ceiling = ceilings.get(name)
        known = ceiling is not None and answers is not None and ceiling.exact and answers.exact
        if known and ceiling.value >= LEAKS > answers.value:  # type: ignore[union-attr]
            text = f"The whole {whole} input determines a right answer in {show(ceiling.value)} of these draws"  # type: ignore[union-attr]
            found.append(Finding("leak", text + ", whatever the other input."))
    return found


def scope_finding(scope: DrawScope) -> Finding:
    """The finding on what a `where`, or the value of a variable in the place of one, leaves of the draws."""
    roles = ", ".join(f"`{role}`" for role in scope.roles)
    how = "exactly" if scope.exact else f"[{show(scope.low)}, {show(scope.high)}] by {scope.n} draws"
    if scope.value:
        text = f"The inputs that {roles} is drawn from are {show(scope.share)} of all that could be drawn ({how}); scores refer only to these."
        return Finding("scope", text)
    return Finding(
        "scope",
        f"{show(scope.share)} of the draws of {roles} pass the `where` ({how}); scores refer only to these.",
    )


def told_part(parts: Sequence[DrawnPart]) -> str:
    """The parts of the inputs that rows are drawn from, in words."""
    names = list(dict.fromkeys(f"`{one.name}`" for one in parts))
    return f"the part {names[0]} of the inputs" if len(names) == 1 else f"the parts {' and '.join(names)} of the inputs"


def part_finding(part: DrawnPart, fits: bool) -> Finding:
    """Which part of the inputs is run, where all of that part is. ``fits``: the test writes through features."""
    roles = " and ".join(f"`{role}`" for role in part.roles)
    what = f"values of {' and '.join(f'`{name}`' for name in part.by)}" if part.by else "inputs"
    size = f"{part.count:,} of {part.every:,}" if part.every else f"about {part.tenths} in ten"
    text = f"The {what} that {roles} {'is' if len(part.roles) == 1 else 'are'} drawn from are the part `{part.name}`: {size}."
    if fits and part.name == "test":
        text += " The test writes through a feature, and what is fitted for it or for its controls is fitted on other inputs."
    return Finding("scope", text + " Scores refer only to this part.")


def filter_finding(n: int, kept: int, iia: Estimate | None, unfiltered: Estimate | None) -> Finding:
    """The finding on what filtering by ``solved`` did; with the unfiltered score where there is one cell."""
    text = f"Scores are over the {show_share(kept, n)} pairs that the network solves, and refer only to those inputs"
    if iia is not None and unfiltered is not None:
        text += f"; iia is {show(iia.value)} on them and {show(unfiltered.value)} on all"
    return Finding("filtered", text + ".")


def choosing_findings(
    values: Sequence[CellScore], cells: int, best: Mapping[Best, tuple[str, int, int]]
) -> list[Finding]:
    """For each ``max``, ``min``, ``best`` among the values: on which pairs a cell was chosen, and from how many.

    ``best`` gives, for each :class:`Best`, the chosen cell and the numbers of pairs it was chosen and scored on.
    """
    found: dict[Finding, None] = {}
    for value in values:
        for part in value.walk():
            if isinstance(part, OverCells) and part.which in ("min", "max") and cells > 1:
                how = "chosen and judged on the same pairs, which biases it upwards"
                if part.which == "min":
                    how = "found and judged on the same pairs"
                text = f"`{part.text}` is the {part.which}imum of {cells} cells, {how}."
                found[Finding("chosen_on_same_pairs", text)] = None
            elif isinstance(part, Best) and part in best:
                cell, chosen, judged = best[part]
                which = f"{cell} of {cells} cells" if cell else "the only cell"
                text = f"`{part.text}` chose {which} on {counted(chosen)}, and scored it on {counted(judged, 'other')}."
                found[Finding("chosen_on_other_pairs", text)] = None
    return list(found)


def choice_finding(
    chosen: Chosen, cell: Mapping[str, object], stable: float | None, equal: int = 1, of: int = 1
) -> Finding:
    """Which cell ``argmax`` took, and how often the resamples take the same; ``equal`` of ``of`` cells have the same score as it."""
    text = f"`{chosen.text}` is {show_cell(cell)}"
    if equal > 1:
        which = "all" if equal == of else f"{equal} of"
        return Finding("choice", f"{text}, the first of several: {which} {of} cells have the same score.")
    return Finding("choice", text + (f", as in {show_percent(stable)} of resamples." if stable is not None else "."))


def near_bound(measured: Measured) -> Finding | None:
    """A finding where the interval of a score holds its bound (not where all, or none, is asked for and found)."""
    estimate, bound = measured.estimate, measured.bound
    if bound is None or measured.digits == 0 or estimate.low is None or estimate.high is None:
        return None
    if not estimate.low <= bound <= estimate.high or estimate.value == bound in (0, 1):
        return None
    where = f" at {show_cell(measured.cell)}" if measured.cell else ""
    shown = f"{measured.name} is {show_estimate(estimate, against=bound)}{where}"
    return Finding("near_bound", f"`{measured.text}`: {shown}; the interval contains the bound.")


def no_room(ceilings: Mapping[str, Ceiling], sweep: bool, span: Span) -> Diagnostic | None:
    """A warning (W628) where copying one answer is right in every pair: said once of a test."""
    name = by_design(ceilings)
    if not name or name == "output_only":  # of a rule of both answers the expectations are warned of (W622)
        return None
    read = "; in this sweep, `iia` still shows where it rises" if sweep and name != "noop" else ""
    what = "the base" if name == "noop" else "the source"
    rule = CEILINGS[name]
    return Diagnostic(
        "W628",
        "no iia of this test can be above chance",
        span,
        label="of every pair",
        notes=(f"{rule.always[0].lower()}{rule.always[1:]}: {rule.who} can score 1.000",),
        help=f"draw pairs in which {what} alone does not determine a right answer{read}",
    )


# ── expectations that anything would pass ───────────────────────────────────────────────────────


def vacuous_expectation(
    ceilings: Mapping[str, Ceiling],
    expectation: Expectation,
    output: str = "",
    choice: bool = False,
    others: Callable[[], Iterable[tuple[str, Mapping[str, Ceiling]]]] = tuple,
) -> Diagnostic | None:
    """A warning (W620 to W622) where a trivial rule already passes an expectation that a perfect network passes too.

    An expectation that a perfect network fails (``iia <= 60%``, at a control site) is not meant to tell the two apart.
    ``output``: the scores are those of one output of several, and ``ceilings`` its own. ``choice``: a run has several right answers, and
    a rule's score is that of its best choice among them. ``others``: other draws, as they are written, and their ceilings; they are
    asked for only if there is something to warn of.
    """
    if expectation.truth.assume(_named(_PERFECT, output)) != 1:
        return None
    name = _passer(ceilings, expectation, output)
    if name is None:
        return None
    rule, ceiling = CEILINGS[name], ceilings[name]
    least = _least(name, ceiling)
    how = "exactly" if ceiling.exact else f"sampled over {counted(ceiling.n)}"
    at_least = "at least " if least < ceiling.value else ""
    one_of = choice and name != "output_only"  # the best rule of the answers is a choice in any case
    more = ("it is the score of the best choice among several right answers: another choice may score less",)
    return Diagnostic(
        rule.warning,
        f"{rule.who} {'can pass' if one_of else 'passes'} this expectation",
        expectation.span,
        label=f"its {next(iter(_named(_PERFECT, output)))} {'can be' if one_of else 'is'} {at_least}{show(least)} ({how})",
        notes=(*(more if one_of else ()), "a pass shows nothing beyond the answers"),
        help=_mend(name, ceilings, expectation, output, others()),
    )


#: The measures of interchanges where a hypothesis holds.
_PERFECT = {name: value for name, value in perfect().items() if name in given("interchange")}


def _named(scores: Mapping[str, float], output: str) -> dict[str, float]:
    return {f"{name}({output})" if output else name: score for name, score in scores.items()}


def _least(name: str, ceiling: Ceiling) -> float:
    """The least score of a rule: the best rule's own score is known from below; what it may score at most warns of nothing."""
    return ceiling.low if name == "output_only" else ceiling.value


def _passer(ceilings: Mapping[str, Ceiling], expectation: Expectation, output: str) -> str | None:
    """The first trivial rule that passes an expectation."""
    for name in COUNTED:
        if name in ceilings:
            scores = _scores(name, _least(name, ceilings[name]), ceilings.get("output_only"))
            if expectation.truth.assume(_named(scores, output)) == 1:
                return name
    return None


def _mend(
    name: str,
    ceilings: Mapping[str, Ceiling],
    expectation: Expectation,
    output: str,
    others: Iterable[tuple[str, Mapping[str, Ceiling]]],
) -> str:
    """The text to write in place of draws on which a rule passes: those draws of the others on which a rule of the answers
    scores least and none passes; else what the pairs lack."""
    answers = ceilings.get("output_only")
    most = 1.0 if answers is None else answers.value
    better = [
        (text, found)
        for text, found in others
        if "output_only" in found
        and found["output_only"].value < min(VACUOUS, most)
        and _passer(found, expectation, output) is None
    ]
    if better:
        text, found = min(better, key=lambda one: one[1]["output_only"].value)
        left = found["output_only"]
        scores = f"scores {show(left.value)}" if left.exact else f"scores at most {show(left.value)}"
        return f"{text}: {CEILINGS['output_only'].who} then {scores}"
    if answers is None or answers.value >= 1:
        return f"draw {CEILINGS[name].lacking}"
    return f"draw {CEILINGS[name].lacking}; or expect an `iia` above {show(answers.value)}, or an `iia_star` above 0"


def _scores(name: str, score: float, output_only: Ceiling | None) -> dict[str, float]:
    known = {"iia": score}
    if name == "noop":
        known["iia_informative"] = 0.0
    if output_only is not None and output_only.value < 1:
        known["iia_star"] = (score - output_only.value) / (1 - output_only.value)
    return known
