"""The contents of the zoo; read without torch in :mod:`causal_dsl.program.zoo_entries`, for ``check`` needs it too."""

from __future__ import annotations

from causal_dsl.program.zoo_entries import Entry, catalogue

__all__ = ["Entry", "catalogue"]
