"""The inputs that the units of a run were computed on, where they are to be scored and nothing is to be computed again (``merge``).

Networks say it as they are loaded, and a run before it takes its first block: so nothing is fitted, computed or removed before all that decides
the results was compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError
from causal_dsl.store.keys import changes


@dataclass(frozen=True)
class RanOn:
    """``networks``: by name, the inputs of each way in which it was loaded; ``runs``: the inputs of the blocks of each part of a spec. ``refused``
    makes an error of what is another now, in words."""

    networks: Mapping[str, Sequence[Mapping[str, Any]]]
    runs: Mapping[str, Mapping[str, Any]]
    refused: Callable[[Sequence[str]], SpecError]


_RAN_ON: ContextVar[RanOn | None] = ContextVar("ran_on", default=None)


@contextmanager
def comparing(ran_on: RanOn) -> Iterator[None]:
    """Within, networks and runs are compared with those of the units that are stored."""
    token = _RAN_ON.set(ran_on)
    try:
        yield
    finally:
        _RAN_ON.reset(token)


def is_compared() -> bool:
    """Whether what is stored is to be scored as a whole: where a part of it is not there, nothing is."""
    return _RAN_ON.get() is not None


def compare_network(name: str, now: Callable[[], Mapping[str, Any]]) -> None:
    """Refuse a network that was just loaded and is none that units were computed on."""
    ran_on = _RAN_ON.get()
    known = [] if ran_on is None else ran_on.networks.get(name, [])
    if ran_on is not None and known:
        found = min((changes(before, now(), f"network `{name}`") for before in known), key=len)
        if found:
            raise ran_on.refused(found)


def compare_run(part: str, now: Callable[[], Mapping[str, Any]]) -> None:
    """Refuse a run whose blocks are none of those that are stored of a part of its spec."""
    ran_on = _RAN_ON.get()
    if ran_on is not None and part in ran_on.runs:
        found = changes(ran_on.runs[part], now())
        if found:
            raise ran_on.refused(found)


__all__ = ["RanOn", "compare_network", "compare_run", "comparing", "is_compared"]
