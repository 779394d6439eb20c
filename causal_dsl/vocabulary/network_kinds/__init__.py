"""The kinds of networks: a module of this folder holds the records of some in ``FAMILY``."""

from __future__ import annotations

from causal_dsl.vocabulary.network_kinds.network_kind import NetworkKind
from causal_dsl.vocabulary.record_tables import records_in, table

#: by ``Facts.kind``
NETWORK_KINDS: dict[str, NetworkKind] = table("kinds of networks", records_in(__name__))

__all__ = ["NETWORK_KINDS", "NetworkKind"]
