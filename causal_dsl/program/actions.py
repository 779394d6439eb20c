"""What `do(…)` says: targets, sources and written values, in one cell of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.components import width
from causal_dsl.program.encodings import encodes
from causal_dsl.program.features import FeatureRef, Via, check_width, join, read_via, share
from causal_dsl.program.indices import swept
from causal_dsl.program.locations import Place
from causal_dsl.program.overlap import overlap
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Alignment, Intervention
from causal_dsl.program.ranges import SiteRange
from causal_dsl.program.settings import call_name, constant, read_settings
from causal_dsl.program.sites import SITE_HEADS, SiteReader
from causal_dsl.reading import is_file, may_read, shortened
from causal_dsl.store import reads
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import VALUES, is_word, words
from causal_dsl.vocabulary.values.arithmetic import Combine
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.number import Constant
from causal_dsl.vocabulary.values.vector import Vector
from causal_dsl.vocabulary.written import Value


@dataclass
class ActionReader:
    """Makes :class:`Intervention` of actions. ``implicit`` maps (variable, value) of `do(left = true)` to its role."""

    diagnostics: Diagnostics
    alignment: Alignment
    roles: tuple[str, ...]
    circuits: frozenset[str]
    folder: Path
    implicit: Mapping[tuple[str, object], str]
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)
    #: the layers of the site that is written, where the target is one
    over: SiteRange | None = None

    @property
    def sites(self) -> SiteReader:
        return SiteReader(self.alignment.network.facts, self.alignment.templates, self.diagnostics, self.cell)

    def read(self, action: tree.Interchange | tree.PatchPath | tree.SetTo | tree.AddTo) -> Intervention | None:
        """The intervention of one action; None where a fault was reported."""
        match action:
            case tree.Interchange():
                return self._interchange(action)
            case tree.PatchPath():
                for end in (action.sender, action.receiver):
                    if not self._circuit(end):
                        self.target(end)
                self.diagnostics.report(
                    "E690",
                    "path patching is not run yet",
                    action.span,
                    notes=(
                        "this version writes values at sites; what flows along one edge alone needs the circuit engine",
                    ),
                    help="patch the sender itself: do(sender <- source)",
                )
                return None
            case tree.SetTo():
                return self._set(action, add=False)
            case tree.AddTo():
                return self._set(action, add=True)

    # ── targets ─────────────────────────────────────────────────────────────────────────────────

    def _circuit(self, expr: tree.Expr) -> bool:
        """Whether ``expr`` speaks of a circuit (`wang.mover.q`, `outside(wang)`); reported as not run yet."""
        path = steps(expr)
        if not path or not (path[0].name in self.circuits or path[0].name == "outside"):
            return False
        self.diagnostics.report(
            "E691",
            f"interventions on circuits are not run yet: `{format_expr(expr)[:60]}`",
            expr.span,
            notes=("circuits are parsed and their names are checked; this version intervenes on sites and variables",),
            help="name the sites themselves: do(layer[9].head[6, 9].z[last] = mean)",
        )
        return True

    def variable(self, expr: tree.Expr) -> str | None:
        """The causal variable that a target names, if it is one."""
        if isinstance(expr, tree.Name) and expr.name in self.alignment.model.variables:
            return expr.name
        return None

    def target(self, expr: tree.Expr) -> tuple[Place, ...] | None:
        """The places of a variable or a site."""
        self.over = None
        name = self.variable(expr)
        if name is None:
            return self._site_target(expr)
        placement = self.alignment.placements.get(name)
        if placement is None:
            placed = list(self.alignment.placements)
            read = name in self.alignment.readouts
            advice = "intervene on what it is computed from" if read else f"write `{name} @ site` in the alignment"
            why = ("it is where the answer is read, which no intervention may write",) if read else ()
            self.diagnostics.report(
                "E682",
                f"`{self.alignment.name}` places `{name}` nowhere that can be written",
                expr.span,
                notes=why,
                help="; ".join(
                    filter(None, (advice, f"it places {', '.join(f'`{p}`' for p in placed)}" if placed else ""))
                ),
            )
            return None
        found = self.sites.places(placement.sites)
        if found is None:
            return None
        via = self._via(name)
        joined = join(found) if via is not None and via[0].joined else None
        return found if joined is None else (joined,)

    def _via(self, name: str) -> tuple[Via, tuple[Place, ...]] | None:
        """The learned feature of a placed variable in this cell, and the places that are written through it."""
        placement = self.alignment.placements.get(name)
        if placement is None or placement.via is None or encodes(placement.via):
            return None
        quiet = Diagnostics()
        via = read_via(placement.via, self.cell, self.alignment.folder, quiet)
        places = replace(self.sites, diagnostics=quiet).places(placement.sites)
        return None if via is None or places is None else (via, places)  # reported where the alignment was read

    def features(self, name: str | None) -> tuple[FeatureRef, ...]:
        """The features of a variable, one for each place that is written; none where whole vectors are."""
        if name is None or self._via(name) is None:
            return ()
        vias = {other: via for other in self.alignment.placements if (via := self._via(other)) is not None}
        variables, shared, block = share(vias, name)
        places = vias[name][1]
        if len(variables) > 1 and not check_width(shared, places, self.alignment.network.facts, self.diagnostics):
            return ()
        if shared.joined:
            joined = join(places)
            places = places if joined is None else (joined,)
        return tuple(
            FeatureRef(
                self.alignment.origin,
                self.alignment.network.key,
                variables,
                place,
                shared.chain,
                shared.fitting,
                block,
                joined=shared.joined,
                span=shared.span,
            )
            for place in places
        )

    def _site_target(self, expr: tree.Expr) -> tuple[Place, ...] | None:
        if self._circuit(expr):
            return None
        if isinstance(expr, tree.Name) and expr.name not in SITE_HEADS:
            known = [*self.alignment.placements, *self.roles]
            self.diagnostics.report(
                "E201",
                f"no variable `{expr.name}` in `{self.alignment.model.name}`",
                expr.span,
                label=f"not a variable of `{self.alignment.model.name}`",
                help=did_you_mean(expr.name, self.alignment.model.variables, "") or f"there is {', '.join(known)}",
            )
            return None
        spread = self.over = self.sites.spread(expr)
        if spread is not None and any(place.site.component == "logits" for place in spread.places):
            self.diagnostics.report(
                "E683",
                "the read-out cannot be written: the answer is read there",
                expr.span,
                help="intervene upstream of it, at a layer",
            )
            return None
        return None if spread is None else spread.places

    # ── actions ─────────────────────────────────────────────────────────────────────────────────

    def _interchange(self, action: tree.Interchange) -> Intervention | None:
        places = self.target(action.target)
        if places is None:
            self._source(action.source, ())
            return None
        value = self._source(action.source, places)
        if value is None:
            return None
        variable = self.variable(action.target)
        if variable is not None and value.places != places:
            self.diagnostics.report(
                "E684",
                f"`{variable}` takes its value from a run, not from a site",
                action.source.span,
                notes=("what the causal model should do then is not said",),
                help=f"write `{variable} <- {value.role}`, or patch the site itself",
            )
            return None
        return Intervention(
            places,
            value,
            variable=variable,
            text=format_expr_action(action),
            span=action.span,
            features=self.features(variable),
        )

    def _source(self, expr: tree.Expr, places: tuple[Place, ...]) -> FromRun | None:
        path = steps(expr)
        role = path[0].name if path else None
        if path is None or role not in self.roles or path[0].indices is not None or path[0].arguments is not None:
            name = role or format_expr(expr)[:60]
            self.diagnostics.report(
                "E216",
                f"no run `{name}` in this test",
                expr.span,
                help=did_you_mean(name, self.roles, "draw it: base, source ~ model(n=256)"),
            )
            return None
        if len(path) == 1:
            return FromRun(role, places)
        spread = self.sites.spread(_without_head(expr))
        if spread is None:
            return None
        others = self._layer_by_layer(spread, places, expr)
        if others is None:
            return None
        for place, other in zip(places, others, strict=True):
            mine, theirs = (width(p.site, self.alignment.network.facts) for p in (place, other))
            if mine is not None and theirs is not None and mine != theirs:
                self.diagnostics.report(
                    "E460",
                    f"{other} has {theirs} numbers, and {place} has {mine}",
                    expr.span,
                    help="patch from a site of the same width",
                )
                return None
        return FromRun(role, others, span=expr.span)

    def _layer_by_layer(
        self, spread: SiteRange, places: tuple[Place, ...], expr: tree.Expr
    ) -> tuple[Place, ...] | None:
        """What each written place takes: the one place of a source, or of a range of layers the layer of the same number."""
        if spread.length is None or not places:
            return spread.places[:1] * len(places)
        if self.over is None:  # a variable, which takes its value from a run
            return spread.places[:1] * len(places)
        written = self.over.length or 1
        if written != spread.length:
            self.diagnostics.report(
                "E462",
                f"the layers of the source and those that are written are not as many: {spread.length} and {written}",
                expr.span,
                notes=("each layer of a range takes its vector from the layer of the same number in the other range",),
                help="write ranges of as many layers, or one layer to take from",
            )
            return None
        lacking = [number for number in self.over.at if number not in spread.at]
        if lacking:
            self.diagnostics.report(
                "E463",
                f"{self.over.at[lacking[0]]} is to take its vector from a layer that the network does not have",
                expr.span,
                notes=(
                    "each layer of a range takes its vector from the layer of the same number in the other range",
                    *swept(expr, self.cell),
                ),
                help="end the ranges, or the parameter, where both of them are in the network",
            )
            return None
        return tuple(spread.at[number] for number in self.over.at)

    def _set(self, action: tree.SetTo | tree.AddTo, add: bool) -> Intervention | None:
        name = self.variable(action.target)
        if name is not None and not add:
            role = self.implicit.get((name, constant(action.value)))
            places = self.target(action.target)
            if role is None or places is None:
                return None
            return Intervention(
                places,
                FromRun(role, places),
                variable=name,
                text=format_expr_action(action),
                span=action.span,
                features=self.features(name),
            )
        if name is not None:
            self.diagnostics.report(
                "E685",
                f"`{name}` is a causal variable: nothing is added to it",
                action.span,
                help=f"write do({name} <- source), or add to a site",
            )
            return None
        places = self.target(action.target)
        value = self._value(action.value, places or ())
        if places is None or value is None:
            return None
        if add and value.changes:
            target, told = format_expr(action.target), format_expr(action.value)
            self.diagnostics.report(
                "E792",
                f"`+=` adds to the vector that is there, and `{told[:60]}` is made from it",
                action.span,
                help=f"say all of it: {target[:60]} = current + …, or {target[:60]} = {told[:60]}",
            )
            return None
        return Intervention(places, value, add, text=format_expr_action(action), span=action.span)

    # ── written values ──────────────────────────────────────────────────────────────────────────

    def _value(self, expr: tree.Expr, places: tuple[Place, ...]) -> Value | None:
        match expr:
            case tree.Number():
                number = constant(expr)
                if number is None:
                    self._no_value(expr)
                    return None
                return self._constant(expr, number)
            case tree.List(items=items):
                return self._vector(expr, items, places)
            case tree.Unary(op="-", operand=operand):
                value = self._value(operand, places)
                if isinstance(value, Constant):
                    return Constant(-value.value, span=expr.span)
                return None if value is None else Combine("*", Constant(-1.0, span=expr.span), value)
            case tree.Binary(op=op, left=left, right=right) if op in "+-*/":
                a, b = self._value(left, places), self._value(right, places)
                if op == "/" and isinstance(b, Constant) and b.value == 0:
                    self.diagnostics.report("E686", "a division by zero", expr.span, help="divide by something else")
                    return None
                if isinstance(a, Constant) and isinstance(b, Constant):
                    return self._folded(expr, op, a.value, b.value)
                return None if a is None or b is None else Combine(op, a, b)
            case tree.Name(name=name) if is_word(name) and name not in self.roles:
                return self._word(expr, name, places)
            case tree.Call() if (called := call_name(expr)) and is_word(called[0]):
                return self._word(expr, called[0], places)
            case tree.Name() | tree.Attribute() | tree.Subscript() | tree.Call():
                path = steps(expr)
                if path and path[0].name in self.roles:
                    return self._source(expr, places)
                self._no_value(expr)
                return None
        self._no_value(expr)
        return None

    def _folded(self, expr: tree.Expr, op: str, a: float, b: float) -> Constant | None:
        value = a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a / b
        return self._constant(expr, value)

    def _constant(self, expr: tree.Expr, value: float) -> Constant | None:
        if not math.isfinite(value):
            self.diagnostics.report(
                "E687", "this number is too large to be written", expr.span, help="write a smaller number"
            )
            return None
        return Constant(float(value), span=expr.span)

    def _no_value(self, expr: tree.Expr) -> None:
        path = steps(expr)
        known = [*words(), *self.roles]
        self.diagnostics.report(
            "E687",
            f"`{format_expr(expr)[:60]}` is nothing that can be written at a site",
            expr.span,
            help=did_you_mean(path[0].name, known, "")
            if path
            else 'write 0, mean, noise(std=3), scale(0.5), a list of numbers, or vector("file.safetensors")',
        )

    def _vector(self, expr: tree.List, items: tuple[tree.Expr, ...], places: tuple[Place, ...]) -> Vector | None:
        numbers = [constant(item) for item in items]
        if not numbers or any(isinstance(n, (bool, str)) or n is None for n in numbers):
            self._no_value(expr)
            return None
        for place in places:
            needed = width(place.site, self.alignment.network.facts)
            if needed is not None and needed != len(numbers):
                self.diagnostics.report(
                    "E460",
                    f"{place} has {needed} numbers, and the list has {len(numbers)}",
                    expr.span,
                    help=f"write {needed} numbers",
                )
                return None
        return Vector(values=tuple(float(n) for n in numbers), span=expr.span)

    def _word(self, expr: tree.Call | tree.Name, name: str, places: tuple[Place, ...]) -> Value | None:
        """The value of a word, whose settings are the fields of its class."""
        word = VALUES.find(name, expr.span, self.diagnostics)
        if word is None:
            return None
        known = {name: self._of_test(setting) for name, setting in word.settings.items()}
        arguments = expr.arguments if isinstance(expr, tree.Call) else ()
        settings = read_settings(word.name, arguments, known, self.diagnostics, expr.span)
        if settings is None:
            return None
        for name, setting in word.settings.items():
            if settings[name] is None:
                continue
            match setting.kind:
                case "number":
                    settings[name] = float(settings[name])
                case "value":
                    settings[name] = self._value(settings[name], places)
                case "file":
                    settings[name] = self._file(settings[name], expr.span)
            if settings[name] is None:
                return None
        value = word.kind(**settings, span=expr.span)
        fault = word.check(value)
        if fault is not None:
            self.diagnostics.report(word.code, fault[0], expr.span, help=fault[1])
            return None
        return value

    def _of_test(self, setting: Setting) -> Setting:
        return replace(setting, choices=self.roles) if setting.kind == "run" else setting

    def _file(self, written: str, span: Span) -> Path | None:
        """A file of vectors, which is read when the test is run."""
        path = self.folder / written
        if not may_read(path, written, span, self.diagnostics, folder=False):
            return None
        if not is_file(path):
            self.diagnostics.report(
                "E688",
                f'there is no file "{shortened(written)}"',
                span,
                help="name a safetensors file, relative to this spec",
            )
            return None
        reads.note(path)
        return path


def disjoint(interventions: list[Intervention], alignment: Alignment, diagnostics: Diagnostics) -> bool:
    """Report interventions of one `do` that write the same number; additions may meet."""
    for i, one in enumerate(interventions):
        for other in interventions[:i]:
            meet = (one.add or other.add) and not (one.value.changes or other.value.changes)
            if meet or _apart(one, other):
                continue
            for a in one.places:
                for b in other.places:
                    if overlap(a, b, alignment.network.facts):
                        assert one.span is not None and other.span is not None
                        diagnostics.report(
                            "E461",
                            f"`{other.text}` and `{one.text}` write the same place",
                            one.span,
                            others=((other.span, "already written here"),),
                            notes=(f"{b} and {a} overlap", *_hangs_on_order(one, other)),
                            help="give each variable coordinates, heads or tokens of its own",
                        )
                        return False
    return True


def _hangs_on_order(one: Intervention, other: Intervention) -> tuple[str, ...]:
    if (one.add or other.add) and (one.value.changes or other.value.changes):
        return ("additions may meet, but what is made from the vector there would depend on which is written first",)
    return ()


def _apart(one: Intervention, other: Intervention) -> bool:
    """Whether two interventions write disjoint blocks of one feature."""
    maps = {feature.map for feature in one.features}
    return bool(maps) and maps == {feature.map for feature in other.features} and one.variable != other.variable


def format_expr_action(action: tree.Interchange | tree.SetTo | tree.AddTo) -> str:
    """One action as it is written."""
    if isinstance(action, tree.Interchange):
        return f"{format_expr(action.target)} <- {format_expr(action.source)}"
    return f"{format_expr(action.target)} {'+=' if isinstance(action, tree.AddTo) else '='} {format_expr(action.value)}"


def _without_head(expr: tree.Expr) -> tree.Expr:
    """`source.layer[5].resid_post[last]` without `source`."""
    match expr:
        case tree.Attribute(value=tree.Name(), name=ident):
            return tree.Name(ident.name, span=ident.span)
        case tree.Attribute(value=value, name=ident):
            return tree.Attribute(_without_head(value), ident, span=expr.span)
        case tree.Subscript(value=value, indices=indices):
            return tree.Subscript(_without_head(value), indices, span=expr.span)
        case tree.Call(function=function, arguments=arguments):
            return tree.Call(_without_head(function), arguments, span=expr.span)
    return expr


__all__ = ["ActionReader", "Span", "disjoint", "format_expr_action"]
