"""The parameters of an alignment, `align tau(l in 0:12, p in [first, last])`: every value that each takes in a sweep."""

from __future__ import annotations

from math import prod

from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.program import Alignment
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

#: How many cells a sweep may have.
MOST_CELLS = 100_000


def read_parameters(
    declaration: tree.AlignDecl | tree.TestDecl, parent: Alignment | None, found: Diagnostics
) -> dict[str, tuple[tree.Expr, ...]] | None:
    """The values of each parameter of an alignment, or of a test on ``parent``: those of the parent that are not restated
    included; None where one is at fault."""
    own: dict[str, tuple[tree.Expr, ...]] = {}
    good = True
    for parameter in declaration.parameters:
        name = parameter.name
        if name.name in own:
            found.report("E202", f"`{name.name}` is declared twice", name.span, help="give one of them another name")
            good = False
            continue
        values = values_of(parameter, found)
        if values is None:
            good = False
            continue
        own[name.name] = values
    merged = {**(parent.parameters if parent else {}), **own}
    count = prod(len(values) for values in merged.values())
    if count > MOST_CELLS:
        found.report(
            "E670",
            f"`{declaration.name.name}` sweeps over {count:,} cells",
            declaration.name.span,
            help=f"make the sweep smaller: at most {MOST_CELLS:,}",
        )
        return None
    return merged if good else None


def values_of(parameter: tree.Parameter, found: Diagnostics) -> tuple[tree.Expr, ...] | None:
    """What a parameter stands for, in order; None, and E670 or E671, where that is nothing or too much."""
    values, name = parameter.values, parameter.name.name
    if isinstance(values, tree.List):
        if not values.items:
            found.report("E671", f"`{name}` has no values", values.span, help="list at least one")
            return None
        twice = next((item for place, item in enumerate(values.items) if item in values.items[:place]), None)
        if twice is not None:
            found.report(
                "E776",
                f"`{name}` is {format_expr(twice)} twice",
                twice.span,
                notes=("each value of a parameter is run once",),
                help="leave one of them out",
            )
            return None
        return values.items
    start = 0 if values.start is None else _whole(values.start)
    stop = None if values.stop is None else _whole(values.stop)
    ends = ("a range does not include its end: 0:12 is 0 to 11",)
    if start is None or stop is None:
        found.report(
            "E671",
            f"`{name}` needs a range of whole numbers, as 0:12",
            values.span,
            notes=ends,
            help="write start:stop, or a list as [last, subject]",
        )
        return None
    if start >= stop:
        found.report(
            "E671", f"`{name}` has no values", values.span, notes=ends, help=f"write {start}:{start + 1} for one value"
        )
        return None
    if stop - start > MOST_CELLS:
        found.report(
            "E670",
            f"`{name}` has {stop - start:,} values",
            values.span,
            help=f"make the sweep smaller: at most {MOST_CELLS:,}",
        )
        return None
    return tuple(tree.Number(number, span=values.span) for number in range(start, stop))


def _whole(expr: tree.Expr) -> int | None:
    return expr.value if isinstance(expr, tree.Number) and isinstance(expr.value, int) and expr.unit is None else None


def fixed_parameters(on: tree.Expr, alignment: Alignment, found: Diagnostics) -> dict[str, tree.Expr] | None:
    """The parameters that `tau(l=8)` gives, by name or in order; None where one is at fault."""
    fixed: dict[str, tree.Expr] = {}
    names = list(alignment.parameters)
    for argument in on.arguments if isinstance(on, tree.Call) else ():
        if argument.name is None:
            free = [name for name in names if name not in fixed]
            if not free:
                count = f"{len(names) or 'no'} parameter{'' if len(names) == 1 else 's'}"
                found.report("E211", f"`{alignment.name}` takes {count}", argument.span, help="leave this one out")
                return None
            name, span = free[0], argument.span
        else:
            name, span = argument.name.name, argument.name.span
        if name not in names:
            found.report(
                "E211",
                f"`{alignment.name}` has no parameter `{name}`",
                span,
                help=did_you_mean(name, names, f"`{alignment.name}` has no parameters"),
            )
            return None
        if name in fixed:
            found.report("E212", f"`{name}` is set twice", span, help="keep one of them")
            return None
        values = alignment.parameters[name]
        if argument.value not in values:
            shown = [format_expr(value) for value in values]
            listed = ", ".join(shown) if len(shown) <= 6 else f"{shown[0]}, {shown[1]}, … {shown[-1]}"
            found.report(
                "E696",
                f"`{name}` of `{alignment.name}` is never {format_expr(argument.value)}",
                argument.value.span,
                help=f"it is one of {listed}",
            )
            return None
        fixed[name] = argument.value
    return fixed
