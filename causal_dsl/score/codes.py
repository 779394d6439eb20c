"""Every code of a finding: whether it is an alarm, and whether it forbids a full verdict. A new finding has a line here."""

from __future__ import annotations

from typing import Literal

Severity = Literal["alarm", "info"]

#: The ladder of verdicts (:mod:`causal_dsl.score.verdict`), from the best down; the first two are full.
LADDER = ("exact", "supported", "partly", "inconclusive", "contradicted", "vacuous", "unsolved")
FULL = LADDER[:2]

#: An alarm says that a number may mislead, whatever it is. Information says how a number came to be.
SEVERITY: dict[str, Severity] = {
    # verdicts: what a test found is no alarm, but that it could not find anything is one
    "exact": "info",
    "supported": "info",
    "partly": "info",
    "inconclusive": "info",
    "contradicted": "info",
    "vacuous": "alarm",
    "unsolved": "alarm",
    # of a cell
    "empty": "alarm",
    "uninformative": "alarm",
    "never_moved": "alarm",
    "unreachable": "alarm",
    "changed_nothing": "alarm",
    "noise": "alarm",
    "ties": "alarm",
    "non_finite": "alarm",
    "not_said": "alarm",
    "outside": "alarm",
    "cancels": "alarm",
    "wrong_answers": "info",
    # of a test
    "filtered": "info",
    "scope": "info",
    "few_inputs": "alarm",
    "ceiling_unknown": "info",
    "leak": "info",
    "multiple": "info",
    "chosen_on_same_pairs": "alarm",
    "chosen_on_other_pairs": "info",
    "choice": "info",
    "near_bound": "info",
    # of learned features and of what a hypothesis leaves out
    "fitted": "info",
    "above_controls": "info",
    "not_above_controls": "alarm",
    "illusion_risk": "alarm",
    "undecided_gates": "alarm",
    "nonlinear": "alarm",
    "controls_off": "alarm",
    "unmapped_moves": "alarm",
    "joint_only": "alarm",
    "replacement_matters": "alarm",
    "input_copy": "alarm",
    "holds_more": "alarm",
}

#: No verdict is `exact`, `supported` or `partly` beside one of these: the score is then not what it says it is.
FORBIDDING = frozenset(
    {
        "empty",
        "uninformative",
        "never_moved",
        "unreachable",
        "changed_nothing",
        "noise",
        "non_finite",
        "ties",
        "not_said",
        "not_above_controls",
        "illusion_risk",
        "undecided_gates",
        "nonlinear",
        "unmapped_moves",
        "joint_only",
    }
)

#: Beside one of these no verdict is `exact`, even where it leaves a verdict be: a pair was seen that the hypothesis rules out.
REFUTING = frozenset({"unmapped_moves", "joint_only"})


def severity(code: str) -> Severity:
    """Whether a finding is an alarm; one that nobody has judged is."""
    return SEVERITY.get(code, "alarm")
