"""Declarations made in Python: models, networks, alignments, circuits, tests.

Each collects its members in the order in which they are added, and makes the same node as the parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from causal_dsl.building.operators import (
    Action,
    Declared,
    Expression,
    Nameable,
    called,
    checked,
    domain_node,
    mechanism_node,
    value_node,
)
from causal_dsl.syntax import tree

Condition = Any  # an expression that is true or false


class Named(Nameable):
    """A domain, a table, a metric: a name for a value."""

    def __init__(self, name: str, node: Any, needs: Iterable[Declared], make: Any, doc: str = ""):
        super().__init__(name, doc)
        self._node, self._needs, self._make = node, tuple(dict.fromkeys(needs)), make

    def declaration(self) -> tree.AnyDeclaration:
        declared: tree.AnyDeclaration = self._make(self.ident, self._node, doc=self.doc)
        return declared

    def needs(self) -> tuple[Declared, ...]:
        return self._needs


class Imported(Nameable):
    """``from "path" import names``; ``reference`` is of no name: use the expressions that :func:`import_` gives."""

    def __init__(self, path: str, names: Sequence[str], doc: str = ""):
        if not names:
            raise TypeError("say which names to import: import_(path, 'name', …)")
        super().__init__(names[0], doc)
        self.path, self.names = path, tuple(checked(name) for name in names)

    def declaration(self) -> tree.Import:
        return tree.Import(tree.String(self.path), tuple(tree.Ident(name) for name in self.names), doc=self.doc)

    def needs(self) -> tuple[Declared, ...]:
        return ()


class _Block(Nameable):
    """A declaration with members."""

    def __init__(self, name: str, doc: str = ""):
        super().__init__(name, doc)
        self._members: list[Any] = []
        self._parts: list[Declared] = []
        self._parameters: tuple[tree.Parameter, ...] = ()

    def _sweep(self, parameters: Mapping[str, Any]) -> None:
        """Take these parameters; what their values name is declared as well."""
        made = [_parameter(key, values) for key, values in parameters.items()]
        self._parameters = tuple(node for node, _ in made)
        self._parts += [need for _, needs in made for need in needs]

    def _add(self, member: Any, needs: Iterable[Declared] = ()) -> None:
        self._members.append(member)
        self._parts += needs

    def _value(self, value: Any) -> Any:
        node, needs = value_node(value)
        self._parts += needs
        return node

    def _named(self, value: Any) -> tuple[tree.Ident, tuple[tree.Argument, ...]]:
        node = self._value(value)
        called, fixed = (node.function, node.arguments) if isinstance(node, tree.Call) else (node, ())
        if not isinstance(called, tree.Name):
            raise TypeError(f"{value!r} is not a model, network or alignment")
        return tree.Ident(called.name), fixed

    def _where(self, where: Condition) -> Any:
        return None if where is None else self._value(where)

    def needs(self) -> tuple[Declared, ...]:
        return tuple(dict.fromkeys(part for part in self._parts if part is not self))

    def __call__(self, *positional: Any, **named: Any) -> Expression:
        return called(self.reference, *positional, **named)


class Causal(_Block):
    """A high-level causal model: ``causal NAME { … }``.

    >>> equality = Causal("equality")
    >>> a, b = equality.draw("a", "b", domain=between(0, 3))
    >>> same = equality.output("same", a == b)

    Calling it makes a draw for a test: ``equality(n=256, seed=0)``, ``equality(exhaustive=True)``.
    """

    def draw(self, *names: str, domain: Any, where: Condition = None, doc: str = "") -> Any:
        """Exogenous variables; gives one expression, or a tuple of several. ``where`` may be a function of them."""
        if not names:
            raise TypeError("say which variables: draw('a', 'b', domain=…)")
        node, needs = domain_node(domain)
        variables = tuple(Expression(tree.Name(checked(name)), (self,)) for name in names)
        condition = self._where(where(*variables) if _is_function(where) else where)
        self._add(tree.Draw(tuple(tree.Ident(name) for name in names), node, condition, doc=doc), needs)
        return variables[0] if len(variables) == 1 else variables

    def let(self, name: str, value: Any, domain: Any = None, doc: str = "") -> Expression:
        """A mechanism: ``name := value``."""
        return self._mechanism(name, value, domain, False, doc)

    def output(self, name: str, value: Any = None, domain: Any = None, doc: str = "") -> Expression:
        """The mechanism of an output: ``output name := value``; without a value ``output name``, which is read and never judged."""
        if value is None:
            if domain is not None:
                raise TypeError(f"an output with a domain has a value: output({name!r}, value, domain=…)")
            self._add(tree.Mechanism(tree.Ident(checked(name)), None, None, True, doc=doc))
            return Expression(tree.Name(name), (self,))
        return self._mechanism(name, value, domain, True, doc)

    def _mechanism(self, name: str, value: Any, domain: Any, output: bool, doc: str) -> Expression:
        node = None
        if domain is not None:
            node, needs = domain_node(domain)
            self._parts += needs
        made, needs = mechanism_node(value)
        self._parts += needs
        member = tree.Mechanism(tree.Ident(checked(name)), made, node, output, doc=doc)
        self._add(member)
        return Expression(tree.Name(name), (self,))

    def declaration(self) -> tree.CausalDecl:
        return tree.CausalDecl(self.ident, tuple(self._members), doc=self.doc)


class NetworkWord(Nameable):
    """``network NAME = hf(…)``; made by :func:`hf`, :func:`zoo`, :func:`torch` and :func:`train`."""

    def __init__(
        self,
        name: str,
        value: tree.Call,
        doc: str = "",
        needs: Iterable[Declared] = (),
        sweep: Mapping[str, Any] | None = None,
    ):
        super().__init__(name, doc)
        self._value, self._needs = value, tuple(dict.fromkeys(needs))
        self._parameters = tuple(_parameter(key, values)[0] for key, values in (sweep or {}).items())

    def __call__(self, **named: Any) -> Expression:
        """The network with some of its parameters given: ``pythia(step=4000)``."""
        return called(self.reference, **named)

    def declaration(self) -> tree.NetworkDecl:
        return tree.NetworkDecl(self.ident, self._value, self._parameters, doc=self.doc)

    def needs(self) -> tuple[Declared, ...]:
        return self._needs


class AlignmentWord(_Block):
    """``align NAME(parameters) : model -> network { … }``; made by :func:`align`.

    Calling it fixes parameters for a test: ``tau(l=8)``.
    """

    def __init__(self, name: str, model: Any, network: Any, parameters: dict[str, Any], doc: str = ""):
        super().__init__(name, doc)
        self._model, self._model_fixed = self._named(model)
        self._network: tree.Ident | None = None
        self._network_fixed: tuple[tree.Argument, ...] = ()
        if network is not None:
            self._network, self._network_fixed = self._named(network)
        self._sweep(parameters)

    def prompt(self, text: Any, where: Condition = None, doc: str = "") -> None:
        """A prompt template; placeholders are variables in braces: ``"When {first} and {second} …"``. Of a chat model it
        may be ``chat(system="…", user="…")``."""
        node = tree.String(text) if isinstance(text, str) else self._value(text)
        if not isinstance(node, tree.String | tree.Call):
            raise TypeError(f"{text!r} is not a prompt: give a text, or chat(user=…)")
        self._add(tree.Prompt(node, self._where(where), doc=doc))

    def place(self, variable: Any, *sites: Any, via: Any = None, to: Any = None, doc: str = "") -> None:
        """``variable @ site, … via feature``; with ``to``, ``variable..to @ site via encoding()``. A number is placed at the
        metric that reads it, as in ``place(ld, logit("yes") - logit("no"))``."""
        if not sites:
            raise TypeError("say where: place(variable, site, …)")
        name = tree.Name(checked(variable)) if isinstance(variable, str) else self._value(variable)
        if not isinstance(name, tree.Name):
            raise TypeError(f"`{variable!r}` is not a variable")
        last = None if to is None else tree.Name(checked(to)) if isinstance(to, str) else self._value(to)
        if last is not None and not isinstance(last, tree.Name):
            raise TypeError(f"`{to!r}` is not a variable")
        values = [self._value(site) for site in sites]
        metric = len(values) == 1 and isinstance(values[0], tree.Binary | tree.Unary) and _calls(values[0])
        nodes = tuple(values if metric else map(_path, values))
        feature = None if via is None else self._value(via)
        if feature is not None and not isinstance(feature, tree.Call):
            raise TypeError(f"`{via!r}` is not a feature: write via=rotation(dim=8)")
        end = None if last is None else tree.Ident(last.name)
        self._add(tree.Placement(tree.Ident(name.name), nodes, feature, end, doc=doc))

    def declaration(self) -> tree.AlignDecl:
        return tree.AlignDecl(
            self.ident,
            self._parameters,
            self._model,
            self._network,
            tuple(self._members),
            self._model_fixed,
            self._network_fixed,
            doc=self.doc,
        )


class Circuit(_Block):
    """``circuit NAME(parameters) : network { … }``, or ``circuit NAME : network = value``. Its groups are attributes:
    ``wang.mover.q``."""

    def __init__(
        self, name: str, network: Any, doc: str = "", value: Any = None, parameters: Mapping[str, Any] | None = None
    ):
        super().__init__(name, doc)
        if network is None and value is None:
            raise TypeError("say which network a circuit is of: circuit(name, network)")
        self._network: tree.Ident | None = None
        self._network_fixed: tuple[tree.Argument, ...] = ()
        if network is not None:
            self._network, self._network_fixed = self._named(network)
        self._made = None if value is None else self._value(value)
        self._sweep(parameters or {})

    def group(self, name: str, *sites: Any, doc: str = "") -> Expression:
        """A named group of sites, or of the numbers of features at sites (``via(site, feature)``); gives its name, for :meth:`edge`."""
        nodes = tuple(
            node if isinstance(node, tree.Through) else _path(node) for node in (self._value(site) for site in sites)
        )
        self._add(tree.Group(tree.Ident(checked(name)), nodes, doc=doc))
        return Expression(tree.Name(name), (self,))

    def edge(self, *stages: Any, doc: str = "") -> None:
        """``sites -> sites -> …``; a stage is a site or a list of them."""
        if len(stages) < 2:
            raise TypeError("an edge has two ends: edge(mover, logits)")
        ends = [stage if isinstance(stage, list | tuple) else [stage] for stage in stages]
        nodes = tuple(tree.EdgeEnd(tuple(_path(self._value(site)) for site in end)) for end in ends)
        self._add(tree.Edge(nodes, doc=doc))

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_") or name == "name":
            raise AttributeError(name)
        return getattr(self.reference, name)

    def declaration(self) -> tree.CircuitDecl | tree.CircuitAs:
        of = self._network
        if self._made is not None:
            if self._members:
                raise TypeError(f"the circuit {self.name!r} is a value, and has no groups of its own")
            return tree.CircuitAs(self.ident, self._made, of, self._parameters, self._network_fixed, doc=self.doc)
        assert of is not None
        members = tuple(self._members)
        return tree.CircuitDecl(self.ident, of, members, self._parameters, self._network_fixed, doc=self.doc)


class TestWord(_Block):
    """``test NAME on alignment { … }``; made by :func:`test`."""

    __test__ = False  # not a pytest class

    def __init__(self, name: str, on: Any, doc: str = "", parameters: Mapping[str, Any] | None = None):
        super().__init__(name, doc)
        self._on = _path(self._value(on))
        self._sweep(parameters or {})

    def draw(self, *roles_and_model: Any, where: Condition = None, doc: str = "") -> Any:
        """``base, source ~ model(n=256) where …``: the names of the runs, then the draw.

        ``where`` is an expression, or a function of the runs drawn here:
        ``lambda base, source: base.left != source.left``. Gives one expression, or a tuple of several.
        """
        *roles, model = roles_and_model
        if not roles:
            raise TypeError("say which runs: draw('base', 'source', model(n=256))")
        node, needs = domain_node(model)
        runs = tuple(Expression(tree.Name(checked(role))) for role in roles)
        condition = self._where(where(*runs) if _is_function(where) else where)
        self._add(tree.Draw(tuple(tree.Ident(role) for role in roles), node, condition, doc=doc), needs)
        return runs[0] if len(runs) == 1 else runs

    def do(self, *actions: Action, doc: str = "") -> None:
        """Add actions on the base run."""
        if not actions or not all(isinstance(action, Action) for action in actions):
            raise TypeError("do( ) takes swap(…), set_to(…), add_to(…), patch(…) or path(…)")
        self._add(tree.Do(tuple(action.node for action in actions), doc=doc), [n for a in actions for n in a.needs])

    def expect(self, value: Any, doc: str = "") -> None:
        """Add an expectation, which must come out."""
        if isinstance(value, bool):
            raise TypeError("expect(…) takes a comparison of a score, as in expect(iia >= 0.95)")
        self._add(tree.Expect(self._value(value), doc=doc))

    def report(self, *values: Any, doc: str = "") -> None:
        """Add a score that is shown, without a verdict."""
        if not values:
            raise TypeError("say what to report: report(iia, kl)")
        self._add(tree.Report(tuple(self._value(value) for value in values), doc=doc))

    def declaration(self) -> tree.TestDecl:
        return tree.TestDecl(self.ident, self._on, tuple(self._members), self._parameters, doc=self.doc)


class Fit(TestWord):
    """``fit NAME on alignment { … }``; made by :func:`fit`. It has :meth:`draw` and :meth:`do`, and judges nothing."""

    def expect(self, value: Any, doc: str = "") -> None:
        raise TypeError("a fit judges nothing: expect(…) belongs in a test")

    def report(self, *values: Any, doc: str = "") -> None:
        raise TypeError("a fit reports nothing: report(…) belongs in a test")

    def declaration(self) -> tree.FitDecl:  # type: ignore[override]
        return tree.FitDecl(self.ident, self._on, tuple(self._members), doc=self.doc)


def _parameter(name: str, values: Any) -> tuple[tree.Parameter, tuple[Declared, ...]]:
    """A parameter over a range or a list, and what its values need."""
    ident = tree.Ident(checked(name))
    if isinstance(values, range) and values.step == 1:
        return tree.Parameter(ident, tree.Slice(*(value_node(end)[0] for end in (values.start, values.stop)))), ()
    if isinstance(values, slice) and values.step is None:  # as slice(0, name("layers"))
        ends = [None if end is None else value_node(end)[0] for end in (values.start, values.stop)]
        return tree.Parameter(ident, tree.Slice(*ends)), ()
    node, needs = value_node(list(values))
    return tree.Parameter(ident, node), tuple(needs)


def _is_function(where: Any) -> bool:
    return isinstance(where, Callable) and not isinstance(where, Expression | Nameable)  # type: ignore[arg-type]


def _calls(node: Any) -> bool:
    """Whether a measure is called in it, as in a metric."""
    return any(isinstance(part, tree.Call) for part in node.walk())


def _path(node: Any) -> Any:
    if not isinstance(node, tree.Name | tree.Attribute | tree.Subscript | tree.Call):
        raise TypeError(f"`{node}` is not a site, and no name of one")
    return node


def collect(objects: Iterable[Any]) -> tree.Tree:
    """The tree of a spec that declares these, and before each what it refers to.

    Raises
    ------
    TypeError
        If something is not declared by name.
    ValueError
        If two different things have one name.
    """
    done: dict[Declared, None] = {}
    names: dict[str, Declared] = {}

    def visit(thing: Declared) -> None:
        if thing in done:
            return
        done[thing] = None
        for need in thing.needs():
            visit(need)
        for name in thing.names if isinstance(thing, Imported) else (getattr(thing, "name", ""),):
            if name in names:
                raise ValueError(f"two things are called {name!r}: {names[name]!r} and {thing!r}")
            names[name] = thing
        ordered.append(thing)

    ordered: list[Declared] = []
    for thing in objects:
        if isinstance(thing, Declared):
            visit(thing)
        elif isinstance(thing, Expression) and thing._needs:
            for need in thing._needs:
                visit(need)
        else:
            raise TypeError(f"{thing!r} declares nothing: give tests, alignments, models, networks, domains, metrics")
    return tree.Tree(tuple(thing.declaration() for thing in ordered))
