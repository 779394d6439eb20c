"""How the inputs of a linear probe are split, and what its control task asks (Hewitt and Liang 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.base import counter
from causal_dsl.inputs import Inputs
from causal_dsl.program.program import PlaceRead

#: How often a control task is drawn anew where all of its types were given one value.
_TRIES = 100


def halves(inputs: np.ndarray) -> np.ndarray:
    """Of pairs whose inputs have these numbers [n], the half of each, 0 or 1: all pairs of an input are in one."""
    _, which = np.unique(inputs, return_inverse=True)
    count = int(which.max(initial=-1)) + 1
    order = counter.permutation(counter.key("probe", "halves"), count)
    half: np.ndarray = (np.argsort(order) * 2 >= count).astype(np.int64)
    return half[which.reshape(-1)]


def control_task(types: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """The classes [n] of a control task: each of the ``types`` [n] has a class of its own, drawn from the ``classes`` [n] as often as
    these occur; None where all of them are one type."""
    _, which = np.unique(types, return_inverse=True)
    which = which.reshape(-1)
    count = int(which.max(initial=-1)) + 1
    if count < 2:
        return None
    for attempt in range(_TRIES):
        random = counter.bits(counter.key("probe", "control", attempt), np.arange(count))
        given = classes[counter.below(random, len(classes))]
        if len(np.unique(given)) > 1:
            return np.asarray(given[which])
    return None


def unlearnable(classes: np.ndarray, half: np.ndarray) -> str:
    """Why no probe can be fitted on each half, in the user's words; empty where one can."""
    if len(np.unique(classes)) < 2:
        return "it has one value in all pairs"
    if len(np.unique(half)) < 2:
        return "all pairs are one input"
    if any(len(np.unique(classes[half == one])) < 2 for one in (0, 1)):
        return "it has one value in one half of the inputs"
    return ""


def tasks_of(
    inputs: Inputs, rows: np.ndarray, values: Mapping[str, np.ndarray], look: PlaceRead
) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair, the value of the variable that a look probes, and the type of its control task: codes [n]. ``rows`` [n] are the
    inputs of the pairs, and ``values`` what the causal model gives of each variable there."""
    variable, by = look.arguments
    if by:
        return np.asarray(values[variable]), np.asarray(values[by])
    (place,) = look.places
    return np.asarray(values[variable]), inputs.contents(place.position, rows)


__all__ = ["control_task", "halves", "tasks_of", "unlearnable"]
