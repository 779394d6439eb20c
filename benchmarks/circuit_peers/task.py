"""What every peer runs, as arrays, and what it hands back. Nothing here needs more than numpy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

#: The kinds of nodes and of receivers, as the numbers of the first column of ``senders`` and ``receivers``.
SENDERS = ("embed", "head", "mlp")
RECEIVERS = ("q", "k", "v", "mlp", "logits")
#: Points between the counterfactual run and the base run at which EAP-IG takes gradients: the first at the counterfactual run.
POINTS = 5


@dataclass(frozen=True, eq=False)
class Task:
    """``base`` and ``source`` [3, pairs, tokens] are ids of prompts of one length: of the pairs on which edges are scored, of those on
    which circuits are judged, and of those that are read; ``wanted`` [3, pairs, 2] the ids of the base's and of the source's answer,
    whose logits' difference at the last token is the metric. ``senders`` and ``receivers`` [edges, 3] are all edges,
    each end as its kind, layer and head (-1 where it has none; the head of a key or value that query heads share is that of the key).
    ``circuits`` [circuits, edges]: which edges are in each."""

    base: np.ndarray
    source: np.ndarray
    wanted: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    circuits: np.ndarray
    #: the numbers of layers, of heads, and of heads of keys
    shape: np.ndarray

    @property
    def pairs(self) -> int:
        """The number of pairs of each of the sets."""
        return int(self.base.shape[1])

    @property
    def layers(self) -> int:
        return int(self.shape[0])

    @property
    def heads(self) -> int:
        return int(self.shape[1])

    @property
    def shared(self) -> int:
        """How many query heads share a key."""
        return int(self.shape[1] // self.shape[2])

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **{one.name: getattr(self, one.name) for one in fields(self)})

    @staticmethod
    def load(path: Path) -> Task:
        with np.load(path) as file:
            return Task(**dict(file))

    def edges(self) -> Iterator[tuple[str, int, int, str, int, int]]:
        """Each edge: kind, layer and head of the sender, then of the receiver."""
        for sender, receiver in zip(self.senders.tolist(), self.receivers.tolist(), strict=True):
            yield SENDERS[sender[0]], sender[1], sender[2], RECEIVERS[receiver[0]], receiver[1], receiver[2]


@dataclass(frozen=True)
class Work:
    """Something that is timed. ``run`` gives its numbers. ``scale``: it is so many times what is asked for that ``run`` does, so that its
    time counts that many times; ``once``: it is dear, and one round before the others does not warm it up."""

    run: Callable[[], np.ndarray]
    scale: float = 1.0
    once: bool = False


@dataclass
class Peer:
    """What one contender can do, by the name of the work, and what a plain forward is in it."""

    plain: dict[str, Callable[[], object]]
    works: dict[str, Work] = field(default_factory=dict)


#: What is asked for, as rows of the table.
WORKS = {
    "eap": "EAP, all edges",
    "eap_ig": f"EAP-IG, {POINTS} points, all edges",
    "circuit": "one circuit",
    "circuits": "32 circuits",
    "reads": "lens of each layer and attribution to each head",
}
#: The number of circuits, and which of them the slow contenders run, whose time is scaled.
CIRCUITS, EVERY = 32, 8
#: Which of the circuits is run alone.
ALONE = 15


def keep(path: Path, found: dict[str, Any]) -> None:
    """Add results to the ones that are there."""
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, times in found.items():
        there.setdefault(name, []).extend(times)
    path.write_text(json.dumps(there), encoding="utf-8")
