"""Interventions on circuits: what is written where, and the six choices that such a number stands on.

An ablation is six choices (Miller et al. 2024): how fine it is, what a component is, which value is written, at which tokens,
into which run, and whether the circuit or its complement is written. They follow from what a spec says, and are told with
each number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.circuit_members import Members, less, listed, stem
from causal_dsl.program.edge_sets import EdgeSet, every_edge
from causal_dsl.program.nodes import (
    EVERYWHERE,
    OutputNode,
    Spot,
    dictionaries_of,
    of_dictionary,
    refined,
    universe,
)
from causal_dsl.vocabulary.locations import Place, Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.mean import Mean
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.program.searches import Kept

_NAMES = {
    "embed": "the embedding",
    "head": "heads",
    "mlp": "MLPs",
    "neuron": "neurons",
    "input": "numbers of the input",
    "unit": "numbers of layers",
    "latent": "latents",
    "feature": "features",
    "error": "error terms",
}

_OUTSIDE = "what is outside the circuit"


@dataclass(frozen=True)
class AblationChoices:
    """The six choices of an ablation, in words."""

    granularity: str
    component: str
    value: str
    positions: str
    direction: str
    set: str

    def __str__(self) -> str:
        return "; ".join(self.lines)

    @property
    def outside(self) -> bool:
        """Whether what is not in a circuit is written."""
        return self.set == _OUTSIDE

    @property
    def lines(self) -> tuple[str, ...]:
        """Each choice by its name."""
        return tuple(f"{f.name} {getattr(self, f.name)}" for f in fields(self))

    def differ(self, other: AblationChoices) -> tuple[str, ...]:
        """The names of the choices in which two ablations differ."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))

    def to_json(self) -> shapes.ChoicesJson:
        return {
            "granularity": self.granularity,
            "component": self.component,
            "value": self.value,
            "positions": self.positions,
            "direction": self.direction,
            "set": self.set,
        }


@dataclass(frozen=True)
class Ablation:
    """An intervention on a circuit. ``members`` are its nodes or its edges, ``every`` those that can be written, ``outside``: those
    that are not in it are. ``value`` is what is written, for any places."""

    name: str
    members: Members
    every: Members
    outside: bool
    value: Value
    choices: AblationChoices
    text: str
    #: the weighted edges of the circuit, as a share of all edges
    share: float = 0.0
    #: what was discovered of it
    found: tuple[Kept, ...] = ()
    #: the scores of its edges, if a file says them
    weights: tuple[tuple[str, float], ...] = ()
    #: whether the value is added to what is there
    add: bool = False
    #: the files that it is read from, each with the SHA-256 of the weights that it was found on
    files: tuple[tuple[str, str], ...] = ()
    #: how many members of the circuit are not among what is looked at
    left_out: int = 0

    def written(self, kept: Members) -> Members:
        """The places that are written where ``kept`` stands in the place of the circuit."""
        return less(self.every, kept) if self.outside else kept

    @property
    def positions(self) -> tuple[Position | None, ...]:
        """The tokens of what can be written."""
        spots = [spot for spot, _ in self.every.senders] if isinstance(self.every, EdgeSet) else self.every
        return tuple(dict.fromkeys(position for _, position in spots))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of nodes that can be written, or along whose edges something can."""
        spots = [spot for spot, _ in self.every.senders] if isinstance(self.every, EdgeSet) else self.every
        return frozenset(node.kind for node, _ in spots)


def at(value: Value, places: tuple[Place, ...]) -> Value:
    """A value at other places: what comes from a run comes from there in it."""
    if isinstance(value, FromRun):
        return replace(value, places=places)
    return value.each(lambda part: at(part, places))


def all_members(
    kinds: Sequence[str],
    positions: Sequence[Position] | None,
    circuit: Members,
    facts: Facts,
    among: Sequence[Spot] | None = None,
) -> Members | None:
    """Every node of some kinds at every token, or at ``positions``, or every edge that begins at one; None where the network's
    nodes are not known. Of a circuit of dictionaries every node of these; and where it is said ``among`` which nodes, those."""
    if isinstance(circuit, EdgeSet):
        return every_edge(facts, kinds, positions)
    if among is not None:
        if not positions:
            return tuple(among)
        return tuple((node, position) for node in dict.fromkeys(node for node, _ in among) for position in positions)
    inside = dictionaries_of(node for node, _ in circuit)
    nodes: Sequence[OutputNode] | None
    if inside:
        nodes = [node for dictionary in inside for node in of_dictionary(dictionary)]
    else:
        nodes = universe(facts, kinds, (node for node, _ in circuit))
    if nodes is None:
        return None
    where: Sequence[Position | None] = positions or (facts.traits.everywhere,)
    return tuple((node, position) for node in nodes for position in where)


def inside(circuit: Members, every: Members, positions: Sequence[Position] | None, facts: Facts) -> Members:
    """The members of a circuit that are among ``every``: an MLP as its neurons, all tokens as those that are looked at."""
    if isinstance(circuit, EdgeSet):
        assert isinstance(every, EdgeSet)
        wanted = circuit.at(positions)
        return wanted - (wanted - every)
    assert not isinstance(every, EdgeSet)
    split = {node.layer for node, _ in every if node.kind == "neuron"}
    known = {node for node, _ in every}
    found: dict[Spot, None] = {}
    for node, position in refined(circuit, split, facts):
        if node not in known:
            continue
        spread = positions if positions and position == EVERYWHERE else (position,)
        found |= dict.fromkeys((node, one) for one in spread)
    return tuple(found)


def left_out(circuit: Members, kept: Members) -> int:
    """How many members of a circuit are not among those that are looked at, whatever their tokens; an MLP is there as its neurons."""
    there = {stem(member) for member in listed(kept)}
    split = {one[0].layer for one in there if isinstance(one[0], OutputNode) and one[0].kind == "neuron"}
    missing = {stem(member) for member in listed(circuit)} - there
    return sum(
        not (len(one) == 1 and isinstance(one[0], OutputNode) and one[0].kind == "mlp" and one[0].layer in split)
        for one in missing
    )


def choices_of(
    value: Value,
    told: str,
    kinds: Iterable[str],
    members: Members,
    every: Members,
    outside: bool,
    paired: bool,
    adds: bool = False,
) -> AblationChoices:
    """The six choices of an ablation of a circuit with these ``members``, out of ``every``. ``paired``: the run that values come from is
    made from the base; ``adds``: the value is added to what is there."""
    spots = [spot for spot, _ in every.senders] if isinstance(every, EdgeSet) else every
    positions = dict.fromkeys(str(position) for _, position in spots if position is not None)
    source = next((part.role for part in value.find(FromRun)), None) if isinstance(value, FromRun) else None
    what = told if source is None else f"{told}, a counterfactual of the base" if paired else f"{told}, another input"
    there = {node.kind for node, _ in spots}
    own = [spot for spot, _ in members.senders] if isinstance(members, EdgeSet) else members
    if not outside and any(position is not None and str(position) not in positions for _, position in own):
        positions["those of its members"] = None
        positions.pop("all", None)
    return AblationChoices(
        granularity(value, adds) if positions else "each number by itself",
        ("edges from " if isinstance(every, EdgeSet) else "")
        + ", ".join(
            _NAMES[kind] for kind in dict.fromkeys((*kinds, *(k for k in _NAMES if k in there))) if kind in there
        )
        + _of_dictionaries([node for node, _ in spots]),
        what,
        ("all" if list(positions) == ["all"] else ", ".join(positions))
        if positions
        else "none: an input is one vector",
        "written into the base run",
        _OUTSIDE if outside else "the circuit",
    )


def granularity(value: Value, adds: bool = False) -> str:
    """Whether one vector is put at all tokens: a mean over tokens, or what is made of such means and numbers alone."""
    parts = list(value.walk())
    pooled = any(isinstance(part, Mean) and part.pooled for part in parts)
    alike = all(
        not part.current and (bool(part.parts) or part.runless or (isinstance(part, Mean) and part.pooled))
        for part in parts
    )
    return "one value for all tokens" if pooled and alike and not adds else "each token by itself"


def _of_dictionaries(nodes: Sequence[OutputNode]) -> str:
    """Of which dictionaries nodes are, and whose error terms stay, as more of a sentence; empty where they are of none."""
    inside = dictionaries_of(nodes)
    if not inside:
        return ""
    errors = {node.dictionary for node in nodes if node.kind == "error"}
    stay = [dictionary.shown for dictionary in inside if dictionary not in errors]
    kept = (
        ""
        if not stay
        else ", the error terms of which stay"
        if not errors
        else f"; the error terms of {', '.join(stay)} stay"
    )
    return f" of {', '.join(dictionary.shown for dictionary in inside)}{kept}"


def choices_of_edges(
    senders: Iterable[Spot], value: Value, source: str, paired: bool | None, edges: int = 1, mlps: str = ""
) -> AblationChoices:
    """The six choices where what flows along an edge, or along a path of so many, comes from another run, or is a written value (``paired``
    is None). ``mlps``: what the MLPs along a path do, ``freeze`` or ``recompute``."""
    spots = list(senders)
    positions = dict.fromkeys(str(position) for _, position in spots if position is not None)
    kinds = [kind for kind in _NAMES if kind in {node.kind for node, _ in spots}]
    what = f"a path of {edges} edges" if edges > 1 else "a path of one edge" if mlps else "edges"
    others = {"": "whose receivers read all else as it is", "freeze": "with MLPs between its ends frozen"}
    held = others.get(mlps, "with MLPs between its ends recomputed")
    return AblationChoices(
        granularity(value),
        f"{what} from {', '.join(_NAMES[kind] for kind in kinds)}",
        source
        if paired is None
        else f"{source}, a counterfactual of the base"
        if paired
        else f"{source}, another input",
        ", ".join(positions),
        "written into the base run",
        f"what is named, {held}",
    )


__all__ = ["Ablation", "AblationChoices", "all_members", "at", "choices_of", "choices_of_edges", "inside", "left_out"]
