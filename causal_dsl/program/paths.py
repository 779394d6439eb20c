"""`layer[l].head[6, 9].z[last]` as a path: its parts, with the indices and arguments of each."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr


@dataclass(frozen=True)
class SiteStep:
    """One part of a path: `head` with the indices `[6, 9]`."""

    name: str
    span: Span
    indices: tuple[tree.Expr | tree.Slice, ...] | None = None
    arguments: tuple[tree.Argument, ...] | None = None


def steps(expr: tree.Expr) -> list[SiteStep] | None:
    """A path as the list of its parts; None for an expression that is no path."""
    match expr:
        case tree.Name(name=name):
            return [SiteStep(name, expr.span)]
        case tree.Attribute(value=value, name=ident):
            before = steps(value)
            return None if before is None else [*before, SiteStep(ident.name, ident.span)]
        case tree.Subscript(value=value, indices=indices):
            before = steps(value)
            if before is None or before[-1].indices is not None:
                return None
            return [*before[:-1], SiteStep(before[-1].name, before[-1].span, indices, before[-1].arguments)]
        case tree.Call(function=function, arguments=arguments):
            before = steps(function)
            if before is None or before[-1].indices is not None or before[-1].arguments is not None:
                return None
            return [*before[:-1], SiteStep(before[-1].name, before[-1].span, None, arguments)]
    return None


def run_of(expr: tree.Expr) -> tuple[tree.Expr, tree.Under | None]:
    """A path whose head is `source(a <- b)` with `source` alone as its head, and that head; None where it has no such head."""
    match expr:
        case tree.Under(run=run):
            return run, expr
        case tree.Attribute(value=value) | tree.Subscript(value=value):
            plain, under = run_of(value)
            return replace(expr, value=plain), under
    return expr, None


def slice_text(index: tree.Slice) -> str:
    """A slice as it is written."""
    return ":".join("" if end is None else format_expr(end) for end in (index.start, index.stop))


def without_head(expr: tree.Expr) -> tree.Expr:
    """`source.layer[5].resid_post[last]` without `source`."""
    match expr:
        case tree.Attribute(value=tree.Name(), name=ident):
            return tree.Name(ident.name, span=ident.span)
        case tree.Attribute(value=value, name=ident):
            return tree.Attribute(without_head(value), ident, span=expr.span)
        case tree.Subscript(value=value, indices=indices):
            return tree.Subscript(without_head(value), indices, span=expr.span)
        case tree.Call(function=function, arguments=arguments):
            return tree.Call(without_head(function), arguments, span=expr.span)
    return expr
