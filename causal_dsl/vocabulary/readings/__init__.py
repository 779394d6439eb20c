"""What can be computed from what is at a place: each module of this folder holds records in ``FAMILY``."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from causal_dsl.vocabulary.readings.place_reading import Reading


def _own() -> list[Reading]:
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [record for module in modules for record in getattr(module, "FAMILY", ())]


#: name -> what it computes, and how it is written
READINGS: Mapping[str, Reading] = {record.name: record for record in _own()}

__all__ = ["READINGS", "Reading"]
