"""A spec with every name resolved: what ``check`` judges, and what the plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Predicate
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import NOWHERE, Diagnostic, Span
from causal_dsl.measures.context import TestScores
from causal_dsl.measures.per_pair import Pair
from causal_dsl.measures.quantities import Asked
from causal_dsl.program.ablations import Ablation, AblationChoices
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.identity import NetworkKey, Origin, origin
from causal_dsl.program.probed import AlignmentRuns, Apart, Beyond, InParts, Replaced, Unmapped
from causal_dsl.program.read_features import FeatureRef, Via
from causal_dsl.program.stated_ends import End
from causal_dsl.program.templates import Template
from causal_dsl.program.weights_held import held
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.discovery_methods import points_of
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Reach
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl.program.searches import Kept


@dataclass(frozen=True)
class NetworkRef:
    """A declared network: where it comes from, and what is known of it without its weights.

    ``key`` is who it is; ``name`` is what messages and results call it, and is its own in a spec. ``training`` says how a
    network of the kind ``train`` comes about; its ``target`` is the alignment's name.
    """

    name: str
    kind: Literal["hf", "zoo", "torch", "train"]
    target: str
    settings: tuple[tuple[str, Any], ...]
    base: Path
    facts: Facts
    span: Span
    key: NetworkKey
    training: Training | None = field(default=None, compare=False)

    def setting(self, name: str, default: Any = None) -> Any:
        return dict(self.settings).get(name, default)

    @property
    def held(self) -> str:
        """The setting that keeps its weights from being all in one memory, as it is written; empty where they are."""
        return held(dict(self.settings)) if self.kind == "hf" else ""


# ── alignments, and what their cells write ──────────────────────────────────────────────────────


@dataclass(frozen=True)
class Intervention:
    """One write: ``value`` set at (or added to) ``places``. ``variable`` is the causal variable that lives there."""

    places: tuple[Place, ...]
    value: Value
    add: bool = False
    variable: str | None = None
    text: str = ""
    span: Span | None = field(default=None, compare=False)
    #: the feature that is written at each place, where not the whole vector is
    features: tuple[FeatureRef, ...] = ()
    #: the receivers that it reaches, at each place, along edges; empty: all that read the places
    to: tuple[Reach, ...] = ()
    #: the circuit that it is an intervention on
    circuit: Ablation | None = field(default=None, compare=False)
    #: the six choices that it stands on, where edges or a path are patched
    choices: AblationChoices | None = field(default=None, compare=False)
    #: the feature of a file in whose numbers the value is, at each place of a site: `site via sae("…") = 8`
    inside: tuple[FeatureRef, ...] = ()
    #: at each place the nodes of a dictionary that are written, of a circuit that has such (None: the vector itself)
    nodes: tuple[NodeParts | None, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether what is written depends on what is there. What a transcoder writes depends on what it reads elsewhere."""
        if any(self.nodes):
            return True
        return not any(ref.reads for ref in self.inside) and (self.value.changes or bool(self.inside))

    def apart(self, number: int, other: Intervention, there: int) -> bool:
        """Whether at two of the places different nodes of one dictionary are written, which may meet at a token."""
        mine = self.nodes[number] if self.nodes else None
        theirs = other.nodes[there] if other.nodes else None
        return mine is not None and theirs is not None and mine.apart(theirs)

    @property
    def adds(self) -> bool:
        """Whether something is added to what is there, whatever that is."""
        return self.add or any(ref.reads for ref in self.inside)


@dataclass(frozen=True)
class Placed:
    """Where an alignment puts a variable in one cell, and ``via`` which features (None: as vectors or coordinates);
    ``fixed``: its sites are the same in every cell."""

    variable: str
    places: tuple[Place, ...]
    via: Via | None
    fixed: bool


@dataclass(frozen=True)
class GradientWay:
    """How gradients of a ``metric`` are taken at a place of the base run: against what stands there in the run ``baseline`` (``0`` and ``mean``
    are no runs), at ``steps`` points of the way by a ``rule`` (no steps: in the base run alone)."""

    metric: Pair
    baseline: str
    steps: int = 0
    rule: str = "midpoint"

    @property
    def points(self) -> tuple[float, ...]:
        """Where on the way from the baseline (0) to the base run (1) gradients are taken."""
        return points_of(self.steps, self.rule)


@dataclass(frozen=True)
class PlaceRead:
    """A reading at a place in one cell. ``kind``: what a logit is there, ``stream`` or ``normed``
    (:class:`~causal_dsl.vocabulary.components.Component`), or the name of a reading. A place without a position, in a network of
    tokens, is at the token at which the answer is read. ``arguments`` are those of a reading that are no places."""

    asked: Asked
    kind: str
    places: tuple[Place, ...]
    arguments: tuple[Any, ...] = ()
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Cell:
    """One setting of an alignment's parameters, and the interventions of the test there."""

    values: tuple[tuple[str, int | float | str], ...]
    interventions: tuple[Intervention, ...] = ()
    #: where the alignment puts its variables in this cell
    placed: tuple[Placed, ...] = field(default=(), compare=False)
    #: what is read at places
    looks: tuple[PlaceRead, ...] = ()
    #: what would write each placed variable, where measures of the whole alignment are asked for
    held: tuple[Intervention, ...] = field(default=(), compare=False)

    @property
    def settings(self) -> dict[str, int | float | str]:
        return dict(self.values)

    @property
    def circuit(self) -> Ablation | None:
        """The ablation of a circuit that is all it does; None where it does nothing of the kind, or something else as well."""
        return self.interventions[0].circuit if len(self.interventions) == 1 else None

    @property
    def does(self) -> tuple[object, ...]:
        """All that it writes and reads: cells for which it is equal have equal numbers. Their controls are equal, too, if their
        variables are ``placed`` alike."""
        return self.interventions, self.looks, self.held

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.values)


# ── alignments and tests ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Readout:
    """How an output variable is read.

    ``next_token``: argmax over the vocabulary, or over the first tokens of ``among``; :meth:`before` stands between a
    prompt and the answer. ``mask``: the same in the place of the prompt's mask token. ``logits``: argmax over the classes (of ``dims``), in the order of ``values``.
    """

    kind: Literal["next_token", "mask", "logits"]
    variable: str
    values: tuple[Any, ...]
    among: bool = False
    #: what the spec writes between prompt and answer; None: it follows from the end of each prompt
    prefix: str | None = None
    dims: tuple[int, ...] | None = None
    span: Span | None = field(default=None, compare=False)
    #: the token of the prompt at which it is read: what the network says after it; None is the prompt's last
    position: Position | None = None
    #: whether the causal model says what the answer is; if not, ``values`` are what it is looked for among
    stated: bool = True
    #: what must follow an answer for it to count; None: its tokens alone are read
    end: End | None = None
    #: whether the causal model does not say in every row what the answer is: the empty text, which is not among ``values``
    gaps: bool = False
    #: of an output that is a real number: the metric whose value is the network's
    metric: tree.Expr | None = None

    def before(self, template: Template | None, answer: str = "") -> str:
        """The text between a prompt and an answer: a space, unless the prompt ends in a newline, the answer begins with white
        space of its own, or the spec says otherwise."""
        if self.prefix is not None:
            return self.prefix
        if self.kind == "mask" or answer[:1].isspace():
            return ""
        return "" if template is not None and self.position is None and str(template).endswith("\n") else " "


@dataclass(frozen=True)
class InputPlacement:
    """``a @ input[start:stop] via onehot()``; ``codes`` gives the vector of each value of the domain (rows)."""

    variable: str
    start: int
    stop: int
    encoding: Literal["onehot", "scalar", "embedding"]
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class PromptLine:
    """A prompt template, and the inputs that it is for. ``chat``: it was written by roles, through a chat template."""

    template: Template
    where: Predicate | None
    span: Span
    chat: bool = False


@dataclass(frozen=True)
class Aligned:
    """The two sides that an alignment joins: its placements are read against them. ``parameters`` and their values make its cells."""

    model: CausalModel
    network: NetworkRef
    parameters: Mapping[str, tuple[tree.Expr, ...]]
    prompts: tuple[PromptLine, ...]

    @property
    def templates(self) -> tuple[Template, ...]:
        return tuple(line.template for line in self.prompts)

    @property
    def ends(self) -> list[dict[str, tree.Expr]]:
        """The first and the last cell: the ends of every range."""
        ends = [{name: values[pick] for name, values in self.parameters.items()} for pick in (0, -1)]
        return ends if ends[0] != ends[1] else ends[:1]


@dataclass(frozen=True)
class Alignment:
    """tau : H -> L, with its parents' prompts and placements already in it.

    ``placements`` are still expressions over ``parameters``; :mod:`causal_dsl.program.read_sites` makes places of them.
    """

    name: str
    model: CausalModel
    network: NetworkRef
    parameters: Mapping[str, tuple[tree.Expr, ...]]
    prompts: tuple[PromptLine, ...]
    placements: Mapping[str, tree.Placement]
    readouts: Mapping[str, Readout]
    inputs: tuple[InputPlacement, ...]
    span: Span
    #: the alignments that it takes what it does not restate from, nearest first
    parents: tuple[Origin, ...] = ()
    #: the folder that paths in it start from
    folder: Path = Path()

    @property
    def origin(self) -> Origin:
        """Which alignment it is: those of one name in two files are two."""
        return origin(self.name, self.span)

    @property
    def templates(self) -> tuple[Template, ...]:
        return tuple(line.template for line in self.prompts)

    @property
    def read_at(self) -> Position | None:
        """The token at which its answer is read; None is the last, or that of the mask."""
        return next((readout.position for readout in self.readouts.values()), None)


@dataclass(frozen=True)
class Training:
    """The settings of ``train(ALIGNMENT, …)``; the network that is trained is the alignment's.

    ``places``: where each variable that can be interchanged is held. ``n``: how many inputs are drawn, None for all where
    they are few. ``rest``: whole sites of which the coordinates that are placed for no variable must not matter
    (``strict``). The other fields are the settings of the same names.
    """

    alignment: Alignment
    places: tuple[tuple[str, tuple[Place, ...]], ...]
    rest: tuple[Site, ...]
    n: int | None
    balance: tuple[str, ...]
    steps: int
    batch: int
    rate: float
    decay: Literal["linear", "cosine", "none"]
    seed: int
    task: float
    interchange: float
    strict: float
    init: Literal["fresh", "keep"]
    span: Span = field(compare=False)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.places)


@dataclass(frozen=True)
class Test:
    """A test, ready to be planned. ``draws`` is what it draws, as text; ``members`` the lines of the test, and ``scores`` what
    they measure."""

    __test__ = False  # not a pytest class

    name: str
    span: Span
    doc: str
    alignment: Alignment
    readout: Readout
    design: Design
    solved: tuple[str, ...]
    cells: tuple[Cell, ...]
    swaps: tuple[tuple[str, str], ...]
    draws: str
    members: tuple[tree.Node, ...]
    metrics: dict[str, tree.Expr]
    scores: TestScores
    #: of a member of a family: what the family is called, and the parameters that make it this member
    family: str = ""
    variant: tuple[tuple[str, int | float | str], ...] = ()
    #: what a control of another test compares it with: that test, and the control; empty for a test of the user's
    control: tuple[str, str] = ("", "")
    #: whether further interventions ride beside it (`controls=none` in its draw says no)
    controls: bool = True
    #: of such further interventions: their rows, which are chosen among those of their test, and what they ask
    given: Drawn | None = None
    probe: Unmapped | Replaced | Apart | Beyond | InParts | AlignmentRuns | None = None
    #: where the alignment reads several outputs: the test as it is for each by itself, which is what is planned and run
    parts: tuple[Test, ...] = ()
    #: the circuits that are found before it is run
    discoveries: tuple[Kept, ...] = ()
    #: the faults of each cell that is left out of ``cells``, because its network turned out not to have a site of it
    lost: tuple[tuple[Diagnostic, ...], ...] = ()

    @property
    def model(self) -> CausalModel:
        return self.alignment.model

    @property
    def network(self) -> NetworkRef:
        return self.alignment.network

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(role for statement in self.design.statements for role in statement.roles)

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """All read-outs; ``readout`` is the first."""
        return tuple(part.readout for part in self.parts) or (self.readout,)

    @property
    def outputs(self) -> str | tuple[str, ...]:
        """The output that is read; where there are several, all of them."""
        return self.readout.variable if not self.parts else tuple(part.readout.variable for part in self.parts)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Of each cell the number of the first one with the same numbers and the same controls."""
        known: dict[object, int] = {}
        return tuple(known.setdefault((cell.does, cell.placed), number) for number, cell in enumerate(self.cells))

    @property
    def unlike(self) -> int:
        """How many of its cells have controls of their own."""
        return max(1, len(set(self.firsts)))

    @property
    def each(self) -> tuple[Test, ...]:
        """The tests of one output that it is made of: itself, where it reads one."""
        return self.parts or (self,)

    @property
    def intervenes(self) -> bool:
        return any(cell.interventions for cell in self.cells)


@dataclass(frozen=True)
class Program:
    """All that one spec file declares or imports. ``tests`` are the file's own."""

    path: str
    networks: Mapping[str, NetworkRef]
    models: Mapping[str, CausalModel]
    alignments: Mapping[str, Alignment]
    tests: tuple[Test, ...]
    #: what `fit` declarations say that features are fitted on
    fits: tuple[Test, ...] = ()
