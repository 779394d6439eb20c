"""Interventions that ride beside a test: they are tests of their own in the plan, with ``given`` rows.

:mod:`causal_dsl.planning.unclaimed` takes what no variable claims from another input, :mod:`causal_dsl.planning.written_apart`
writes apart what a test writes together, :mod:`causal_dsl.planning.in_parts` the places of one variable, :mod:`causal_dsl.planning.beyond` what a test claims beyond its `where`, and :mod:`causal_dsl.planning.other_values` sets the places of an ablation to other
values. :mod:`causal_dsl.controls.probing` reads them. :mod:`causal_dsl.planning.alignment_runs` makes the runs of measures of the whole
alignment, which are asked for and ride in every case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from causal_dsl.planning.alignment_runs import alignment_runs
from causal_dsl.planning.beyond import beyond
from causal_dsl.planning.in_parts import in_parts
from causal_dsl.planning.other_values import other_values
from causal_dsl.planning.unclaimed import unclaimed
from causal_dsl.planning.written_apart import written_apart
from causal_dsl.program.program import Test

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


def probes_of(plan: Plan, tests: Sequence[Test]) -> Iterator[Test]:
    """The probes of tests that a plan holds; of controls none of what says ``controls=none``, nor of controls."""
    for test in tests:
        yield from alignment_runs(plan, test)
        if not test.controls or test.control[0]:
            continue
        for number, (cell, first) in enumerate(zip(test.cells, test.firsts, strict=True)):
            if first < number:
                continue  # its controls are those of an earlier cell
            if test.swaps:
                yield from in_parts(plan, test, number, cell)
                yield from unclaimed(plan, test, number, cell)[0]
                yield from written_apart(plan, test, number, cell)
                yield from beyond(plan, test, number, cell)
            elif (made := other_values(plan, test, number, cell)[0]) is not None:
                yield made
