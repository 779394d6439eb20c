"""The rows of the interventions that ride beside a test, and the tests that they make."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.diagnostics import SpecError
from causal_dsl.inputs import Inputs
from causal_dsl.planning import graph as g
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.program.measured import without_lines
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Cell, Test

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


#: Of the cost of a test, the share that its probes may add; in a small network, whose rows cost nothing (:func:`is_small`), at least
#: ``FREE`` rows, and in any other at least ``FLOOR``: beside a small test a fifth is next to nothing.
SHARE, FREE, FLOOR = 0.2, 2**14, 2**7


#: Fewest and most rows of one probe; most in such a small network.
LEAST, MOST, MANY = 8, 256, 2048


SEED = 77_003

#: Prompts of a language network whose runs cost next to nothing, beside a test that would be called true.
_PROMPTS, _FEWER = 2**12, 8


def in_tokens(inputs: Inputs) -> bool:
    """Whether the units of a layer are tokens, each of several numbers, or the numbers of one vector."""
    return inputs.traits.positions


def made_test(
    test: Test, what: str, number: int, drawn: Drawn, cells: tuple[Cell, ...], probe: object, called: str = ""
) -> Test:
    """A test that runs ``cells`` on given rows of the roles that these have; ``called``: its name, where ``what`` is not enough."""
    name = f"{test.name}: {called or what}" + (f" {number + 1}" if len(test.cells) > 1 else "")
    name += f", {probe.why}" if isinstance(probe, Unmapped) else ""
    roles = tuple(drawn.values)
    statement = replace(test.design.statements[0], roles=roles, balance=(), strata=(), cover=(), where=None, like="")
    return without_lines(
        test,
        name=name,
        design=Design((statement,), test.design.templates),
        solved=roles,
        cells=cells,
        swaps=(),
        draws=f"{test.draws}; {name}",
        metrics={},
        control=(test.name, what),
        given=drawn,
        probe=probe,
    )


def paired(drawn: Drawn, base: tuple[str, np.ndarray], other: tuple[str, np.ndarray]) -> Drawn:
    """Rows that pair inputs of a draw anew: each a role, and its rows [m]."""
    values, ids = {}, {}
    for name, (role, rows) in (("base", base), ("other", other)):
        values[name] = {variable: column[rows] for variable, column in drawn.values[role].items()}
        ids[name] = drawn.ids[role][rows]
    return Drawn(len(base[1]), values, ids, False)


def is_small(inputs: Inputs) -> bool:
    """Whether a row costs next to nothing."""
    return costs_of(inputs.traits).is_small(inputs.facts)


def rows_of_tokens(inputs: Inputs) -> int:
    """How many prompts of a language network may be run once verdicts are known, since they cost next to nothing; 0 where they do cost."""
    short = len(inputs) and costs_of(inputs.traits).is_short(inputs.facts, int(inputs.lengths.max()))
    return _PROMPTS if short else 0


def rows_beside_features(inputs: Inputs) -> int:
    """The same beside variables that are written through features: of prompts that cost up to ``_FEWER`` times as much, as many times fewer."""
    if not len(inputs):
        return 0
    costs, longest = costs_of(inputs.traits), int(inputs.lengths.max())
    times = (n for n in range(1, _FEWER + 1) if costs.is_short(inputs.facts, -(-longest // n)))
    return _PROMPTS // found if (found := next(times, 0)) else 0


def prompts_of(plan: Plan, test: Test) -> np.ndarray:
    """The distinct inputs of a test, in all roles that are run."""
    draw = plan.scores[test.name][0].label.draw
    runs = [g.Forward(test.network.key, draw, role) for role in test.roles]
    there = np.zeros(len(plan.inputs[test.network.key]), bool)
    for run in runs:
        if run in plan.rows:
            there[plan.rows[run]] = True
    return np.flatnonzero(there)


def spans_of(plan: Plan, test: Test, cell: Cell) -> tuple[int, ...] | None:
    """How many tokens each place has; None where that differs from prompt to prompt: then no other run has as many."""
    inputs = plan.inputs[test.network.key]
    rows = prompts_of(plan, test)
    try:
        sizes = [inputs.sizes(place.position, rows) for i in cell.interventions for place in i.places]
    except SpecError:
        return None  # a prompt of another shape, in which the place is not
    return tuple(int(here[0]) for here in sizes) if all((here == here[0]).all() for here in sizes) else None
