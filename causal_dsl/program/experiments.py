"""Tests: what is drawn, what is done in every cell, and where the answer is read."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from causal_dsl.causal.designs import Design, DrawStatement, implicit_source
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.diagnostics import Diagnostics, SpecError, did_you_mean
from causal_dsl.program.actions import ActionReader, disjoint
from causal_dsl.program.draws import DRAW, alike, check_split, conjunction, parted, read_likeness
from causal_dsl.program.locations import Position
from causal_dsl.program.measured import scores_of
from causal_dsl.program.modules import Module
from causal_dsl.program.placements import ENCODINGS
from causal_dsl.program.program import Alignment, Cell, Intervention, Placed, Readout, Test
from causal_dsl.program.resolve import Resolver
from causal_dsl.program.settings import call_name, constant, read_settings
from causal_dsl.program.shown import shown_by
from causal_dsl.program.sites import SiteReader
from causal_dsl.program.tokens import Tokens
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.values.from_run import FromRun

DEFAULT_PAIRS = 256
_RESERVED = ("label", "template")


class TestReader:
    """Reads one test; ``read`` gives it, or None where a fault was reported. ``alignment``: it is read as on this one."""

    __test__ = False  # not a pytest class

    def __init__(
        self,
        declaration: tree.TestDecl | tree.FitDecl,
        module: Module,
        resolver: Resolver,
        diagnostics: Diagnostics,
        alignment: Alignment | None = None,
    ):
        self.declaration = declaration
        self.module = module
        self.resolver = resolver
        self.diagnostics = diagnostics
        self.alignment = alignment
        self.good = True
        self.controls = True
        #: what the inputs are split by, for each draw that says so
        self.by: list[tuple[tree.Expr, ...]] = []
        self.parted: tuple[str, ...] = ()

    def read(self) -> Test | None:
        declaration = self.declaration
        on = declaration.on
        name = on.function if isinstance(on, tree.Call) else on
        if not isinstance(name, tree.Name):
            self._fault(
                "E200",
                f"`{format_expr(on)[:60]}` names no alignment",
                on.span,
                help="write test name on alignment { … }",
            )
            return None
        alignment = self.alignment
        if alignment is None:
            definition = self.resolver.find(self.module, name, "alignment")
            alignment = self.resolver.alignment(definition) if definition else None
        if alignment is None:
            return None
        fixed = self._fixed(on, alignment)
        statements, solved = self._draws(alignment)
        statements, implicit = self._implicit(alignment, statements)
        roles = tuple(role for statement in statements for role in statement.roles)
        if self.good and "base" not in roles:
            self._fault(
                "E693",
                f"`{declaration.name.name}` draws no `base`",
                declaration.name.span,
                notes=("`base` is the run that is intervened on",),
                help=f"write base ~ {alignment.model.name}(n=256), or base, source ~ …",
            )
        readout = self._readout(alignment)
        # An alignment that says nothing at all is one fault, not one for each variable that it does not place.
        empty = not alignment.placements and not alignment.readouts
        ready = fixed is not None and statements and not empty
        cells = self._cells(alignment, fixed or {}, roles, implicit) if ready else None
        if isinstance(declaration, tree.FitDecl) and not any(isinstance(m, tree.Do) for m in declaration.members):
            self._fault(
                "E715",
                f"`{declaration.name.name}` does nothing that could be fitted",
                declaration.name.span,
                help="write do(variable <- source)",
            )
        judged = [m for m in declaration.members if isinstance(m, (tree.Expect, tree.Report))]
        if (
            isinstance(declaration, tree.TestDecl)
            and declaration.members
            and not judged
            and not any(isinstance(m, tree.Do) for m in declaration.members)
        ):
            self._fault(
                "E694",
                f"`{declaration.name.name}` says nothing that should come out",
                declaration.name.span,
                help="write `expect accuracy >= 95%`, or `report accuracy`",
            )
        if not self.good or readout is None or cells is None:
            return None
        faulty = self.module.faulty
        if faulty and any(isinstance(node, tree.Name) and node.name in faulty for node in declaration.walk()):
            return None  # it needs what an earlier fault kept from being known
        swaps = [
            (i.variable, i.value.role)
            for i in cells[0].interventions
            if i.variable is not None and isinstance(i.value, FromRun)
        ]
        templates = tuple(line.where for line in alignment.prompts)
        design = Design(tuple(statements), templates, self.parted)
        metrics = self.resolver.metrics(self.module)
        scores = scores_of(
            declaration.name.name,
            declaration.name.span,
            alignment,
            readout,
            roles,
            cells,
            bool(swaps),
            declaration.members,
            metrics,
            self._tokens(alignment),
            self.diagnostics,
        )
        test = Test(
            declaration.name.name,
            declaration.name.span,
            declaration.doc,
            alignment,
            readout,
            design,
            solved,
            cells,
            tuple(swaps),
            self._draw_text(implicit),
            declaration.members,
            metrics,
            scores,
            controls=self.controls,
        )
        sound = not self.by or check_split(test, self.by[0][0].span, self.diagnostics)
        return test if sound else None

    def _tokens(self, alignment: Alignment) -> Tokens | None:
        """The tokenizer of the network, where it can be read."""
        try:
            return self.resolver.options.tokens(alignment.network)
        except SpecError as error:
            self.diagnostics.extend(error.diagnostics)
            return None

    def _fault(self, code: str, title: str, span: Any, **more: Any) -> None:
        self.diagnostics.report(code, title, span, **more)
        self.good = False

    # ── cells ───────────────────────────────────────────────────────────────────────────────────

    def _fixed(self, on: tree.Expr, alignment: Alignment) -> dict[str, tree.Expr] | None:
        """The parameters that `tau(l=8)` gives, by name or in order."""
        fixed: dict[str, tree.Expr] = {}
        names = list(alignment.parameters)
        for argument in on.arguments if isinstance(on, tree.Call) else ():
            if argument.name is None:
                free = [name for name in names if name not in fixed]
                if not free:
                    self._fault(
                        "E211",
                        f"`{alignment.name}` takes {_counted(len(names), 'parameter')}",
                        argument.span,
                        help="leave this one out",
                    )
                    return None
                name, span = free[0], argument.span
            else:
                name, span = argument.name.name, argument.name.span
            if name not in names:
                self._fault(
                    "E211",
                    f"`{alignment.name}` has no parameter `{name}`",
                    span,
                    help=did_you_mean(name, names, f"`{alignment.name}` has no parameters"),
                )
                return None
            if name in fixed:
                self._fault("E212", f"`{name}` is set twice", span, help="keep one of them")
                return None
            values = alignment.parameters[name]
            if argument.value not in values:
                shown = [format_expr(value) for value in values]
                listed = ", ".join(shown) if len(shown) <= 6 else f"{shown[0]}, {shown[1]}, … {shown[-1]}"
                self._fault(
                    "E696",
                    f"`{name}` of `{alignment.name}` is never {format_expr(argument.value)}",
                    argument.value.span,
                    help=f"it is one of {listed}",
                )
                return None
            fixed[name] = argument.value
        return fixed

    def _cells(
        self,
        alignment: Alignment,
        fixed: dict[str, tree.Expr],
        roles: tuple[str, ...],
        implicit: dict[tuple[str, object], str],
    ) -> tuple[Cell, ...] | None:
        actions = [a for m in self.declaration.members if isinstance(m, tree.Do) for a in m.actions]
        if not actions:
            return (Cell(()),)
        swept = [name for name in alignment.parameters if name not in fixed]
        circuits = frozenset(self.module.of_kind("circuit"))
        cells = []
        for values in itertools.product(*(alignment.parameters[name] for name in swept)):
            environment = {**fixed, **dict(zip(swept, values, strict=True))}
            reader = ActionReader(
                self.diagnostics, alignment, roles, circuits, self.module.folder, implicit, environment
            )
            interventions: list[Intervention] = []
            for action in actions:
                made = reader.read(action)
                if made is None:
                    self.good = False
                else:
                    self._set_once(made, interventions)
                    interventions.append(made)
            if not self.good or not disjoint(interventions, alignment, self.diagnostics):
                self.good = False
                return None
            shown = tuple((name, self._shown(value, reader.sites)) for name, value in zip(swept, values, strict=True))
            cells.append(Cell(shown, tuple(interventions), self._placed(alignment, environment)))
        return tuple(cells)

    def _placed(self, alignment: Alignment, environment: dict[str, tree.Expr]) -> tuple[Placed, ...]:
        """Where the variables of the alignment are in one cell; those whose sites are faulty are reported elsewhere."""
        templates = tuple(line.template for line in alignment.prompts)
        sites = SiteReader(alignment.network.facts, templates, Diagnostics(), environment)
        found = []
        for name, placement in alignment.placements.items():
            called = call_name(placement.via) if placement.via is not None else None
            if called is not None and called[0] in ENCODINGS:
                continue
            places = [sites.place(site) for site in placement.sites]
            if all(place is not None for place in places):
                swept = any(
                    isinstance(node, tree.Name) and node.name in alignment.parameters
                    for site in placement.sites
                    for node in site.walk()
                )
                found.append(Placed(name, tuple(p for p in places if p is not None), placement.via is None, not swept))
        return tuple(found)

    def _set_once(self, made: Intervention, before: list[Intervention]) -> None:
        earlier = next((i for i in before if made.variable and i.variable == made.variable), None)
        if earlier is not None:
            assert earlier.span is not None
            self._fault(
                "E695",
                f"`{made.variable}` is set twice in one `do`",
                made.span,
                others=((earlier.span, "already set here"),),
                help="keep one of them",
            )

    def _shown(self, value: tree.Expr, sites: SiteReader) -> int | str:
        number = constant(value)
        if isinstance(number, int) and not isinstance(number, bool):
            return number
        quiet = replace(sites, diagnostics=Diagnostics())
        position: Position | None = quiet.position_outside(value)
        return str(position) if position is not None else format_expr(value)

    # ── draws ───────────────────────────────────────────────────────────────────────────────────

    def _draws(self, alignment: Alignment) -> tuple[list[DrawStatement], tuple[str, ...]]:
        statements: list[DrawStatement] = []
        solved: list[str] = []
        models: dict[str, CausalModel] = {}
        for member in self.declaration.members:
            if not isinstance(member, tree.Draw):
                continue
            for name in member.names:
                if name.name in models or name.name in _RESERVED:
                    why = "is drawn twice" if name.name in models else "means something else here"
                    self._fault("E697", f"`{name.name}` {why}", name.span, help="give it another name")
                models[name.name] = alignment.model
            statement = self._draw(member, alignment, models, solved, statements)
            if statement is not None:
                statements.append(statement)
        counts = {s.n for s in statements if s.n is not None}
        if len(counts) > 1:
            self._fault(
                "E698",
                f"the draws of `{self.declaration.name.name}` have different sizes: {', '.join(map(str, sorted(counts)))}",
                self.declaration.name.span,
                help="draw as many of each: one row is one pair",
            )
        statements, self.parted = parted(statements, self.by, self._fault)
        return statements, tuple(dict.fromkeys(solved))

    def _draw(
        self,
        member: tree.Draw,
        alignment: Alignment,
        models: dict[str, CausalModel],
        solved: list[str],
        before: list[DrawStatement],
    ) -> DrawStatement | None:
        called = call_name(member.domain) if isinstance(member.domain, (tree.Call, tree.Name)) else None
        model = alignment.model
        if called is None:
            self._fault(
                "E699", "a test draws from a causal model", member.domain.span, help=f"write base ~ {model.name}(n=256)"
            )
            return None
        if called[0] != model.name:
            definition = self.resolver.find(self.module, tree.Name(called[0], span=called[1]), "causal model")
            other = self.resolver.model(definition) if definition else None
            if other is not model:
                if definition is not None:
                    self._fault(
                        "E699",
                        f"drawn from `{called[0]}`, but `{alignment.name}` aligns `{model.name}`",
                        called[1],
                        help=f"write {model.name}(…)",
                    )
                self.good = False
                return None
        arguments = member.domain.arguments if isinstance(member.domain, tree.Call) else ()
        settings = read_settings(called[0], arguments, DRAW, self.diagnostics, member.domain.span)
        if settings is None:
            self.good = False
            return None
        if settings["exhaustive"] and (settings["n"] is not None or settings["balance"]):
            self._fault(
                "E698",
                "`exhaustive` takes every pair: it needs no `n` and no `balance`",
                member.domain.span,
                help=f"write {model.name}(exhaustive=true)",
            )
            return None
        roles = tuple(name.name for name in member.names)
        balance = self._balance(settings["balance"] or (), roles, model)
        where, wanted = self._where(member.where, models)
        solved += wanted
        if balance is None or (member.where is not None and where is None and not wanted):
            self.good = False
            return None
        self.controls = self.controls and settings["controls"] != "none"
        likeness = read_likeness(settings, member, models, model, len(alignment.prompts), self.diagnostics)
        self.good = self.good and likeness is not False
        # What a run that is like another one does not say is as in that one's draw.
        liked = next((s for s in before if likeness is False or (likeness and likeness.run in s.roles)), None)
        exhaustive = settings["exhaustive"]
        if exhaustive is None:
            exhaustive = liked is not None and liked.exhaustive and settings["n"] is None
        n = None if exhaustive else settings["n"] or (liked.n if liked is not None else None) or DEFAULT_PAIRS
        seed = settings["seed"]
        seed = (seed or 0) + self.resolver.options.seed if seed is not None or liked is None else liked.seed
        split = settings["split"] or (liked.split if liked is not None else "")
        if settings["by"]:
            self.by.append(settings["by"])
        seen = model.shown(shown_by(alignment))
        statement = DrawStatement(roles, seen, n, seed, balance, exhaustive, where, member.span, split)
        if not likeness:
            return statement
        plain = [part for part in _conjuncts(member.where) if not _solved(part)] if member.where is not None else []
        return alike(statement, likeness, dict(models), conjunction(plain) if plain else None)

    def _draw_text(self, implicit: dict[tuple[str, object], str]) -> str:
        """What is drawn, as text: tests whose texts are equal share their draws."""
        lines = []
        for member in self.declaration.members:
            if isinstance(member, tree.Draw):
                line = f"{', '.join(name.name for name in member.names)} ~ {format_expr(member.domain)}"
                lines.append(line + (f" where {format_expr(member.where)}" if member.where is not None else ""))
        return "; ".join([*lines, *implicit.values()])

    def _balance(
        self, names: tuple[tree.Expr, ...], roles: tuple[str, ...], model: CausalModel
    ) -> tuple[tuple[str, str], ...] | None:
        found = []
        for name in names:
            role, variable = roles[0], name
            if isinstance(name, tree.Attribute) and isinstance(name.value, tree.Name):
                role, variable = name.value.name, tree.Name(name.name.name, span=name.name.span)
            if role not in roles:
                self._fault("E216", f"no run `{role}` in this draw", name.span, help=did_you_mean(role, roles))
                return None
            if not isinstance(variable, tree.Name) or variable.name not in model.variables:
                shown = variable.name if isinstance(variable, tree.Name) else format_expr(name)
                self._fault(
                    "E201",
                    f"no variable `{shown}` in `{model.name}`",
                    name.span,
                    help=did_you_mean(shown, model.variables),
                )
                return None
            found.append((role, variable.name))
        return tuple(found)

    def _where(self, where: tree.Expr | None, models: dict[str, CausalModel]) -> tuple[Any, list[str]]:
        """The condition on the causal model's values, and the roles that the network must solve."""
        if where is None:
            return None, []
        plain, solved = [], []
        for part in _conjuncts(where):
            if not _solved(part):
                plain.append(part)
                continue
            assert isinstance(part, tree.Call)
            named = part.arguments[0].value if len(part.arguments) == 1 else None
            if not isinstance(named, tree.Name) or named.name not in models:
                shown = named.name if isinstance(named, tree.Name) else ""
                self._fault(
                    "E216",
                    "`solved` takes one run of this test",
                    part.span,
                    help=did_you_mean(shown, models, "write solved(base)"),
                )
                continue
            solved.append(named.name)
        for part in plain:
            for node in part.walk():
                if isinstance(node, tree.Call) and call_name(node) and call_name(node)[0] == "solved":  # type: ignore[index]
                    self._fault(
                        "E217",
                        "`solved` stands by itself, joined to the rest with `and`",
                        node.span,
                        help="write: where solved(base) and …",
                    )
                    return None, solved
        if not plain:
            return None, solved
        predicate = compile_predicate(conjunction(plain), dict(models), self.diagnostics)
        if predicate is None:
            self.good = False
        return predicate, solved

    def _implicit(
        self, alignment: Alignment, statements: list[DrawStatement]
    ) -> tuple[list[DrawStatement], dict[tuple[str, object], str]]:
        """A source for every `do(left = true)`: drawn among the inputs where `left` is true."""
        found: dict[tuple[str, object], str] = {}
        base = next((s for s in statements if "base" in s.roles), None)
        for member in self.declaration.members:
            for action in member.actions if isinstance(member, tree.Do) else ():
                if not isinstance(action, tree.SetTo) or not isinstance(action.target, tree.Name) or base is None:
                    continue
                name = action.target.name
                if name not in alignment.model.variables:
                    continue
                value = constant(action.value)
                domain = alignment.model.variables[name].domain
                if value is None or value not in domain or isinstance(value, bool) != (domain.type == "bool"):
                    self._fault(
                        "E689",
                        f"`{name}` is never `{format_expr(action.value)[:40]}`",
                        action.value.span,
                        notes=(f"its domain is {domain}",),
                        help=f"write a value of `{name}`, or {name} <- source",
                    )
                    continue
                role = f"{name} = {format_expr(action.value)}"
                if (name, value) not in found:
                    made = implicit_source(base.model, name, value, base, role, action.span, self.diagnostics)
                    if made is None:
                        self.good = False
                        continue
                    found[name, value] = role
                    statements = [*statements, made]
        return statements, found

    # ── the read-out ────────────────────────────────────────────────────────────────────────────

    def _readout(self, alignment: Alignment) -> Readout | None:
        readouts = list(alignment.readouts.values())
        if not readouts:
            outputs = ", ".join(f"`{name}`" for name in alignment.model.outputs)
            facts = alignment.network.facts
            where = "logits" if facts.kind == "vector" else "mask" if facts.both_ways else "next_token"
            self._fault(
                "E700",
                f"`{alignment.name}` does not say where the answer is read",
                alignment.span,
                help=f"write `{alignment.model.outputs[0] if alignment.model.outputs else 'answer'} @ {where}` (the outputs are {outputs})",
            )
            return None
        if len(readouts) > 1:
            span = readouts[1].span or alignment.span
            self._fault(
                "E700",
                f"`{alignment.name}` reads {len(readouts)} outputs; a test judges one",
                span,
                help="make an alignment for each, `align other : this { … }`, with one read-out",
            )
            return None
        return readouts[0]


def _counted(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"


def _solved(part: tree.Expr) -> bool:
    called = call_name(part) if isinstance(part, tree.Call) else None
    return called is not None and called[0] == "solved"


def _conjuncts(expr: tree.Expr) -> list[tree.Expr]:
    if isinstance(expr, tree.Binary) and expr.op == "and":
        return [*_conjuncts(expr.left), *_conjuncts(expr.right)]
    return [expr]
