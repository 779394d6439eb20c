"""Refusals of runs in which something is written, as `source(layer[0].head[1] <- other)`."""

from __future__ import annotations

from collections.abc import Iterator

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

_EXAMPLE = "do(layer[5].resid_post[last] <- source(layer[2].mlp_out[last] = 0))"


def misplaced(declaration: tree.Node) -> Iterator[tree.Under]:
    """Runs in which something is written, where no values are taken from a run: all but those in what `do(…)` writes."""
    parts = [part for part in declaration.walk() if isinstance(part, (tree.Do, tree.Under))]
    under = [part for part in parts if isinstance(part, tree.Under)]
    if not under:
        return
    actions = (action for part in parts if isinstance(part, tree.Do) for action in part.actions)
    right = {id(run) for action in actions for run in _taken(action)}
    yield from (part for part in under if id(part) not in right)


def _taken(node: tree.Node) -> Iterator[tree.Under]:
    """The runs in which something is written among those that an action, or a value, takes from."""
    match node:
        case tree.Under():
            yield node
            for action in node.given:
                yield from _taken(action)
        case tree.Interchange(source=part) | tree.PatchPath(source=part):
            yield from _taken(part)
        case tree.SetTo(value=part) | tree.AddTo(value=part) | tree.Attribute(value=part) | tree.Subscript(value=part):
            yield from _taken(part)
        case tree.Unary(operand=part):
            yield from _taken(part)
        case tree.Binary(left=left, right=right):
            yield from _taken(left)
            yield from _taken(right)


def taken_by(action: tree.Node) -> tuple[tree.Under, ...]:
    """The runs in which something is written that an action takes values from itself: not those within them."""
    every = list(_taken(action))
    within = {id(inner) for under in every for given in under.given for inner in _taken(given)}
    return tuple(under for under in every if id(under) not in within)


def refuse_misplaced(under: tree.Under, found: Diagnostics) -> None:
    found.report(
        "E856",
        f"nothing can be written in `{format_expr(under.run)[:60]}` here",
        under.span,
        notes=("something is written in a run that a site takes its value from in a `do`, and nowhere else",),
        help=f"write it there: {_EXAMPLE}",
    )


def refuse_argument(argument: tree.Argument, under: tree.Under, found: Diagnostics) -> None:
    """Refuse a setting or a value beside what is written in a run (E857)."""
    said = format_expr(argument.value)[:60] if argument.name is None else argument.name.name
    found.report(
        "E857",
        f"`{said}` is not a write in the run `{format_expr(under.run)[:60]}`",
        argument.span,
        help="name a site and what is written there: layer[2].mlp_out[last] = 0, or embed[all] <- other",
    )


def refuse_inside(span: Span, what: str, found: Diagnostics) -> None:
    """Refuse what is written in no source run (E858)."""
    found.report(
        "E858",
        f"{what} is not written in a run that values are taken from",
        span,
        notes=("sites are, and variables that are placed at whole vectors or coordinates",),
        help="name the sites: source(layer[2].head[1, 3].z[last] <- other)",
    )


def refuse_taken(what: str, span: Span, role: str, found: Diagnostics) -> None:
    """Refuse what takes no values from a run in which something is written (E859)."""
    found.report(
        "E859",
        f"{what} takes its value from a run in which nothing is written",
        span,
        notes=(
            "sites, edges and circuits that are written out take theirs from a run in which something else is written",
        ),
        help=f"write `{role}` alone, or name the sites: {_EXAMPLE}",
    )


__all__ = ["misplaced", "refuse_argument", "refuse_inside", "refuse_misplaced", "refuse_taken", "taken_by"]
