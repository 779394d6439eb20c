"""A plan in parts, one for each network: those of a sweep are then loaded one after another, and none of them twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from causal_dsl.planning.plan import CellScores, Fits, Plan, Remembered
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import Test


def weights_of(key: NetworkKey) -> NetworkKey:
    """Whose weights a network has: the same for all uses of it, and for its untrained control."""
    return key.trained.loaded


def swept(tests: Iterable[Test]) -> list[list[Test]]:
    """The tests on each network, where the tests of one declaration run on several; else all of them together."""
    tests = list(tests)
    parts: dict[NetworkKey, list[Test]] = {}
    families: dict[str, set[NetworkKey]] = {}
    for test in tests:
        parts.setdefault(weights_of(test.network.key), []).append(test)
        families.setdefault(test.family or test.name, set()).add(weights_of(test.network.key))
    return list(parts.values()) if any(len(members) > 1 for members in families.values()) else [tests]


def of_tests(plan: Plan, tests: Collection[Test]) -> Plan:
    """The part of a plan that runs some tests, which are all that it runs on their networks, with all that rides beside them
    and all that is fitted for them."""
    own = {weights_of(test.network.key) for test in tests}

    def mine(key: NetworkKey) -> bool:
        return weights_of(key) in own

    kept = tuple(test for test in plan.tests if mine(test.network.key))
    fits = plan.fits
    if fits is not None:
        units = [unit for unit in fits.units if mine(unit.network)]
        fitted = [test for test in fits.plan.tests if mine(test.network.key)]
        fits = Fits(of_tests(fits.plan, fitted), units, fits.dead) if units or fitted else None
    return replace(
        plan,
        tests=kept,
        inputs={key: inputs for key, inputs in plan.inputs.items() if mine(key)},
        rows={run: rows for run, rows in plan.rows.items() if mine(run.network)},
        scores=CellScores({test.name: plan.scores[test.name] for test in kept}),
        steps=tuple(step for step in plan.steps if mine(step.network)),
        fits=fits,
        sizes=Remembered(),
    )


__all__ = ["of_tests", "swept", "weights_of"]
