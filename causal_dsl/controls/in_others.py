"""Unclaimed units taken from inputs in which the answer needs something else beside the placed variables.

Where the rest of a layer holds what the answer needs, a part of it must stay as it is in the pairs of :mod:`causal_dsl.planning.unclaimed`: these
differ in nothing that the rest is needed for. So units that are alike in all inputs of a pair are never unlike each other there, though a
network may compare them. Here the pairs differ in what is needed. Which units may then move the answer is known once some are found
that carry it by themselves: no others may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.controls.carrying import Carrying
from causal_dsl.controls.depending import SETS, Depending
from causal_dsl.controls.erring import Erring
from causal_dsl.controls.layer_vectors import unwritten_at
from causal_dsl.controls.mixing import Mixing
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.probe_rows import FREE, LEAST, is_small
from causal_dsl.planning.unclaimed import told_part
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import (
    Taken,
    Unclaimed,
    Unlike,
    exceeds,
    moves,
    of_pairs,
    one_of,
    unlike_findings,
    unmapped_findings,
)
from causal_dsl.vocabulary.locations import Place

#: Of how many sets that move the answer it is asked whether they may.
_JUDGED = 24


def with_others(
    cell: CellResult,
    probe: Unmapped,
    test: Test,
    execution: Execution,
    natural: float,
    away: set[int],
    mixing: Mixing,
    rows: int = 0,
) -> CellResult:
    """The cell, told of units that no variable claims and that move the answer though others carry what is needed; or that none are
    known to carry it. ``natural``: the share of inputs that the network answers wrong. ``away``: units that the test sets to other values.

    Of a small vector network, or in so many ``rows`` of prompts, and once for what is placed in a layer.
    """
    site = str(Place(probe.site))
    if probe.why == "decided" or not (rows or is_small(execution.plan.inputs[test.network.key])):
        return cell
    if probe.tokens and set(probe.varied) == set(test.model.exogenous):
        return cell  # whatever differs, was tried
    if cell.verdict is None or cell.verdict.code not in (*FULL, "partly") or len(probe.units[0]) < 2:
        return cell
    if any(one.code == "unmapped_moves" and one.severity == "alarm" for one in cell.findings):
        return cell
    if any((one.site, one.placed, one.why) == (site, probe.placed, "other") for one in cell.unclaimed):
        return cell
    if probe.tokens:
        found, tell = _of_tokens(probe, test, execution, natural, rows)
    else:
        carrying = Carrying(execution, test, probe, natural)
        found, tell = _of_layer(probe, test, execution, natural, away, carrying, FREE, mixing)
    return _told(cell, found, tell)


def with_others_of(
    cell: CellResult,
    probe: Unmapped,
    test: Test,
    execution: Execution,
    natural: float,
    carrying: Carrying,
    rows: int,
) -> CellResult:
    """The same of the single numbers of tokens, in so many ``rows``, and with what is known to carry them. A set of them may stand in for a part
    of what is needed; told are those alone of which it is known whether they may."""
    units = carrying.small_sets()
    found, tell = _of_layer(replace(probe, sets=tuple(units)), test, execution, natural, set(), carrying, rows, None)
    return _told(cell, None if found is None else replace(found, numbers=True), tell)


def _told(cell: CellResult, found: Unclaimed | None, tell: bool) -> CellResult:
    if found is None:
        return cell
    if not tell:
        return replace(cell, unclaimed=(*cell.unclaimed, found))
    changed = any(one.unlike is not None and one.unlike.sure for one in found.taken)
    told = unlike_findings(found) if changed else unmapped_findings(found)
    return replace(cell, unclaimed=(*cell.unclaimed, found), findings=one_of(cell.findings, told)) if told else cell


def _of_layer(
    probe: Unmapped,
    test: Test,
    execution: Execution,
    natural: float,
    away: set[int],
    carrying: Carrying,
    rows: int,
    mixing: Mixing | None,
) -> tuple[Unclaimed | None, bool]:
    """The unclaimed units of a layer as they were taken, and whether there is something to tell of them; ``rows``: of all cells of the test
    together."""
    n = len(carrying.base)
    sets = [one for one in dict.fromkeys((*probe.units[1:], *probe.sets)) if not away & set(one)]
    if n < 2 or not sets:
        return None, False
    cells = _own(execution, test).unlike
    m = min(n, max(LEAST, rows // cells // len(sets)))
    sets = sets[: max(1, rows // cells // m)]
    every = m == n and not carrying.unseen
    hits = dict(zip(sets, carrying.moved(sets, m), strict=True))

    def taken_as(one: tuple[int, ...], hits: np.ndarray, unlike: Unlike | None = None) -> Taken:
        return _taken(probe, one, of_pairs(carrying.apart(one, hits) if natural else hits, every), unlike)

    moving = [one for one in sets if hits[one].any() and moves(taken_as(one, hits[one]), natural, len(sets) + 1)]
    moving.sort(key=lambda one: (len(one), -int(hits[one].sum())))
    if m < n:  # those that it is asked about are seen again, in all pairs
        hits |= dict(zip(moving[:_JUDGED], carrying.moved(moving[:_JUDGED], n), strict=True))
    known: list[Taken] = []
    if moving and mixing is not None:
        erring = Erring(execution, test, _own(execution, test), probe)
        for one in moving[:_JUDGED]:
            base, other = (rows_[: len(hits[one])] for rows_ in (carrying.base, carrying.other))
            rest = erring.left(hits[one], carrying.mixed(base, other, one), one)
            left = taken_as(one, rest)
            if rest.sum() < hits[one].sum() and not moves(left, natural):
                known.append(replace(taken_as(one, hits[one]), unexplained=left.moved))
        moving = [one for one in moving if one not in {some.units for some in known}]
    quiet = (_unclaimed(probe, test, carrying, known, True, natural), True) if known else (None, False)
    for one in moving[:_JUDGED]:
        missed, carrier = carrying.missed(one), carrying.carrier(one)
        if missed is None or carrier is None:
            continue
        allowed = max(natural, missed)
        apart = [some for some in moving if not set(carrier) & set(some)]
        taken = [taken_as(some, hits[some]) for some in apart]
        taken = [some for some in taken if moves(some, allowed, len(sets) + 1)]
        if taken:
            at = told_part(probe, carrier)
            return _unclaimed(probe, test, carrying, taken, True, allowed, at, carrying.follows(carrier)), True
    if probe.numbers:
        carrying.left = rows  # what was spent on finding what carries it is spent
    changing, seen = _unlike(carrying, execution, probe, test, moving, m)
    if changing:
        told = [taken_as(some, hits[some], seen[some]) for some in changing]
        return _unclaimed(probe, test, carrying, told, False, natural), True
    if mixing is not None and not moving and not known and not away:
        units, pairs = probe.units[0], len(carrying.base)
        alone = pairs >= LEAST and not next(iter(carrying.moved([units], pairs))).any()
        tried = mixing.where_nothing_is_needed() if alone else ()
        mixed = [one for one in tried if moves(one, natural, len(tried) + 1)]
        if mixed:
            return replace(_unclaimed(probe, test, carrying, mixed, True, natural), needless=True), True
    if mixing is None or not moving or carrying.carrier(()) is not None:
        return quiet
    # Nothing less than all of it is known to carry what is needed. Values that go together in some input may well move the answer.
    strange = [
        one
        for one in moving
        if moves(
            taken_as(one, hits[one] & ~carrying.natural_mix(one, len(hits[one]))),
            natural,
            len(sets) + 1,
        )
    ]
    taken = [taken_as(one, hits[one], seen.get(one)) for one in strange]
    return (_unclaimed(probe, test, carrying, taken, False, natural), True) if taken else quiet


def _of_tokens(
    probe: Unmapped, test: Test, execution: Execution, natural: float, rows: int
) -> tuple[Unclaimed | None, bool]:
    """The same of prompts. The tokens of a trained network hold parts of what the answer needs, which move it together or alone: told
    are those alone that change how it depends on the placed variables. Where rows do not suffice for each token, none is taken."""
    carrying = Carrying(execution, test, probe, natural, rows)
    sets, n = carrying.small_sets(), len(carrying.base)
    singles = sum(len(one) == 1 for one in sets)
    m = min(n, LEAST)
    count = carrying.left // 2 // max(1, m)
    if n < 2 or not singles or count < singles:
        return None, False
    sets = sets if count >= len(sets) else sets[:singles]
    carrying.left -= len(sets) * m
    every = m == n and not carrying.unseen
    taken = {
        one: _taken(probe, one, of_pairs(hits, every)) for one, hits in zip(sets, carrying.moved(sets, m), strict=True)
    }
    moving = [one for one in sets if moves(taken[one], natural, len(sets) + 1)]
    moving.sort(key=lambda one: (len(one), -(taken[one].moved.value or 0.0)))
    changing, seen = _unlike(carrying, execution, probe, test, moving, m)
    changing = changing or [one for one in seen if exceeds(seen[one].share, natural, len(seen))]
    told = [replace(taken[one], unlike=seen[one]) for one in changing] or list(taken.values())
    return _unclaimed(probe, test, carrying, told, False, natural), bool(changing)


def _unlike(
    carrying: Carrying,
    execution: Execution,
    probe: Unmapped,
    test: Test,
    moving: Sequence[tuple[int, ...]],
    m: int,
) -> tuple[list[tuple[int, ...]], dict[tuple[int, ...], Unlike]]:
    """Which of the sets that move the answer change how it depends on the placed variables, and what was seen of those that were looked at."""
    if not moving:
        return [], {}
    depending = Depending(carrying, _own(execution, test))
    first = sorted(moving, key=lambda one: not depending.copies(one))  # rows may not suffice for all
    seen = {one: found for one in first[:SETS] if (found := depending.unlike(one, m)) is not None}
    changing = [one for one, found in seen.items() if found.sure and exceeds(found.share, carrying.natural, len(seen))]
    return changing, seen


def _own(execution: Execution, test: Test) -> Test:
    """The test beside which a control is run."""
    return execution.runs[test.control[0] or test.name].test


def _taken(probe: Unmapped, units: tuple[int, ...], moved: Estimate, unlike: Unlike | None = None) -> Taken:
    return Taken(units, told_part(probe, units), moved, unlike=unlike)


def _unclaimed(
    probe: Unmapped,
    test: Test,
    carrying: Carrying,
    taken: list[Taken],
    judged: bool,
    allowed: float,
    carrier: str = "",
    followed: float = 0.0,
) -> Unclaimed:
    mine = _own(carrying.execution, test)
    return Unclaimed(
        str(Place(probe.site)),
        probe.placed,
        carrying.varied(),
        "other",
        probe.tokens,
        test.readout.variable,
        tuple(replace(one, unwritten=unwritten_at(probe, mine, one.units)) for one in taken),
        carrying.natural,
        (judged,) * len(taken),
        allowed,
        carrier,
        followed,
    )


__all__ = ["with_others", "with_others_of"]
