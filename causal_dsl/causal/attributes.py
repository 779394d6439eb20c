"""Which attribute each input asks about: several attributes of one entity, of which the output says one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from causal_dsl.causal.model import CausalModel

#: An input that asks about what is interchanged; one whose output depends on no attribute.
SWAPPED, NONE = -1, -2
#: Values of an attribute that are tried.
_TRIED = 16


def attributes_of(model: CausalModel, output: str) -> tuple[str, ...]:
    """The mechanisms that the output is computed from: of an entity's attributes, those that can be asked about."""
    return tuple(name for name in model.variables[output].parents if model.variables[name].kind == "mechanism")


def asked(model: CausalModel, output: str, swapped: Sequence[str], base: Mapping[str, np.ndarray]) -> np.ndarray:
    """The attribute that each base asks about [n]: :data:`SWAPPED`, the index of another of :func:`attributes_of`, or :data:`NONE`.

    ``base`` holds codes [n] of all variables. An input asks about a variable if some other value of it, all else left as
    it is, changes the output; the values tried are those that the inputs have, the commonest first. An input that the
    interchanged variables can change asks about them, whatever else it depends on.
    """
    n = len(base[output])
    found = np.full(n, NONE)
    others = [name for name in attributes_of(model, output) if name not in swapped]
    for number, name in reversed(list(enumerate(others))):
        found[_depends(model, output, name, base)] = number
    for name in swapped:
        found[_depends(model, output, name, base)] = SWAPPED
    return found


def _depends(model: CausalModel, output: str, name: str, base: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether another value of a variable changes the output [n]."""
    values, counts = np.unique(base[name], return_counts=True)
    settings = {exogenous: base[exogenous] for exogenous in model.exogenous}
    found = np.zeros(len(base[output]), bool)
    for value in values[np.argsort(-counts, kind="stable")][:_TRIED]:
        do = {name: np.full(len(found), value, dtype=base[name].dtype)}
        found |= np.asarray(model.evaluate(settings, do, wanted=(output,))[output]) != base[output]
    return found


__all__ = ["NONE", "SWAPPED", "asked", "attributes_of"]
