"""Whole numbers in the brackets of a site: layers, heads and coordinates, in one cell of an alignment's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.counts import COUNTS
from causal_dsl.program.paths import slice_text
from causal_dsl.program.read_settings import constant
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

_MOST_DIMS = 1_000_000


def integer(expr: tree.Expr | tree.Slice, what: str, cell: Mapping[str, tree.Expr], found: Diagnostics) -> int | None:
    """A whole number from literals, the cell's parameters, and ``+ - *`` of them."""
    value = arithmetic(expr, cell)
    if value is None:
        help = "write a whole number"
        if isinstance(expr, tree.Slice):
            help = f"name one, or make it a parameter: align name(l in {slice_text(expr)}) : …"
        elif isinstance(expr, tree.Name) and expr.name not in cell:
            known = [name for name in cell if name not in COUNTS]
            help = did_you_mean(expr.name, known, "write a whole number, or make it a parameter of the alignment")
        text = slice_text(expr) if isinstance(expr, tree.Slice) else format_expr(expr)
        found.report("E456", f"`{text[:60]}` does not name {what}", expr.span, notes=swept(expr, cell), help=help)
    return value


def swept(expr: tree.Expr | tree.Slice, cell: Mapping[str, tree.Expr]) -> tuple[str, ...]:
    """The values of the parameters in an index in this cell: the text at the place does not tell."""
    names = dict.fromkeys(node.name for node in expr.walk() if isinstance(node, tree.Name) and node.name in cell)
    where = {name: "in this network" if name in COUNTS else "in a cell of the sweep" for name in names}
    return tuple(f"`{name}` is {format_expr(cell[name])} {where[name]}" for name in names)


def arithmetic(expr: tree.Expr | tree.Slice, cell: Mapping[str, tree.Expr]) -> int | None:
    """The whole number that literals, the cell's parameters and ``+ - *`` of them make; None for anything else."""
    match expr:
        case tree.Name(name=name) if name in cell:
            value = constant(cell[name])
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        case tree.Binary(op=op, left=left, right=right) if op in "+-*":
            a, b = arithmetic(left, cell), arithmetic(right, cell)
            if a is None or b is None or max(abs(a), abs(b)) > 2**40:
                return None
            return a + b if op == "+" else a - b if op == "-" else a * b
        case tree.Unary(op="-", operand=operand):
            value = arithmetic(operand, cell)
            return None if value is None else -value
        case tree.Number():
            value = constant(expr)
            return value if isinstance(value, int) else None
    return None


def article(what: str) -> str:
    """`a` or `an` before a word."""
    return "an" if what[0] in "aeiou" else "a"


def integers(
    indices: tuple[tree.Expr | tree.Slice, ...],
    count: int | None,
    what: str,
    span: Span,
    cell: Mapping[str, tree.Expr],
    found: Diagnostics,
    waits: bool = False,
    notes: tuple[str, ...] = (),
) -> tuple[int, ...] | None:
    """Different whole numbers below ``count`` (None: it is not known), from numbers, slices and lists of them. ``waits``: how many there
    are is known once the network is loaded, and the first of an open slice stands for all. ``notes``: what is said beside one that is not
    there."""
    numbers: list[int] = []
    for index in indices:
        if isinstance(index, tree.Name) and isinstance(cell.get(index.name), tree.List):
            index = replace(cell[index.name], span=index.span)  # a group of them, as in `h in [0, [1, 2]]`
        if isinstance(index, tree.List):
            if not index.items:
                found.report("E457", f"`[]` holds no {what}", index.span, help=f"name at least one {what}")
                return None
            inner = integers(index.items, count, what, index.span, cell, found, waits, notes)
            if inner is None:
                return None
            numbers += inner
            continue
        if isinstance(index, tree.Slice):
            start = 0 if index.start is None else integer(index.start, f"{article(what)} {what}", cell, found)
            stop = count if index.stop is None else integer(index.stop, f"{article(what)} {what}", cell, found)
            if index.stop is None and count is None and waits:
                stop = None if start is None else start + 1
            elif index.stop is None and count is None:
                found.report("E456", f"how many {what}s are there?", index.span, help="write the end of the slice")
                return None
            if start is None or stop is None:
                return None
            if start >= stop:
                found.report(
                    "E457",
                    f"`{start}:{stop}` holds no {what}",
                    index.span,
                    help="a slice does not include its end: 0:16 is 0 to 15",
                )
                return None
        else:
            number = integer(index, f"{article(what)} {what}", cell, found)
            if number is None:
                return None
            start, stop = number, number + 1
        if start < 0 or (count is not None and stop > count) or stop - start > _MOST_DIMS:
            first = start if start < 0 else stop - 1
            found.report(
                "E458",
                f"there is no {what} {first}",
                index.span,
                label="out of range",
                notes=(*swept(index, cell), *notes),
                help=f"{what}s run from 0 to {count - 1}" if count is not None else f"{what}s are counted from 0",
            )
            return None
        numbers += range(start, stop)
    if len(set(numbers)) < len(numbers):
        found.report("E459", f"the same {what} is named twice", span, help="name each once")
        return None
    return tuple(numbers)
