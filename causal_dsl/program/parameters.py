"""The values of a parameter: ``l in 0:12``, ``p in [last, subject]``."""

from __future__ import annotations

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.syntax import tree

#: How many cells a sweep may have.
MOST_CELLS = 100_000


def values_of(parameter: tree.Parameter, diagnostics: Diagnostics) -> tuple[tree.Expr, ...] | None:
    """What a parameter stands for, in order; None, and E670 or E671, where that is nothing or too much."""
    name, values = parameter.name.name, parameter.values
    if isinstance(values, tree.List):
        if not values.items:
            diagnostics.report("E671", f"`{name}` has no values", values.span, help="list at least one")
            return None
        return values.items
    start = 0 if values.start is None else _whole(values.start)
    stop = None if values.stop is None else _whole(values.stop)
    if start is not None and stop is not None and start >= stop:
        diagnostics.report(
            "E671",
            f"`{name}` has no values",
            values.span,
            notes=("the end is left out: 0:12 is 0 to 11",),
            help=f"write {start}:{start + 1} for one value",
        )
        return None
    if start is not None and stop is not None and stop - start > MOST_CELLS:
        diagnostics.report(
            "E670",
            f"`{name}` has {stop - start:,} values",
            values.span,
            help=f"make the sweep smaller: at most {MOST_CELLS:,}",
        )
        return None
    if start is None or stop is None:
        diagnostics.report(
            "E671",
            f"`{name}` needs a range of whole numbers, as 0:12",
            values.span,
            notes=("the end is left out: 0:12 is 0 to 11",),
            help="write start:stop, or a list as [last, subject]",
        )
        return None
    return tuple(tree.Number(number, span=values.span) for number in range(start, stop))


def _whole(expr: tree.Expr) -> int | None:
    return expr.value if isinstance(expr, tree.Number) and isinstance(expr.value, int) and expr.unit is None else None


__all__ = ["MOST_CELLS", "values_of"]
