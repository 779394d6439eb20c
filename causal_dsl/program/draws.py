"""`base, source ~ model(n=256) where …`: what a test draws, and from what it draws the values that `do(left = true)` sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Predicate
from causal_dsl.causal.covering import covering_of, strata_of
from causal_dsl.causal.designs import DrawStatement
from causal_dsl.causal.draw import implicit_source
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.definitions import find
from causal_dsl.program.likeness import Likeness, alike, conjunction, parted, read_likeness, weighted
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.parameters import values_of
from causal_dsl.program.program import Alignment
from causal_dsl.program.read_settings import call_name, constant, once, read_settings
from causal_dsl.program.shown import shown_by
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.called_words import DRAW

DEFAULT_PAIRS = 256
_RESERVED = ("label", "template")


@dataclass(frozen=True)
class Draws:
    """The draws of a test.

    ``solved``: the runs that the network must get right. ``implicit``: the run of each (variable, value) that is set.
    ``controls``: whether further interventions ride beside the test. ``text``: tests whose texts are equal share their
    draws. ``whole``: nothing of it was at fault. ``by``: what its inputs are split by, where that is said, and where.
    """

    statements: tuple[DrawStatement, ...]
    solved: tuple[str, ...]
    implicit: Mapping[tuple[str, object], str]
    controls: bool
    text: str
    whole: bool
    by: tuple[str, ...] = ()
    by_span: Span | None = None
    #: the runs that its lines name, also those of which a fault was reported
    named: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        read = tuple(role for statement in self.statements for role in statement.roles)
        return read if self.whole else tuple(dict.fromkeys((*read, *self.named)))


class DrawReader:
    """Reads what one test on an alignment draws; ``models`` are those that it may name, ``seed`` is added to every seed."""

    def __init__(
        self,
        declaration: tree.TestDecl | tree.FitDecl,
        module: Module,
        alignment: Alignment,
        models: Mapping[Definition, CausalModel],
        seed: int,
        diagnostics: Diagnostics,
    ):
        self.declaration = declaration
        self.module = module
        self.alignment = alignment
        self.model = alignment.model
        self.models = models
        self.seed = seed
        self.diagnostics = diagnostics
        self.whole = True
        self.controls = True
        #: what the inputs are split by, for each draw that says so
        self.by: list[tuple[tree.Expr, ...]] = []

    def read(self) -> Draws:
        statements: list[DrawStatement] = []
        solved: list[str] = []
        drawn: dict[str, CausalModel] = {}
        lines = []
        for member in self.declaration.members:
            if not isinstance(member, tree.Draw):
                continue
            for name in member.names:
                if name.name in drawn or name.name in _RESERVED:
                    why = "is drawn twice" if name.name in drawn else "means something else here"
                    self._fault("E697", f"`{name.name}` {why}", name.span, help="give it another name")
                drawn[name.name] = self.model
            said = format_expr(member.where) if member.where is not None else ""
            statement = self._draw(member, drawn, solved, statements, said)
            if statement is not None:
                statements.append(statement)
            line = f"{', '.join(name.name for name in member.names)} ~ {format_expr(member.domain)}"
            lines.append(line + (f" where {said}" if said else ""))
        counts = {s.n for s in statements if s.n is not None}
        if len(counts) > 1:
            self._fault(
                "E698",
                f"the draws of `{self.declaration.name.name}` have different sizes: {', '.join(map(str, sorted(counts)))}",
                self.declaration.name.span,
                help="draw the same number of each: one row is one pair",
            )
        statements, by = parted(statements, self.by, self._fault)
        implicit = self._implicit(statements)
        text = "; ".join([*lines, *implicit.values()])
        wanted, place = tuple(dict.fromkeys(solved)), self.by[0][0].span if self.by else None
        return Draws(tuple(statements), wanted, implicit, self.controls, text, self.whole, by, place, tuple(drawn))

    def _fault(self, code: str, title: str, span: Span, **more: Any) -> None:
        self.diagnostics.report(code, title, span, **more)
        self.whole = False

    def _draw(
        self,
        member: tree.Draw,
        drawn: dict[str, CausalModel],
        solved: list[str],
        before: list[DrawStatement],
        said: str,
    ) -> DrawStatement | None:
        called = call_name(member.domain) if isinstance(member.domain, (tree.Call, tree.Name)) else None
        model = self.model
        if called is None:
            self._fault(
                "E699", "a test draws from a causal model", member.domain.span, help=f"write base ~ {model.name}(n=256)"
            )
            return None
        named = self.module.names.get(called[0])
        if named is not None and isinstance(named.declaration, tree.TableDecl):
            self._fault(
                "E699",
                f"a test draws from a causal model, and `{called[0]}` is a table",
                called[1],
                notes=(
                    "two texts of one row are a minimal pair of a model that draws the row and the side: `row ~ "
                    f'{called[0]}`, `side ~ {{"clean", "corrupt"}}`',
                ),
                help=f'write base ~ {model.name}(n=256) where base.side == "corrupt", and source ~ {model.name}(like=base, vary=[side])',
            )
            return None
        if called[0] != model.name and not self._is_model(*called):
            self.whole = False
            return None
        arguments = member.domain.arguments if isinstance(member.domain, tree.Call) else ()
        told = Diagnostics()
        settings = read_settings(called[0], arguments, DRAW, told, member.domain.span)
        parameters = {parameter.name.name for parameter in getattr(self.declaration, "parameters", ())}
        for one in told:
            name = one.span.text
            if one.code == "E213" and name in parameters and name in model.variables:
                why = f"`{name}` is a variable of `{model.name}` here, so the parameter `{name}` does not stand for it"
                one = replace(one, notes=(*one.notes, why), help="give the parameter another name")
            self.diagnostics.add(one)
        if settings is None:
            self.whole = False
            return None
        spread = [name for name in ("balance", "strata", "cover") if settings[name]]
        if len(spread) > 1 or (settings["t"] is not None and not settings["cover"]):
            self._fault(
                "E354",
                f"`{spread[0]}` and `{spread[1]}` are two ways to hand out rows"
                if len(spread) > 1
                else "`t` is of `cover`",
                member.domain.span,
                help=f"keep one of {' and '.join(spread)}" if len(spread) > 1 else "write cover=[a, b, c], t=3",
            )
            return None
        if settings["exhaustive"] and (settings["n"] is not None or spread):
            idle = " and no ".join(f"`{name}`" for name in (*(["n"] if settings["n"] is not None else []), *spread))
            self._fault(
                "E698",
                f"`exhaustive` takes every pair: it needs no {idle}",
                member.domain.span,
                help=f"write {model.name}(exhaustive=true)",
            )
            return None
        roles = tuple(name.name for name in member.names)
        listed = {name: self._balance(name, settings[name] or (), roles) for name in ("balance", "strata", "cover")}
        balance, strata, cover = listed["balance"], listed["strata"], listed["cover"]
        where, wanted = self._where(member.where, drawn, said)
        solved += wanted
        if (
            balance is None
            or strata is None
            or cover is None
            or (member.where is not None and where is None and not wanted)
        ):
            self.whole = False
            return None
        if settings["t"] is not None and settings["t"] > len(cover):
            self._fault(
                "E354",
                f"`t` is {settings['t']}, and `cover` names {len(cover)} variable{'s' * (len(cover) != 1)}",
                member.domain.span,
                help=f"write t={len(cover)} for all of their combinations, or cover more variables",
            )
            self.whole = False
            return None
        self.controls = self.controls and settings["controls"] != "none"
        likeness = read_likeness(settings, member, drawn, model, len(self.alignment.prompts), self.diagnostics)
        self.whole = self.whole and likeness is not False
        # What a run that is like another one does not say is as in that one's draw.
        liked = next((s for s in before if likeness is False or (likeness and likeness.run in s.roles)), None)
        exhaustive = settings["exhaustive"]
        if exhaustive is None:
            exhaustive = liked is not None and liked.exhaustive and settings["n"] is None
        n = None if exhaustive else settings["n"] or (liked.n if liked is not None else None) or DEFAULT_PAIRS
        seed = settings["seed"]
        seed = (seed or 0) + self.seed if seed is not None or liked is None else liked.seed
        split = settings["split"] or (liked.split if liked is not None else "")
        if settings["by"]:
            self.by.append(settings["by"])
        seen = weighted(settings, member, model.shown(shown_by(self.alignment)), exhaustive, self.diagnostics)
        if seen is None:
            self.whole, seen = False, model
        statement = DrawStatement(
            roles,
            seen,
            n,
            seed,
            balance,
            exhaustive,
            where,
            member.span,
            split,
            strata=strata,
            cover=cover,
            t=settings["t"] or 2,
            choose=covering_of if cover else strata_of if strata else None,
        )
        if (strata or cover) and not self._apart(statement, likeness, roles):
            statement = replace(statement, strata=(), cover=())
        if not likeness:
            return statement
        plain = [part for part in _conjuncts(member.where) if not _solved(part)] if member.where is not None else []
        return alike(statement, likeness, dict(drawn), conjunction(plain) if plain else None)

    def _apart(
        self, statement: DrawStatement, likeness: Likeness | Literal[False] | None, roles: tuple[str, ...]
    ) -> bool:
        """Whether strata, or what is covered, are of rows that hang on no earlier draw (else E354)."""
        where, told = statement.where, likeness.run if likeness else ""
        outside = [role for role, _ in where.mentions if role not in roles] if where is not None else []
        if not outside and (not told or told in roles):
            return True
        name = "strata" if statement.strata else "cover"
        self._fault(
            "E354",
            f"`{name}` is of rows that hang on no earlier draw",
            statement.span,
            label=f"these hang on `{(outside or [told])[0]}`",
            help=f"draw all in one statement: {(outside or [told])[0]}, {', '.join(roles)} ~ …",
        )
        return False

    def _is_model(self, name: str, span: Span) -> bool:
        """Whether a name means the causal model of the alignment, though it is not that model's own name."""
        definition = find(self.module, tree.Name(name, span=span), self.diagnostics, "causal model")
        if definition is not None and self.models.get(definition) is not self.model:
            self._fault(
                "E699",
                f"drawn from `{name}`, but `{self.alignment.name}` aligns `{self.model.name}`",
                span,
                help=f"write {self.model.name}(…)",
            )
            return False
        return definition is not None

    def _balance(
        self, setting: str, names: tuple[tree.Expr, ...], roles: tuple[str, ...]
    ) -> tuple[tuple[str, str], ...] | None:
        found = []
        for name in names:
            role, variable = roles[0], name
            if isinstance(name, tree.Attribute) and isinstance(name.value, tree.Name):
                role, variable = name.value.name, tree.Name(name.name.name, span=name.name.span)
            if role not in roles:
                self._fault("E216", f"no run `{role}` in this draw", name.span, help=did_you_mean(role, roles))
                return None
            if not isinstance(variable, tree.Name) or variable.name not in self.model.variables:
                shown = variable.name if isinstance(variable, tree.Name) else format_expr(name)
                self._fault(
                    "E201",
                    f"no variable `{shown}` in `{self.model.name}`",
                    name.span,
                    help=did_you_mean(shown, self.model.variables),
                )
                return None
            found.append((role, variable.name))
        return tuple(found) if once(setting, names, self.diagnostics, found) else None

    def _where(
        self, where: tree.Expr | None, drawn: dict[str, CausalModel], said: str
    ) -> tuple[Predicate | None, list[str]]:
        """The condition on the causal model's values, and the roles that the network must solve; ``said`` is its text."""
        if where is None:
            return None, []
        plain, solved = [], []
        for part in _conjuncts(where):
            if not _solved(part):
                plain.append(part)
                continue
            assert isinstance(part, tree.Call)
            named = part.arguments[0].value if len(part.arguments) == 1 else None
            if not isinstance(named, tree.Name) or named.name not in drawn:
                shown = named.name if isinstance(named, tree.Name) else ""
                self._fault(
                    "E216",
                    "`solved` takes one run of this test",
                    part.span,
                    help=did_you_mean(shown, drawn, "write solved(base)"),
                )
                continue
            solved.append(named.name)
        for node in (node for part in plain for node in part.walk()):
            if isinstance(node, tree.Call) and (call_name(node) or ("",))[0] == "solved":
                self._fault(
                    "E217",
                    "`solved` is a condition of its own, joined to the rest with `and`",
                    node.span,
                    help="write: where solved(base) and …",
                )
                return None, solved
        if not plain:
            return None, solved
        one = plain[0] is where  # and nothing else is asked
        predicate = compile_predicate(conjunction(plain), dict(drawn), self.diagnostics, said=said if one else "")
        self.whole = self.whole and predicate is not None
        return predicate, solved

    def _implicit(self, statements: list[DrawStatement]) -> dict[tuple[str, object], str]:
        """A source for every `do(left = true)`, added to the statements: drawn among the inputs where `left` is true."""
        found: dict[tuple[str, object], str] = {}
        base = next((s for s in statements if "base" in s.roles), None)
        actions = [a for member in self.declaration.members if isinstance(member, tree.Do) for a in member.actions]
        for action in self._written_out(actions) if base is not None else ():
            if not isinstance(action, tree.SetTo) or not isinstance(action.target, tree.Name):
                continue
            name = action.target.name
            if name not in self.model.variables:
                continue
            value = constant(action.value)
            domain = self.model.variables[name].domain
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
                assert base is not None
                made = implicit_source(base.model, name, value, base, role, action.span, self.diagnostics)
                if made is None:
                    self.whole = False
                    continue
                found[name, value] = role
                statements.append(made)
        return found

    def _written_out(self, actions: Sequence[tree.Node]) -> list[tree.Node]:
        """Actions as they are in the cells of a sweep: one for each value of a parameter that is set."""
        swept = dict(self.alignment.parameters)
        for parameter in getattr(self.declaration, "parameters", ()):
            swept[parameter.name.name] = (
                values_of(parameter, Diagnostics(), self.alignment.network) or ()
            )  # faults of it are told by the cells
        made: list[tree.Node] = []
        for action in actions:
            if isinstance(action, tree.SetTo) and isinstance(action.value, tree.Name) and action.value.name in swept:
                values = swept[action.value.name]
                made += [replace(action, value=replace(value, span=action.value.span)) for value in values]
            else:
                made.append(action)
        return made


def _solved(part: tree.Expr) -> bool:
    called = call_name(part) if isinstance(part, tree.Call) else None
    return called is not None and called[0] == "solved"


def _conjuncts(expr: tree.Expr) -> list[tree.Expr]:
    if isinstance(expr, tree.Binary) and expr.op == "and":
        return [*_conjuncts(expr.left), *_conjuncts(expr.right)]
    return [expr]
