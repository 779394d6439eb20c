"""The measures of the language: each module of this folder holds the record of one as ``MEASURE``, and is named as it is."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from causal_dsl.vocabulary.measures.record import Measure, Need


def _own() -> dict[str, Measure]:
    """The records of this folder by their words."""
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {module.MEASURE.name: module.MEASURE for module in modules if hasattr(module, "MEASURE")}


MEASURES: Mapping[str, Measure] = _own()

__all__ = ["MEASURES", "Measure", "Need"]
