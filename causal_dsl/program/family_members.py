"""The declaration that a member of a family is: its family's, with a value in place of each parameter, and its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from causal_dsl.syntax import tree
from causal_dsl.syntax.substitute import as_text, substitute, word

#: One value of each parameter.
Named = dict[str, tree.Expr]


def with_values(declaration: tree.AlignDecl, named: Named) -> tree.AlignDecl:
    """An alignment with some of its parameters written out."""
    if not named:
        return declaration
    members = tuple(
        replace(substitute(m, named, words=True), name=word(m.name, named))
        if isinstance(m, tree.Placement)
        else substitute(m, named)
        for m in declaration.members
    )
    return replace(
        declaration,
        members=members,
        model=word(declaration.model, named),
        network=None if declaration.network is None else word(declaration.network, named),
        model_fixed=tuple(substitute(a, named) for a in declaration.model_fixed),
        network_fixed=tuple(substitute(a, named) for a in declaration.network_fixed),
    )


def with_values_in_test(
    declaration: tree.TestDecl | tree.FitDecl,
    named: Named,
    on: tree.Name,
    fixed: tuple[tree.Argument, ...],
    variables: frozenset[str],
) -> tree.TestDecl | tree.FitDecl:
    """A test with some parameters written out, on an alignment that is none of a family. In `base.u`, `u` may be a parameter that stands
    for a variable, but for one that is called as one of the ``variables``."""
    words = {name: value for name, value in named.items() if name not in variables}
    members = tuple(
        substitute(m, named, words=True)
        if isinstance(m, tree.Do)
        else substitute(substitute(m, words, words=True), named)
        for m in declaration.members
    )
    called: tree.Expr = tree.Call(on, fixed, span=declaration.on.span) if fixed else on
    made = replace(declaration, members=members, on=called)  # type: ignore[arg-type]
    if isinstance(made, tree.TestDecl):
        made = replace(made, parameters=tuple(p for p in made.parameters if p.name.name not in named))
    return made


def by_name(arguments: Sequence[tree.Argument], order: Sequence[str]) -> list[tree.Argument]:
    """Arguments with the names of the parameters that they are of, where they are given in order."""
    return [
        replace(argument, name=tree.Ident(order[at], span=argument.span))
        if argument.name is None and at < len(order)
        else argument
        for at, argument in enumerate(arguments)
    ]


def member_name(name: str, named: Mapping[str, tree.Expr]) -> str:
    """The name of a member of a family: ``mlp(seed=3)``."""
    return f"{name}({', '.join(f'{key}={as_text(value)}' for key, value in named.items())})" if named else name


def plain(value: tree.Expr) -> int | float | str:
    """A value as results tell it."""
    match value:
        case tree.Number(value=number, unit=None) if not isinstance(number, bool):
            return number
        case tree.Unary(op="-", operand=tree.Number(value=number, unit=None)):
            return -number
    return as_text(value)


__all__ = ["Named", "by_name", "member_name", "plain", "with_values", "with_values_in_test"]
