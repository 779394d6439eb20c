"""Positions as they are written: `last`, `subject`, `name(2).first`, `"a word of the prompt"`, `-3`, `subject + 1`, `3:7`."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.indices import arithmetic, integer, swept
from causal_dsl.program.locations import Position
from causal_dsl.program.prompts import Template, check_position
from causal_dsl.program.settings import constant
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

_EDGES = {"first": Position("index", index=0), "last": Position("index", index=-1), "all": Position("all")}
_PARTS = ("first", "last", "all")


def read_position(
    expr: tree.Expr | tree.Slice, templates: tuple[Template, ...], cell: Mapping[str, tree.Expr], found: Diagnostics
) -> Position | None:
    """The position that an index names: a placeholder, an edge, a number, a literal of the prompt, a token so many behind one of
    these, or a range from one to another."""
    if isinstance(expr, tree.Slice):
        ends = [
            Position("index") if expr.start is None else _one(expr.start, templates, cell, found),
            Position("end") if expr.stop is None else _one(expr.stop, templates, cell, found),
        ]
        start, stop = ends
        return None if start is None or stop is None else Position("range", parts=(start, stop))
    number = arithmetic(expr, cell)
    if number is not None:
        return Position("index", index=number)
    match expr:
        case tree.Name(name=name) if name in cell:
            return position_of(cell[name], templates, found)
        case tree.Attribute(value=tree.Name(name=name), name=part) if name in cell and part.name in _PARTS:
            return position_of(tree.Attribute(cell[name], part, span=expr.span), templates, found)
        case tree.Binary(op="+" | "-" as op, left=left, right=right):
            behind = integer(right, "a number of tokens", cell, found)
            base = None if behind is None else _one(left, templates, cell, found)
            return None if base is None or behind is None else _moved(base, behind if op == "+" else -behind)
    return position_of(expr, templates, found)


def _one(
    expr: tree.Expr, templates: tuple[Template, ...], cell: Mapping[str, tree.Expr], found: Diagnostics
) -> Position | None:
    """A position that is one token, from which others are counted."""
    position = read_position(expr, templates, cell, found)
    if position is None or position.single:
        return position
    found.report(
        "E464",
        f"`{position}` is not one token",
        expr.span,
        notes=("offsets and ranges are counted from single tokens", *swept(expr, cell)),
        help="write `name.first` or `name.last`",
    )
    return None


def _moved(position: Position, behind: int) -> Position:
    """The token so many behind another one."""
    if position.kind == "offset":
        return _moved(position.parts[0], position.index + behind)
    return position if behind == 0 else Position("offset", index=behind, parts=(position,))


def position_of(expr: tree.Expr, templates: tuple[Template, ...], found: Diagnostics) -> Position | None:
    """As :func:`read_position`, for an expression in which no parameter of the alignment stands."""
    if isinstance(expr, tree.Binary) and expr.op in "+-":
        return read_position(expr, templates, {}, found)
    value = constant(expr)
    if isinstance(value, int) and not isinstance(value, bool):
        return Position("index", index=value)
    if isinstance(value, str):
        return _text(value, expr.span, templates, found)
    part = ""
    base = expr
    if isinstance(expr, tree.Attribute):
        part, base = expr.name.name, expr.value
        if part not in _PARTS:
            found.report("E532", f"a placeholder has no part `{part}`", expr.name.span, help=did_you_mean(part, _PARTS))
            return None
    occurrence = 0
    if isinstance(base, tree.Call):
        number = constant(base.arguments[0].value) if len(base.arguments) == 1 else None
        if not isinstance(number, int) or not isinstance(base.function, (tree.Name, tree.String)) or number < 1:
            found.report(
                "E532",
                f"`{format_expr(base)[:60]}` is not a position",
                base.span,
                help="the second use of a placeholder is written `name(2)`",
            )
            return None
        base, occurrence = base.function, number
    if isinstance(base, tree.String):
        return _text(base.value, base.span, templates, found, part, occurrence)
    if not isinstance(base, tree.Name):
        found.report(
            "E532",
            f"`{format_expr(expr)[:60]}` is not a position",
            expr.span,
            help='write a placeholder of the prompt, first, last, all, a whole number, or ["a word of the prompt"]',
        )
        return None
    return _placeholder(base, occurrence, part, templates, found)


def _text(
    literal: str, span: Span, templates: tuple[Template, ...], found: Diagnostics, part: str = "", occurrence: int = 0
) -> Position | None:
    position = Position("text", literal, occurrence, part or "last")  # type: ignore[arg-type]
    return position if _in_every_prompt(position, span, templates, found) else None


def _placeholder(
    name: tree.Name, occurrence: int, part: str, templates: tuple[Template, ...], found: Diagnostics
) -> Position | None:
    placeholders = {placeholder for template in templates for placeholder in template.placeholders}
    if name.name in _EDGES and name.name not in placeholders:
        if part or occurrence:
            found.report(
                "E532",
                f"`{name.name}` is one token or all: it has no parts",
                name.span,
                help=f"write `{name.name}`",
            )
            return None
        return _EDGES[name.name]
    if name.name in _EDGES and not part:
        other = "another name for the placeholder" if name.name == "all" else str(_EDGES[name.name].index)
        found.report(
            "E535",
            f"`{name.name}` is both a placeholder of the prompt and a position",
            name.span,
            help=f"write `{name.name}.last` for the last token of the placeholder, or {other} for the position",
        )
        return None
    position = Position("placeholder", name.name, occurrence, part or "last")  # type: ignore[arg-type]
    return position if _in_every_prompt(position, name.span, templates, found) else None


def _in_every_prompt(position: Position, span: Span, templates: tuple[Template, ...], found: Diagnostics) -> bool:
    if not templates:
        found.report(
            "E534",
            f"no position `{position}`: the alignment has no prompt",
            span,
            help='write prompt "…" in the alignment',
        )
        return False
    return all(check_position(position, template, span, found) for template in templates)
