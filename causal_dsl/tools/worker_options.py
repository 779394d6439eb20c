"""The options of ``run`` that say how many processes run it, and where."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeVar

from causal_dsl.checking import asked_workers
from causal_dsl.checking.specs import Options

T = TypeVar("T")


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
    written = text.strip()
    return _as_typed(asked_workers.worker_count, int(written) if re.fullmatch(r"\d{1,6}", written) else written)


def cluster_address(text: str) -> str:
    """The address of a cluster."""
    return _as_typed(asked_workers.cluster_address, text)


def silent_seconds(text: str) -> float:
    """Seconds, of which a worker needs some for a sign."""
    with suppress(ValueError):
        return _as_typed(asked_workers.silent_seconds, float(text))
    return _as_typed(asked_workers.silent_seconds, text)


def _as_typed(read: Callable[[object], T], typed: object) -> T:
    try:
        return read(typed)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
