"""A cache of its own for what is timed, so that no kept fit is found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "CAUSAL_DSL_CACHE"


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Within, fits are kept in and found in ``folder`` alone."""
    before = os.environ.get(NAME)
    os.environ[NAME] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[NAME]
        else:
            os.environ[NAME] = before
