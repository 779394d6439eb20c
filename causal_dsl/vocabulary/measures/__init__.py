"""The measures of the language: each module of this folder holds the record of one as ``MEASURE``, and is named as it is.

A package adds one through the entry point ``causal_dsl.measures``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

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


def given(kind: Literal["answer", "interchange", "number"]) -> tuple[str, ...]:
    """The measures that tests of a kind have without asking, in their order."""
    own = [
        (measure.given[1], name) for name, measure in MEASURES.own.items() if measure.given and measure.given[0] == kind
    ]
    return tuple(name for _, name in sorted(own))


def leading(known: Iterable[str], need: Need | None = None) -> str | None:
    """The score that stands for a test whose report asks for none, of those that are ``known``; None where it has none of these.
    ``need``: only among measures that need this."""
    there = set(known)
    turns = sorted((measure.leads, name) for name, measure in MEASURES.own.items() if measure.leads)
    wanted = (name for _, name in turns if need is None or need in MEASURES[name].needs)
    return next((name for name in wanted if name in there), None)


def perfect() -> dict[str, float]:
    """The measures that say how well a hypothesis holds, with what each is where it holds and the network is right."""
    return {name: measure.perfect for name, measure in MEASURES.own.items() if measure.perfect is not None}


def of_counts(score: str, unit: str) -> bool:
    """Whether a score is a share of pairs, each of which is right or wrong: by the record of its measure. A score that a spec
    defines is one by its ``unit``."""
    measure = of_score(score)
    return unit == "share" if measure is None else measure.interval == "share"


__all__ = ["MEASURES", "Measure", "Need", "given", "leading", "of_counts", "of_score", "perfect"]
