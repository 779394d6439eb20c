"""How many workers may be asked for, on which cluster and how long one may be silent: the same on the command line and in Python."""

from __future__ import annotations

import re
from typing import Literal

from causal_dsl.checking.specs import Options
from causal_dsl.diagnostics import fail
from causal_dsl.messages.typed_words import place_of_option

#: Seconds without a sign after which a worker may be ended: as it runs a layer it gives none.
_LEAST_SILENCE, _MOST_SILENCE = 10.0, 1e9
_MOST_WORKERS = 100_000


def worker_count(asked: object) -> int | Literal["auto"]:
    """A number of workers from 1 upwards, or ``auto``. Raises ValueError, with the reason, for what is neither."""
    if asked == "auto":
        return "auto"
    if isinstance(asked, int) and not isinstance(asked, bool) and 1 <= asked <= _MOST_WORKERS:
        return int(asked)
    raise ValueError(f"{asked!r} is not a number of workers; write 1 to {_MOST_WORKERS}, or auto")


def cluster_address(asked: object) -> str:
    """The address of a cluster, or ``auto``. Raises ValueError for what is none."""
    text = asked.strip() if isinstance(asked, str) else ""
    if not text or re.search(r"\s", text) or text.endswith("://"):
        raise ValueError(f"{asked!r} is not an address; write ray://host:10001, host:6379, or auto")
    return text


def silent_seconds(asked: object) -> float:
    """Seconds, of which a worker needs some for a sign. Raises ValueError for fewer, and for what is no number."""
    if isinstance(asked, int | float) and not isinstance(asked, bool) and _LEAST_SILENCE <= asked < _MOST_SILENCE:
        return float(asked)
    raise ValueError(f"{asked!r} is too short, or no number of seconds; write {_LEAST_SILENCE:g} or more")


def refuse_unasked(options: Options) -> None:
    """Raise E926 for options in which the workers, their cluster or their silence are none that can be asked for."""
    asked = (("workers", worker_count), ("cluster", cluster_address), ("silence", silent_seconds))
    for name, read in asked:
        value = getattr(options, name)
        if value is None:
            continue
        try:
            read(value)
        except ValueError as error:
            why, _, help = str(error).partition("; ")
            raise fail(
                "E926", why, place_of_option(options.command, f"--{name}", f"{name}={value!r}"), help=help
            ) from error


__all__ = ["cluster_address", "refuse_unasked", "silent_seconds", "worker_count"]
