"""Which written places can reach what is read: the graph of a network's layers, walked from the read token backwards.

What leaves the last layer reaches the answer at the token that is read. Inside a layer a token's own vectors go to that
token, and what attention is given goes to all tokens that look at it: those behind it, or all of them in encoders. What is
read at a place in the network is reached in the same way, by what leaves the layer that the place is in.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from causal_dsl.planning.liveness import ANYWHERE, BOTTOM, ENTRY, KEYS, POINT, place_of
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.components import unfit
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NetworkKind


def all_reach(kind: NetworkKind) -> bool:
    """Whether all that is written in networks of a kind can reach the answer: there are no tokens behind the one that is read."""
    return not kind.positions


def reaching(
    facts: Facts,
    site: Site,
    positions: np.ndarray,
    lengths: np.ndarray,
    reads: np.ndarray,
    read_at: tuple[int, int] | None = None,
) -> np.ndarray:
    """Whether what is written at ``positions`` [m] can reach the tokens ``reads`` [m] of prompts of ``lengths`` [m].

    ``read_at``: the level and the phase at which these are read, as :func:`~causal_dsl.planning.liveness.place_of` gives them;
    None: the answer is read. Of networks whose layers are not known, and of modules, nothing is said to be out of reach.
    """
    layers = layers_of(facts)
    level, phase = place_of(site, layers)
    top, read_phase = (layers, POINT) if read_at is None else read_at
    if ANYWHERE in (phase, read_phase) or all_reach(facts.traits) or unfit(facts) is not None:
        return np.ones(len(positions), bool)
    if phase == BOTTOM:
        level, phase = 0, ENTRY
    elif read_phase == BOTTOM:
        return np.zeros(len(positions), bool)
    if read_phase == BOTTOM:
        return positions == reads
    if level > top or (level == top and read_phase == ENTRY and phase != ENTRY):
        return np.zeros(len(positions), bool)
    end = top if read_phase == ENTRY else min(top + 1, layers)
    found = np.zeros(len(positions), bool)
    # One number for each pair of them: to sort rows of two columns takes many times as long.
    beyond = int(reads.max(initial=0)) + 1
    distinct, which = np.unique(lengths.astype(np.int64) * beyond + reads, return_inverse=True)
    for number, (length, read) in enumerate(divmod(case, beyond) for case in distinct.tolist()):
        mine = which.reshape(-1) == number
        found[mine] = _live(end, facts.both_ways, int(length), int(read), level)[phase][positions[mine]]
    return found


@cache
def _live(end: int, both_ways: bool, length: int, read: int, level: int) -> tuple[np.ndarray, ...]:
    """The tokens [length] of a prompt that reach the one that is read as layer ``end`` is entered, by where in layer ``level``
    they are written: as it is entered, inside it (``POINT``), or in what its attention is given (``KEYS``)."""
    leaving = np.zeros(length, bool)
    leaving[read] = True
    if level == end:
        return leaving, leaving, leaving
    if level + 1 < end:
        leaving = _live(end, both_ways, length, read, level + 1)[ENTRY]
    looked = np.full(length, leaving.any())
    if not both_ways:
        looked = np.cumsum(leaving[::-1])[::-1] > 0
    entering = leaving | looked
    return entering, leaving, looked


assert (ENTRY, KEYS) == (0, 2)  # how `_live` lays its answer out

__all__ = ["all_reach", "reaching"]
