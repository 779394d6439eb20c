"""Units of work that stand before the blocks of a plan, or beside them: searches for circuits, constants of ``optimal``, gradients at places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.flops import layer_flops
from causal_dsl.planning.network_parts import weights_of
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.nodes import universe
from causal_dsl.vocabulary.discovery_methods import BOTH_WAYS, METHODS, SAMPLED
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.values.optimal import Optimal

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import GradientWay, PlaceRead, Test


@dataclass(frozen=True)
class BeforeUnit:
    """One of them: ``flops``, and ``bytes`` of its result, predicted. ``label`` in words, ``name`` as the worker finds it."""

    label: str
    flops: float
    bytes: int
    name: str = ""


def searches_of(plan: Plan) -> Iterator[BeforeUnit]:
    """The searches for the circuits of a plan's networks; what several tests ask for alike is one of them."""
    before = plan.before
    if before.searches is None:
        return
    own = {weights_of(key) for key in plan.networks}
    tests = {test.name: test for test in before.searches.tests}
    for discovery, name in before.searched.items():
        test = tests[name]
        if weights_of(test.network.key) not in own:
            continue
        each = _pass(before.searches, test)
        found = universe(test.network.facts, discovery.kinds, ()) or ()
        parts = len(found) if discovery.what == "nodes" else len(found) ** 2 // 2
        flops = each * METHODS[discovery.method].work(float(parts), dict(discovery.settings))
        yield BeforeUnit(f"circuit of {discovery.test} by {discovery.text}", flops, 64 * parts, name)


def constants_asked(plan: Plan) -> list[tuple[Test, g.Resume]]:
    """The interventions that write ``optimal``, each with a test that asks for it."""
    found: dict[g.Resume, Test] = {}
    for test in plan.tests:
        for score in plan.scores[test.name]:
            read = score.read("patched")
            if read is not None and isinstance(read.run, g.Resume) and optimal_in(read.run) is not None:
                found.setdefault(read.run, test)
    return [(test, resume) for resume, test in found.items()]


def optimal_in(resume: g.Resume) -> Optimal | None:
    """The ``optimal`` that an intervention writes; None where it writes none."""
    return next((write.value for write in resume.writes if isinstance(write.value, Optimal)), None)


def constants_of(plan: Plan) -> Iterator[BeforeUnit]:
    """The constants of each intervention of a plan that writes ``optimal``."""
    asked = constants_asked(plan) if plan.before.constants is not None else []
    for number, (test, resume) in enumerate(asked):
        value = optimal_in(resume)
        assert value is not None
        flops = _pass(plan, test) * (1 + BOTH_WAYS * value.steps)
        size = 4 * len(resume.writes) * (test.network.facts.width or 64)
        yield BeforeUnit(f"constants of {test.name}, intervention {number + 1} of {len(asked)}", flops, size)


#: The cells and places of a way of taking gradients.
Looks = list[tuple[int, "PlaceRead"]]


def is_by_gradients(look: PlaceRead) -> bool:
    """Whether a place is read by gradients."""
    return look.kind in READINGS and READINGS[look.kind].of == "gradients"


def ways_of(test: Test) -> Mapping[GradientWay, Looks]:
    """The places at which a test reads gradients of its base run, by the way in which they are taken."""
    found: dict[GradientWay, Looks] = {}
    wanted = test.scores.quantities.get("base", ())
    for number, cell in enumerate(test.cells):
        for look in cell.looks:
            if is_by_gradients(look) and any(quantity.place == look.asked for quantity in wanted):
                found.setdefault(look.arguments[0], []).append((number, look))
    return found


def gradients_of(plan: Plan) -> Iterator[BeforeUnit]:
    """The gradients at places that the tests of a plan read, each way of a test by itself."""
    for test in plan.tests:
        for way, looks in ways_of(test).items():
            places = len({look.places[0] for _, look in looks})
            passes = BOTH_WAYS * way.steps * places if way.steps else BOTH_WAYS + min(places, SAMPLED)
            size = 16 * places * plan.draw_of(test).n
            yield BeforeUnit(f"gradients of {test.name}: {looks[0][1].kind}", _pass(plan, test) * passes, size)


def _pass(plan: Plan, test: Test) -> float:
    """Multiplications and additions of one pass of all pairs of a test."""
    inputs, draw = plan.inputs[test.network.key], plan.scores[test.name][0].label.draw
    base = plan.rows.get(g.Forward(test.network.key, draw, "base"))
    tokens = float(plan.drawn[draw].n if base is None else inputs.lengths[base].sum())
    return tokens * max(1, layers_of(inputs.facts)) * layer_flops(inputs.facts)


__all__ = [
    "BeforeUnit",
    "constants_asked",
    "constants_of",
    "gradients_of",
    "is_by_gradients",
    "optimal_in",
    "searches_of",
    "ways_of",
]
