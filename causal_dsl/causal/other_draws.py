"""Other ways to draw the pairs of a test, with the chance levels that it has on them: what a warning about chance advises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from causal_dsl.causal.ceilings import Ceiling, ceilings
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.draw import draw
from causal_dsl.causal.together import Outputs, names_of
from causal_dsl.diagnostics import Diagnostics

#: The most values of a variable that is balanced, and the fewest rows of each combination.
_FEW, _EACH = 4, 4


def other_draws(
    design: Design, interventions: Sequence[tuple[str, str]], output: Outputs, gaps: bool
) -> Iterator[tuple[str, dict[str, Ceiling]]]:
    """Draws of the same roles without their `where`, and balanced: how to write them, and their ceilings. Those alone that
    can be drawn. ``interventions`` are (variable, source role)."""
    for text, other in _written(design, interventions, output):
        drawn = draw(other, Diagnostics())
        if drawn is not None:
            yield text, ceilings(other, interventions, output, drawn, gaps)


def _written(design: Design, interventions: Sequence[tuple[str, str]], output: Outputs) -> Iterator[tuple[str, Design]]:
    if any(statement.like or statement.strata or statement.cover for statement in design.statements):
        return
    held = any(statement.where is not None for statement in design.statements)
    free = tuple(replace(statement, where=None, written=None) for statement in design.statements)
    if held:
        yield "leave the `where` out", replace(design, statements=free)
    if len(free) == 1 and not free[0].exhaustive:
        even = _balanced(free[0], interventions, output)
        if even != free[0].balance:
            listed = ", ".join(f"{role}.{name}" for role, name in even)
            text = f"draw with `balance=[{listed}]`" + (" in place of the `where`" if held else "")
            yield text, replace(design, statements=(replace(free[0], balance=even),))


def _balanced(
    statement: DrawStatement, interventions: Sequence[tuple[str, str]], output: Outputs
) -> tuple[tuple[str, str], ...]:
    """The variables that a statement balances, with those added that are intervened on and those that the outputs are computed
    from, in the base and in the sources; as it is where these have too many values."""
    model = statement.model
    told = [name for one in names_of(output) for name in model.variables[one].parents]
    names = dict.fromkeys([*(name for name, _ in interventions), *told])
    roles = dict.fromkeys(["base", *(role for _, role in interventions)])
    added = [(role, name) for role in roles for name in names]
    combinations = 1
    for _, name in (even := tuple(dict.fromkeys([*statement.balance, *added]))):
        domain = model.variables[name].domain
        if not isinstance(domain, Finite) or len(domain.values) > _FEW:
            return statement.balance
        combinations *= len(domain.values)
    return even if statement.n is not None and combinations * _EACH <= statement.n else statement.balance


__all__ = ["other_draws"]
