"""The switches of a plan: each makes it cheaper and changes no number. A plan is run with all of them on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from causal_dsl.base.faults import strict
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.plain_steps import plain_steps
from causal_dsl.planning.steps import EDGES, Step
from causal_dsl.planning.verify import verify
from causal_dsl.program.components import trims
from causal_dsl.program.identity import NetworkKey

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


@dataclass(frozen=True)
class Switch:
    """``turn_on`` gives the plan with the switch on, the one given untouched; ``reason`` says why no number changes."""

    name: str
    reason: str
    turn_on: Callable[[Plan], Plan]


@dataclass(frozen=True)
class Needed:
    """A change of a plan that stands beside the switches where they are listed, and has to be made: ``reason`` says why."""

    name: str
    reason: str

    @property
    def refusal(self) -> str:
        """The advice to whoever would leave it out."""
        return f"{self.name} cannot be left out: {self.reason}"


#: What follows the switches (:func:`causal_dsl.planning.chunk_to_memory.chunk_to_memory`).
CHUNKS = Needed("chunk_to_memory", "it cuts passes to the memory that --batch-memory sets, and those that take long")


def _each(change: Callable[[Plan, Step], Step]) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, steps=tuple(change(plan, step) for step in plan.steps))


def _one_pass(plan: Plan) -> Plan:
    first: dict[tuple[NetworkKey, bool], Step] = {}
    forwards: dict[tuple[NetworkKey, bool], dict[g.Forward, None]] = {}
    resumes: dict[tuple[NetworkKey, bool], dict[g.Resume, None]] = {}
    for step in plan.steps:
        key = (step.network, step.why == EDGES)
        first.setdefault(key, step)
        forwards.setdefault(key, {}).update(dict.fromkeys(step.forwards))
        resumes.setdefault(key, {}).update(dict.fromkeys(step.resumes))
    for key in list(first):
        edges = (key[0], True)
        if key != edges and edges in first and not resumes[key]:  # whole passes run these prompts in any case
            forwards[edges] = {**forwards.pop(key), **forwards[edges]}
            del first[key]
    merged = (replace(s, forwards=tuple(forwards[key]), resumes=tuple(resumes[key])) for key, s in first.items())
    return replace(plan, steps=tuple(merged))


def _late(plan: Plan, step: Step) -> Step:
    return step if step.why else replace(step, rules=replace(step.rules, late=True))


def _trimmed(plan: Plan, step: Step) -> Step:
    if step.why or trims(plan.inputs[step.network].facts) is not None:
        return step
    return replace(step, rules=replace(step.rules, trim=True))


def _pruned(plan: Plan, step: Step) -> Step:
    return step if step.why else replace(step, pruned=True, rules=replace(step.rules, thin=step.rules.trim))


#: In the order in which they are turned on; those after `share_captures` do nothing to a step that whole forward passes run.
SWITCHES: tuple[Switch, ...] = (
    Switch(
        "stack",
        "All interventions of all tests and cells on a network are rows of one pass: rows do not see each other.",
        _one_pass,
    ),
    Switch(
        "share_forwards",
        "Each distinct prompt runs once in a pass, whichever draws, roles, tests and cells it is in.",
        _each(lambda plan, step: replace(step, shared=True)),
    ),
    Switch(
        "share_captures",
        "A vector that several interventions take from one token of one run is stored once.",
        _each(lambda plan, step: replace(step, kept_once=True)),
    ),
    Switch(
        "stop_early",
        "A run of which only inner vectors are wanted stops at the deepest of them.",
        _each(lambda plan, step: replace(step, rules=replace(step.rules, stop=True))),
    ),
    Switch(
        "spawn_late",
        "A patched run is its prompt's run up to its first written place: it enters the pass there.",
        _each(_late),
    ),
    Switch(
        "trim_positions",
        "Under causal attention the tokens before the first written one are the prompt's own: they are not run again.",
        _each(_trimmed),
    ),
    Switch(
        "prune_readouts",
        "In a row's last layer only the tokens that are read are run, and only the columns that are compared are unembedded.",
        _each(_pruned),
    ),
)


def turned_on(plan: Plan, switches: Iterable[Switch] = SWITCHES) -> Plan:
    """The plan with some switches on, the one given untouched."""
    on = tuple(switches)
    held: Plan | None = None
    for switch in on:
        plan = switch.turn_on(plan)
        if strict():
            held = verify(plan, "economised", held)
    return replace(plan, without=tuple(switch.name for switch in SWITCHES if switch not in on))


def without(names: Collection[str]) -> tuple[Switch, ...]:
    """All switches but those of these names; raises ``ValueError`` for a name that none has."""
    if CHUNKS.name in names:
        raise ValueError(CHUNKS.refusal)
    off, known = set(names), {switch.name for switch in SWITCHES}
    if not off <= known:
        raise ValueError(f"there is no switch {min(off - known)!r}; the switches are {', '.join(sorted(known))}")
    return tuple(switch for switch in SWITCHES if switch.name not in off)


def all_off(plan: Plan) -> Plan:
    """The plan as one would write it by hand: no switch is on."""
    why = {step.network: step.why for step in plan.steps}
    return replace(plan, steps=tuple(replace(step, why=why.get(step.network, "")) for step in plain_steps(plan)))
