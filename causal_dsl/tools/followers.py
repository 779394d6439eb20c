"""Processes that ``torchrun`` started beside the one that tells of results and writes them."""

from __future__ import annotations

import os


def is_follower() -> bool:
    """Whether this process computes with others, and another tells of the results and writes them."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


__all__ = ["is_follower"]
