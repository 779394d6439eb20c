"""Single numbers of the vectors of tokens, where something else than the placed variables counts as well.

A token is taken with all of its numbers. Copies of a variable in two numbers of one token are then never unlike each other. In networks of
prompts whose runs cost next to nothing, the numbers of all tokens are therefore taken as the units of a vector network are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from causal_dsl.base.counter import Stream
from causal_dsl.controls.assembling import Assembling, Mixtures
from causal_dsl.controls.carrying import Carrying
from causal_dsl.controls.in_others import with_others_of
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.claims import claims_of, ways_of
from causal_dsl.planning.probe_rows import LEAST, SEED, rows_of_tokens
from causal_dsl.planning.rest_of_layer import layers_of
from causal_dsl.planning.unclaimed import ALL, claimed, free_tokens, part, told_part
from causal_dsl.planning.unit_sets import random_parts
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import Taken, Unclaimed, moves, of_pairs, one_of, unmapped_findings
from causal_dsl.vocabulary.locations import Place

#: Random halves, and quarters, of the numbers; the rows that a set needs, and the most that it gets, of a mixture more; and of how many sets that move the answer
#: it is asked whether they may.
_PARTS, _ENOUGH, _MOST, _MIXED, _JUDGED = 8, 2 * LEAST, 128, 256, 24


def with_numbers(cell: CellResult, number: int, test: Test, execution: Execution) -> CellResult:
    """The cell ``number`` of a test, told whether numbers of tokens that no variable claims move the answer: beside a full verdict, where the
    placed variables alone do not determine the answer."""
    plan = execution.plan
    rows = rows_of_tokens(plan.inputs[test.network.key]) // test.unlike
    if not rows or cell.verdict is None or cell.verdict.code not in FULL or _alarmed(cell):
        return cell
    drawn = plan.draw_of(test)
    claim = claims_of(plan, test, test.cells[number], drawn)[0][1]
    layers = layers_of(test, claim)[0]
    if len(layers) != 1:
        return cell
    (layer,) = layers
    placed = tuple(p.variable for p in claimed(test, layer.placed))
    ways = ways_of(test, drawn, placed, False)
    if not ways or ways[0][0] == "decided":
        return cell  # (:mod:`causal_dsl.controls.mixing`)
    tokens, some, _ = free_tokens(plan, test, claimed(test, layer.placed), layer.other, layer.site)
    if not tokens:
        return cell
    whole = Unmapped(number, layer.site, (tuple(tokens),), placed, (), "through", True, claimed=some)
    assembling = Assembling(execution, (test,), whole)
    if assembling.layer.unfit or len(assembling.inputs) < LEAST:
        return cell
    held = assembling.vectors.double().cpu().numpy()
    free = tuple(c for c in assembling.layer.columns(tokens) if np.ptp(held[:, c]) > 0)
    if len(free) < 2:
        return cell
    probe = replace(whole, units=(free,), claimed=(), numbers=assembling.layer.width)
    natural = assembling.wrong
    carrying = Carrying(execution, test, probe, natural, rows // 2)
    for why, varied in ways:
        if varied and why in ("idle", "through"):
            one = replace(probe, varied=varied, why=why)
            told = _in_alike(one, assembling, carrying, rows // 8, natural)
            if told is not None:
                cell = replace(cell, unclaimed=(*cell.unclaimed, told))
                cell = replace(cell, findings=one_of(cell.findings, unmapped_findings(told)))
    carrying.left = rows // 2
    return cell if _alarmed(cell) else with_others_of(cell, probe, test, execution, natural, carrying, rows // 2)


def _alarmed(cell: CellResult) -> bool:
    return any(one.code == "unmapped_moves" and one.severity == "alarm" for one in cell.findings)


def _in_alike(
    probe: Unmapped, assembling: Assembling, carrying: Carrying, rows: int, natural: float
) -> Unclaimed | None:
    """The numbers that move the answer when they are taken from inputs that differ in the ``varied`` inputs of a probe alone; None where there are too few."""
    test, values = assembling.test, assembling.values
    fixed = [name for name in (*test.model.exogenous, "template") if name not in probe.varied and name in values]
    sets = list(_sets(probe.units[0], rows))
    sets = sets[: rows // LEAST]
    n = min(_MOST, rows // len(sets)) if sets else 0
    if len(sets) <= len(probe.units[0]) or not fixed:
        return None
    base = assembling.rows(4 * n)
    donors = assembling.alike(base, fixed)
    base, donors = base[donors != base][:n], donors[donors != base][:n]
    if len(base) < LEAST:
        return None
    found = assembling.run(base, [[(one, donors)] for one in sets])
    here, there = (assembling.vectors[torch.from_numpy(rows)] for rows in (base, donors))
    apart = (here != there).any(dim=0)
    tokens = list(_of_tokens(probe, [c for c in probe.units[0] if apart[c]]))
    base = assembling.rows(min(_MIXED, rows // max(1, len(tokens))))
    ways = [[(columns, assembling.alike(base, fixed)) for _, columns in some] for some in tokens]
    mixed = assembling.run(base, ways)
    taken = tuple(
        Taken(one, told_part(probe, one), of_pairs(mixtures.moved, False))
        for one, mixtures in zip(sets, found, strict=True)
    )
    taken += tuple(_mixed(probe, some, mixtures) for some, mixtures in zip(tokens, mixed, strict=True))
    judged = _judged(taken, carrying, natural)
    site, output = str(Place(probe.site)), test.readout.variable
    made = Unclaimed(site, probe.placed, probe.varied, probe.why, True, output, taken, natural, judged, natural)
    return replace(made, numbers=True)


def _sets(free: Sequence[int], rows: int) -> Iterator[tuple[int, ...]]:
    """All numbers and each by itself, halves and quarters of them, and each two if rows suffice."""
    stream = Stream(SEED, len(free), "numbers")
    sets = [tuple(free), *((one,) for one in free)]
    sets += [*random_parts(free, 2, _PARTS, stream), *random_parts(free, 4, _PARTS, stream)]
    pairs = list(combinations(free, 2))
    if (len(sets) + len(pairs)) * _ENOUGH <= rows:
        sets += pairs
    yield from dict.fromkeys(sets)


def _of_tokens(probe: Unmapped, free: Sequence[int]) -> Iterator[tuple[tuple[int, tuple[int, ...]], ...]]:
    """Sets of three and more tokens, with the numbers of them that are ``free``, each of which is taken from an input of its own: all such sets of few, else all tokens.
    One other input gives no three of them that are unlike each other."""
    of = dict[int, list[int]]()
    for column in free:
        of.setdefault(column // probe.numbers, []).append(column)
    every = tuple((token, tuple(columns)) for token, columns in of.items())
    sizes = range(3, len(every) + 1) if len(every) <= ALL else [len(every)]
    for size in sizes:
        yield from combinations(every, size)


def _mixed(probe: Unmapped, some: tuple[tuple[int, tuple[int, ...]], ...], mixtures: Mixtures) -> Taken:
    told = str(part(probe.site, tuple(token for token, _ in some), True))
    units = tuple(column for _, columns in some for column in columns)
    return Taken(units, told, of_pairs(mixtures.moved, False), mixed=True, varied=probe.varied, each="token")


def _judged(taken: Sequence[Taken], carrying: Carrying, natural: float) -> tuple[bool, ...]:
    """For each set, whether the answer must stay: of all numbers together always, of some where others carry what the answer needs."""
    if moves(taken[0], natural):
        return tuple(not one.mixed for one in taken)
    judged = [not i for i in range(len(taken))]
    moving = [i for i, one in enumerate(taken) if i and moves(one, natural, len(taken))]
    moving.sort(key=lambda i: (len(taken[i].units), -(taken[i].moved.value or 0.0)))
    for i in moving[:_JUDGED]:
        missed = carrying.missed(taken[i].units)
        judged[i] = missed is not None and moves(taken[i], max(natural, missed), len(taken))
    return tuple(judged)


__all__ = ["with_numbers"]
