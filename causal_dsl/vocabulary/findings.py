"""Everything that a report can say beside the numbers: one record a code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["alarm", "info"]
#: What a finding speaks of: a verdict is that of a cell; ``beside`` is what is run beside a test.
About = Literal["verdict", "cell", "feature", "beside"]


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: its ``code``, what it ``says``, and how much it weighs.

    An ``alarm`` says that a number may mislead, whatever it is; ``info`` says how a number came to be. ``forbids``: no verdict is
    ``exact``, ``supported`` or ``partly`` beside it, since the score is then not what it says it is. ``graded`` and
    ``forbids_when`` say in words when a single finding of the kind weighs less.
    """

    code: str
    about: About
    severity: Severity
    says: str
    forbids: bool = False
    graded: str = ""
    forbids_when: str = ""


_ALL = (
    FindingKind("exact", "verdict", "info", "all pairs of a finite model are scored, and none is wrong"),
    FindingKind(
        "supported",
        "verdict",
        "info",
        "the interval lies above the ceiling, and the network fails no more often than by itself",
    ),
    FindingKind("partly", "verdict", "info", "the interval lies above the ceiling and below the network's accuracy"),
    FindingKind("inconclusive", "verdict", "info", "the interval does not tell"),
    FindingKind("contradicted", "verdict", "info", "the interval lies below the ceiling"),
    FindingKind(
        "vacuous",
        "verdict",
        "alarm",
        "there is no room to tell: a rule that knows nothing of the inside scores as much",
    ),
    FindingKind("unsolved", "verdict", "alarm", "the network does not do the task"),
    FindingKind("empty", "cell", "alarm", "no pairs are left", forbids=True),
    FindingKind(
        "uninformative", "cell", "alarm", "in no pair does the label differ from the base's answer", forbids=True
    ),
    FindingKind(
        "never_moved",
        "cell",
        "alarm",
        "the answer changed in no pair; whether any logit did",
        graded="alarm; info of an ablation that should move nothing",
        forbids=True,
    ),
    FindingKind("unreachable", "cell", "alarm", "nothing at the written places can reach the read-out", forbids=True),
    FindingKind(
        "changed_nothing",
        "cell",
        "alarm",
        "the intervention wrote what was already there",
        graded="alarm; info of an ablation that should move nothing",
        forbids=True,
    ),
    FindingKind("noise", "cell", "alarm", "base patched into itself moves a logit by more than 0.01", forbids=True),
    FindingKind(
        "ties",
        "cell",
        "alarm",
        "in how many runs two logits are the largest",
        forbids=True,
        forbids_when="above 1% of the runs",
    ),
    FindingKind(
        "non_finite", "cell", "alarm", "in how many runs a logit is NaN or the largest is infinite", forbids=True
    ),
    FindingKind(
        "not_said",
        "cell",
        "alarm",
        "where answers are read among some: in how many runs the largest of all logits is no answer",
        graded="alarm from 50% of the runs on, else info",
        forbids=True,
        forbids_when="from 50% on",
    ),
    FindingKind(
        "outside",
        "cell",
        "alarm",
        "how many of the vectors that come from no run (zero, a number, noise, a given vector, or a vector that is clamped, scaled or projected) have a number out of range there, as for features below; the range is that of the vectors they replace",
        graded="alarm above 5%",
    ),
    FindingKind(
        "cancels", "cell", "alarm", "a mean `change(m)` is less than a quarter of the mean size of the changes"
    ),
    FindingKind(
        "wrong_answers",
        "cell",
        "info",
        "what the network said where it was wrong: the three commonest answers, each with a pair; in a sweep, in the cell where iia is highest",
    ),
    FindingKind("filtered", "cell", "info", "how many pairs a filter kept"),
    FindingKind(
        "scope",
        "cell",
        "info",
        "what share of the draws a `where`, or the value in `do(m = true)`, lets through: exactly, or in 4096 draws",
    ),
    FindingKind("few_inputs", "cell", "alarm", "too few distinct inputs for any interval"),
    FindingKind("ceiling_unknown", "cell", "info", "the bounds of `output_only` are more than .1 apart"),
    FindingKind(
        "leak",
        "cell",
        "info",
        "one whole input tells .95 or more of the labels (`base_only`, or `source_only` of one source, exact), and the answers alone do not",
    ),
    FindingKind("multiple", "cell", "info", "how many cells lie above the ceiling, and how many would by luck"),
    FindingKind("chosen_on_same_pairs", "cell", "alarm", "how `max` and `min` chose, and among how many cells"),
    FindingKind("chosen_on_other_pairs", "cell", "info", "how `best` chose"),
    FindingKind("choice", "cell", "info", "which cell `argmax` took, and how stably"),
    FindingKind(
        "near_bound", "cell", "info", "an interval holds the bound of its expectation (other than a 0 or 1 that is met)"
    ),
    FindingKind("fitted", "feature", "info", "always: what was fitted, on how many pairs and distinct inputs"),
    FindingKind(
        "above_controls",
        "feature",
        "info",
        "the interval of `difference` lies above 0 for each of `random subspace`, `shuffled labels`, `untrained network`, as far as there are such (where all pairs were run: the difference does)",
    ),
    FindingKind(
        "not_above_controls",
        "feature",
        "alarm",
        "iia does not lie above one of these controls: the interval of its `difference` reaches 0 or less",
        forbids=True,
    ),
    FindingKind(
        "illusion_risk",
        "feature",
        "alarm",
        "on the pairs whose label is the one source's own answer and not the base's: iia - iia of `whole vector` > max(.05, 2 sqrt(.25 / n)), or else margin > 1.1 of its margin (0 if that is negative); or iia - noop > .05 and (natural axes - noop) < (iia - noop) / 3; or margin on the natural axes < margin / 3; or `outside` > .05 (Makelov, Lange and Nanda 2023)",
        forbids=True,
    ),
    FindingKind(
        "undecided_gates",
        "feature",
        "alarm",
        "the soft value of a gate at the last temperature lies within (.1, .9)",
        forbids=True,
    ),
    FindingKind("nonlinear", "feature", "alarm", "the map is not linear (Sutter et al. 2025)", forbids=True),
    FindingKind(
        "controls_off",
        "beside",
        "alarm",
        "`controls=none`: nothing is run beside the test, and a learned feature is compared with nothing",
    ),
    FindingKind(
        "unmapped_moves",
        "beside",
        "alarm",
        "units that no variable claims move the answer",
        graded="alarm; info where a network that is not exact may do as much by itself",
        forbids=True,
        forbids_when="where it is an alarm; `exact` always",
    ),
    FindingKind(
        "joint_only",
        "beside",
        "alarm",
        "variables that are right written together are not right written one by one, or from different sources",
        graded="alarm; info in up to 2% of the pairs",
        forbids=True,
        forbids_when="where it is an alarm; `exact` always",
    ),
    FindingKind(
        "replacement_matters",
        "beside",
        "alarm",
        "by one replacement of an ablation the place is needed, by another it is not",
    ),
    FindingKind(
        "input_copy",
        "beside",
        "alarm",
        "the place of a variable holds no more than the inputs that it is computed from",
    ),
    FindingKind(
        "holds_more",
        "beside",
        "alarm",
        "the place of a variable tells apart what the variable makes alike",
        graded="alarm of a code of its inputs beside `exact`, `supported` or `partly`, else info",
    ),
)
FINDINGS: Mapping[str, FindingKind] = {finding.code: finding for finding in _ALL}

__all__ = ["FINDINGS", "FindingKind", "Severity"]
