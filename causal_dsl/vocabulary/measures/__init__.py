"""The measures of the language: each module of this folder holds the record of one as ``MEASURE``, and is named as it is.

A package adds one through the entry point ``causal_dsl.measures``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from causal_dsl.vocabulary.measures.measure import Measure, Need
from causal_dsl.vocabulary.plugins import Words


def _own() -> Iterator[Measure]:
    """The records of this folder."""
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return (module.MEASURE for module in modules if hasattr(module, "MEASURE"))


MEASURES: Words[Measure] = Words("causal_dsl.measures", Measure, _own())

__all__ = ["MEASURES", "Measure", "Need"]
