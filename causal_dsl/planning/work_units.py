"""The work of a spec as units: trainings of networks, searches for circuits, groups of fits, constants, blocks of the sweeps, and
gradients at places, each with what it costs.

How the work is cut is decided by the plan and by the memory that was asked for, never by how many workers there are; so any
number of processes may run the units, in any order that their needs allow, and their numbers are those of one process.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.cost import MOST_COUNTED
from causal_dsl.planning.fit_groups import groups_of, tokens_of_rows
from causal_dsl.planning.flops import layer_flops
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.planning.memory import MOST_TOKENS_CPU, MOST_UNASKED, Budget
from causal_dsl.planning.network_parts import of_tests, swept, weights_of
from causal_dsl.planning.peak import Peaks
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import Block, Step, layers_of
from causal_dsl.planning.work_before import BeforeUnit, constants_of, gradients_of, searches_of
from causal_dsl.program.components import full_width, trims
from causal_dsl.program.derived_tests import trained_of
from causal_dsl.program.read_features import family
from causal_dsl.vocabulary.network_facts import Facts

if TYPE_CHECKING:
    from causal_dsl.planning.plan import FitUnit, Plan
    from causal_dsl.program.program import NetworkRef, Test

Kind = Literal["training", "search", "fit", "constants", "block", "gradients"]
#: A pass back takes twice the multiplications of the pass on.
_BACK = 2.0
_NUMBER = 8
#: Bytes that an array of a file takes beside its numbers, and what is kept of how often a write had an effect.
_ARRAY, _FIRED = 290, 24
#: Bytes of what is said beside the numbers of a unit.
_SAID = 3000


@dataclass(frozen=True)
class WorkUnit:
    """One piece of work of a spec. ``key`` names it: two processes that read the same spec with the same options give the
    same unit the same key. ``network``: the part of the spec that it belongs to, by the name of its network (empty: all
    networks are one part); ``number`` of its kind there, of ``count``. ``needs``: keys of units that must be stored before.

    ``flops``: multiplications and additions, predicted; ``bytes`` that it writes to the store;
    ``memory``: bytes that it holds beside the weights; ``weights``: bytes of the networks that it is run on.
    """

    key: str
    kind: Kind
    spec: str
    network: str
    needs: tuple[str, ...]
    flops: float
    bytes: int
    label: str
    number: int = 0
    count: int = 1
    memory: int = 0
    weights: int = 0
    #: of fits: which of the networks of the part, in the order in which they are fitted; of trainings: the network's name; of
    #: searches: the name of the search
    among: int = 0
    name: str = ""
    #: of blocks: their network, and of which tests they have which pairs
    about: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "key": self.key,
            "kind": self.kind,
            "network": self.network,
            "label": self.label,
            "needs": list(self.needs),
            "flops": self.flops,
            "bytes": self.bytes,
            "memory": self.memory,
            "weights": self.weights,
        }


@dataclass(frozen=True, eq=False)
class PartOfSpec:
    """Tests that are run together: all of a spec, or those on one network of a sweep, by whose ``name`` the part is known."""

    name: str
    tests: tuple[Test, ...]


def parts_of(tests: Sequence[Test]) -> list[PartOfSpec]:
    """The parts of a spec, in the order in which one process runs them."""
    groups = swept(tests)
    return [PartOfSpec("" if len(groups) == 1 else own[0].network.name, tuple(own)) for own in groups]


def units_of_plan(plan: Plan, spec: str, said: Mapping[str, Any], memory: int | None = None) -> tuple[WorkUnit, ...]:
    """The units of a plan, each before those that need it: of one that is cut those of the plan that it was cut from. ``said`` is what
    identifies the run, as plain data, which goes into every key; ``memory``: bytes that a pass may take beside the weights."""
    plan = plan.uncut or plan
    head = json.dumps(said, sort_keys=True)
    found: list[WorkUnit] = []
    for part in parts_of(plan.program.tests):
        own = plan if not part.name else of_tests(plan, part.tests)
        found += _of_part(own, part.name, spec, head, memory)
    return tuple(dict.fromkeys(found))


def key_of(head: str, *named: object) -> str:
    """The key of a unit: of what identifies the run, and of what the unit is."""
    return hashlib.sha256("\0".join([head, *map(str, named)]).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _of_part(plan: Plan, part: str, spec: str, head: str, memory: int | None) -> Iterator[WorkUnit]:
    weights = sum(weight_bytes(inputs.facts) for inputs in plan.inputs.values())

    def beside(kind: Kind, made: Iterable[BeforeUnit], needs: tuple[str, ...]) -> list[WorkUnit]:
        every = list(made)
        return [
            WorkUnit(
                key_of(head, part, kind, number, len(every), one.name),
                kind,
                spec,
                part,
                needs,
                one.flops,
                one.bytes,
                one.label,
                number,
                len(every),
                weights=weights,
                name=one.name,
            )
            for number, one in enumerate(every)
        ]

    trainings = [_training(ref, spec, head) for ref in _trained(plan)]
    yield from trainings
    needs = _keys(trainings)
    searches = beside("search", searches_of(plan), needs)
    yield from searches
    needs += _keys(searches)
    fits = list(_fits(plan, part, spec, head, needs))
    yield from fits
    constants = beside("constants", constants_of(plan), needs)
    yield from constants
    needs += _keys(fits) + _keys(constants)
    blocks, stored = list(blocks_of(plan, memory)), _Stored(plan)
    sized = _sized(plan, blocks, Budget(memory or MOST_UNASKED))
    of = f" of {part}" if part else ""
    for number, ((step, block), (flops, held)) in enumerate(zip(blocks, sized, strict=True)):
        yield WorkUnit(
            key_of(head, part, "block", number, len(blocks), block),
            "block",
            spec,
            part,
            needs,
            flops,
            stored.of(step, block) + _SAID,
            f"block {number + 1} of {len(blocks)}{of}",
            number,
            len(blocks),
            held,
            weights,
            about=stored.about(step, block),
        )
    yield from beside("gradients", gradients_of(plan), needs)


def _keys(units: Iterable[WorkUnit]) -> tuple[str, ...]:
    return tuple(unit.key for unit in units)


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────


def blocks_of(plan: Plan, memory: int | None = None) -> Iterator[tuple[Step, Block]]:
    """The blocks of a plan in the order in which one process runs them."""
    budget = Budget(memory or MOST_UNASKED)
    cut = chunk_to_memory(plan, dict.fromkeys(plan.inputs, budget))
    for step in cut.steps:
        yield from ((step, block) for block in step.blocks)


def _sized(plan: Plan, blocks: Sequence[tuple[Step, Block]], budget: Budget) -> list[tuple[float, int]]:
    """FLOPs and bytes held of each block; where there are many, some are counted and those between are like them."""
    peaks, known = Peaks(plan), dict[int, tuple[float, int]]()
    few = len(blocks) <= MOST_COUNTED
    counted = (
        range(len(blocks)) if few else np.unique(np.linspace(0, len(blocks) - 1, MOST_COUNTED).astype(int)).tolist()
    )
    for number in counted:
        step, block = blocks[number]
        size, held = peaks.figures(step, block, budget)
        known[number] = size.flops * size.share, int(held.taken)
    places = np.array(sorted(known))
    nearest = [int(places[np.abs(places - number).argmin()]) for number in range(len(blocks))]
    return [known[number] for number in nearest]


class _Stored:
    """Bytes of what is read of blocks, as they are stored. How much is read of a pair is the same in all blocks of a step."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._last: tuple[Step, list[tuple[int, int, dict[int, int]]]] | None = None

    def of(self, step: Step, block: Block) -> int:
        """Of one block."""
        if self._last is None or self._last[0] is not step:
            self._last = step, list(self._tests(step))
        last = len(step.resumes) if block.last is None else block.last
        found = 0
        for n, plain, patched in self._last[1]:
            cells = [count for place, count in patched.items() if block.first <= place < last]
            pairs = len(block.pairs(n))
            if pairs:
                arrays = 2 + plain + max(cells, default=0)
                found += pairs * _NUMBER * (1 + plain + sum(cells)) + arrays * _ARRAY + len(cells) * _FIRED
        return found

    def about(self, step: Step, block: Block) -> str:
        """The network of a block, and of which tests it has which pairs. The controls of a test are told with it."""
        pairs: dict[str, list[range]] = {}
        names = {each.name: test.name for test in self.plan.program.tests for each in test.each}
        for test in self.plan.tests:
            if test.network.key == step.network:
                own = block.pairs(self.plan.draw_of(test).n)
                pairs.setdefault(names.get(test.name, test.name.partition(": ")[0]), []).append(own)
        told = [
            f"pair{'s' * (len(most) > 1)} {most[0]}{f' to {most[-1]}' * (len(most) > 1)} of `{name}`"
            for name, every in pairs.items()
            if (most := max(every, key=len))
        ]
        return f"{', '.join(told)}, on `{self.plan.networks[step.network].name}`"

    def _tests(self, step: Step) -> Iterator[tuple[int, int, dict[int, int]]]:
        """Of each test its pairs, and how many numbers are read of each: in the plain runs, and in each intervention of the step, by its place."""
        places = {resume: number for number, resume in enumerate(step.resumes)}
        forwards = set(step.forwards)
        for test in self.plan.tests:
            if test.network.key != step.network:
                continue
            plain, patched = 0, Counter[int]()
            for number, score in enumerate(self.plan.scores[test.name]):
                for role, read in score.reads:
                    if role != "patched" and number:
                        continue
                    count = len(read.quantities) + sum(len(look.quantities) for look in read.looks)
                    if isinstance(read.run, g.Forward):
                        plain += count * (read.run in forwards)
                    elif read.run in places:
                        patched[places[read.run]] += count
            if plain or patched:
                yield self.plan.draw_of(test).n, plain, patched


# ── fits and trainings ──────────────────────────────────────────────────────────────────────────


def _fits(plan: Plan, part: str, spec: str, head: str, needs: tuple[str, ...]) -> Iterator[WorkUnit]:
    if plan.fits is None:
        return
    fits, layouts = plan.fits, Layouts(plan.fits.plan)
    for place, network in enumerate(fits.networks):
        own = [unit for unit in fits.units if unit.network == network]
        inputs = fits.plan.inputs[network]
        whole = int(inputs.lengths.max(initial=1)) if trims(inputs.facts) is not None else 0
        tokens = tokens_of_rows(fits.plan, layouts, own, whole)
        groups, first = groups_of(own, tokens, MOST_TOKENS_CPU // 2), 0
        weights = weight_bytes(inputs.facts)
        prompts = inputs.lengths.sum() * max(1, layers_of(inputs.facts)) * layer_flops(inputs.facts)
        for number, group in enumerate(groups):
            last, files = first + len(group), all(unit.fitting.file for unit in group)
            said = f"fit{'s' * (len(group) > 1)} {first + 1}{f' to {last}' * (len(group) > 1)} of {len(own)}"
            first = last
            flops = sum(_fit_flops(fits.plan, unit, tokens, inputs.facts) for unit in group)
            yield WorkUnit(
                key_of(head, part, "fit", place, number, len(groups)),
                "fit",
                spec,
                part,
                needs,
                0.0 if files else float(flops + prompts),
                sum(_map_bytes(fits.plan, unit, inputs.facts) for unit in group),
                f"{said} on {network.name}: {group[0]}{' …' * (len(group) > 1)}",
                number,
                len(groups),
                _held(group, tokens, inputs.facts),
                weights,
                among=place,
            )


def _fit_flops(plan: Plan, unit: FitUnit, tokens: int, facts: Facts) -> float:
    """Of every step of a fit, and of its checks after each epoch, if no fit ends early."""
    if unit.fitting.file or not any(ref.trained for ref in unit.maps):
        return 0.0
    pairs = sum(plan.drawn[e.fit.base.draw].n for e in unit.experiments)
    checked = sum(plan.drawn[e.validation.base.draw].n for e in unit.experiments)
    layers = max(1, layers_of(facts))
    depth = [layers - min(layers, w.place.site.layer or 0) for e in unit.experiments for w in e.fit.writes]
    row = tokens * max(depth, default=layers) * layer_flops(facts)
    return row * unit.fitting.epochs * unit.fitting.restarts * ((1 + _BACK) * pairs + checked)


def _held(group: Sequence[FitUnit], tokens: int, facts: Facts) -> int:
    """Bytes of what the rows of a step keep for their gradients."""
    rows = sum(unit.fitting.batch * unit.fitting.restarts for unit in group)
    wide = facts.width or max(facts.widths, default=1)
    return int(4 * rows * tokens * max(1, layers_of(facts)) * (8 * wide + 3 * (facts.mlp_width or 0)))


def _map_bytes(plan: Plan, unit: FitUnit, facts: Facts) -> int:
    """Of a fit as it is stored: its maps in float32, a number for each input that it saw, and what is said of it."""
    numbers = 0
    for ref in unit.maps:
        width = full_width(ref.place.site, facts) or facts.width or max(facts.widths, default=1)
        for declared in ref.chain:
            settings: dict[str, Any] = dict(declared.settings)
            numbers += family(declared).numbers_of(width, settings)
            width = min(width, int(settings.get(family(declared).dim, width)))
    seen = [np.unique(plan.rows[resume.base]).size for e in unit.experiments for resume in (e.fit, e.validation)]
    return 4 * numbers + 2 * _NUMBER * sum(seen) + _SAID


def _trained(plan: Plan) -> list[NetworkRef]:
    refs = (trained_of(test.network) for test in plan.tests if test.network.training is not None)
    return list({weights_of(ref.key): ref for ref in refs}.values())


def _training(ref: NetworkRef, spec: str, head: str) -> WorkUnit:
    training = ref.training
    assert training is not None
    wanted = sum(weight > 0 for weight in (training.task, training.interchange, training.strict))
    facts = training.alignment.network.facts
    rows = training.steps * training.batch * max(1, wanted + (training.interchange > 0))
    tokens = costs_of(facts.traits).row_tokens(facts)
    flops = rows * tokens * max(1, layers_of(facts)) * layer_flops(facts) * (1 + _BACK)
    size = weight_bytes(facts)
    return WorkUnit(
        key_of(head, "training", ref.name),
        "training",
        spec,
        "",
        (),
        flops,
        size,
        f"training of {ref.name}: {training.steps:,} steps of {training.batch}",
        0,
        1,
        4 * size,
        size,
        name=ref.name,
    )


def weight_bytes(facts: Facts) -> int:
    """Bytes of the weights of a network in float32, as its facts say."""
    return costs_of(facts.traits).weight_bytes(facts)


__all__ = ["PartOfSpec", "WorkUnit", "blocks_of", "key_of", "parts_of", "units_of_plan", "weight_bytes"]
