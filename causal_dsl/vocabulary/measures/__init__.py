"""The measures of the language: each module of this folder holds the record of one as ``MEASURE``, and is named as it is.

A package adds one through the entry point ``causal_dsl.measures``.
"""

from __future__ import annotations

import re

from causal_dsl.vocabulary.measures.measure import Measure, Need
from causal_dsl.vocabulary.plugins import Words

MEASURES: Words[Measure] = Words("causal_dsl.measures", Measure, __name__)

#: A measure with what it is of, which may be quoted: the name comes first.
_CALL = re.compile(r"""(\w+?)(?:\((?:"(?:[^"\\]|\\.)*"|[^()"])*\))?(?:_unfiltered)?""", re.DOTALL)


def of_score(score: str) -> Measure | None:
    """The measure that a score is of, by the text of it: of ``iia(color)``, ``kl_unfiltered`` and ``prob("x")``; None where a spec
    defines it."""
    called = _CALL.fullmatch(score)
    return MEASURES.get(called[1]) if called else None


def of_counts(score: str, unit: str) -> bool:
    """Whether a score is a share of pairs, each of which is right or wrong: by the record of its measure. A score that a spec
    defines is one by its ``unit``."""
    measure = of_score(score)
    return unit == "share" if measure is None else measure.interval == "share"


__all__ = ["MEASURES", "Measure", "Need", "of_counts", "of_score"]
