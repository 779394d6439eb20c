"""Runs of these tests share networks (``tests/sharing.py``)."""

from __future__ import annotations

from tests.sharing import own_networks, shared_networks

__all__ = ["own_networks", "shared_networks"]
