"""Units of a layer each of which is taken from an input of its own.

Where one other input gives several units, no two of them are unlike each other that are alike in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch

from causal_dsl.carrying import Carrying
from causal_dsl.counter import Stream
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.probe_rows import FREE, LEAST, SEED
from causal_dsl.planning.unclaimed import ALL

#: Of how many units at least each is taken from an input of its own; and of more than few units, how many random halves.
FEWEST, _HALVES = 2, 8


def sets_to_mix(units: tuple[int, ...], decided: bool, stream: Stream) -> list[tuple[int, ...]]:
    """The sets of units that are mixed. All of them together have to stay as they are in some run, unless the placed variables decide
    the answer by themselves; and of what the answer needs, two copies of three may outvote the third."""
    if len(units) <= ALL:
        return [
            some for size in range(FEWEST + (not decided), len(units) + decided) for some in combinations(units, size)
        ]
    if not decided:
        return []
    halves = [tuple(sorted(stream.shuffled(np.array(units))[: len(units) // 2].tolist())) for _ in range(_HALVES)]
    return [units, *(half for half in halves if len(half) >= FEWEST)]


@torch.no_grad()
def mixed_where_nothing_is_needed(carrying: Carrying, cells: int) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Sets of unclaimed units, all of them included, and in which of some inputs [n] that the network answers right the answer moves when each
    unit is taken from an input of its own. None where the unclaimed units together move the answer in any pair of inputs in which it needs
    something else: then they hold some of it.

    A small vector network is run, in its share of rows by the ``cells`` of the test.
    """
    units, pairs = carrying.probe.units[0], len(carrying.base)
    sets = sets_to_mix(units, True, Stream(SEED, len(units))) if len(units) >= FEWEST else []
    n = FREE // 8 // cells // max(1, len(sets))
    if pairs < LEAST or n < LEAST or not sets or next(iter(carrying.moved([units], pairs))).any():
        return
    right = np.unique(np.concatenate([carrying.base, carrying.other]))
    stream = Stream(SEED, pairs)
    base = np.resize(stream.shuffled(right), n)
    own, lines = carrying.answers[base], carrying.lines(base)
    for chosen in sets:
        vectors = carrying.vectors[torch.from_numpy(base)].clone()
        for unit in chosen:
            donors = right[stream.below(len(right), n)]
            vectors[:, unit] = carrying.vectors[torch.from_numpy(donors), unit]
        said, _ = carrying.layer.said(carrying.inputs[base], lines, vectors)
        yield chosen, (said != own) & (said != TIED)


__all__ = ["FEWEST", "mixed_where_nothing_is_needed", "sets_to_mix"]
