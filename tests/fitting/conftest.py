"""Every test fits anew: the cache is a folder of its own. Runs share networks (``tests/sharing.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.sharing import own_networks, shared_networks

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(cache))
    return cache


__all__ = ["own_cache", "own_networks", "shared_networks"]
