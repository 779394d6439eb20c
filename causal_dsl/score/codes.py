"""The ladder of verdicts, and how much the kinds of findings weigh (:mod:`causal_dsl.vocabulary.findings`)."""

from __future__ import annotations

from causal_dsl.vocabulary.findings import FINDINGS, Severity

#: The ladder of verdicts (:mod:`causal_dsl.score.verdict`), from the best down; the first two are full.
LADDER = tuple(code for code, kind in FINDINGS.items() if kind.about == "verdict")
FULL = LADDER[:2]

#: No verdict is `exact`, `supported` or `partly` beside one of these.
FORBIDDING = frozenset(code for code, kind in FINDINGS.items() if kind.forbids)

#: Beside one of these no verdict is `exact`, even where it leaves a verdict be: a pair was seen that the hypothesis rules out.
REFUTING = frozenset(code for code, kind in FINDINGS.items() if kind.refutes)

#: What speaks against the hypothesis of a test: no alarm where each expectation asks for its failure.
AGAINST = frozenset(code for code, kind in FINDINGS.items() if kind.against)


def severity(code: str) -> Severity:
    """Whether a finding is an alarm; one that nobody has judged is."""
    return FINDINGS[code].severity if code in FINDINGS else "alarm"


__all__ = ["AGAINST", "FORBIDDING", "FULL", "LADDER", "REFUTING", "Severity", "severity"]
