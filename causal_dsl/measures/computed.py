"""The formula of a measure, computed: what a package's formula gives is held against its record."""

from __future__ import annotations

import math
from typing import Any

from causal_dsl.vocabulary.measures import MEASURES, Measure

#: How far rounding may take a number past the ends of its measure.
_ROUNDING = 1e-6


def computed(record: Measure, *given: Any) -> Any:
    """The numbers that the formula of a measure gives, [m], from arrays or tensors whose first axis is [m]. E786 where it is a package's, and it raises,
    gives another shape, or a number that its record rules out."""
    formula: Any = record.formula
    if record.name not in MEASURES.added:
        return formula(*given)
    found = MEASURES.call(record.name, formula, *given)
    shape, rows = getattr(found, "shape", None), len(given[0])
    if shape is None:
        raise MEASURES.fault(record.name, f"its formula gives an object of the type {type(found).__name__}")
    if tuple(shape) != (rows,):
        raise MEASURES.fault(record.name, f"its formula gives the shape {list(shape)}, and [{rows}] is needed")
    if not str(found.dtype).rpartition(".")[2].startswith("complex"):  # which has a derivative in its second half
        _refuse_beyond(record, found, given)
    return found


def _refuse_beyond(record: Measure, found: Any, given: tuple[Any, ...]) -> None:
    unknown = found != found
    for one in given:
        if one is not None:
            missing = one != one
            unknown = unknown & ~(missing.reshape(len(found), -1).any(1))
    if bool(unknown.any()):
        raise MEASURES.fault(record.name, "its formula gives what is not a number (NaN)")
    least, most = record.ends
    beyond = (found < least - _ROUNDING * max(1.0, abs(least))) if math.isfinite(least) else found != found
    if math.isfinite(most):
        beyond = beyond | (found > most + _ROUNDING * max(1.0, abs(most)))
    beyond = beyond & (found == found)
    if bool(beyond.any()):
        number = float(found[beyond][0])
        ends = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        ends = ends if math.isfinite(least) else f"at most {most:g}"
        raise MEASURES.fault(record.name, f"its formula gives {number:.4g}, and a {record.unit} of it is {ends}")


__all__ = ["computed"]
