"""Positions as they are written: `last`, `subject`, `name(2).first`, `"a word of the prompt"`, `-3`."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.locations import Position
from causal_dsl.program.prompts import Template, check_position
from causal_dsl.program.settings import constant
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

_EDGES = {"first": Position("index", index=0), "last": Position("index", index=-1), "all": Position("all")}
_PARTS = ("first", "last", "all")


def read_position(
    expr: tree.Expr, templates: tuple[Template, ...], cell: Mapping[str, tree.Expr], found: Diagnostics
) -> Position | None:
    """The position that an index names: a hole, an edge, a number, or a literal of the prompt."""
    if isinstance(expr, tree.Name) and expr.name in cell:
        return position_of(cell[expr.name], templates, found)
    return position_of(expr, templates, found)


def position_of(expr: tree.Expr, templates: tuple[Template, ...], found: Diagnostics) -> Position | None:
    """As :func:`read_position`, for an expression in which no parameter of the alignment stands."""
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
    return _hole(base, occurrence, part, templates, found)


def _text(
    literal: str, span: Span, templates: tuple[Template, ...], found: Diagnostics, part: str = "", occurrence: int = 0
) -> Position | None:
    position = Position("text", literal, occurrence, part or "last")  # type: ignore[arg-type]
    return position if _in_every_prompt(position, span, templates, found) else None


def _hole(
    name: tree.Name, occurrence: int, part: str, templates: tuple[Template, ...], found: Diagnostics
) -> Position | None:
    holes = {hole for template in templates for hole in template.holes}
    if name.name in _EDGES and name.name not in holes:
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
    position = Position("hole", name.name, occurrence, part or "last")  # type: ignore[arg-type]
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
