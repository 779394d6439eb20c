"""The options of ``run`` that say how many processes run it, and where."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Literal

from causal_dsl.specs import Options

#: Seconds without a sign after which a worker may be ended: as it runs a layer it gives none.
_LEAST_SILENCE = 10.0
_MOST_WORKERS = 100_000


def add_workers(command: ArgumentParser) -> None:
    """How many workers run the units of a plan, and where."""
    command.add_argument(
        "--workers",
        type=worker_count,
        metavar="N",
        help="run with N processes, on this machine or on --cluster; auto: one for each GPU, without GPUs one for each core",
    )
    command.add_argument(
        "--cluster",
        type=cluster_address,
        metavar="ADDRESS",
        help="run it on the Ray cluster of this address, such as ray://host:10001; auto: that of RAY_ADDRESS",
    )
    command.add_argument(
        "--silence",
        type=silent_seconds,
        metavar="SECONDS",
        help=f"replace a worker after SECONDS without a sign of progress; default {Options.silence:g}",
    )


def worker_count(text: str) -> int | Literal["auto"]:
    """A number of workers from 1 upwards, or ``auto``."""
    if text.strip() == "auto":
        return "auto"
    if not re.fullmatch(r"\d{1,6}", text.strip()) or not 1 <= int(text) <= _MOST_WORKERS:
        raise ArgumentTypeError(f"{text!r} is not a number of workers; write 1 to {_MOST_WORKERS}, or auto")
    return int(text)


def cluster_address(text: str) -> str:
    """The address of a cluster."""
    if not text.strip() or re.search(r"\s", text.strip()):
        raise ArgumentTypeError(f"{text!r} is not an address; write ray://host:10001, host:6379, or auto")
    return text.strip()


def silent_seconds(text: str) -> float:
    """Seconds, of which a worker needs some for a sign."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not _LEAST_SILENCE <= found < 1e9:
        raise ArgumentTypeError(f"{text!r} is too short, or no number of seconds; write {_LEAST_SILENCE:g} or more")
    return found
