"""What is fitted: each workload as a spec, and as the arrays that every contender reads. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from benchmarks.workloads import NETWORK

_SPEC = Template("""\
domain Name  = {"Mary", "John", "Tom", "James", "Anna", "Alice", "Sarah", "David", "Emma", "Jack", "Paul", "Peter"}
domain Place = {"store", "park", "school", "office", "station", "garden"}
domain Thing = {"ring", "book", "drink", "gift", "letter", "ball"}

causal ioi {
  one, two ~ Name where one != two
  subject  ~ {one, two}
  place    ~ Place
  thing    ~ Thing

  recipient := if subject == one then two else one
  output answer := recipient
}

network net = zoo("$network")

align sites(l in $layers, s in $seeds) : ioi -> net {
  prompt "Then, {one} and {two} went to the {place}. {subject} gave a {thing} to"

  recipient @ layer[l].resid_post[last] via rotation(
      dim=8, seed=s, n=$pairs, batch=$batch, epochs=$epochs, rate=0.001, patience=$epochs, controls=none
  )
  answer @ next_token
}

test fitted on sites {
  base, source ~ ioi(n=16, seed=0)
  do(recipient <- source)
  report iia
}
""")


@dataclass(frozen=True)
class FitWorkload:
    """One spec: a rotation for each layer and seed. Of slow contenders only ``epochs_timed`` epochs, and of the layers
    every so-manieth with the first seed, are timed, and the time scaled up."""

    name: str
    about: str
    layers: str = "[15]"
    seeds: str = "[0]"
    pairs: int = 128
    batch: int = 16
    epochs: int = 13
    epochs_timed: int = 13
    every: int = 1

    @property
    def spec(self) -> str:
        """The ``.causal`` text."""
        return _SPEC.substitute(
            network=NETWORK,
            layers=self.layers,
            seeds=self.seeds,
            pairs=self.pairs,
            batch=self.batch,
            epochs=self.epochs,
        )

    @property
    def smoke(self) -> FitWorkload:
        """A little of it: whether everything works, not how fast."""
        return replace(
            self, layers="[15]" if self.every == 1 else "[15, 29]", pairs=4, batch=2, epochs=1, epochs_timed=1
        )

    @property
    def warmup(self) -> FitWorkload:
        """An epoch of one cell with few pairs."""
        return replace(self, name=f"{self.name}-warmup", layers="[15]", seeds="[0]", pairs=16, epochs=1)


WORKLOADS = {
    workload.name: workload
    for workload in (
        FitWorkload("W3", "a rotation of 8 dimensions: layer 15, last position, 104 steps of 16 pairs", epochs_timed=2),
        FitWorkload(
            "W3S",
            "the same for 30 layers x 3 seeds, 8 steps each, in one batch",
            "0:30",
            "[0, 1, 2]",
            epochs=1,
            epochs_timed=1,
            every=10,
        ),
    )
}

#: Fitted by every contender before any is timed. The first holds the others, which are fitted alone.
CHECK = FitWorkload("check-fits", "", "[0, 29]", "[0, 1]", 16, 8, 2)
ALONE = (
    FitWorkload("check-fit-0", "", "[0]", "[1]", 16, 8, 2),
    FitWorkload("check-fit-29", "", "[29]", "[0]", 16, 8, 2),
)
#: Pairs that vectors and logits are compared on.
COMPARED = 8


@dataclass
class FitArrays:
    """A workload as numbers, and the ``spec`` that they are from.

    Cell c writes after layer ``layers[c]`` at the last token, from ``starts[c]`` [width, dim]; its steps take the pairs
    ``order[c]`` [steps, batch]. ``base`` and ``source`` are token ids [pairs, tokens], ``target`` [pairs] the ids that
    should come next; ``check_…`` are those that the loss is looked at on after each epoch of ``epoch`` steps.
    """

    spec: str
    base: np.ndarray
    source: np.ndarray
    target: np.ndarray
    check_base: np.ndarray
    check_source: np.ndarray
    check_target: np.ndarray
    layers: np.ndarray
    seeds: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    epoch: int
    rate: float
    #: Indices of these cells among those of the whole workload.
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.numbers):
            self.numbers = np.arange(len(self.layers))

    @property
    def epochs(self) -> int:
        return self.order.shape[1] // self.epoch

    def part(self, cells: np.ndarray, epochs: int) -> FitArrays:
        """The same with some of the cells and the first epochs only."""
        kept = {name: getattr(self, name)[cells] for name in ("layers", "seeds", "starts", "numbers")}
        return replace(self, order=self.order[cells, : epochs * self.epoch], **kept)

    def save(self, path: Path) -> None:
        values: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        np.savez(path, **values)

    @classmethod
    def load(cls, path: Path) -> FitArrays:
        with np.load(path) as file:
            values = {name: file[name] for name in file.files}
        plain = {name: values.pop(name).item() for name in ("spec", "epoch", "rate")}
        return cls(**values, **plain)


def for_timing(arrays: FitArrays, every: int, epochs: int) -> tuple[FitArrays, float]:
    """Some of the cells and epochs, and how many times the work of the whole is that of these."""
    layers = np.unique(arrays.layers)[every // 2 :: every]
    kept = np.isin(arrays.layers, layers)
    if every > 1:
        kept &= arrays.seeds == arrays.seeds.min()
    cells, epochs = np.flatnonzero(kept), min(epochs, arrays.epochs)
    return arrays.part(cells, epochs), len(kept) / len(cells) * arrays.epochs / epochs


@dataclass
class Fitted:
    """``losses`` [cells, epochs]: the mean over the steps of an epoch; ``checks`` [cells, epochs, 2]: the loss on the
    other pairs after it, and the share of them that is right."""

    losses: np.ndarray
    checks: np.ndarray
