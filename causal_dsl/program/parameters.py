"""The parameters of an alignment, `align tau(l in 0:12, p in [first, last])`: every value that each takes in a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import cast

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.counts import counted, counts_of, loaded
from causal_dsl.program.indices import arithmetic
from causal_dsl.program.program import Alignment, NetworkRef
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute


class _Uncounted(tuple[tree.Expr, ...]):
    """One value that stands for those which are known once a network is loaded."""


#: How many cells a sweep may have.
MOST_CELLS = 100_000


def read_parameters(
    declaration: tree.AlignDecl | tree.TestDecl, parent: Alignment | None, network: NetworkRef, found: Diagnostics
) -> dict[str, tuple[tree.Expr, ...]] | None:
    """The values of each parameter of an alignment, or of a test on ``parent``: those of the parent that are not restated
    included; None where one is at fault. `layers` and `heads` are those of the ``network``."""
    own: dict[str, tuple[tree.Expr, ...]] = {}
    good = True
    for parameter in declaration.parameters:
        name = parameter.name
        if name.name in own:
            found.report("E202", f"`{name.name}` is declared twice", name.span, help="give one of them another name")
            good = False
            continue
        values = values_of(parameter, found, network)
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


def values_of(
    parameter: tree.Parameter, found: Diagnostics, network: NetworkRef | None = None
) -> tuple[tree.Expr, ...] | None:
    """The values that a parameter stands for, in order; None, and E670 or E671, where they are none or too many. Where it asks how large a
    network is, and no ``network`` is given, a range stands for itself."""
    values, name = parameter.values, parameter.name.name
    asked = counted(values)
    if asked and network is not None:
        if not loaded(network.facts):
            first = (
                arithmetic(values.start, {}) if isinstance(values, tree.Slice) and values.start is not None else None
            )
            return _Uncounted((tree.Number(first or 0, span=values.span),))
        filled = _filled(values, asked, network, found)
        if filled is None:
            return None
        values = filled
    elif asked and isinstance(values, tree.Slice):
        return (cast(tree.Expr, values),)  # nothing but its words is looked at
    if isinstance(values, tree.List):
        values = replace(values, items=tuple(_computed(item) for item in values.items))
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
            )  # what refers to it is read all the same, with each value once
            return tuple(item for place, item in enumerate(values.items) if item not in values.items[:place])
        return values.items
    start = 0 if values.start is None else arithmetic(values.start, {})
    stop = None if values.stop is None else arithmetic(values.stop, {})
    ends = ("a range does not include its end: 0:12 is 0 to 11",)
    if start is None or stop is None:
        found.report(
            "E671",
            f"`{name}` needs a range of whole numbers, as 0:12",
            values.span,
            notes=ends,
            help="write start:stop, or a list as [last, subject]; the end of all layers is `layers`, as in l in 0:layers",
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


def _computed(item: tree.Expr) -> tree.Expr:
    """A value of a list; the whole number that it makes, where it is computed: `2 * 3`."""
    number = arithmetic(item, {}) if isinstance(item, tree.Binary) else None
    return item if number is None else tree.Number(number, span=item.span)


def _filled(
    values: tree.Slice | tree.List, asked: Sequence[str], network: NetworkRef, found: Diagnostics
) -> tree.Slice | tree.List | None:
    """Values with the numbers of the network's layers and heads in place of their words; None and E789 where one is not known."""
    known = counts_of(network.facts)
    missing = next((word for word in asked if word not in known), None)
    if missing is not None:
        found.report(
            "E789",
            f"`{network.name}` has no {missing} that are counted",
            values.span,
            help="write the numbers, as 0:12, or a list",
        )
        return None
    if isinstance(values, tree.Slice):
        return substitute(values, known)
    items = []
    for item in values.items:
        number = arithmetic(substitute(item, known), {}) if counted(item) else None
        items.append(item if number is None else tree.Number(number, span=item.span))
    return replace(values, items=tuple(items))


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
        value = one_of(argument.value, values, alignment.network)
        if value is None:
            refuse_never(name, alignment.name, argument.value, values, argument.value.span, found, alignment.network)
            return None
        fixed[name] = value
    return fixed


def refuse_arguments(
    name: tree.Ident, given: Sequence[tree.Argument], found: Diagnostics, known: Sequence[str] = ()
) -> None:
    """Report E211 for what is given to a causal model or a network that takes nothing, or none but the ``known`` parameters."""
    first = given[0]
    if known and first.name is not None:
        title, help = f"`{name.name}` has no parameter `{first.name.name}`", did_you_mean(first.name.name, known)
    elif known:
        count = f"{len(known)} parameter{'' if len(known) == 1 else 's'}"
        title, help = f"`{name.name}` takes {count}", "leave this one out"
    else:
        title, help = f"`{name.name}` takes no parameters", "leave this one out"
    found.report("E211", title, first.span, help=help)


def refuse_never(
    name: str,
    of: str,
    value: tree.Expr,
    values: Sequence[tree.Expr],
    span: Span,
    found: Diagnostics,
    network: NetworkRef | None = None,
    why: tuple[str, ...] = (),
) -> None:
    """Report E696 for a value that is none of those which the parameter ``name`` of a declaration has; ``why``: notes on it."""
    shown = [format_expr(each) for each in values]
    listed = ", ".join(shown) if len(shown) <= 6 else f"{shown[0]}, {shown[1]}, … {shown[-1]}"
    least = f"it is a whole number, {_first(values)} or more" if isinstance(values, _Uncounted) else ""
    help = least or f"it is one of {listed}"
    made = (
        arithmetic(substitute(value, counts_of(network.facts)), {}) if network is not None and counted(value) else None
    )
    notes = () if made is None or network is None else (f"{format_expr(value)} is {made} in `{network.name}`",)
    title = f"`{name}` of `{of}` is never {format_expr(value)}"
    found.report("E696", title, span, notes=(*notes, *why), help=help)


def one_of(value: tree.Expr, values: Sequence[tree.Expr], network: NetworkRef) -> tree.Expr | None:
    """The one of a parameter's values that is given, as it is written or computed: `l=layers - 1`; None where it is none of them.
    Before it is known which there are, any number is taken."""
    if isinstance(values, _Uncounted):
        number = arithmetic(value, {})
        if counted(value):
            return values[0]
        return None if number is None or number < _first(values) else tree.Number(number, span=value.span)
    if counted(value) and not loaded(network.facts) and meant_by(value, values) is None:
        return values[0]  # whichever it is, is known once the network is loaded
    return meant_by(value, values) or meant_by(substitute(value, counts_of(network.facts)), values)


def _first(values: _Uncounted) -> int:
    """The least of values that are not counted yet."""
    return arithmetic(values[0], {}) or 0


def meant_by(value: tree.Expr, values: Sequence[tree.Expr]) -> tree.Expr | None:
    """The one of some values that is written so, or is the same whole number when it is computed: `2` of `[1, 1 + 1]`."""
    if value in values:
        return values[values.index(value)]
    number = arithmetic(value, {})
    return None if number is None else next((one for one in values if arithmetic(one, {}) == number), None)
