"""The chance levels of a test: each ceiling is the score of a rule that knows nothing of the inside of the network. One record a rule."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.record_tables import table


@dataclass(frozen=True)
class CeilingRule:
    """``says`` is its definition, as docs/measures.md and ``explain`` give it, ``who`` what has this score, in words. ``numbers``: of an
    output that is a number, so that its score is r2.

    A verdict counts those with a ``warning``: its code where an expectation passes by this rule alone. ``always`` then says of pairs that
    the rule is right in each, and ``lacking`` which pairs there would have to be. They stand in the order in which they are told;
    :mod:`causal_dsl.causal.exact` (of numbers :mod:`causal_dsl.causal.number_ceilings`) computes them.
    """

    name: str
    says: str
    who: str
    warning: str = ""
    always: str = ""
    lacking: str = ""
    numbers: bool = False


CEILINGS: Mapping[str, CeilingRule] = table(
    "ceilings",
    (
        CeilingRule(
            "noop",
            "P(label = the base's own answer): the score of a network that ignores the intervention",
            "a network that ignores the intervention",
            "W620",
            "In every pair an answer that is right for the base is right under the intervention",
            "more pairs in which an answer that is right for the base is wrong under the intervention",
        ),
        CeilingRule(
            "source",
            "P(label = the source's answer), for the best single source: the score of a network that copies that answer",
            "a network that copies the source's answer",
            "W621",
            "In every pair an answer that is right for the source is right under the intervention",
            "more pairs in which an answer that is right for the source is wrong under the intervention",
        ),
        CeilingRule(
            "output_only",
            "the best accuracy of any deterministic rule that sees the base answer and the source answers",
            "a rule that sees only the answers of base and source",
            "W622",
            "In every pair the answers of base and source determine an answer that is right under the intervention",
            "pairs in which the same answers of base and source go with different labels",
        ),
        CeilingRule(
            "base_only",
            "the best accuracy of any deterministic rule that sees the whole base input",
            "a rule that sees the whole base input",
        ),
        CeilingRule(
            "source_only",
            "the best accuracy of any deterministic rule that sees all source inputs together",
            "a rule that sees all source inputs together",
        ),
        CeilingRule("constant", "the r2 of the best constant, which is 0", "the best constant", numbers=True),
        CeilingRule(
            "base_value",
            "the r2 of the base's own number, as a network gives it that ignores the intervention",
            "the base's own value",
            numbers=True,
        ),
        CeilingRule(
            "source_value", "the r2 of the number of the best single source", "the source's own value", numbers=True
        ),
    ),
)
#: The rules that give answers, and those that give numbers.
ANSWER_RULES = tuple(name for name, rule in CEILINGS.items() if not rule.numbers)
NUMBER_RULES = tuple(name for name, rule in CEILINGS.items() if rule.numbers)
#: Those that a verdict counts.
COUNTED = tuple(name for name, rule in CEILINGS.items() if rule.warning)

__all__ = ["ANSWER_RULES", "CEILINGS", "COUNTED", "NUMBER_RULES", "CeilingRule"]
