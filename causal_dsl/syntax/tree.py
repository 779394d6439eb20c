"""The tree of a spec: what was written, with the place of every part.

Frozen dataclasses; two trees are equal when they say the same, wherever it stands. The parser and
the builder make the same tree, and :mod:`causal_dsl.syntax.format` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, fields, replace
from typing import Any, Self

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span

#: The fields of each kind of node that can hold nodes: asked for once a kind, not once a node.
_PARTS: dict[type, tuple[str, ...]] = {}
#: What is no node, by the types that fields are declared with.
_PLAIN = {"str", "int", "float", "bool", "None", "Span"}


@dataclass(frozen=True)
class Node:
    """A part of a tree. ``span`` takes no part in comparison."""

    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)

    def _parts(self) -> tuple[str, ...]:
        kind = type(self)
        if kind not in _PARTS:
            types = {one.name: set(str(one.type).split(" | ")) for one in fields(self)}
            _PARTS[kind] = tuple(name for name, told in types.items() if not told <= _PLAIN)
        return _PARTS[kind]

    def children(self) -> Iterator[Node]:
        """The nodes directly below this one, in the order of the text."""
        return iter(_below(self))

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            yield node
            below = _below(node)
            below.reverse()
            stack += below

    def with_children(self, change: Callable[[Node], Node]) -> Self:
        """This node with each node directly below it changed."""
        changed: dict[str, Any] = {}
        for name in self._parts():
            value = getattr(self, name)
            if isinstance(value, Node):
                changed[name] = change(value)
            elif isinstance(value, tuple) and any(isinstance(item, Node) for item in value):
                changed[name] = tuple(change(item) if isinstance(item, Node) else item for item in value)
        return replace(self, **changed) if changed else self


def _below(node: Node) -> list[Node]:
    """The nodes directly below one, in a list of its own: made by one loop, since all that reads a tree asks for them."""
    found: list[Node] = []
    held = node.__dict__
    parts = _PARTS.get(type(node))
    for name in node._parts() if parts is None else parts:
        value = held[name]
        if not value:  # absent, or an empty tuple
            continue
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, tuple):
            found += [item for item in value if isinstance(item, Node)]
    return found


@dataclass(frozen=True)
class Ident(Node):
    """A name where it is declared or used as a bare word."""

    name: str


# ── expressions ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Number(Node):
    """``3``, ``0.5``, ``95%``, ``0.05 nats``. ``value`` is as written: 95 for ``95%``."""

    value: int | float
    unit: str | None = None  # "%", "nats", "bits"


@dataclass(frozen=True)
class String(Node):
    value: str


@dataclass(frozen=True)
class Bool(Node):
    value: bool


@dataclass(frozen=True)
class Name(Node):
    name: str


@dataclass(frozen=True)
class Attribute(Node):
    """``value.name``"""

    value: Expr
    name: Ident


@dataclass(frozen=True)
class Slice(Node):
    """``start:stop``; the end is left out."""

    start: Expr | None
    stop: Expr | None


@dataclass(frozen=True)
class Subscript(Node):
    """``value[index, …]``"""

    value: Expr
    indices: tuple[Expr | Slice, ...]


@dataclass(frozen=True)
class Argument(Node):
    """``value`` or ``name=value``; the value of a name may be a :class:`Range` or a :class:`Set`, which settings that take a
    domain read."""

    name: Ident | None
    value: Expr


@dataclass(frozen=True)
class Call(Node):
    """``function(argument, …)``; ``function`` is a path."""

    function: Expr
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Under(Node):
    """``run(target <- source, …)``: a run in which something is written. At least one of ``given`` is no argument; those that
    are arguments belong to no such run, and are refused where it is read."""

    run: Expr
    given: tuple[Interchange | SetTo | AddTo | Argument, ...]


@dataclass(frozen=True)
class List(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Unary(Node):
    """``op`` is ``-`` or ``not``."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """``op`` is one of ``+ - * / div mod and or``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Located(Node):
    """``value @ site``: a measure that is taken at a place."""

    value: Expr
    site: Expr


@dataclass(frozen=True)
class Through(Node):
    """``site via feature``: the numbers of a feature at a site, in a group of a circuit."""

    site: Expr
    via: Call


@dataclass(frozen=True)
class Compare(Node):
    """``op`` is one of ``== != < <= > >=``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Member(Node):
    """``element in domain``"""

    element: Expr
    domain: DomainExpr


@dataclass(frozen=True)
class IfElse(Node):
    condition: Expr
    then: Expr
    otherwise: Expr


# ── domains ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Range(Node):
    """``low..high``, its end included."""

    low: Expr
    high: Expr


@dataclass(frozen=True)
class Set(Node):
    """``{a, b, …}``"""

    items: tuple[Expr, ...]


@dataclass(frozen=True)
class ChosenSet(Node):
    """``{y in Year where y > start}``; ``choice`` is the part before `where`."""

    choice: Expr
    where: Expr


Expr = (
    Number
    | String
    | Bool
    | Name
    | Attribute
    | Subscript
    | Call
    | Under
    | List
    | Unary
    | Binary
    | Located
    | Through
    | Compare
    | Member
    | IfElse
)
#: A bare name or a call (`bool`, `Shape`, `real(-1, 1)`, `lines("f.txt")`) stands as itself.
DomainExpr = Range | Set | Name | Attribute | Subscript | Call


@dataclass(frozen=True)
class MapEntry(Node):
    """``key: value``"""

    key: Expr
    value: Expr


@dataclass(frozen=True)
class Mapping(Node):
    """``{key: value, …}``, a table that is written out"""

    pairs: tuple[MapEntry, ...]


# ── declarations ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Declaration(Node):
    """``doc`` is the comment block right above it, one ``\\n`` between lines, without the ``#``."""

    doc: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Import(Declaration):
    path: String
    names: tuple[Ident, ...]


@dataclass(frozen=True)
class DomainDecl(Declaration):
    name: Ident
    domain: DomainExpr


@dataclass(frozen=True)
class TableDecl(Declaration):
    name: Ident
    value: Call | Mapping


@dataclass(frozen=True)
class NetworkDecl(Declaration):
    """``network name(parameters) = kind(…)``"""

    name: Ident
    value: Call
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class MetricDecl(Declaration):
    name: Ident
    value: Expr


@dataclass(frozen=True)
class Draw(Declaration):
    """``names ~ domain where condition``, in a causal model or a test."""

    names: tuple[Ident, ...]
    domain: DomainExpr
    where: Expr | None = None


@dataclass(frozen=True)
class Mechanism(Declaration):
    """``[output] name [: domain] := value``; an ``output name`` without a value is not stated."""

    name: Ident
    value: Expr | Set | ChosenSet | None
    domain: DomainExpr | None = None
    output: bool = False


@dataclass(frozen=True)
class CausalDecl(Declaration):
    name: Ident
    members: tuple[Draw | Mechanism, ...]


@dataclass(frozen=True)
class Parameter(Node):
    """``name in 0:12`` or ``name in [a, b]``"""

    name: Ident
    values: Slice | List


@dataclass(frozen=True)
class Prompt(Declaration):
    """``prompt "…" where condition``, or ``prompt chat(user="…")``"""

    text: String | Call
    where: Expr | None = None


@dataclass(frozen=True)
class Placement(Declaration):
    """``name @ site, … via feature``; each site is a path, ``next_token`` and ``logits`` included. ``name..last``: the
    variables from one to the other, in the order in which they are declared, which share an input."""

    name: Ident
    sites: tuple[Expr, ...]
    via: Call | None = None
    last: Ident | None = None


@dataclass(frozen=True)
class AlignDecl(Declaration):
    """``align name(parameters) : model(fixed) -> network(fixed) { … }``; with no ``network``, ``model`` names an alignment.

    ``model_fixed`` and ``network_fixed`` are the parameters that are given there.
    """

    name: Ident
    parameters: tuple[Parameter, ...]
    model: Ident
    network: Ident | None
    members: tuple[Prompt | Placement, ...]
    model_fixed: tuple[Argument, ...] = ()
    network_fixed: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Group(Declaration):
    name: Ident
    sites: tuple[Expr, ...]


@dataclass(frozen=True)
class Edge(Declaration):
    """``sites -> sites -> …``"""

    stages: tuple[EdgeEnd, ...]


@dataclass(frozen=True)
class EdgeEnd(Node):
    sites: tuple[Expr, ...]


@dataclass(frozen=True)
class CircuitDecl(Declaration):
    """``circuit name(parameters) : network(fixed) { … }``; ``network_fixed`` are the parameters that are given there."""

    name: Ident
    network: Ident
    members: tuple[Group | Edge, ...]
    parameters: tuple[Parameter, ...] = ()
    network_fixed: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class CircuitAs(Declaration):
    """``circuit name(parameters) : network(fixed) = value``: read from a file, or made from other circuits, whose ``network`` it has."""

    name: Ident
    value: Expr
    network: Ident | None = None
    parameters: tuple[Parameter, ...] = ()
    network_fixed: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Interchange(Node):
    """``target via feature <- source``"""

    target: Expr
    source: Expr
    via: Call | None = None


@dataclass(frozen=True)
class PatchPath(Node):
    """``sender -> through -> receiver <- source``; with ``sets``, ``sender -> through -> receiver = source``: a written value."""

    sender: Expr
    receiver: Expr
    source: Expr
    through: tuple[Expr, ...] = ()
    sets: bool = False


@dataclass(frozen=True)
class SetTo(Node):
    """``target via feature = value``"""

    target: Expr
    value: Expr
    via: Call | None = None


@dataclass(frozen=True)
class AddTo(Node):
    """``target via feature += value``"""

    target: Expr
    value: Expr
    via: Call | None = None


@dataclass(frozen=True)
class Do(Declaration):
    actions: tuple[Interchange | PatchPath | SetTo | AddTo, ...]


@dataclass(frozen=True)
class Expect(Declaration):
    value: Expr


@dataclass(frozen=True)
class Report(Declaration):
    """``report value, …``"""

    values: tuple[Expr, ...]


@dataclass(frozen=True)
class TestDecl(Declaration):
    """``test name(parameters) on path { … }``; ``on`` is a name or a call of one (`tau(l=8)`)."""

    __test__ = False  # not a pytest class

    name: Ident
    on: Expr
    members: tuple[Draw | Do | Expect | Report, ...]
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class FitDecl(Declaration):
    """``fit name on path { … }``: the draws and interventions that an alignment's learned features are fitted on."""

    name: Ident
    on: Expr
    members: tuple[Draw | Do, ...]


AnyDeclaration = (
    Import
    | DomainDecl
    | TableDecl
    | NetworkDecl
    | MetricDecl
    | CausalDecl
    | AlignDecl
    | CircuitDecl
    | CircuitAs
    | FitDecl
    | TestDecl
)


@dataclass(frozen=True)
class Comment(Node):
    """One ``#`` comment; ``text`` is without the ``#``. ``alone``: nothing but space before it on its line."""

    text: str
    alone: bool


@dataclass(frozen=True)
class Tree(Node):
    """A whole file. ``comments`` are all comments in order, for the formatter; they take no part in equality.

    ``broken`` are the names that faulty declarations and statements would have declared: they are not unknown,
    so that one fault of syntax does not show up again wherever its name is used.
    """

    declarations: tuple[AnyDeclaration, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)
    broken: tuple[str, ...] = field(default=(), compare=False, repr=False)
