"""The architectures whose sites are known: a module of this folder holds the records of one family in ``FAMILY``.

A package adds one through the entry point ``causal_dsl.architectures``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from causal_dsl.vocabulary.architectures.record import Architecture, Get
from causal_dsl.vocabulary.plugins import Words


def _own() -> list[Architecture]:
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [record for module in modules for record in getattr(module, "FAMILY", ())]


ARCHITECTURES: Words[Architecture] = Words("causal_dsl.architectures", Architecture, _own())

__all__ = ["ARCHITECTURES", "Architecture", "Get"]
