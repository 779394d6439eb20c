"""The members of ``causal name { … }`` compiled one by one, in an order in which each finds its parents."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.compiled import compile_lines, compile_text, printed_lines
from causal_dsl.causal.condition_functions import Condition, compile_condition
from causal_dsl.causal.domain_of import compile_domain, finite
from causal_dsl.causal.domains import BOOL, LIMIT, WORDS, Domain, Finite, Real, Sets, Text, Value
from causal_dsl.causal.evaluate import Equation, dtype_of
from causal_dsl.causal.expressions import Compiler, inside
from causal_dsl.causal.lookups import code_of, value_of
from causal_dsl.causal.model import CausalModel, Choices, refuse_unstated
from causal_dsl.causal.named_files import folder_of
from causal_dsl.causal.scope import Scope, Strings
from causal_dsl.causal.sets import chosen_from, listed, no_value, warn_of_empty
from causal_dsl.causal.terms import TRUE, Symbol, every, negation
from causal_dsl.causal.typed import Guard, Typed, variable
from causal_dsl.causal.variables import Variable
from causal_dsl.diagnostics import Diagnostics, Span, SpecError, nearest
from causal_dsl.syntax import tree

#: Mechanisms over at most this many combinations of parents' values get the exact set of their values as a domain.
_INFERRED = 20_000
_MOST_VALUES = 4096
#: Values of a parent, and of a mechanism, up to which mechanisms that do alike are computed once.
_FEW = 256


@dataclass(frozen=True)
class DeclaredMember:
    """One declared variable: the statement that declares it, and the variables that the statement mentions."""

    name: tree.Ident
    statement: tree.Draw | tree.Mechanism
    parents: tuple[str, ...]


class MemberCompiler:
    """Compiles one ``causal`` block; ``compile`` gives the model, or None where a fault was reported."""

    def __init__(self, decl: tree.CausalDecl, scope: Scope, diagnostics: Diagnostics):
        self.decl = decl
        self.scope = scope
        self.diagnostics = diagnostics
        self.strings = Strings()
        self.model = CausalModel(decl.name.name, decl.name.span, self.strings, scope)
        self.names: dict[str, Typed | None] = {}
        self.compiler = Compiler(self.names, scope, self.strings, diagnostics, f"`{decl.name.name}`")
        self.model._evaluator.helpers = self.compiler.helpers
        self.good = True
        #: the values of mechanisms, by the text that they are compiled to and the values of their parents
        self._images: dict[Any, np.ndarray] = {}

    def _fault(self, code: str, title: str, span: Span, **more: object) -> None:
        self.diagnostics.report(code, title, span, **more)
        self.good = False

    def compile(self) -> CausalModel | None:
        before = len(self.diagnostics.errors)
        members = self._members()
        order = self._order(members)
        for i, name in enumerate(members):
            self.model.symbols[name] = Symbol(f"v{i}")
        for name in order:
            if name in self.names:  # on a circle
                continue
            member = members[name]
            statement = member.statement
            made = (
                self._draw(member, statement)
                if isinstance(statement, tree.Draw)
                else self._mechanism(member, statement)
            )
            self.names[name] = made
            self.good = self.good and made is not None
        wheres = [
            self._where(statement)
            for statement in self.decl.members
            if isinstance(statement, tree.Draw) and statement.where
        ]
        self.model.wheres = tuple(where for where in wheres if where is not None)
        outputs = [m for m in self.decl.members if isinstance(m, tree.Mechanism) and m.output]
        self.model.outputs = tuple(dict.fromkeys(m.name.name for m in outputs))
        if not outputs:
            last = next((m for m in reversed(self.decl.members) if isinstance(m, tree.Mechanism)), None)
            help = f"write `output {last.name.name} := …`" if last else "write `output answer := …`"
            help += "; or `output answer`, where no answer is known"
            self._fault("E322", f"`{self.decl.name.name}` has no output", self.decl.name.span, help=help)
        called = {
            n.function.name for n in self.decl.walk() if isinstance(n, tree.Call) and isinstance(n.function, tree.Name)
        }
        self.model.functions = tuple(f for name, f in self.scope.functions.items() if f is not None and name in called)
        if not self.good or len(self.diagnostics.errors) > before:
            return None
        if not self.model.needs_trust:
            self._try_out()
        return self.model if len(self.diagnostics.errors) == before else None

    # ── names and order ─────────────────────────────────────────────────────────────────────────

    def _members(self) -> dict[str, DeclaredMember]:
        declared: dict[str, tree.Ident] = {}
        for statement in self.decl.members:
            for name in statement.names if isinstance(statement, tree.Draw) else (statement.name,):
                if name.name in declared:
                    self._fault(
                        "E321",
                        f"`{name.name}` is defined twice",
                        name.span,
                        label="again here",
                        others=((declared[name.name].span, "first here"),),
                        help="give one of them another name",
                    )
                else:
                    declared[name.name] = name
        members: dict[str, DeclaredMember] = {}
        unstated = {m.name.name for m in self.decl.members if isinstance(m, tree.Mechanism) and m.value is None}
        for node in self.decl.walk():
            if isinstance(node, tree.Name) and node.name in unstated:
                refuse_unstated(node.name, node.span, self.diagnostics)
                self.good = False
        for statement in self.decl.members:
            names = statement.names if isinstance(statement, tree.Draw) else (statement.name,)
            used: dict[str, None] = {}
            parts = (statement.domain,) if isinstance(statement, tree.Draw) else (statement.value,)
            for part in parts:
                if part is None:
                    continue
                if not isinstance(part, (tree.Name, tree.Attribute)) or isinstance(statement, tree.Mechanism):
                    used.update(dict.fromkeys(node.name for node in _names(part) if node.name in declared))
            for name in names:
                if declared[name.name] is name:
                    members[name.name] = DeclaredMember(name, statement, tuple(used))
        return members

    def _order(self, members: dict[str, DeclaredMember]) -> list[str]:
        place = {name: i for i, name in enumerate(members)}
        parents = {name: member.parents for name, member in members.items()}
        while True:
            sorter = TopologicalSorter(parents)
            try:
                sorter.prepare()
                break
            except CycleError as error:
                cycle = list(reversed(error.args[1]))[:-1]
            start = cycle.index(min(cycle, key=place.__getitem__))
            self._circle([members[name] for name in cycle[start:] + cycle[:start]])
            # Cut loose, so that other circles are found and the rest is judged all the same.
            parents.update(dict.fromkeys(cycle, ()))
            self.names.update(dict.fromkeys(cycle))
        order: list[str] = []
        ready = [(place[name], name) for name in sorter.get_ready()]
        heapq.heapify(ready)
        while ready:
            _, name = heapq.heappop(ready)
            order.append(name)
            sorter.done(name)
            for free in sorter.get_ready():
                heapq.heappush(ready, (place[free], free))
        return order

    def _circle(self, cycle: list[DeclaredMember]) -> None:
        names = [member.name.name for member in cycle]
        if len(cycle) == 1:
            self._fault(
                "E320",
                f"`{names[0]}` is defined by itself",
                cycle[0].name.span,
                help="a mechanism mentions only its causes",
            )
            return
        shown = " -> ".join([*names, names[0]] if len(names) <= 12 else [*names[:12], "…"])
        others = tuple((member.name.span, "on the circle") for member in cycle[1:9])
        self._fault(
            "E320",
            "these variables depend on each other in a circle",
            cycle[0].name.span,
            label=shown,
            others=others,
            help="a causal model is acyclic: break one of these dependencies",
        )

    # ── drawn variables ─────────────────────────────────────────────────────────────────────────

    def _draw(self, member: DeclaredMember, statement: tree.Draw) -> Typed | None:
        name = member.name.name
        expr = statement.domain
        if isinstance(expr, tree.Name) and expr.name in self.model.symbols and expr.name not in self.scope.domains:
            self._fault(
                "E313",
                f"`{expr.name}` is a variable, not a domain",
                expr.span,
                help=f"write `{name} ~ {{{expr.name}}}` to draw from its value",
            )
            return None
        if isinstance(expr, tree.Set) and any(True for _ in _names(expr)):
            return self._choices(member, expr)
        domain = compile_domain(expr, self.scope, folder_of(expr.span), self.diagnostics)
        if domain is None:
            return None
        if isinstance(domain, Text) or (isinstance(domain, Real) and not domain.bounded):
            self._fault(
                "E316", f"`{name}` cannot be drawn from {domain}", expr.span, help="give it bounds, as real(-1, 1)"
            )
            return None
        return self._add(member, "exogenous", domain, False)

    def _choices(self, member: DeclaredMember, expr: tree.Set) -> Typed | None:
        """A set whose items mention variables: its domain is all that it can hold."""
        unknown = [node for item in expr.items for node in _names(item) if node.name not in self.model.symbols]
        for node in unknown:
            close = nearest(node.name, self.model.symbols)
            help = f"did you mean `{close}`?" if close else f'write "{node.name}" if it is a text'
            self._fault("E305", f"no variable `{node.name}` in `{self.decl.name.name}`", node.span, help=help)
        self.compiler.guards = []
        items = [self.compiler.value(item) for item in expr.items] if not unknown else []
        guards = tuple(self.compiler.guards)
        known = [item for item in items if item is not None]
        if unknown or len(known) < len(items):
            return None
        kinds = {item.type for item in known}
        if "set" in kinds:
            no_value(self.diagnostics, expr.span)
            return None
        real = kinds == {"int", "real"}
        if len(kinds) > 1 and not real:
            other = next(i for i, item in enumerate(known) if item.type != known[0].type)
            self._fault(
                "E312",
                "the values of a set are of one type",
                expr.items[other].span,
                label=f"this is {WORDS[known[other].type]}",
                others=((expr.items[0].span, f"this is {WORDS[known[0].type]}"),),
            )
            return None
        values: dict[Value, None] = {}
        total = Typed("real" if real else known[0].type, None)
        for item in known:
            domain = item.domain or self._inferred(item, member.parents, (), None)
            if not isinstance(domain, Finite) or domain.size + len(values) > LIMIT or isinstance(domain.values, range):
                total = Typed(total.type, None, min(i.low for i in known), max(i.high for i in known))
                break
            values.update(
                dict.fromkeys(float(v) if real and not isinstance(v, (bool, str)) else v for v in domain.values)
            )
        else:
            total = Typed(total.type, None, domain=finite(list(values), [expr.span] * len(values), self.diagnostics))
        domain = total.domain or (
            Finite(range(int(total.low), int(total.high) + 1)) if total.type == "int" else Real(total.low, total.high)
        )
        if total.type == "string" and total.domain is None:
            domain = Text()
        marks = [Symbol(f"r{i}") for i in range(len(known) + len(guards))]
        lines = [item.real if real else item.number for item in known] + [guard.condition for guard in guards]
        function = compile_lines(
            [self.model.symbols[p] for p in member.parents],
            list(zip(marks, lines, strict=True)),
            marks,
            self.compiler.helpers,
        )
        self.model.choices[member.name.name] = Choices(
            member.parents, function, len(known), dtype_of(total.type), guards
        )
        return self._add(member, "exogenous", domain, False)

    def _add(self, member: DeclaredMember, kind: str, domain: Domain, output: bool) -> Typed:
        name = member.name.name
        self.model.variables[name] = Variable(name, kind, domain, domain.type, output, member.name.span, member.parents)  # type: ignore[arg-type]
        return variable(self.model.symbols[name], domain, self.strings)

    def _where(self, statement: tree.Draw) -> Condition | None:
        assert statement.where is not None
        self.compiler.guards = []
        found = self.compiler.condition(statement.where)
        if found is None:
            self.good = False
            return None
        if not self.good:
            return None  # judged, but no model comes of it
        types = {name: v.type for name, v in self.model.variables.items()}
        return compile_condition(
            found.expr, self.compiler.guards, self.model.symbols, types, self.compiler.helpers, statement.where.span
        )

    # ── mechanisms ──────────────────────────────────────────────────────────────────────────────

    def _mechanism(self, member: DeclaredMember, statement: tree.Mechanism) -> Typed | None:
        if statement.value is None:
            name = member.name.name
            self.model.unstated |= {name}
            self.model._evaluator.equations[name] = Equation(self.model.symbols[name], TRUE, (), statement.span)
            return self._add(member, "mechanism", Finite((True,)), True)
        if isinstance(statement.value, tree.Set | tree.ChosenSet):
            return self._set(member, statement)
        self.compiler.guards = []
        value = self.compiler.value(statement.value)
        if value is not None and value.type == "set":
            no_value(self.diagnostics, statement.value.span)
            return None
        guards = list(self.compiler.guards)
        declared: Domain | None = None
        if statement.domain is not None:
            declared = compile_domain(statement.domain, self.scope, folder_of(statement.domain.span), self.diagnostics)
            if declared is None:
                return None
        if value is None:
            # What it is declared to be lets the mechanisms below it be judged all the same.
            self.good = False
            return (
                variable(self.model.symbols[member.name.name], declared, self.strings) if declared is not None else None
            )
        expr = value.number
        if declared is not None:
            if value.type == "int" and declared.type == "real":
                value = Typed("real", value.real, float(value.low), float(value.high))
                expr = value.expr
            if value.type != declared.type:
                assert statement.domain is not None
                self._fault(
                    "E327",
                    f"`{member.name.name}` is declared as {WORDS[declared.type]}",
                    statement.value.span,
                    label=f"this is {value.told}",
                    others=((statement.domain.span, "declared here"),),
                )
                return variable(self.model.symbols[member.name.name], declared, self.strings)
            if not self._surely(value, declared):
                outside = negation(
                    inside(
                        self.compiler,
                        Typed(value.type, _condition(self, member, value), value.low, value.high),
                        declared,
                    )
                )
                guards.append(Guard(outside, "domain", statement.value.span))
            domain = declared
        else:
            domain = value.domain or self._inferred(value, member.parents, tuple(guards), expr)
        equation = Equation(self.model.symbols[member.name.name], expr, tuple(guards), statement.value.span)
        self.model._evaluator.equations[member.name.name] = equation
        return self._add(member, "mechanism", domain, statement.output)

    def _surely(self, value: Typed, declared: Domain) -> bool:
        """Whether a value lies in its declared domain whatever the inputs are."""
        if value.domain == declared or isinstance(declared, Text) or declared == BOOL:
            return True
        if value.texts is not None and isinstance(declared, Finite):
            return value.texts <= {code_of(v, self.strings) for v in declared.values}
        if value.type == "int" and isinstance(declared, Finite) and declared.contiguous:
            return declared.low <= value.low and value.high <= declared.high
        return isinstance(declared, Real) and not declared.bounded

    def _inferred(self, value: Typed, parents: tuple[str, ...], guards: tuple[Guard, ...], expr: object) -> Domain:
        """The values that a mechanism can take, exact where its parents have few combinations of values."""
        if value.type == "bool":
            return BOOL
        if value.type == "string" and value.texts is not None:
            return Finite(tuple(self.strings.text(code) for code in sorted(value.texts)))
        codes = self._image(value.number if expr is None else expr, value.type, parents, guards)
        if codes is not None and 0 < len(codes) <= _MOST_VALUES:
            return Finite(tuple(value_of(code, value.type, self.strings) for code in codes))
        if value.type == "string":
            return Text()
        if value.type == "int":
            return Finite(range(int(value.low), int(value.high) + 1))
        return Real(value.low, value.high)

    def _image(self, expr: object, kind: str, parents: tuple[str, ...], guards: tuple[Guard, ...]) -> np.ndarray | None:
        if not all(p in self.model.variables for p in parents):
            return None  # a parent is at fault
        domains = [self.model.variables[p].domain for p in parents]
        count = 1
        for domain in domains:
            count *= domain.size if isinstance(domain, Finite) else _INFERRED + 1
            if count > _INFERRED:
                return None
        marks = [Symbol("r0"), Symbol("r1")]
        sound = every([negation(guard.condition) for guard in guards])
        text = printed_lines(
            [self.model.symbols[p] for p in parents], list(zip(marks, (expr, sound), strict=True)), marks
        )
        codes = [self.model.codes(p) for p in parents]
        told = (text, kind, *((column.dtype.str, column[: _FEW + 1].tobytes()) for column in codes))
        if told in self._images:
            return self._images[told]
        columns = [column.reshape(-1) for column in np.meshgrid(*codes, indexing="ij")] if parents else []
        function = compile_text(text, self.compiler.helpers)
        try:
            with np.errstate(all="ignore"):
                found, fine = np.broadcast_arrays(*function(*columns))
        except SpecError:  # a function that may not be run, or that fails on combinations that may never be drawn
            return None
        found = found.reshape(-1)[fine.reshape(-1)].astype(dtype_of(kind))
        image = np.unique(found[np.isfinite(found)])
        if max((image.size, *(column.size for column in codes))) <= _FEW:
            self._images[told] = image
        return image

    # ── sets of values ──────────────────────────────────────────────────────────────────────────

    def _set(self, member: DeclaredMember, statement: tree.Mechanism) -> Typed | None:
        """``{first, second}`` or ``{y in Year where y > start}``: each of its values is an accepted answer."""
        name, value = member.name.name, statement.value
        declared: Domain | None = None
        if statement.domain is not None:
            declared = compile_domain(statement.domain, self.scope, folder_of(statement.domain.span), self.diagnostics)
            if declared is None:
                return None
        self.compiler.guards = []
        if isinstance(value, tree.ChosenSet):
            made = chosen_from(self.compiler, value, declared, member.parents, self.model)
        else:
            assert isinstance(value, tree.Set)
            made = listed(self.compiler, value, declared, name)
        if made is None:
            return None
        sets, expr = made
        guards = tuple(self.compiler.guards)
        self.model.sets[name] = sets
        self.model._evaluator.equations[name] = Equation(self.model.symbols[name], expr, guards, value.span)
        return self._add(member, "mechanism", Sets(sets.universe), statement.output)

    # ── does it work? ───────────────────────────────────────────────────────────────────────────

    def _try_out(self) -> None:
        """Evaluate the model on all of its inputs, or on a sample, and report what fails there."""
        from causal_dsl.causal.sampling import try_out

        try:
            values = try_out(self.model, self.diagnostics)
        except SpecError as error:
            self.diagnostics.extend(error.diagnostics)
            return
        for name, v in list(self.model.variables.items()):
            if values is not None and name in self.model.sets:
                warn_of_empty(self.diagnostics, name, v.span, self.model.sets[name], values[name])
            if isinstance(v.domain, Text) and values is not None:
                texts = tuple(self.strings.text(int(code)) for code in np.unique(values[name]))
                self.model.variables[name] = Variable(name, v.kind, Finite(texts), v.type, v.output, v.span, v.parents)


def _condition(compiler: MemberCompiler, member: DeclaredMember, value: Typed) -> object:
    """The mechanism's own symbol: the guard of a declared domain looks at the result, not at how it came about."""
    return value.expr if value.type == "bool" else compiler.model.symbols[member.name.name]


def _names(expr: tree.Node) -> Iterator[tree.Name]:
    """The names in an expression that can be variables: no functions, tables, domains."""
    stack = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, tree.Name):
            yield node
        elif isinstance(node, tree.Call):
            stack.extend(argument.value for argument in reversed(node.arguments))
        elif isinstance(node, tree.Subscript) and isinstance(node.value, tree.Name):
            stack.extend(reversed([index for index in node.indices if not isinstance(index, tree.Slice)]))
        elif isinstance(node, tree.ChosenSet):
            bound = node.choice.element if isinstance(node.choice, tree.Member) else None
            own = bound.name if isinstance(bound, tree.Name) else ""
            yield from (inner for inner in _names(node.where) if inner.name != own)
        elif isinstance(node, tree.Member):
            inner = node.domain.items if isinstance(node.domain, tree.Set) else ()
            stack.extend(reversed((node.element, *inner)))
        else:
            stack.extend(reversed([child for child in node.children() if not isinstance(child, tree.Ident)]))


def compile_model(decl: tree.CausalDecl, scope: Scope, diagnostics: Diagnostics) -> CausalModel | None:
    """Compile a causal model, or None where a fault was reported.

    Faults: E300 to E308 and E349 (expressions), E310 to E316 (domains), E320 to E327 (variables), E330 (a `where` that
    never holds), and what Python functions raise where they are trusted.
    """
    return MemberCompiler(decl, scope, diagnostics).compile()
