"""The plan as a graph: nodes are values that hold their inputs, so equal work is the same node.

``networkx`` finds common subexpressions by itself: adding a node that is there already adds nothing. An edge runs
from each input to the node that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.quantities import Quantity
from causal_dsl.program.components import depth
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.identity import NetworkKey, Origin
from causal_dsl.program.program import PlaceRead
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.ports import Reach
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    import networkx as nx

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def _node(cls: type[T]) -> type[T]:
    """A frozen dataclass that remembers its hash: nodes hold their inputs, and each would be hashed again through them all."""
    made: Any = dataclass(frozen=True)(cls)
    full = made.__hash__

    def remembered(self: Any) -> int:
        try:
            found: int = self._hash
        except AttributeError:
            found = full(self)
            object.__setattr__(self, "_hash", found)
        return found

    made.__hash__ = remembered
    return made


@_node
class DrawNode:
    """The settings of a test's runs. ``text`` says how they are drawn, in the words of ``file``, ``model`` from what;
    ``prompts`` (with their conditions) what shows them to the network."""

    text: str
    prompts: tuple[str, ...]
    model: Origin
    file: str = ""

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    def __str__(self) -> str:
        return f"draw {self.text}"


@_node
class Label:
    """The labels of the causal model, with each variable of ``swaps`` taken from the named run."""

    draw: DrawNode
    output: str
    swaps: tuple[tuple[str, str], ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.draw,)

    def __str__(self) -> str:
        done = ", ".join(f"{variable} <- {role}" for variable, role in self.swaps)
        return f"label {self.output}" + (f" under do({done})" if done else "")


@_node
class Forward:
    """The network run on the inputs of ``role``, nothing changed. It stops at the deepest site that is read."""

    network: NetworkKey
    draw: DrawNode
    role: str

    def __hash__(self) -> int:
        """Computed once: whatever is captured, written and read holds a run."""
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((self.network, self.draw, self.role))
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name != "_hash"
        }  # it holds in this process only

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.draw,)

    def __str__(self) -> str:
        return f"forward {self.network.name} on {self.role}"


@_node
class Capture(Value):
    """The vectors at a place, kept while a run passes: a plain one, or one that is intervened on."""

    function = "causal_dsl.engine.values:captured"
    given = False
    run: Forward | Resume
    place: Place

    @property
    def forward(self) -> Forward:
        """The run of the same inputs in which nothing is written."""
        return self.run if isinstance(self.run, Forward) else self.run.base

    @property
    def planned(self) -> bool:
        return True

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.run,)

    @property
    def text(self) -> str:
        return f"{self._whose}.{self.place}"

    @property
    def _whose(self) -> str:
        if isinstance(self.run, Forward):
            return self.run.role
        return f"({self.forward.role} with " + ", ".join(write.text for write in self.run.writes) + ")"

    def told(self) -> str:
        if isinstance(self.run, Forward):
            return f"{self.run.role} {self.place!r}"
        under = ", ".join(f"{write.place!r} {write.value.told()} {write.feature!r}" for write in self.run.writes)
        return f"{self.forward.role} under ({under}) {self.place!r}"

    def order(self, site: Site) -> object:
        here, there = depth(self.place.site), depth(site)
        layers = None if here is None or there is None else (here[0] > there[0]) - (here[0] < there[0])
        known = ("capture", self.place.site.form, self.place.key is not None, layers)
        if isinstance(self.run, Forward):
            return known
        inner = frozenset((write.place.site.form, write.value.order(write.place.site)) for write in self.run.writes)
        return (*known, inner)

    def __str__(self) -> str:
        return f"capture {self.place} of {self._whose}"


@_node
class Average(Value):
    """The mean of captured vectors over all rows, or ``by_template`` over those of one prompt template; ``pooled``: over the tokens of a
    span as well. ``feature``: the mean of what it reads of them, in its own numbers."""

    function = "causal_dsl.engine.values:averaged"
    given = False
    capture: Capture
    pooled: bool
    feature: FeatureRef | None = None
    #: further vectors that ``feature`` reads together with the first
    beside: tuple[Capture, ...] = ()
    #: the nodes of a dictionary whose numbers it is the mean of
    nodes: NodeParts | None = None
    by_template: bool = False

    @property
    def captures(self) -> tuple[Capture, ...]:
        """All vectors that it is the mean of, or of what a feature reads of them together."""
        return (self.capture, *self.beside)

    @property
    def parts(self) -> tuple[Value, ...]:
        return ()  # of the captured vectors nothing but their mean is looked at

    @property
    def planned(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return f"mean({self.capture.forward.role}{', by=template' if self.by_template else ''})"

    def order(self, site: Site) -> object:
        return ("average", self.pooled, self.by_template, self.capture.order(site))

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.captures

    def __str__(self) -> str:
        via = "" if self.feature is None else f" via {self.feature.told}"
        via = via if self.nodes is None else f" via {self.nodes.told}"
        return f"mean of {self.capture.place}{via} over {self.capture.forward.role}"


@_node
class ReadAcross(Value):
    """The vectors that a transcoder or a crosscoder reads of captured vectors, in its own numbers."""

    function = "causal_dsl.engine.latents:encoded"
    given = False
    captures: tuple[Capture, ...]
    feature: FeatureRef

    @property
    def parts(self) -> tuple[Value, ...]:
        return self.captures

    @property
    def text(self) -> str:
        return f"{self.captures[0].forward.role} via {self.feature.told}"

    def __str__(self) -> str:
        return f"read {', '.join(str(capture.place) for capture in self.captures)} via {self.feature.told}"


@_node
class Decoded(Value):
    """The change of a place's vector where a transcoder's or a crosscoder's numbers ``now`` become ``value`` (``add``:
    grow by it)."""

    function = "causal_dsl.engine.latents:decoded"
    given = False
    value: Value
    now: ReadAcross
    add: bool

    @property
    def text(self) -> str:
        return f"{self.now.feature.told} {'+=' if self.add else '='} {self.value.text}"

    def __str__(self) -> str:
        return f"decode {self.text}"


@_node
class Noted(Value):
    """The vector that is there, left as it is: what is at the place is known to later writes of the run."""

    function = "causal_dsl.engine.circuit_nodes:noted"
    current = True
    given = False

    @property
    def text(self) -> str:
        return "itself"

    def __str__(self) -> str:
        return "note what is there"


@_node
class NodesRead(Value):
    """The numbers of some nodes of a dictionary in captured vectors."""

    function = "causal_dsl.engine.circuit_nodes:nodes_read"
    given = False
    captures: tuple[Capture, ...]
    nodes: NodeParts

    @property
    def parts(self) -> tuple[Value, ...]:
        return self.captures

    @property
    def text(self) -> str:
        return f"{self.captures[-1].text} via {self.nodes.told}"

    def __str__(self) -> str:
        return f"read {', '.join(str(capture.place) for capture in self.captures)} via {self.nodes.told}"


@_node
class NodesAveraged(Value):
    """The numbers of some nodes of a dictionary as a mean of those of all of them has them."""

    function = "causal_dsl.engine.circuit_nodes:nodes_averaged"
    given = False
    mean: Average
    nodes: NodeParts

    @property
    def text(self) -> str:
        return self.mean.text


@_node
class NodesMoved(Value):
    """The change of a vector where the numbers of some nodes become ``value`` (``add``: grow by it). ``seen`` are the places at which it was
    noted what is there."""

    function = "causal_dsl.engine.circuit_nodes:nodes_moved"
    current = True
    given = False
    value: Value
    nodes: NodeParts
    seen: tuple[Place, ...]
    add: bool

    @property
    def text(self) -> str:
        return f"{self.nodes.told} {'+=' if self.add else '='} {self.value.text}"

    def __str__(self) -> str:
        return f"move by {self.text}"


@_node
class WriteNode:
    """A value set at (or added to) a place of the run that is intervened on; of the vectors there only ``feature``.
    ``inside``: the value is of the feature's own numbers, else it is a vector of which the feature is taken."""

    place: Place
    value: Value
    add: bool
    feature: FeatureRef | None = None
    inside: bool = False
    #: the receivers that it reaches, along edges; None: all that read the place
    to: Reach | None = None

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.value,) if self.value.planned else ()

    @property
    def zero(self) -> bool:
        """Whether it puts zeros there, whatever is there."""
        return self.value.ablates == "zero" and not self.add and self.feature is None and self.place.key is None

    @property
    def text(self) -> str:
        """The writes, in short."""
        return f"{self.place} <- {self.value.text}"

    def __str__(self) -> str:
        via = f" via {self.feature.told}" if self.feature is not None else ""
        made = f": {self.value.text}" if self.value.changes else ""
        to = "" if self.to is None else f" -> {self.to}"
        return f"{'add to' if self.add else 'write'} {self.place}{to}{via}{made}"


@_node
class Resume:
    """The base run with all ``writes`` in place, from the first of them to the read-out."""

    base: Forward
    writes: tuple[WriteNode, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.base, *self.writes)

    def __str__(self) -> str:
        return (
            f"run {self.base.network.name} on {self.base.role}, "
            + ", ".join(str(write.place) for write in self.writes)
            + " written"
        )


@_node
class Looked:
    """The numbers that are computed at places of a run."""

    look: PlaceRead
    quantities: tuple[Quantity, ...]


@_node
class ReadNode:
    """Numbers computed from a run's logits where the answer is read, and from what is at places on the way (``looks``).
    ``variable`` is the output read there."""

    run: Forward | Resume
    variable: str
    readout: str
    quantities: tuple[Quantity, ...]
    against: Forward | None = None
    looks: tuple[Looked, ...] = ()

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.run,) if self.against in (None, self.run) else (self.run, self.against)

    def __str__(self) -> str:
        places = "".join(f", {place}" for looked in self.looks for place in looked.look.places)
        return f"read {self.variable} @ {self.readout}{places}"


@_node
class ScoreNode:
    """The scores of one cell of one test."""

    test: str
    cell: tuple[tuple[str, int | float | str], ...]
    label: Label
    reads: tuple[tuple[str, ReadNode], ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.label, *(read for _, read in self.reads))

    def read(self, run: str) -> ReadNode | None:
        """The read-out of ``patched``, ``base`` or a source."""
        return dict(self.reads).get(run)

    def __str__(self) -> str:
        at = ", ".join(f"{name}={value}" for name, value in self.cell)
        return f"score {self.test}" + (f" at {at}" if at else "")


Node = DrawNode | Label | Forward | Value | WriteNode | Resume | ReadNode | ScoreNode


def add(graph: nx.DiGraph, node: Node) -> None:
    """Put a node and all that it needs into the graph; what is there already is shared."""
    stack: list[Node] = [node]
    while stack:
        current = stack.pop()
        if graph.nodes.get(current, {}).get("entered"):
            continue
        graph.add_node(current, entered=True)
        inputs = current.inputs
        graph.add_edges_from((needed, current) for needed in inputs)
        stack += inputs


def graph_of(scores: Iterable[ScoreNode]) -> nx.DiGraph:
    """The graph of these scores and of all that they need."""
    import networkx as nx  # a fifth of a second that `check` need not pay

    graph = nx.DiGraph()
    for score in scores:
        add(graph, score)
    return graph


def of_kind(graph: nx.DiGraph, *kinds: type) -> Iterator[Any]:
    """The nodes of these kinds, in the order in which they were added."""
    return (node for node in graph.nodes if isinstance(node, kinds))


def kind(node: Node) -> str:
    """The kind of a node, as the plan prints it."""
    return type(node).__name__.removesuffix("Node").lower()
