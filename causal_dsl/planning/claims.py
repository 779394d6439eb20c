"""The claims of a cell on a layer, and the inputs in which another run may then differ."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from causal_dsl.causal.designs import Drawn
from causal_dsl.planning.alike_pairs import decided, idle
from causal_dsl.planning.rest_of_layer import named, same_layer
from causal_dsl.program.probed import Why
from causal_dsl.program.program import Cell, Placed, Test

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


def claims_of(plan: Plan, test: Test, cell: Cell, drawn: Drawn) -> list[tuple[str, Cell]]:
    """A cell as it claims its places: with all variables that the alignment puts somewhere but those on which no answer depends;
    and, of a vector network, with those alone that the test writes (named). Nothing shows that the others are where they are said
    to be: their places may hold anything, also what the written ones need.
    """
    written = {variable for variable, _ in test.swaps}
    idle_ = idle_claims(test, drawn, cell.placed, written)
    placed = tuple(p for p in cell.placed if p.variable not in idle_)
    mine = tuple(p for p in placed if p.variable in written)
    claims = [("", replace(cell, placed=placed))]
    if len(mine) < len(placed) and not plan.inputs[test.network.key].costly and _at_one_layer(test, mine, placed):
        claims.append((" and ".join(p.variable for p in mine), replace(cell, placed=mine)))
    return claims


def _at_one_layer(test: Test, mine: Collection[Placed], placed: Collection[Placed]) -> bool:
    """Whether another variable than ``mine`` is placed beside them."""
    facts = test.network.facts
    layers = [named(place, facts).site for p in mine for place in p.places]
    others = [named(place, facts).site for p in placed if p not in mine for place in p.places]
    return any(same_layer(one, other) for one in layers for other in others)


def idle_claims(test: Test, drawn: Drawn, placed: Collection[Placed], written: Collection[str]) -> set[str]:
    """The placed variables that the test does not write and on which no answer depends: what is claimed of them claims nothing."""
    names = {p.variable for p in placed}
    return {name for name in names if name not in written and idle(test, drawn, name, names)}


def ways_of(test: Test, drawn: Drawn, placed: Collection[str], tokens: bool) -> list[tuple[Why, tuple[str, ...]]]:
    """Which inputs of the model another run may differ in, so that the placed variables stay all that counts; ``alike`` without
    inputs: whichever the model answers alike."""
    model, output = test.model, test.readout.variable
    reaching = {output} | model.ancestors(output)
    direct = set[str]() if output in placed else {output} | model.ancestors(output, without=placed)
    inputs = test.model.exogenous
    if not any(name in direct for name in (*inputs, "template")):
        return [("decided", inputs)]
    ways: list[tuple[Why, tuple[str, ...]]] = [("idle", tuple(name for name in inputs if name not in reaching))]
    if tokens and decided(test, drawn, placed):
        return [("alike", inputs)]
    if tokens:  # what else counts may stand in pieces there, which are not tried
        ways.append(
            ("alike", tuple(n for n in inputs if n in reaching and n not in placed and idle(test, drawn, n, ())))
        )
        return [way for way in ways if way[1]]
    ways.append(("through", tuple(n for n in inputs if n in reaching and n not in direct and n not in placed)))
    return [*(way for way in ways if way[1]), ("alike", ())]


__all__ = ["claims_of", "idle_claims", "ways_of"]
