"""The architectures whose sites are known: a module of this folder holds the records of one family in ``FAMILY``.

A package adds one through the entry point ``causal_dsl.architectures``.
"""

from __future__ import annotations

from causal_dsl.vocabulary.architectures.architecture import Architecture, Get
from causal_dsl.vocabulary.plugins import Words

ARCHITECTURES: Words[Architecture] = Words("causal_dsl.architectures", Architecture, __name__)

__all__ = ["ARCHITECTURES", "Architecture", "Get"]
