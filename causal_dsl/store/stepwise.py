"""Work that is done in steps, of which a stop loses few: it is kept now and then, and goes on from where it was kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.store import later, stopping_points
from causal_dsl.store.files import clear_parts, if_possible
from causal_dsl.store.hashes import cache_root
from causal_dsl.store.tensors import take_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

#: Seconds after which work is kept.
EVERY = 10.0
#: Under what the files that were read later stand among what is told.
_LATER = "later"


class Stepwise(Protocol):
    """A task that is done in steps."""

    @property
    def done(self) -> bool: ...

    def step(self) -> None: ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the steps to come depend on: tensors, and plain data."""

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Go on from a state. Raises KeyError or RuntimeError where it is of something else, before anything is changed."""


@dataclass(frozen=True)
class Checkpoint:
    """A file in which work is kept; ``kind`` names its steps to :mod:`causal_dsl.store.stopping_points`, ``what`` it to a reader,
    and ``owner`` is the key of all that the work is made from."""

    path: Path
    kind: str
    what: str
    owner: str

    def take(self, work: Stepwise) -> None:
        """Let work go on from where it was kept, if it was. A damaged file is set aside (W659)."""
        found = take_tensors(self.path, self.what, self.owner)
        if found is not None and later.holds(found[1].pop(_LATER, None)):
            try:
                work.restore(*found)
            except (KeyError, RuntimeError):
                return  # of another version: from the start

    def keep(self, work: Stepwise) -> None:
        """Keep how far work is. Where that cannot be done, it goes on (W665)."""
        tensors, about = work.state()
        with if_possible(self.what):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(self.path, tensors, {**about, _LATER: later.told_now()}, self.owner)
        stopping_points.reached(self.kind)


def run(work: Stepwise, checkpoint: Checkpoint | None = None) -> None:
    """Do the steps that are left. Work is kept every few seconds, at the end, and when it is interrupted."""
    kept = time.monotonic()
    try:
        while not work.done:
            work.step()
            if checkpoint is not None and time.monotonic() - kept >= EVERY and not work.done:
                checkpoint.keep(work)
                kept = time.monotonic()
    except KeyboardInterrupt:
        if checkpoint is not None:
            checkpoint.keep(work)
        raise
    if checkpoint is not None:
        checkpoint.keep(work)


def kept_in(name: str) -> Path:
    """A folder of the cache, without what processes that died left half-written there."""
    found = cache_root() / name
    clear_parts(found)
    return found


def adam_state(optimiser: Optimizer) -> dict[str, Tensor]:
    """The state that an optimiser keeps of its parameters, by their numbers."""
    state = optimiser.state_dict()["state"]
    return {f"adam/{number}/{name}": value for number, own in state.items() for name, value in own.items()}


def restore_adam(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Let an optimiser go on from :func:`adam_state`; other tensors are passed over."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam/"):
            _, number, name = key.split("/")
            state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
