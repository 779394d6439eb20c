"""The findings that a report can give beside the numbers: one record for each code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.record_tables import table

Severity = Literal["alarm", "info"]
#: What a finding is about: a verdict belongs to a cell; ``beside`` means the controls that run beside a test.
About = Literal["verdict", "cell", "feature", "beside"]


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: its ``code``, what it ``says``, and how much it weighs.

    An ``alarm`` warns that a number may mislead, whatever its value; ``info`` says how a number came about. ``forbids``: no verdict
    beside it is ``exact``, ``supported`` or ``partly``, because the score then does not mean what it seems to. ``graded`` and
    ``forbids_when`` state when a finding of this kind weighs less. ``against``: it speaks against the hypothesis of the test, and so it
    is information if each expectation is one that a network fails in which the hypothesis holds (``iia <= 60%``). ``refutes``: beside it no
    verdict is ``exact``, even where it leaves a verdict be, because a pair was seen that the hypothesis rules out. ``still``: it says that
    nothing moved. ``of_one_output``: one output may have it while the test as a whole is sound. ``told``: its turn in a report after the
    verdicts; 0 for those that come last, in the order in which they were found. ``control``: the section of docs/controls.md that defines
    the control which finds it.
    """

    code: str
    about: About
    severity: Severity
    says: str
    forbids: bool = False
    graded: str = ""
    forbids_when: str = ""
    against: bool = False
    refutes: bool = False
    still: bool = False
    of_one_output: bool = False
    told: int = 0
    control: str = ""


_ALL = (
    FindingKind("exact", "verdict", "info", "all pairs of a finite model are scored, and no pair is wrong"),
    FindingKind(
        "supported",
        "verdict",
        "info",
        "the interval lies above the ceiling, and the interchange fails no more often than the network by itself",
    ),
    FindingKind("partly", "verdict", "info", "the interval lies above the ceiling and below the network's accuracy"),
    FindingKind(
        "inconclusive", "verdict", "info", "the interval does not decide, or a finding forbids a better verdict"
    ),
    FindingKind("contradicted", "verdict", "info", "the interval lies below the ceiling"),
    FindingKind(
        "vacuous",
        "verdict",
        "alarm",
        "a rule that knows nothing about the inside scores .95 or more, which leaves too little room to tell",
    ),
    FindingKind("unsolved", "verdict", "alarm", "the network does not do the task"),
    FindingKind(
        "empty",
        "cell",
        "alarm",
        "no pairs are left",
        forbids=True,
        of_one_output=True,
        told=1,
    ),
    FindingKind(
        "uninformative",
        "cell",
        "alarm",
        "the label differs from the base's answer in no pair",
        forbids=True,
        of_one_output=True,
        told=2,
    ),
    FindingKind(
        "never_moved",
        "cell",
        "alarm",
        "the answer changed in no pair; the sentence says whether any logit did",
        graded="alarm; info for an ablation that should move nothing",
        forbids=True,
        against=True,
        still=True,
        of_one_output=True,
        told=3,
    ),
    FindingKind(
        "unreachable",
        "cell",
        "alarm",
        "nothing at the written places can reach the read-out",
        forbids=True,
        against=True,
        of_one_output=True,
    ),
    FindingKind(
        "changed_nothing",
        "cell",
        "alarm",
        "the intervention wrote what was already there",
        graded="alarm; info for an ablation that should move nothing",
        forbids=True,
        against=True,
        still=True,
    ),
    FindingKind(
        "noise", "cell", "alarm", "patching the base into itself moves a logit by more than 0.01", forbids=True
    ),
    FindingKind(
        "ties",
        "cell",
        "alarm",
        "the number of runs in which two logits tie for the largest",
        forbids=True,
        forbids_when="above 1% of the runs",
    ),
    FindingKind(
        "non_finite",
        "cell",
        "alarm",
        "the number of runs in which a logit is NaN or the largest is infinite",
        forbids=True,
    ),
    FindingKind(
        "not_said",
        "cell",
        "alarm",
        "if the answer is read among some tokens: the number of runs in which the largest of all logits is not one of them",
        graded="alarm from 50% of the runs on, or of the patched runs that are right and in which the answer has to change, otherwise info",
        forbids=True,
        forbids_when="if it is an alarm",
    ),
    FindingKind(
        "outside",
        "cell",
        "alarm",
        "the number of off-manifold vectors: those that come from no run (zero, a number, noise, a given vector, arithmetic of vectors, a mean, or a vector that is clamped, scaled or projected) and have a number out of range at their place, as for features below; the range is that of the vectors they replace",
        graded="alarm above 5%; info if all of them are means over runs, and for an ablation that should move nothing and moves no more than that",
    ),
    FindingKind(
        "cancels", "cell", "alarm", "a mean `change(m)` is less than a quarter of the mean size of the changes"
    ),
    FindingKind(
        "one_answer",
        "cell",
        "alarm",
        "in a test without an intervention: the network gives the same answer in every run, though others are right in some",
    ),
    FindingKind(
        "wrong_answers",
        "cell",
        "info",
        "the three most common wrong answers of the network, each with a pair; in a sweep, those in the cell where iia is highest",
    ),
    FindingKind("filtered", "cell", "info", "the number of pairs that pass a filter"),
    FindingKind(
        "scope",
        "cell",
        "info",
        "the share of draws that pass a `where`, or that fit the value in `do(m = true)`: exact, or in 4096 draws; if all pairs of a part of the inputs are run, the size of this part",
    ),
    FindingKind(
        "rest_kept",
        "cell",
        "info",
        "if a site is written via a feature of a file: what stays as it is, the error of a dictionary's reconstruction included",
    ),
    FindingKind("few_inputs", "cell", "alarm", "there are too few distinct inputs for any interval"),
    FindingKind("ceiling_unknown", "cell", "info", "the bounds of `output_only` are more than .1 apart"),
    FindingKind(
        "leak",
        "cell",
        "info",
        "one whole input determines .95 or more of the labels (`base_only`, or `source_only` of one source, exact), and the answers alone do not",
    ),
    FindingKind(
        "tied",
        "cell",
        "alarm",
        "the pairs were so drawn that another variable, interchanged instead, has the same counterfactual answer in each",
        forbids=True,
        control="Variables that the draw ties",
    ),
    FindingKind(
        "multiple", "cell", "info", "the number of cells that lie above the ceiling, and the number expected by luck"
    ),
    FindingKind("chosen_on_same_pairs", "cell", "alarm", "how `max` and `min` chose, and among how many cells"),
    FindingKind("chosen_on_other_pairs", "cell", "info", "how `best` chose"),
    FindingKind("choice", "cell", "info", "which cell `argmax` selected, and how stably"),
    FindingKind(
        "near_bound",
        "cell",
        "info",
        "an interval contains the bound of its expectation (other than a 0 or 1 that is met)",
    ),
    FindingKind("fitted", "feature", "info", "always: what was fitted, and on how many pairs and distinct inputs"),
    FindingKind(
        "above_controls",
        "feature",
        "info",
        "the interval of `difference` lies above 0 for each of `random subspace`, `shuffled labels` and `untrained network` that exists (if all pairs were run: the difference itself does)",
        told=9,
    ),
    FindingKind(
        "not_above_controls",
        "feature",
        "alarm",
        "iia is not above one of these controls: the interval of its `difference` reaches 0 or less",
        forbids=True,
        against=True,
        told=8,
    ),
    FindingKind(
        "illusion_risk",
        "feature",
        "alarm",
        "on the pairs whose label is the single source's own answer and not the base's: iia - iia of `whole vector` > max(.05, 2 sqrt(.25 / n)), or else margin > 1.1 times the margin of `whole vector` (0 if that is negative); or iia - noop > .05 and (natural axes - noop) < (iia - noop) / 3; or margin on the natural axes < margin / 3; or `outside` > .05 (Makelov, Lange and Nanda 2023)",
        forbids=True,
        told=7,
    ),
    FindingKind(
        "unmoved_fit",
        "feature",
        "alarm",
        "the gradient of the loss was zero in every step of the fit, so that the map is the one that it started from",
        graded="alarm; info if every validation pair has its right answer",
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
        "`controls=none`: no control runs beside the test, and a learned feature is compared with nothing",
    ),
    FindingKind(
        "unmapped_moves",
        "beside",
        "alarm",
        "units that no variable claims move the answer",
        graded="alarm; info if a network that is not exact may do as much by itself",
        forbids=True,
        forbids_when="if it is an alarm; `exact` always",
        against=True,
        refutes=True,
        told=4,
        control="Units that no variable claims",
    ),
    FindingKind(
        "unjudged_moves",
        "beside",
        "info",
        "a part of the unclaimed units moves the answer, and it was not decided whether it may",
        control="Units that no variable claims",
    ),
    FindingKind(
        "not_tried",
        "beside",
        "info",
        "beside `exact` or `supported`: up to how many unclaimed units all sets were tried, that the numbers of a token were taken all together, that none was taken from inputs in which the answer needs something else, or that variables were not written apart, and why; beside any test: controls were not run because their prompts lack a place of the test, an ablation was held against no other values, or a fit was not held against an untrained network, and why",
    ),
    FindingKind(
        "unanswered",
        "cell",
        "info",
        "some pairs have no expected answer, or not each value that a score needs; the scores that need one rest on the others",
    ),
    FindingKind(
        "no_contrast",
        "cell",
        "alarm",
        "a ratio is relative to a mean difference (of base and source, of the clean run and the empty circuit, or of a metric and 0) that may be 0: its interval contains 0, or, without an interval, it is less than a twentieth of the mean size of the differences",
        forbids=True,
    ),
    FindingKind(
        "circuit_check",
        "beside",
        "alarm",
        "two runs of a circuit that have to be the same are not: the full circuit and the clean run, the empty one and the corrupt run, or the two halves",
        forbids=True,
    ),
    FindingKind(
        "attribution_check",
        "beside",
        "alarm",
        "the terms of the residual stream do not add up to the logit, or the heads of a layer not to what its attention adds",
    ),
    FindingKind(
        "circuit_like_random",
        "beside",
        "alarm",
        "more than one in twenty random circuits of the same size score at least as well",
    ),
    FindingKind(
        "circuit_elsewhere",
        "beside",
        "info",
        "a circuit is read from a file that says it was found on other weights than the test runs on: another checkpoint, or the same one in other files",
    ),
    FindingKind(
        "circuit_among_random",
        "beside",
        "info",
        "a score of a test on a circuit lies among those with random circuits of its size in its place: more than one in twenty are at least as high, and more than one in twenty at most as high",
    ),
    FindingKind(
        "differences_matter",
        "beside",
        "info",
        "`scrubbed` lies below `carried`: the places hold more than the values of their variables, and the answer depends on it",
    ),
    FindingKind(
        "rest_matters",
        "beside",
        "info",
        "`carried` lies below `accuracy`: the answer depends on parts that the alignment does not place",
    ),
    FindingKind(
        "scrubbing_blind",
        "beside",
        "info",
        "`scrubbed` lies above 1 - `abstraction_error`: scrubbing writes no other values, and interventions with these are wrong",
    ),
    FindingKind(
        "masks_still",
        "cell",
        "alarm",
        "the gates of some nodes or edges had no gradient in any step of `masks`, so that it cannot tell whether they are needed",
    ),
    FindingKind(
        "scores_still",
        "cell",
        "alarm",
        "no score of a search is larger than rounding, so that the order of its nodes or edges says nothing",
    ),
    FindingKind(
        "choices",
        "cell",
        "info",
        "the six choices (Miller et al. 2024) of a patched edge or path",
    ),
    FindingKind(
        "optimal",
        "cell",
        "info",
        "how the constants of `optimal` were found: on how many inputs, and their loss at the means and at the end",
    ),
    FindingKind(
        "rest_interferes",
        "beside",
        "info",
        "`abstraction_error` is larger where what is not placed comes from other inputs",
    ),
    FindingKind(
        "joint_only",
        "beside",
        "alarm",
        "an interchange of several variables together is right, but that of each by itself, or from different sources, is not",
        graded="alarm; info in up to 2% of the pairs",
        forbids=True,
        forbids_when="if it is an alarm; `exact` always",
        against=True,
        refutes=True,
        control="Variables written together",
    ),
    FindingKind(
        "only_there",
        "beside",
        "alarm",
        "beside `exact` or `supported`: what a test claims under its `where` is not so in pairs that do not pass it, or in other inputs; or what it writes beside its variables takes away units that move the answer",
        graded="alarm; info if the network does not do the task there, and of what is taken away",
        against=True,
        control="Beyond the conditions of a test",
    ),
    FindingKind(
        "idle_place",
        "beside",
        "alarm",
        "beside `exact` or `supported`: one of several places of a variable changes no answer, alone or beside the others",
        graded="alarm; info if the place tells the variable all the same, and for some numbers of one place unless they are half of four or fewer",
        against=True,
        control="Several places",
    ),
    FindingKind(
        "replacement_matters",
        "beside",
        "alarm",
        "one replacement of an ablation says that the place is needed, another that it is not",
        told=6,
        control="Other values in place of an ablation",
    ),
    FindingKind(
        "input_copy",
        "beside",
        "alarm",
        "the place of a variable holds no more than the inputs from which it is computed",
        against=True,
        told=5,
        control="Copies of the inputs",
    ),
    FindingKind(
        "holds_less",
        "beside",
        "info",
        "beside `exact` or `supported`: the place of a variable takes fewer vectors than the variable has values",
        control="More than the variable",
    ),
    FindingKind(
        "holds_more",
        "beside",
        "alarm",
        "the place of a variable distinguishes inputs for which the variable has the same value",
        graded="alarm for a code of its inputs beside `exact`, `supported` or `partly`, otherwise info",
        against=True,
        control="More than the variable",
    ),
)
FINDINGS: Mapping[str, FindingKind] = table("findings", _ALL, "code")

__all__ = ["FINDINGS", "FindingKind", "Severity"]
