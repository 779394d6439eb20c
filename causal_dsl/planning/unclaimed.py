"""The units that no variable claims, taken from another input.

What an alignment says of a layer it says of all of it: where the variables that it places there decide the answer,
nothing else of that layer may. So the rest is taken from another input, all of it and in parts, on a sample of the
test's own inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.draw import identify
from causal_dsl.causal.pooled_inputs import Pooled
from causal_dsl.diagnostics import SpecError
from causal_dsl.planning import graph as g
from causal_dsl.planning.alike_pairs import alike_pairs, answered_alike, are_few
from causal_dsl.planning.claims import claims_of, ways_of
from causal_dsl.planning.in_parts import PARTED, parted
from causal_dsl.planning.probe_rows import (
    FLOOR,
    FREE,
    LEAST,
    MANY,
    MOST,
    SEED,
    SHARE,
    in_tokens,
    is_small,
    made_test,
    paired,
    prompts_of,
)
from causal_dsl.planning.rest_of_layer import WrittenLayer, ends_its_layer, layers_of
from causal_dsl.planning.unit_sets import small_sets
from causal_dsl.program.components import width
from causal_dsl.program.overlap import overlap
from causal_dsl.program.probed import Unmapped, Why
from causal_dsl.program.program import Cell, Intervention, Placed, Test
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.values.from_run import FromRun

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Up to so many unclaimed units, all sets of them are tried; each pair; each by itself.
ALL, PAIRED, FEW = 6, 8, 32
#: How often many units are cut in halves, and the rows that each set needs before more of them are tried.
_SPLITS, _ENOUGH = 4, 16
#: Of more units, the fewest sets that are tried where rows suffice for so many.
_PARTS = 16
#: The same where rows cost next to nothing.
_MANY_SPLITS, _PLENTY = 16, 64
#: How often another partner is drawn for a row whose partner has the same values.
_TRIES = 8


def untried(plan: Plan, test: Test, number: int) -> str:
    """Why what no variable claims is not tried beside a cell; empty where it is, or where there is nothing of that kind."""
    return unclaimed(plan, test, number, test.cells[number])[1]


def unclaimed(plan: Plan, test: Test, number: int, cell: Cell, other: Drawn | None = None) -> tuple[list[Test], str]:
    """The probes of a cell; and where there are none, why. ``other``: inputs in place of the test's own."""
    drawn = plan.draw_of(test) if other is None else other
    claims = claims_of(plan, test, cell, drawn)
    reason = ""
    found: list[tuple[Cell, WrittenLayer, str]] = []
    for name, claim in claims:
        layers, why = layers_of(test, claim)
        reason = reason or why
        found += [(claim, one, _called(name, one.site if len(layers) > 1 else None)) for one in layers]
    made: list[Test] = []
    for claim, layer, what in found:
        probes, why = _of_layer(plan, test, number, claim, layer, len(found), what, drawn)
        made += probes
        reason = reason or why
    return made, "" if made else reason


def _called(beside: str, site: Site | None) -> str:
    return "unmapped" + (f" at {site}" if site is not None else "") + (f" beside {beside}" if beside else "")


def _of_layer(
    plan: Plan, test: Test, number: int, cell: Cell, layer: WrittenLayer, of: int, what: str, drawn: Drawn
) -> tuple[list[Test], str]:
    site = layer.site
    here = claimed(test, layer.placed)
    names = " and ".join(f"`{p.variable}`" for p in here)
    placed = tuple(p.variable for p in here)
    tokens = in_tokens(plan.inputs[test.network.key])
    beyond = drawn is not plan.draw_of(test)
    what += " beyond the `where`" if beyond else ""
    ways = ways_of(test, drawn, placed, tokens)
    if not ways:
        return (
            [],
            f"in the causal model {names} alone do{'es' * (len(here) == 1)} not determine `{test.readout.variable}`",
        )
    in_part: tuple[tuple[int, tuple[int, ...]], ...] = ()
    if tokens:
        units, in_part, why = free_tokens(plan, test, here, layer.other, site)
    else:
        units, why = free_dims(test, here, layer.other, site)
    if not units:
        return [], why
    left = _affordable(plan, test, cell, site, units[0] if tokens else 0) // of
    cheap = is_small(plan.inputs[test.network.key])
    if not (tokens or cheap or ways[0][0] == "decided"):
        left = left * 2 // 3  # the others are left for what carries the rest (:mod:`causal_dsl.controls.carrying`)
    written = () if tokens else _written_beside(test, layer.beside, site)
    made, few = [], False
    for behind, (why_, varied) in zip(range(len(ways) - 1, -1, -1), ways, strict=True):
        rows = left // (behind + 1)
        whole = None
        if cheap and len(units) > ALL and (are_few(drawn) or why_ != "alike" or varied):
            known = _pairs(test, drawn, why_, varied, placed, rows, number, ways, tokens)
            whole = known[0].n if known is not None and known[1] else None
        usual, small = _shares(units, written, rows, behind * rows // 2 if cheap else 0, whole, cheap)
        runs = (usual,) if cheap else (usual, small)
        for sets, share in runs:
            if not sets:
                continue
            m = min(share // len(sets), MANY if cheap else min(MOST, max(drawn.n, LEAST)))
            if m < min(LEAST, whole or LEAST):
                few = True
                continue
            pairs = _pairs(test, drawn, why_, varied, placed, m, number, ways, tokens)
            if pairs is None:
                continue
            rows_of, all_pairs, differ = pairs
            beside = small[0] if cheap else []
            some = Stream(SEED, number).some(rows_of.n, min(rows_of.n, small[1] // len(beside))) if beside else None
            left -= rows_of.n * len(sets) + (0 if some is None else len(some) * len(beside))
            cells = tuple(
                Cell((("part", part + 1),), _taken(site, chosen, tokens, in_part, test))
                for part, chosen in enumerate(sets)
            )
            probe = Unmapped(
                number,
                site,
                tuple(sets),
                placed,
                differ,
                why_,
                tokens,
                all_pairs,
                written,
                layer.early,
                tuple(beside),
                some,
                beyond,
                in_part,
            )
            name = f"{what}, few" if sets is small[0] else what
            made.append(made_test(test, "unmapped", number, rows_of, cells, probe, name))
    if few or [why_ for why_, _ in ways] != ["alike"]:
        return made, f"fewer than {LEAST} pairs of inputs can be run for it at a fifth of the cost of the test"
    return made, (
        f"in the causal model hardly any two inputs of the test have the same `{test.readout.variable}`, given the values of "
        f"{names} in one of them"
    )


def _shares(
    units: list[int],
    written: Sequence[tuple[int, tuple[int, ...]]],
    rows: int,
    spare: int,
    whole: int | None,
    cheap: bool,
) -> tuple[tuple[list[tuple[int, ...]], int], tuple[list[tuple[int, ...]], int]]:
    """The sets of units that are taken, with the rows that they have together; and of many units those of two, or of two and three.

    ``spare``: rows of others that these may take, if so more of them can be run; ``whole``: how many pairs of inputs there are, if these
    are no more than ``rows``.
    """
    least = LEAST if whole is None else min(LEAST, whole)
    small, share = small_sets(units, rows // 2, least, together=cheap) if len(units) > ALL else ([], 0)
    usual = _with_left(_sets(units, rows - share), units, written)
    if not small:
        return (usual, rows), ([], 0)
    needed = len(usual) * min(_ENOUGH, whole or _ENOUGH)
    more, taken = small_sets(units, share, least, max(0, rows - share - needed) + spare, cheap)
    return (usual, max(needed, min(rows - share, rows + spare - taken))), (more, taken)


def _with_left(
    sets: list[tuple[int, ...]], units: list[int], written: Sequence[tuple[int, tuple[int, ...]]]
) -> list[tuple[int, ...]]:
    """The sets, and behind that of all units those that a test does not write beside its variables."""
    left = tuple(unit for unit in units if not any(unit in some for _, some in written))
    return list(dict.fromkeys([sets[0], left, *sets[1:]])) if left else sets


def _pairs(
    test: Test,
    drawn: Drawn,
    why: Why,
    varied: tuple[str, ...],
    placed: tuple[str, ...],
    m: int,
    number: int,
    ways: Sequence[tuple[Why, tuple[str, ...]]],
    tokens: bool,
) -> tuple[Drawn, bool, tuple[str, ...]] | None:
    """Up to ``m`` pairs of inputs that differ in one of the ``ways``, whether these are all such pairs, and in which variables they
    differ; None where there are too few."""
    if why == "alike" and not varied:
        known = {name for way, names in ways if way != "alike" for name in names}
        return alike_pairs(test, drawn, placed, m, number, known)
    # Of a vector network any input can be run; prompts that the test runs anyway cost nothing more.
    remade = _remade(test, drawn, varied, m, number) if why != "decided" or not tokens else None
    found = remade or _others(test, drawn, varied, m, number)
    if found is None:
        return None
    kept = answered_alike(test, found[0], placed) if why == "alike" else found[0]
    return None if kept is None else (kept, found[1], varied)


def claimed(test: Test, here: Sequence[Placed]) -> list[Placed]:
    """The variables of a layer that are claimed to be there: those that the test writes, and of the others those whose sites no
    sweep moves about and that share no number with them (two variables at one place are looked for, not both claimed)."""
    written = {variable for variable, _ in test.swaps}
    mine = [p for p in here if p.variable in written]
    facts = test.network.facts

    def apart(p: Placed) -> bool:
        return not any(overlap(one, other, facts) for m in mine for one in p.places for other in m.places)

    return [*mine, *(p for p in here if p.variable not in written and p.fixed and apart(p))]


def _affordable(plan: Plan, test: Test, cell: Cell, site: Site, first: int) -> int:
    """How many rows may be run beside a cell, whose ``first`` written token is given: each runs from there on, from the site up.

    What the cell costs is its own rows, from their first written token on, and its part of the test's unpatched runs.
    """
    inputs, drawn, facts = plan.inputs[test.network.key], plan.draw_of(test), test.network.facts
    runs = prompts_of(plan, test)
    length = int(inputs.lengths[runs].max())
    layers = facts.layers or max(1, len(facts.widths) - 1)
    above = max(1, layers - (site.layer or 0) - ends_its_layer(site))
    base = plan.rows[g.Forward(test.network.key, plan.scores[test.name][0].label.draw, "base")]
    own = min(inputs.where(place.position, int(base[0]))[0] for i in cell.interventions for place in i.places)
    cost = drawn.n * (length - own) * above + len(runs) * length * layers / test.unlike
    share = SHARE if len(test.swaps) == 1 else SHARE / 2  # the other half is for them one by one
    share -= (PARTED if len(test.swaps) == 1 else PARTED / 2) if parted(test, cell) else 0
    share -= inputs.later_share
    rows = int(share * cost / ((length - first) * above))
    return max(rows, (FREE if is_small(inputs) else FLOOR) // test.unlike)


def _written_beside(
    test: Test, beside: Sequence[tuple[int, Place]], site: Site
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The coordinates of a layer that a test writes beside its variables, by the number of the intervention."""
    count = width(site, test.network.facts) or 0
    return tuple((i, tuple(range(count)) if at.site.dims is None else at.site.dims) for i, at in beside)


def free_dims(test: Test, here: Sequence[Placed], other: Sequence[Place], site: Site) -> tuple[list[int], str]:
    """The coordinates of a layer that nothing claims; or none, and the reason."""
    count = width(site, test.network.facts)
    if count is None:
        return [], f"the width of {Place(site)} is not known"
    claimed: set[int] = set()
    for place in (*(place for placed in here for place in placed.places), *other):
        claimed |= set(range(count) if place.site.dims is None else place.site.dims)
    free = [unit for unit in range(count) if unit not in claimed]
    return free, "" if free else f"no number of {Place(site)} is left unclaimed"


def free_tokens(
    plan: Plan, test: Test, here: Sequence[Placed], other: Sequence[Place], site: Site
) -> tuple[list[int], tuple[tuple[int, tuple[int, ...]], ...], str]:
    """The tokens that are not claimed in any prompt, or not all of whose numbers are, with those that are, where all prompts are of one
    length and one shape; or none, and the reason."""
    inputs = plan.inputs[test.network.key]
    places = [*(place for placed in here for place in placed.places), *other]
    count = width(site, test.network.facts)
    if count is None and any(place.site.dims is not None for place in places):
        return (
            [],
            (),
            f"a variable has only some numbers of its tokens' vectors, and the width of {Place(site)} is not known",
        )
    rows = prompts_of(plan, test)
    lengths = set(inputs.lengths[rows].tolist())
    if len(lengths) > 1:
        return [], (), "the prompts differ in their number of tokens"
    try:
        claimed = {
            tuple((token, place.site.dims) for place in places for token in inputs.where(place.position, index))
            for index in rows.tolist()
        }
    except SpecError:
        return [], (), "a prompt has another shape, in which a variable has no place"
    if len(claimed) > 1:
        return [], (), "the places are at other tokens in other prompts"
    taken: dict[int, set[int] | None] = {}
    for token, dims in next(iter(claimed)):
        before = taken.get(token, set())
        taken[token] = None if dims is None or before is None else before | set(dims)
    whole = {token for token, dims in taken.items() if dims is None or len(dims) == count}
    some = tuple((token, tuple(sorted(dims))) for token, dims in sorted(taken.items()) if token not in whole and dims)
    free = [token for token in range(next(iter(lengths))) if token not in whole]
    return free, some, "" if free else "no token is left unclaimed"


def _sets(units: list[int], rows: int) -> list[tuple[int, ...]]:
    """The sets of units that are taken, the first of them all: the richest choice that so many rows are enough for.

    A copy that steps in only where others agree shows when just the right ones are taken: so all sets of few units, or all pairs; of
    many each by itself and random halves.
    """
    every = tuple(units)
    if len(units) > FEW and rows // LEAST >= _PARTS:
        return _parts_of_many(units, rows)
    halves: list[tuple[int, ...]] = []
    stream = Stream(SEED)
    for _ in range(_MANY_SPLITS if len(units) > 1 else 0):
        order = stream.shuffled(units)
        half = len(units) // 2
        halves += [tuple(sorted(order[:half].tolist())), tuple(sorted(order[half:].tolist()))]
    singles = [(unit,) for unit in units] if len(units) <= FEW else []
    few = singles if len(units) <= PAIRED else []
    pairs = list(combinations(units, 2)) if len(units) <= PAIRED else []
    subsets = [s for k in range(1, len(units)) for s in combinations(units, k)] if len(units) <= ALL else []
    richest_first = (
        (_PLENTY, [every, *(subsets or [*halves, *singles, *pairs])]),
        (_ENOUGH, [every, *(subsets or [*halves[: 4 if pairs else 2 * _SPLITS], *singles, *pairs])]),
        (_ENOUGH, [every, *halves[: 2 * _SPLITS], *singles]),
        (LEAST, [every, *halves[: 2 if len(units) <= PAIRED else 4], *few]),
    )
    for needed, sets in richest_first:
        found = list(dict.fromkeys(sets))
        if rows // len(found) >= needed:
            return found
    return [every]


def _parts_of_many(units: list[int], rows: int) -> list[tuple[int, ...]]:
    """All of many units, random halves of them, disjoint groups of a quarter, an eighth, …, and each by itself; where rows do not
    suffice for that, half of those that can be run are groups, from the largest on, and half are units picked at random."""
    stream = Stream(SEED)
    halves: list[tuple[int, ...]] = []
    for _ in range(_SPLITS):
        order = stream.shuffled(units)
        halves += [tuple(sorted(one.tolist())) for one in np.array_split(order, 2)]
    groups: list[tuple[int, ...]] = []
    count = 4
    while count <= len(units) // 2:
        groups += [tuple(sorted(one.tolist())) for one in np.array_split(stream.shuffled(units), count)]
        count *= 2
    singles = [(unit,) for unit in units]
    for needed, sets in ((_PLENTY, [*groups, *singles]), (_ENOUGH, [*groups, *singles]), (LEAST, singles)):
        found = list(dict.fromkeys([tuple(units), *halves, *sets]))
        if rows // len(found) >= needed:
            return found
    left = rows // LEAST - 1 - len(halves)
    some = [singles[k] for k in np.sort(stream.shuffled(np.arange(len(singles)))[: left - left // 2]).tolist()]
    return list(dict.fromkeys([tuple(units), *halves, *groups[: left // 2], *some]))


def part(site: Site, units: tuple[int, ...], tokens: bool) -> Place:
    """The place of some units of a layer: coordinates of its vector, or tokens."""
    if not tokens:
        return Place(replace(site, dims=units))
    parts = tuple(Position("index", index=unit) for unit in units)
    return Place(site, parts[0] if len(parts) == 1 else Position("several", parts=parts))


def told_part(probe: Unmapped, units: tuple[int, ...]) -> str:
    """The same in words; of a token of which some numbers are claimed these are the others."""
    if probe.numbers:
        return told_numbers(probe.site, units, probe.numbers)
    known = dict(probe.claimed)
    whole = tuple(unit for unit in units if unit not in known)
    places = [str(part(probe.site, whole, probe.tokens))] if whole else []
    places += [f"the other numbers of {part(probe.site, (unit,), True)}" for unit in units if unit in known]
    return " and ".join(places)


def told_numbers(site: Site, columns: Sequence[int], width: int) -> str:
    """Some numbers of the vectors of all tokens side by side, each so wide, in words: those of up to four tokens, and how many tokens more."""
    of = dict[int, list[int]]()
    for column in columns:
        of.setdefault(column // width, []).append(column % width)
    told = [str(part(replace(site, dims=tuple(dims)), (token,), True)) for token, dims in list(of.items())[:4]]
    more = f" and the unclaimed numbers of {len(of) - 4} more tokens" if len(of) > 4 else ""
    return " and ".join(told) + more


def _taken(
    site: Site, units: tuple[int, ...], tokens: bool, claimed: tuple[tuple[int, tuple[int, ...]], ...], test: Test
) -> tuple[Intervention, ...]:
    known, count = dict(claimed), width(site, test.network.facts) or 0
    whole = tuple(unit for unit in units if unit not in known)
    places = [part(site, whole, tokens)] if whole else []
    for unit in units:
        if unit in known:
            rest = tuple(number for number in range(count) if number not in known[unit])
            places.append(part(replace(site, dims=rest), (unit,), True))
    return (
        Intervention(tuple(places), FromRun("other", tuple(places)), text=f"{', '.join(map(str, places))} <- other"),
    )


def _remade(test: Test, drawn: Drawn, varied: tuple[str, ...], m: int, number: int) -> tuple[Drawn, bool] | None:
    """Base rows with, for each, the same input but for the ``varied`` ones, which have values that other rows have; and whether
    these are all such pairs.

    Where there are more than ``m``, half of them differ in as many of the varied inputs as can be, so that all units that carry
    any of these differ, and half in some of them only: what compares units is seen where just some are others. None where that
    may be no input of the model, or of the prompt line: where a condition or a set speaks of several of them.
    """
    model = test.model
    if model.wheres or model.choices or any(where is not None for where in test.design.templates):
        return None
    own = drawn.pooled
    first = own.first
    settings = own.settings(varied)
    every = len(first) * (len(settings) - 1) <= m
    if every:
        rows, partner = (grid.ravel() for grid in np.meshgrid(first, settings, indexing="ij"))
        changed = {name: own.at(name, partner) for name in varied}
    else:
        rows, changed = _drawn_pairs(own, varied, m, number)
    base = own.all_at(rows)
    other = {name: changed.get(name, base[name]) for name in model.exogenous}
    kept = ~np.all([other[name] == base[name] for name in varied], axis=0)
    if kept.sum() < (1 if every else LEAST):
        return None
    try:
        found = model.evaluate(other)
    except SpecError:
        return None
    if "template" in base:
        found["template"] = base["template"]
    values = {
        "base": {name: column[kept] for name, column in base.items()},
        "other": {name: found[name][kept] for name in base},
    }
    statement = replace(test.design.statements[0], roles=("base", "other"))
    return Drawn(int(kept.sum()), values, identify(Design((statement,)), values), False), every


def _drawn_pairs(own: Pooled, varied: tuple[str, ...], m: int, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``m`` base rows, and new values for the ``varied`` inputs of each: of all of them, or (every other row) of some."""
    n = own.n
    stream = Stream(SEED, number)
    rows = np.resize(stream.some(n, m), m)
    some = stream.unit((m, len(varied))) < 0.5
    some[np.arange(m), stream.below(len(varied), m)] = True
    some[::2] = True
    before = {name: own.at(name, rows) for name in varied}
    changed = {name: column.copy() for name, column in before.items()}
    for _ in range(_TRIES):
        for i, name in enumerate(varied):
            same = some[:, i] & (changed[name] == before[name])
            drawn = stream.below(n, m)
            if same.any():
                changed[name][same] = own.at(name, drawn[same])
    return rows, changed


def _others(test: Test, drawn: Drawn, varied: tuple[str, ...], m: int, number: int) -> tuple[Drawn, bool] | None:
    """Base rows with, for each, another input of the test that differs in the ``varied`` inputs alone, and whether these are
    all such pairs; None where there is none."""
    inputs = drawn.pooled
    columns = inputs.all_at(inputs.first)
    fixed = [name for name in (*test.model.exogenous, "template") if name not in varied and name in columns]
    distinct = inputs.ids[inputs.first]
    key = np.zeros(len(distinct), np.int64)
    for name in fixed:
        _, codes = np.unique(columns[name], return_inverse=True)
        _, key = np.unique(key * (int(codes.max(initial=0)) + 1) + codes.reshape(-1), return_inverse=True)
    order = np.argsort(key, kind="stable")
    bounds = np.searchsorted(key[order], np.arange(int(key.max(initial=0)) + 2))
    stream = Stream(SEED, number)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    bases = np.searchsorted(distinct, np.unique(drawn.ids["base"]))
    others = bounds[key[bases] + 1] - bounds[key[bases]] - 1
    every = others.sum() <= m
    if every:
        mine = np.repeat(bases, others)
        step = 1 + np.concatenate([np.arange(count) for count in others] or [others])
    else:
        rows = np.arange(drawn.n) if m >= drawn.n else stream.some(drawn.n, m)
        mine = np.searchsorted(distinct, drawn.ids["base"][np.resize(rows, m)])
    group = key[mine]
    size = bounds[group + 1] - bounds[group]
    if not every:  # of a group of k inputs, one of the k - 1 others
        step = 1 + np.floor(stream.unit(m) * np.maximum(size - 1, 1)).astype(np.int64)
    chosen = order[bounds[group] + (rank[mine] - bounds[group] + step) % np.maximum(size, 1)]
    kept = size > 1
    if kept.sum() < (1 if every else LEAST):
        return None
    whole = Drawn(len(distinct), {"base": columns, "other": columns}, {"base": distinct, "other": distinct}, False)
    return paired(whole, ("base", mine[kept]), ("other", chosen[kept])), bool(every)
