"""Every test fits anew: the cache is a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(cache))
    return cache
