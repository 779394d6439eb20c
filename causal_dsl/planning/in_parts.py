"""Each place of a variable that has several, written alone and left out: what is written beside a right place is right with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.causal.designs import Drawn
from causal_dsl.planning.probe_rows import FLOOR, FREE, LEAST, MANY, SEED, SHARE, is_small, made_test
from causal_dsl.planning.rest_of_layer import named
from causal_dsl.program.probed import InParts
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.program.whole_maps import writes_all
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.values.from_run import FromRun

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Of the cost of a test, what this may add.
PARTED = 0.4 * SHARE
#: Up to so many parts all sets of them are written; of more, each with as many others as there are. Where rows do not suffice for that and
#: there are more than so many, each is added to the others in some random orders.
_ALL, _SOME, _ORDERS = 4, 8, 4


def in_parts(plan: Plan, test: Test, number: int, cell: Cell) -> Iterator[Test]:
    """For each variable that a cell interchanges at several places, or at several numbers of one, the test that writes some of them."""
    several = _several(test, cell)
    for intervention, parts, one in several:
        assert intervention.variable is not None and isinstance(intervention.value, FromRun)
        role, drawn = intervention.value.role, plan.draw_of(test)
        sets, m = _runs(plan, test, cell, len(several), len(parts))
        if m < LEAST:
            continue
        chosen = _pairs(test, drawn, m, number)
        cells = []
        for k, some in enumerate(sets):
            places = tuple(parts[part] for part in some)
            told = f"{', '.join(map(str, places))} <- {role}"
            new = replace(intervention, places=places, value=FromRun(role, places), text=told, features=())
            mine = tuple(new if i is intervention else i for i in cell.interventions if places or i is not intervention)
            cells.append(Cell((("part", k + 1),), mine))
        values = {r: {name: column[chosen] for name, column in drawn.values[r].items()} for r in drawn.values}
        given = Drawn(m, values, {r: ids[chosen] for r, ids in drawn.ids.items()}, False)
        probe = InParts(number, intervention.variable, parts, one, sets, chosen)
        what = "in parts" if len(several) == 1 else f"{intervention.variable} in parts"
        yield made_test(test, "in parts", number, given, tuple(cells), probe, what)


def unparted(plan: Plan, test: Test, cell: Cell) -> tuple[str, str]:
    """A variable whose several places are not written in parts, and why; nothing where there is none."""
    parted = [(i.variable or "", *_parts_of(test, i)) for i in cell.interventions]
    for name, parts, one in parted:
        if len(parts) > 1 and not one and _runs(plan, test, cell, len(_several(test, cell)), len(parts))[1] < LEAST:
            return name, f"fewer than {LEAST} pairs of inputs can be run for it at a fifth of the cost of the test"
    return "", ""


def _parts_of(test: Test, intervention: Intervention) -> tuple[tuple[Place, ...], bool]:
    """The places of a variable that is interchanged, from the first layer up; of one place of a vector network its numbers, many of them
    in groups; and whether it is one."""
    value, places = intervention.value, intervention.places
    plain = writes_all(intervention, test.network.facts) and not (intervention.add or intervention.to)
    if not plain or not intervention.variable or not isinstance(value, FromRun) or value.places != places:
        return (), False
    if any(place.key is not None for place in places):
        return (), False
    split = tuple(one for place in places for one in _tokens(place))
    if len(split) > 1:
        facts = test.network.facts
        return tuple(sorted(split, key=lambda place: _layer(named(place, facts)))), False
    dims = split[0].site.dims
    if test.network.facts.traits.positions or dims is None:
        return split, True
    groups = np.array_split(np.array(dims), min(len(dims), _SOME))
    return tuple(replace(split[0], site=replace(split[0].site, dims=tuple(group.tolist()))) for group in groups), True


def _pairs(test: Test, drawn: Drawn, m: int, number: int) -> np.ndarray:
    """``m`` pairs of a test, first those in which the interchange changes the answer: in others no place need count."""
    do = {variable: drawn.values[role][variable] for variable, role in test.swaps}
    settings = {name: drawn.values["base"][name] for name in test.model.exogenous}
    output = test.readout.variable
    asked = test.model.evaluate(settings, do, [output])[output] != drawn.values["base"][output]
    order = Stream(SEED, number).shuffled(np.arange(drawn.n))
    return np.sort(order[np.argsort(~asked[order], kind="stable")][:m])


def parted(test: Test, cell: Cell) -> bool:
    """Whether a cell has a variable that is written in parts."""
    return bool(_several(test, cell))


def _several(test: Test, cell: Cell) -> list[tuple[Intervention, tuple[Place, ...], bool]]:
    parted = [(i, *_parts_of(test, i)) for i in cell.interventions]
    return [(i, parts, one) for i, parts, one in parted if len(parts) > 1]


def _rows(plan: Plan, test: Test, variables: int, sets: Sequence[tuple[int, ...]]) -> int:
    n = plan.draw_of(test).n
    rows = int((PARTED if len(test.swaps) == 1 else PARTED / 2) * n)
    small = is_small(plan.inputs[test.network.key])
    rows = max(rows, (FREE // 8 if small else FLOOR // 2) // test.unlike)
    return min(rows // variables // len(sets), MANY, n)


def _runs(plan: Plan, test: Test, cell: Cell, variables: int, parts: int) -> tuple[tuple[tuple[int, ...], ...], int]:
    """The sets of parts that are written, and in how many pairs: the richest choice for which there are ``LEAST``. The empty set is one of them
    where the test also writes other places."""
    alone: tuple[tuple[int, ...], ...] = ((),) if len(cell.interventions) > 1 else ()
    for orders in (None, *range(_ORDERS, -1, -1)):
        sets = (*alone, *_sets(parts, orders))
        m = _rows(plan, test, variables, sets)
        if m >= LEAST or parts <= _SOME:
            break
    return sets, m


def _layer(place: Place) -> int:
    return -1 if place.site.layer is None else place.site.layer


def _tokens(place: Place) -> tuple[Place, ...]:
    position = place.position
    if position is None or position.kind != "several":
        return (place,)
    return tuple(replace(place, position=part) for part in position.parts)


def _sets(count: int, orders: int | None) -> tuple[tuple[int, ...], ...]:
    """The sets of parts that are written: all but the whole; of more, those that follow each other in a ring, so that each is added to
    0, 1, 2, … of the others; of many, and not rows enough for that (``orders`` is None), each alone and all but each, and those that begin one of so many random ``orders``."""
    if count <= _ALL:
        return tuple(some for size in range(1, count) for some in combinations(range(count), size))
    if orders is not None:
        found: list[tuple[int, ...]] = [(part,) for part in range(count)]
        found += [tuple(other for other in range(count) if other != part) for part in range(count)]
        stream = Stream(SEED, count)
        for _ in range(orders):
            order = stream.shuffled(np.arange(count)).tolist()
            found += [tuple(sorted(order[:size])) for size in range(1, count)]
        return tuple(dict.fromkeys(found))
    return tuple(
        tuple(sorted((start + step) % count for step in range(size)))
        for size in range(1, count)
        for start in range(count)
    )


__all__ = ["PARTED", "in_parts", "parted", "unparted"]
