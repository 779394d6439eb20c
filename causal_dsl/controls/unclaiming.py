"""The measurements of units that no variable claims, taken from other inputs beside a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from causal_dsl.controls.carrying import Carrying
from causal_dsl.controls.clear_moves import with_clear
from causal_dsl.controls.depending import Depending
from causal_dsl.controls.erring import with_errors
from causal_dsl.controls.in_others import with_others
from causal_dsl.controls.in_tokens import rest_of, taken_later
from causal_dsl.controls.interchanging import moved
from causal_dsl.controls.layer_vectors import codes_of, unwritten_at
from causal_dsl.controls.mixing import Mixing
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.quantities import TIED, Columns, Quantity
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import FLOOR, LEAST
from causal_dsl.planning.unclaimed import told_part
from causal_dsl.program.components import width
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.only_there import unmapped_beside, unmapped_beyond
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import Taken, Unclaimed, exceeds, moves, of_pairs, one_of, unmapped_findings
from causal_dsl.vocabulary.locations import Place

_ANSWER = Quantity("answer")
#: Sets of units that move the answer, of which it is asked whether they may; and after how many that may not no more are.
_JUDGED, _NAMED = 24, 4
#: Rows that are run in one pass beside the plan.
_AT_ONCE = 2**14


def with_unclaimed(
    cell: CellResult, probe: Unmapped, test: Test, own: CellRun, run: TestRun, execution: Execution, rows: int = 0
) -> CellResult:
    """The cell, told what moves when units that no variable claims are taken from other inputs.

    It is over the pairs in which the network answers both inputs right: there it can have no error of its own to pass on. What the test
    itself sets to other values is not what the rest of the layer holds, and is told apart; what it writes as it was, is. ``rows``: in how
    many more prompts parts may be taken (:mod:`causal_dsl.controls.in_tokens`).
    """
    away = {unit for number, units in probe.beside if own.fired and own.fired[number][1] > 0 for unit in units}
    drawn, output, columns = execution.plan.draw_of(test), test.readout.variable, run.cells[0].columns
    base, other = columns.base[_ANSWER], columns.sources["other"][_ANSWER]
    right = base == drawn.values["base"][output]
    both = right & (other == drawn.values["other"][output])
    iia = cell.scores["iia"].value
    if probe.beyond:
        if any(one.code == "only_there" for one in cell.findings) or _alarmed(cell):
            return cell  # the claim is not true there, or it is known to fail here
        iia = None if cell.beyond is None else cell.beyond.right.value
    mine = execution.runs[test.control[0]].test
    mixing = Mixing(probe, test, mine, execution, cell)
    accuracy = None if probe.beyond else cell.scores["accuracy"].value
    natural = allowed = max(1 - float(right.mean()), mixing.wrong, 0.0 if accuracy is None else 1 - accuracy)
    holds = cell.verdict is not None and cell.verdict.code in (*FULL, "partly")
    if iia is not None and ((natural and holds) or probe.why == "alike"):
        # A network with errors of its own makes more of them where parts of two inputs meet, as they do in the test itself. Of pairs that are alike
        # all of it together is the test itself, seen from the other run.
        allowed = max(natural, 1 - iia)
    every = tuple(
        Taken(
            units,
            told_part(probe, units),
            of_pairs(_elsewhere(one.columns)[both], probe.all_pairs),
            unwritten_at(probe, mine, units),
        )
        for units, one in zip(probe.units, run.cells, strict=True)
    )
    every += tuple(
        Taken(
            units,
            told_part(probe, units),
            of_pairs(hits, probe.all_pairs and len(hits) == int(both.sum())),
            unwritten_at(probe, mine, units),
        )
        for units, hits in (
            *_taken_together(probe, test, execution, both),
            *(taken_later(probe, test, execution, both, base, rows) if rows else ()),
        )
        if units not in probe.units
    )
    every = with_clear(every, probe, test, execution, both, natural, allowed)
    every = with_errors(every, probe, test, mine, execution, both, natural, allowed)
    every += tuple(mixing.taken())
    cell = replace(cell, findings=(*cell.findings, *mixing.findings))

    def told_of(taken: tuple[Taken, ...]) -> Unclaimed:
        judged = _judged(probe, test, execution, taken, allowed, moves(taken[0], allowed), cell)
        site, placed, varied = str(Place(probe.site)), probe.placed, probe.varied
        inside = probe.tokens and width(probe.site, test.network.facts) != 1 and not mixing.numbers
        found = Unclaimed(site, placed, varied, probe.why, probe.tokens, output, taken, natural, judged, allowed)
        return replace(found, cut=len(probe.claimed), inside=inside)

    full = cell.verdict is not None and cell.verdict.code in FULL
    left = tuple(one for one in every if not away & set(one.units))
    if probe.beyond:
        told = unmapped_beyond(unmapped_findings(told_of(left))) if left and full else []
        return replace(cell, findings=(*cell.findings, *told))
    if left:
        found = told_of(left)
        told = unmapped_findings(found)
        if (
            (probe.why == "alike" or probe.claimed)
            and not full
            and (cell.verdict is None or cell.verdict.code != "partly")
        ):
            told = []  # where the claim does not hold, it is no news that the rest of the layer carries the answer
        cell = replace(cell, unclaimed=(*cell.unclaimed, found), findings=one_of(cell.findings, told))
        cell = with_others(cell, probe, test, execution, natural, away, mixing, rest_of(rows))
    if away and full and not _alarmed(cell):
        hidden = unmapped_beside(unmapped_findings(told_of(every)))
        known = {one.code for one in cell.findings}
        cell = replace(cell, findings=(*cell.findings, *(one for one in hidden if one.code not in known)))
    return cell


@torch.no_grad()
def _taken_together(
    probe: Unmapped, test: Test, execution: Execution, both: np.ndarray
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Each of the further sets of units of a probe, and in which of its rows that are ``both`` right [n] the answer moves when it is taken."""
    if not probe.sets or probe.rows is None:
        return
    rows = probe.rows[both[probe.rows]]
    if not len(rows):
        return
    plan, key = execution.plan, test.network.key
    draw, network = plan.scores[test.name][0].label.draw, execution.networks[key]
    inputs, index = plan.inputs[key], {role: plan.rows[Forward(key, draw, role)][rows] for role in ("base", "other")}
    every = torch.arange(len(rows))
    read = forward(network, inputs.rows(index["other"]), [SiteRead(probe.site, every)]).reads[0]
    lines = plan.draw_of(test).templates("base")[rows]
    own = codes_of(execution, test, forward(network, inputs.rows(index["base"]), readout=every).logits, lines)
    at_once = max(1, _AT_ONCE // len(rows))
    for start in range(0, len(probe.sets), at_once):
        sets = probe.sets[start : start + at_once]
        mask = torch.zeros((len(sets), read.shape[1]), dtype=torch.bool)
        for k, units in enumerate(sets):
            mask[k, list(units)] = True
        mask = mask.repeat_interleave(len(rows), 0).to(read.device)
        taken = read.repeat(len(sets), 1)
        written = partial(_where, mask, taken)
        runs = torch.arange(len(taken))
        write = SiteWrite(probe.site, runs, None, written)
        logits = forward(network, inputs.rows(np.tile(index["base"], len(sets))), writes=[write], readout=runs).logits
        said = codes_of(execution, test, logits, np.tile(lines, len(sets))).reshape(len(sets), len(rows))
        for units, answers in zip(sets, said, strict=True):
            yield units, (answers != own) & (answers != TIED)


def _where(mask: torch.Tensor, taken: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, taken.to(here), here)


def _alarmed(cell: CellResult) -> bool:
    return any(finding.code == "unmapped_moves" and finding.severity == "alarm" for finding in cell.findings)


def _judged(
    probe: Unmapped,
    test: Test,
    execution: Execution,
    taken: Sequence[Taken],
    natural: float,
    together: bool,
    cell: CellResult,
) -> tuple[bool, ...]:
    """For each set of units, whether the answer must stay when it is taken from the other input.

    All that is unclaimed is together a natural rest. Where something else is needed beside the placed variables, a part must not
    count just if other units carry it: then what was taken is needed by nothing. What they carry in all but a few pairs it may
    be needed for in these.
    """
    if probe.why == "decided":
        return (True,) * len(taken)
    if probe.tokens:
        return _judged_tokens(probe, test, execution, taken, natural, together)
    if together:  # the same pairs, and so parts of what moves the answer; the inputs of mixed sets are others
        return tuple(not one.mixed or bool(one.beside) for one in taken)
    judged = [not i or bool(one.beside) for i, one in enumerate(taken)]
    moving = [i for i, one in enumerate(taken) if not judged[i] and moves(one, natural, len(taken))]
    if not moving or _alarmed(cell) or cell.verdict is None or cell.verdict.code not in (*FULL, "partly"):
        return tuple(judged)
    carrying = Carrying(execution, test, probe, natural)
    known = sum(judged) - 1
    moving.sort(key=lambda i: (len(taken[i].units), -(taken[i].moved.value or 0)))
    if carrying.decided:  # in its own inputs nothing else is needed; mixtures are made from those of the test, too
        moving = [i for i in moving if not taken[i].mixed]
    for i in moving[:_JUDGED]:
        missed = carrying.missed(taken[i].units)
        judged[i] = missed is not None and moves(taken[i], max(natural, missed), len(taken))
        if sum(judged) - known > _NAMED:
            break
    return tuple(judged)


def _judged_tokens(
    probe: Unmapped, test: Test, execution: Execution, taken: Sequence[Taken], natural: float, together: bool
) -> tuple[bool, ...]:
    """The same of tokens. Some of them may hold together what the answer needs, by a key that decides nothing. A part of it, taken alone, then
    gives another value of it, and the answer goes by the placed variables as it does in some input. What steps in for these changes that.
    """
    judged = [True] * len(taken)
    if together or set(probe.varied) == set(test.model.exogenous):
        return tuple(judged)
    moving = [i for i, one in enumerate(taken) if i and moves(one, natural, len(taken))]
    if not moving:
        return tuple(judged)
    carrying = Carrying(execution, test, probe, natural, FLOOR)
    depending = Depending(carrying, execution.runs[test.control[0]].test)
    fixed = [name for name in (*test.model.exogenous, "template") if name not in probe.varied]
    fixed = [name for name in fixed if name in carrying.values] if len(carrying.base) else []
    moving.sort(key=lambda i: (len(taken[i].units), -(taken[i].moved.value or 0)))
    seen = {i: depending.unlike_in(taken[i].units, fixed, LEAST) for i in moving[:_NAMED]}
    natural_ = [i for i, found in seen.items() if found is not None and not exceeds(found.share, natural, len(seen))]
    if len(natural_) < len(seen):
        return tuple(judged)
    for i in moving:
        judged[i] = False
    return tuple(judged)


def _elsewhere(columns: Columns) -> np.ndarray:
    """Where the answer is another one than the base's, and not for two equal logits alone: which is first is rounding."""
    return moved(columns) & (columns.patched[_ANSWER] != TIED)


__all__ = ["with_unclaimed"]
