"""The components of networks: a module of this folder holds the records of some in ``FAMILY``."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.vocabulary.components.component import Component, Identity, Layer
from causal_dsl.vocabulary.record_tables import records_in, table

#: name -> what it takes and which networks have it, in the order of their ranks, of which each has its own
COMPONENTS: Mapping[str, Component] = table("components", sorted(records_in(__name__), key=lambda record: record.rank))
table("components", COMPONENTS.values(), "rank")  # of two with one rank, nothing says which is touched first

__all__ = ["COMPONENTS", "Component", "Identity", "Layer"]
