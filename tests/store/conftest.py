"""Every test has a cache of its own, and hears what the store tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.store.notices import collecting


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the working directory is the test's own."""
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def told() -> Iterator[list[Diagnostic]]:
    """What the store tells while the test goes on."""
    with collecting() as found:
        yield found
