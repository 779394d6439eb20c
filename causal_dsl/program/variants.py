"""Families to their members: a network, an alignment or a test whose parameters decide more than a place.

A parameter that stands for a layer, a position, a component, a coefficient or a setting of a feature is swept over in the
cells of one test (:mod:`causal_dsl.program.interventions`): all of them share their draws and one network. A parameter that
stands for anything else (a network's seed or revision, a model, a variable, a prompt, what is drawn) makes a test of its
own of each value, here: the declarations are written out once for each, as if a person had, and all later stages see no
family. What is written out is called by its parameters, ``tau(step=512)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.beyond_places import decides, drawn_by, only_places, words_read_at
from causal_dsl.program.counts import COUNTS, counted
from causal_dsl.program.family_members import (
    Named,
    by_name,
    member_name,
    plain,
    with_values,
    with_values_in_test,
)
from causal_dsl.program.models import metrics_of
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.parameters import MOST_CELLS, meant_by, refuse_arguments, refuse_never, values_of
from causal_dsl.syntax import tree
from causal_dsl.syntax.substitute import named_in, substitute
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.words import words

#: What is swept over: the values of each parameter, in the order in which they are declared.
Sweep = dict[str, tuple[tree.Expr, ...]]

#: Words of the language beside measures, features and written values.
_WORDS = frozenset(
    ("first", "last", "all", "base", "source", "label", "template", "layer", "module", "mean")
) | frozenset((*COUNTS, *(name for name, component in COMPONENTS.items() if not component.layer)))


#: The declarations that are families, or are of one network of a family.
_WITH_FAMILIES = (tree.NetworkDecl, tree.AlignDecl, tree.CircuitDecl, tree.CircuitAs, tree.TestDecl, tree.FitDecl)


def write_out(module: Module, imported: Iterable[Module], found: Diagnostics) -> None:
    """Put the members of every family in its place, in a module and in those that it imports."""
    writer = _Writer(found)
    for each in (*imported, module):
        writer.module(each)


@dataclass
class _Family:
    """The members of a declaration, each with its outer parameters. ``placing``: those parameters that decide only where
    variables are, which is the same to a test that does nothing."""

    members: list[tuple[Named, Definition]]
    placing: frozenset[str] = frozenset()

    @property
    def sweep(self) -> Sweep:
        found: Sweep = {}
        for named, _ in self.members:
            for name, value in named.items():
                if value not in found.setdefault(name, ()):
                    found[name] = (*found[name], value)
        return found


class _Writer:
    def __init__(self, found: Diagnostics):
        self.found = found
        self._families: dict[int, _Family | None] = {}
        self._sweeps: dict[int, Sweep] = {}
        self._open: set[int] = set()
        self._faulty: set[int] = set()
        #: of tests that are written out, what the parameters stand for in the metrics that they name; and the tests themselves
        self._given_in: dict[int, Named] = {}
        self._kept: list[tree.Node] = []

    def module(self, module: Module) -> None:
        members: dict[str, list[Definition]] = {}
        for name, definition in module.names.items():
            family = self.family(definition)
            if id(definition.declaration) in self._faulty:
                members[name] = []
            elif family is not None:
                members[name] = [member for _, member in family.members]
        if members:
            module.put(members)

    def family(self, definition: Definition) -> _Family | None:
        """The members of a declaration; None for one that is itself, and for one that needs itself."""
        declaration = definition.declaration
        if not isinstance(declaration, _WITH_FAMILIES):
            return None
        key = id(declaration)
        if key not in self._families:
            if key in self._open:
                return None  # whoever resolves it reports that
            self._open.add(key)
            match declaration:
                case tree.NetworkDecl():
                    made: Iterator[tuple[Named, Any]] = self._of_network(definition.module, declaration)
                case tree.AlignDecl():
                    made = self._of_alignment(definition.module, declaration)
                case tree.CircuitDecl() | tree.CircuitAs():
                    made = self._of_circuit(definition.module, declaration)
                case _:
                    made = self._of_test(definition.module, declaration)
            every = list(made)
            self._open.discard(key)
            self._families[key] = self._named(definition, declaration, every)
        return self._families[key]

    def _named(self, definition: Definition, declaration: Any, made: list[tuple[Named, Any]]) -> _Family | None:
        """The members under names of their own."""
        unchanged = len(made) == 1 and not made[0][0] and made[0][1] == declaration
        if not made or unchanged or id(declaration) in self._faulty:
            return None
        if len({frozenset(named) for named, _ in made}) > 1:
            self._faulty.add(id(declaration))
            self.found.report(
                "E227",
                f"the parameters of `{declaration.name.name}` are not the same for all of its values",
                declaration.name.span,
                notes=("it refers to several networks or alignments, and not all of them have the same parameters",),
                help="give the parameters that not all of them have: name(parameter=value)",
            )
            return None
        members = []
        for named, one in made:
            name = member_name(declaration.name.name, named)
            written = replace(one, name=replace(one.name, name=name))
            told = tuple((key, plain(value)) for key, value in named.items())
            family = declaration.name.name if named else ""
            given = self._given_in.get(id(one), {})
            members.append((named, Definition(written, definition.module, family, told, given)))
        placing = only_places(declaration) if isinstance(declaration, tree.AlignDecl) else frozenset[str]()
        return _Family(members, placing)

    # ── networks ─────────────────────────────────────────────────────────────────────────────────

    def _of_network(self, module: Module, declaration: tree.NetworkDecl) -> Iterator[tuple[Named, tree.NetworkDecl]]:
        sweep = self.sweep_of(declaration)
        for parameter in declaration.parameters:
            name = parameter.name.name
            if name in sweep and substitute(declaration.value, {name: sweep[name][0]}) == declaration.value:
                self.found.report(
                    "W775",
                    f"the declaration of `{declaration.name.name}` does not use `{name}`",
                    parameter.name.span,
                    notes=("its networks would all be the same one",),
                    help=f'use it, as in torch("net.py:build", {name}={name}) or hf("run", revision="step{{{name}}}"); or leave it out',
                )
        for named in self._each(declaration, sweep):
            value = self._trained_towards(module, substitute(declaration.value, named))
            yield named, replace(declaration, value=value, parameters=())

    def _trained_towards(self, module: Module, call: tree.Call) -> tree.Call:
        """``train(tau(k=4))`` with the member of the family that is meant, by its name."""
        made = []
        for argument in call.arguments:
            value = argument.value
            name = value.function if isinstance(value, tree.Call) else None
            above = module.declared().get(name.name) if isinstance(name, tree.Name) else None
            family = self.family(above) if above is not None else None
            if (
                isinstance(value, tree.Call)
                and isinstance(name, tree.Name)
                and above is not None
                and family is not None
            ):
                given, rest = self._given(family.sweep, by_name(value.arguments, list(self._all_of(above))))
                meant = [member for named, member in family.members if named == given and not rest]
                if meant:
                    argument = replace(argument, value=tree.Name(meant[0].name, span=value.span))
            made.append(argument)
        return replace(call, arguments=tuple(made))

    # ── alignments ───────────────────────────────────────────────────────────────────────────────

    def _of_alignment(self, module: Module, declaration: tree.AlignDecl) -> Iterator[tuple[Named, tree.AlignDecl]]:
        closed = decides(declaration)  # a range over the layers of a network decides about places alone
        own = {n: v for n, v in self.sweep_of(declaration).items() if n in closed or not any(map(counted, v))}
        beyond = decides(declaration) - self._variables(module, declaration) if own else frozenset()
        outer = {name: values for name, values in own.items() if name in beyond}
        for named in self._each(declaration, outer):
            written = with_values(declaration, named)
            models = list(self._members(module, declaration, written.model, written.model_fixed, own))
            networks: list[Any] = [({}, None, ())]
            if written.network is not None:
                networks = list(self._members(module, declaration, written.network, written.network_fixed, own))
            for (left, model, given), (more, network, also) in itertools.product(models, networks):
                every = {**named, **left, **more}
                if any(every[name] != value for name, value in left.items()):
                    continue  # a parameter of both ends has one value
                rest = tuple(p for p in written.parameters if p.name.name not in every)
                ends = {"model": model, "model_fixed": given, "network": network, "network_fixed": also}
                yield every, replace(written, parameters=rest, **ends)

    def _members(
        self, module: Module, declaration: tree.Node, name: tree.Ident, fixed: Sequence[tree.Argument], own: Sweep
    ) -> Iterator[tuple[Named, tree.Ident, tuple[tree.Argument, ...]]]:
        """The alignments that one may stand on by this name: each with the parameters that are left, its name, and the arguments
        that are none of a family."""
        above = module.declared().get(name.name)
        family = self.family(above) if above is not None else None
        if family is None:
            yield {}, name, tuple(fixed)
            return
        sweep = family.sweep
        given, rest = self._given(sweep, by_name(fixed, list(sweep)))
        for parameter, value in given.items():
            if value not in sweep[parameter]:
                self._never(name.name, parameter, value, sweep, declaration)
        for parameter, values in own.items():
            for value in values if parameter in sweep and parameter not in given else ():
                if value not in sweep[parameter]:
                    self._never(name.name, parameter, value, sweep, declaration)
        for named, member in family.members:
            left = {key: value for key, value in named.items() if key not in given}
            if all(named[key] == value for key, value in given.items()) and all(
                value in own.get(key, (value,)) for key, value in left.items()
            ):
                yield left, replace(name, name=member.name), rest

    # ── circuits ─────────────────────────────────────────────────────────────────────────────────

    def _of_circuit(
        self, module: Module, declaration: tree.CircuitDecl | tree.CircuitAs
    ) -> Iterator[tuple[Named, tree.CircuitDecl | tree.CircuitAs]]:
        """A circuit of the one network of a family that it names; where several are left, whoever resolves it reports that."""
        if declaration.network is None:
            return
        members = list(self._members(module, declaration, declaration.network, declaration.network_fixed, {}))
        if any(rest for _, _, rest in members):
            self._faulty.add(id(declaration))
            above = module.declared().get(declaration.network.name)
            known = list(self._all_of(above)) if above is not None else []
            refuse_arguments(declaration.network, next(rest for _, _, rest in members if rest), self.found, known)
        elif len(members) == 1:
            yield {}, replace(declaration, network=members[0][1], network_fixed=())

    # ── tests and fits ───────────────────────────────────────────────────────────────────────────

    def _of_test(
        self, module: Module, declaration: tree.TestDecl | tree.FitDecl
    ) -> Iterator[tuple[Named, tree.TestDecl | tree.FitDecl]]:
        own = self.sweep_of(declaration)
        on = declaration.on
        name = on.function if isinstance(on, tree.Call) else on
        above = module.declared().get(name.name) if isinstance(name, tree.Name) else None
        if above is None or not isinstance(above.declaration, tree.AlignDecl) or not isinstance(name, tree.Name):
            return
        variables = self._variables(module, above.declaration)
        named_on = [key for key in own if isinstance(on, tree.Call) and any(key in named_in(a) for a in on.arguments)]
        if named_on:
            yield from self._of_named_on(module, declaration, {key: own[key] for key in named_on}, name, variables)
            return
        order = self._all_of(above)
        if not own and not order:
            return
        arguments = by_name(on.arguments if isinstance(on, tree.Call) else (), list(order))
        family = self.family(above)
        sweep = family.sweep if family is not None else {}
        given, rest = self._given(sweep, arguments)
        for parameter, value in given.items():
            if value not in sweep[parameter]:
                self._never(name.name, parameter, value, sweep, declaration)
                return
        metrics = metrics_of(module)
        drawn = drawn_by(declaration, metrics) - variables
        fixed = {a.name.name for a in arguments if a.name is not None}
        outer = {key: values for key, values in own.items() if key in drawn}
        chosen = {k: v for k, v in order.items() if k in drawn and k not in fixed and k not in sweep and k not in own}
        members: list[tuple[Named, tree.Name]] = [({}, name)]
        if family is not None:
            idle: Named = {}
            if not any(isinstance(member, tree.Do) for member in declaration.members):
                read = words_read_at((*declaration.members, *metrics.values()))
                idle = {
                    key: values[0]
                    for key, values in sweep.items()
                    if key in family.placing and key not in given and key not in read
                }
            fixes = {**given, **idle}
            members = [
                ({k: v for k, v in named.items() if k not in fixes}, replace(name, name=member.name))
                for named, member in family.members
                if all(named[key] == value for key, value in fixes.items())
            ]
        for left, called in members:
            for named in self._each(declaration, {**chosen, **outer}):
                fixing = tuple(tree.Argument(tree.Ident(k, span=name.span), named[k], span=name.span) for k in chosen)
                every = {**left, **named}
                made = with_values_in_test(declaration, {**given, **every}, called, (*rest, *fixing), variables)
                self._kept.append(made)
                self._given_in[id(made)] = {k: v for k, v in {**given, **every}.items() if k not in variables}
                yield every, made

    def _of_named_on(
        self,
        module: Module,
        declaration: tree.TestDecl | tree.FitDecl,
        own: Sweep,
        name: tree.Name,
        variables: frozenset[str],
    ) -> Iterator[tuple[Named, tree.TestDecl | tree.FitDecl]]:
        """A test that gives parameters of its own to what it is on, `on tau(l=k)`: one of each of their values."""
        for named in self._each(declaration, own, later=True):
            one = replace(
                with_values_in_test(declaration, named, name, (), variables), on=substitute(declaration.on, named)
            )
            self._kept.append(one)
            self._sweeps[id(one)] = {k: v for k, v in self.sweep_of(declaration).items() if k not in named}
            inner = list(self._of_test(module, one))
            if id(one) in self._faulty:
                self._faulty.add(id(declaration))
                return
            for left, made in inner or [({}, one)]:
                self._given_in[id(made)] = {**named, **self._given_in.get(id(made), {})}
                yield {**named, **left}, made

    # ── parameters ───────────────────────────────────────────────────────────────────────────────

    def sweep_of(self, declaration: Any) -> Sweep:
        """The values of the parameters that a declaration has itself; those at fault are reported and left out."""
        key = id(declaration)
        if key not in self._sweeps:
            found: Sweep = {}
            for parameter in getattr(declaration, "parameters", ()):
                values = values_of(parameter, self.found)
                self._warn_of_a_word(parameter.name)
                if values is not None:
                    found.setdefault(parameter.name.name, values)
            self._sweeps[key] = found
        return self._sweeps[key]

    def _warn_of_a_word(self, name: tree.Ident) -> None:
        """Report W230 for a parameter that is called as a word of the language."""
        if name.name in words() or name.name in _WORDS:
            self.found.report(
                "W230",
                f"the parameter `{name.name}` hides a word of the language",
                name.span,
                notes=(f"wherever `{name.name}` stands alone, it means the parameter",),
                help="give it another name",
            )

    def _all_of(self, definition: Definition) -> Sweep:
        """The parameters of an alignment or a network, those first that it has of what it stands on."""
        declaration = definition.declaration
        found: Sweep = {}
        if isinstance(declaration, tree.AlignDecl) and id(declaration) not in self._open:
            self._open.add(id(declaration))
            for name, fixed in (
                (declaration.model, declaration.model_fixed),
                (declaration.network, declaration.network_fixed),
            ):
                above = definition.module.declared().get(name.name) if name is not None else None
                if above is not None and isinstance(above.declaration, tree.NetworkDecl | tree.AlignDecl):
                    given = {a.name.name for a in fixed if a.name is not None}
                    found |= {k: v for k, v in self._all_of(above).items() if k not in given}
            self._open.discard(id(declaration))
        return {**found, **self.sweep_of(declaration)}

    def _given(self, sweep: Sweep, arguments: Sequence[tree.Argument]) -> tuple[Named, tuple[tree.Argument, ...]]:
        """The arguments that are given of a family's parameters, and the other arguments."""
        given: Named = {}
        rest = []
        for argument in arguments:
            if argument.name is not None and argument.name.name in sweep:
                meant = meant_by(argument.value, sweep[argument.name.name])
                given[argument.name.name] = argument.value if meant is None else meant
            else:
                rest.append(argument)
        return given, tuple(rest)

    def _never(self, name: str, parameter: str, value: tree.Expr, sweep: Sweep, declaration: tree.Node) -> None:
        self._faulty.add(id(declaration))
        own = [one.name.name for one in getattr(declaration, "parameters", ())]
        inside = isinstance(declaration, tree.CircuitDecl | tree.CircuitAs) and {*own} & {*named_in(value)}
        why = ("a circuit is of one network: no parameter of the circuit says which",) if inside else ()
        refuse_never(parameter, name, value, sweep[parameter], value.span, self.found, why=why)

    def _variables(self, module: Module, declaration: tree.AlignDecl) -> frozenset[str]:
        """The variables of the causal model that an alignment is of: a name of one means it, not a parameter."""
        seen: set[int] = set()
        above: Definition | None = module.declared().get(declaration.model.name)
        while above is not None and isinstance(above.declaration, tree.AlignDecl) and id(above) not in seen:
            seen.add(id(above))
            above = above.module.declared().get(above.declaration.model.name)
        if above is None or not isinstance(above.declaration, tree.CausalDecl):
            return frozenset()
        names: set[str] = set()
        for member in above.declaration.members:
            names |= {name.name for name in (member.names if isinstance(member, tree.Draw) else (member.name,))}
        return frozenset(names)

    def _each(self, declaration: Any, sweep: Sweep, later: bool = False) -> Iterator[Named]:
        """The values of the parameters, one of each. ``later``: a listed one may be computed of how large the network is."""
        open = next(
            (
                name
                for name, values in sweep.items()
                if any(counted(value) and not (later and not isinstance(value, tree.Slice)) for value in values)
            ),
            None,
        )
        if open is not None:
            self._faulty.add(id(declaration))
            words = " and ".join(f"`{word}`" for word in dict.fromkeys(w for v in sweep[open] for w in counted(v)))
            self.found.report(
                "E789",
                f"`{open}` makes a test of each value, and how large the network is decides only about cells",
                declaration.name.span,
                notes=(f"{words} can be used where a parameter stands for a place alone",),
                help="write the numbers, as 0:12, or a list",
            )
            return
        count = 1
        for values in sweep.values():
            count *= len(values)
        if count > MOST_CELLS:
            self.found.report(
                "E670",
                f"`{declaration.name.name}` sweeps over {count:,} cells",
                declaration.name.span,
                help=f"make the sweep smaller: at most {MOST_CELLS:,}",
            )
            return
        for values in itertools.product(*sweep.values()):
            yield dict(zip(sweep, values, strict=True))


__all__ = ["write_out"]
