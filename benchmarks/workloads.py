"""What is run: each workload as a spec, and as the arrays that every contender reads.

The spec is written from a template, so that a growing workload is one text with other numbers. The arrays are what
our plan draws from that spec: every contender runs the very same pairs at the very same tokens. Nothing here needs
torch, and the arrays need nothing of this package but this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

NETWORK = "smollm2-135m-instruct-q4"
TEST = "sweep"

_SPEC = Template("""\
domain Name  = {"Mary", "John", "Tom", "James", "Anna", "Alice", "Sarah", "David", "Emma", "Jack", "Paul", "Peter"}
domain Place = {"store", "park", "school", "office", "station", "garden"}
domain Thing = {"ring", "book", "drink", "gift", "letter", "ball"}

causal ioi {
  one, two ~ Name where one != two
  subject  ~ {one, two}
  place    ~ Place
  thing    ~ Thing

  output answer := if subject == one then two else one
}

network net = zoo("$network")

align sites($parameters) : ioi -> net {
  prompt "Then, {one} and {two} went to the {place}. {subject} gave a {thing} to"

  answer @ next_token(among=Name)
}

metric of_answer  = logit(answer)
metric of_subject = logit(subject)

test $test on sites {
  base, source ~ ioi(n=$pairs, seed=0)
  do($site <- source)
  report of_answer
  report of_subject
}
""")

#: Both names, the repeated name, and the last token.
FOUR = ("one", "two", "subject", "last")
#: About evenly spread over the tokens from the first name on. Their suffixes are as long on average as those of `place` alone
#: (7 tokens) and of `FOUR` (7.5): what grows is the number of positions, not what trimming by position saves.
TEN = (2, 3, 4, 5, 8, 10, 11, 12, 13, 14)


@dataclass(frozen=True)
class Workload:
    """One spec. ``layers`` and ``rest`` are the parameters of its cells, ``site`` is where it writes."""

    name: str
    about: str
    pairs: int
    layers: str
    rest: str
    site: str
    #: Of slow contenders every so-manieth layer is timed and the time scaled up (1: all).
    every: int = 1

    @property
    def spec(self) -> str:
        """The ``.causal`` text."""
        return _SPEC.substitute(
            network=NETWORK, parameters=f"l in {self.layers}, {self.rest}", test=TEST, pairs=self.pairs, site=self.site
        )

    @property
    def smoke(self) -> Workload:
        """Two layers and two pairs of it: whether everything works, not how fast."""
        return replace(self, pairs=2, layers="[15, 29]", every=min(self.every, 2))

    @property
    def warmup(self) -> Workload:
        """One layer of it, with all pairs: the largest batch that any contender makes."""
        return replace(self, name=f"{self.name}-warmup", layers="[15]", every=1)


_STREAM, _HEAD = "layer[l].resid_post[p]", "layer[l].head[h].z[last]"


def _sweep(name: str, about: str, pairs: int, positions: tuple[str | int, ...], every: int = 1) -> Workload:
    return Workload(name, about, pairs, "0:30", f"p in [{', '.join(map(str, positions))}]", _STREAM, every)


WORKLOADS = {
    workload.name: workload
    for workload in (
        _sweep("W1", "resid_post: 30 layers x 4 positions, 16 pairs", 16, FOUR),
        _sweep("W1L", "resid_post: 30 layers, last position, 16 pairs", 16, ("last",)),
        Workload("W2", "resid_post: layer 15, the repeated name, 256 pairs", 256, "[15]", "p in [subject]", _STREAM),
        Workload("W4", "z of 270 heads (30 layers x 9), last position, 16 pairs", 16, "0:30", "h in 0:9", _HEAD, 3),
        _sweep("W5-pairs-4", "W1 with 4 pairs", 4, FOUR),
        _sweep("W5-pairs-64", "W1 with 64 pairs", 64, FOUR, every=10),
        _sweep("W5-positions-1", "W1 at 1 position", 16, ("place",)),
        _sweep("W5-positions-10", "W1 at 10 positions", 16, TEN, every=5),
    )
}

#: Run by every contender before any is timed: all must give the same logits.
CHECKS = (
    Workload("check-stream", "", 4, "[0, 15, 29]", "p in [two, last]", _STREAM),
    Workload("check-heads", "", 4, "[0, 29]", "h in [0, 8]", _HEAD),
)
#: Run by every contender before memory is counted: it touches all weights and makes all late imports.
TOUCH = Workload("touch", "", 2, "[15]", "p in [last]", _STREAM)

#: What a name on the command line stands for. The middle point of both growths is W1 itself.
GROUPS = {
    "W5": ("W5-pairs-4", "W1", "W5-pairs-64", "W5-positions-1", "W5-positions-10"),
    **{name: (name,) for name in WORKLOADS},
}
DEFAULT = ("W1", "W1L", "W2", "W4", "W5")


def named(names: Sequence[str]) -> list[Workload]:
    """The workloads that names stand for, each once; raises KeyError for a name that stands for none."""
    return [WORKLOADS[name] for name in dict.fromkeys(member for name in names for member in GROUPS[name])]


@dataclass
class Arrays:
    """A workload as numbers, and the ``spec`` that they are from. A cell c writes at ``layers[c]`` and ``targets[c]`` the vector that its source has at ``origins[c]``.

    ``site`` is ``resid_post`` (``heads`` are -1) or ``z``, of head ``heads[c]``. ``base`` and ``source`` are token ids
    [pairs, tokens], ``wanted`` [pairs, 2] the ids whose logits at the last token are asked for.
    """

    spec: str
    site: str
    base: np.ndarray
    source: np.ndarray
    wanted: np.ndarray
    layers: np.ndarray
    targets: np.ndarray
    origins: np.ndarray
    heads: np.ndarray
    #: Indices of these cells among those of the whole workload.
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.numbers):
            self.numbers = np.arange(len(self.layers))

    @property
    def pairs(self) -> int:
        return len(self.base)

    def cells(self, keep: np.ndarray) -> Arrays:
        """The same with some of the cells only."""
        kept = {name: getattr(self, name)[keep] for name in ("layers", "targets", "origins", "heads", "numbers")}
        return Arrays(self.spec, self.site, self.base, self.source, self.wanted, **kept)

    def by_layer(self) -> dict[int, np.ndarray]:
        """Rows of the arrays of each layer that is written, in order."""
        return {int(layer): np.flatnonzero(self.layers == layer) for layer in np.unique(self.layers)}

    def save(self, path: Path) -> None:
        values: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        np.savez(path, **values)

    @classmethod
    def load(cls, path: Path) -> Arrays:
        with np.load(path) as file:
            values = {name: file[name] for name in file.files}
        return cls(str(values.pop("spec")), str(values.pop("site")), **values)


def for_timing(arrays: Arrays, every: int) -> tuple[Arrays, float]:
    """Every so-manieth layer, centred, and the number of cells for each that is kept."""
    layers = np.unique(arrays.layers)[every // 2 :: every]
    kept = np.flatnonzero(np.isin(arrays.layers, layers))
    return arrays.cells(kept), len(arrays.layers) / len(kept)
