"""The words that Python writes as a spec does: ``cd.iia``, ``cd.clamp(0, 8)``, ``cd.rotation(dim=1)``."""

from __future__ import annotations

from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.values import words as value_words


def words() -> frozenset[str]:
    """The names of all families of features, measures, readings and written values, also of those that installed packages add."""
    return frozenset((*FEATURES, *MEASURES, *READINGS, *value_words()))


__all__ = ["words"]
