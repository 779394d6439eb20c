"""Warnings of `check` about chance: tests that leave an iia no room, and expectations that a trivial rule passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from causal_dsl.causal.accepted import AcceptedSets
from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.other_draws import other_draws
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Test
from causal_dsl.score.make_findings import no_room, vacuous_expectation


def warn_of_chance(tests: Iterable[Test], ceilings: Mapping[str, Mapping[str, Ceiling]], found: Diagnostics) -> None:
    """Report W620 to W622 and W628 of tests; ``ceilings`` are those of each, and of each output of it, by its name."""
    for test in tests:
        room = no_room(ceilings.get(test.name, {}), len(test.cells) > 1, test.span)
        if room is not None and not found.errors:
            found.add(room)
        for expectation in test.scores.expectations:
            for part in (test, *test.parts):
                of = "" if part is test else part.readout.variable
                accepted = [part.model.accepted(readout.variable) for readout in part.readouts]
                choice = any(isinstance(one, AcceptedSets) for one in accepted)
                others = partial(_other_draws, test, part)
                vacuous = vacuous_expectation(ceilings.get(part.name, {}), expectation, of, choice, others)
                if vacuous is not None:
                    found.add(vacuous)


def _other_draws(test: Test, part: Test) -> list[tuple[str, dict[str, Ceiling]]]:
    """The draws that a warning may advise: none where the `where` also asks what the network solves."""
    if test.solved:
        return []
    outputs = test.outputs if part is test else part.readout.variable
    return list(other_draws(test.design, list(test.swaps), outputs, part.readout.gaps))
