"""The components of networks: a module of this folder holds the records of some in ``FAMILY``."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from causal_dsl.vocabulary.components.component import Component, Identity, Layer


def _own() -> list[Component]:
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return sorted((r for module in modules for r in getattr(module, "FAMILY", ())), key=lambda record: record.rank)


#: name -> what it takes and which networks have it
COMPONENTS: Mapping[str, Component] = {record.name: record for record in _own()}

__all__ = ["COMPONENTS", "Component", "Identity", "Layer"]
