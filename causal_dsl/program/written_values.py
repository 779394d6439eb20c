"""Values that `do(site = …)` writes: numbers, vectors, words as `mean`, what other runs hold, and arithmetic of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, SpecError, did_you_mean, shown_path
from causal_dsl.program.components import width
from causal_dsl.program.indices import swept
from causal_dsl.program.paths import run_of, steps, without_head
from causal_dsl.program.ranges import SiteRange
from causal_dsl.program.read_settings import call_name, constant, read_settings
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.store import reads
from causal_dsl.store.reading import is_file, may_read, no_file
from causal_dsl.store.tensor_headers import header_fault
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import VALUES, is_word, words
from causal_dsl.vocabulary.values.arithmetic import Combine
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.number import Constant
from causal_dsl.vocabulary.values.vector import Vector
from causal_dsl.vocabulary.written import Value


@dataclass(frozen=True)
class ValueReader:
    """Reads what is written in one cell of a test with these runs (``roles``); paths of files start from ``folder``."""

    roles: tuple[str, ...]
    folder: Path
    sites: SiteReader
    diagnostics: Diagnostics
    #: the layers of the site that is written; None where a variable is
    over: SiteRange | None = None
    #: how many numbers are written where a feature's are: None for whole vectors, and where its file says it
    size: int | None = None
    #: the feature in whose numbers the value is; empty for whole vectors
    through: str = ""
    #: what is written in each run that values are taken from, by the identity of its node; None where that is at fault
    written: Mapping[int, tuple[Any, ...] | None] = field(default_factory=dict)

    def source(self, expr: tree.Expr, places: tuple[Place, ...]) -> FromRun | None:
        """The vectors of a run, at its own sites where it names one, else at those that are written."""
        expr, under = run_of(expr)
        if under is not None:
            taken = self.source(expr, places)
            written = self.written.get(id(under))
            return None if taken is None or written is None else replace(taken, under=written)
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
        spread = self.sites.spread(without_head(expr))
        others = None if spread is None else self._layer_by_layer(spread, places, expr)
        if others is None:
            return None
        for place, other in zip(places, others, strict=True):
            if (place.key is None) != (other.key is None):
                self.diagnostics.report(
                    "E466",
                    f"{other} and {place} are not both weights to a named token",
                    expr.span,
                    help="name the token that is looked at in both, or in neither",
                )
                return None
            mine, theirs = (width(p.site, self.sites.facts) for p in (place, other))
            if mine is not None and theirs is not None and mine != theirs:
                self.diagnostics.report(
                    "E460",
                    f"{other} has {theirs} numbers, and {place} has {mine}",
                    expr.span,
                    help="patch from a site of the same width",
                )
                return None
        return FromRun(role, others, span=expr.span)

    def _layer_by_layer(self, taken: SiteRange, places: tuple[Place, ...], expr: tree.Expr) -> tuple[Place, ...] | None:
        """The place that each written place takes from: the one place of a source, or of a range of layers the layer of the same number."""
        if taken.length is None or not places or self.over is None:
            return taken.places[:1] * len(places)
        written = self.over.length or 1
        if written != taken.length:
            self.diagnostics.report(
                "E462",
                f"the layers of the source and those that are written are not as many: {taken.length} and {written}",
                expr.span,
                notes=("each layer of a range takes its vector from the layer of the same number in the other range",),
                help="write ranges of as many layers, or one layer to take from",
            )
            return None
        lacking = [number for number in self.over.at if number not in taken.at]
        if lacking:
            self.diagnostics.report(
                "E463",
                f"{self.over.at[lacking[0]]} is to take its vector from a layer that the network does not have",
                expr.span,
                notes=(
                    "each layer of a range takes its vector from the layer of the same number in the other range",
                    *swept(expr, self.sites.cell),
                ),
                help="end the ranges, or the parameter, where both of them are in the network",
            )
            return None
        return tuple(taken.at[number] for number in self.over.at)

    def value(self, expr: tree.Expr, places: tuple[Place, ...]) -> Value | None:
        """A written value; None where a fault was reported."""
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
                value = self.value(operand, places)
                if isinstance(value, Constant):
                    return Constant(-value.value, span=expr.span)
                return None if value is None else Combine("*", Constant(-1.0, span=expr.span), value)
            case tree.Binary(op=op, left=left, right=right) if op in "+-*/":
                a, b = self.value(left, places), self.value(right, places)
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
            case tree.Name() | tree.Attribute() | tree.Subscript() | tree.Call() | tree.Under():
                path = steps(run_of(expr)[0])
                if path and path[0].name in self.roles:
                    return self.source(expr, places)
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
            f"`{format_expr(expr)[:60]}` cannot be written at a site",
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
            needed = self.size if self.through else width(place.site, self.sites.facts)
            if needed is not None and needed != len(numbers):
                at = f"{place} via {self.through}" if self.through else f"{place}"
                unit = "number" if needed == 1 else "numbers"
                title = f"{at} has {needed} {unit}, and the list has {len(numbers)}"
                self.diagnostics.report("E460", title, expr.span, help=f"write {needed} {unit}")
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
                    settings[name] = self.value(settings[name], places)
                case "values":
                    each = [self.value(item, places) for item in settings[name]]
                    settings[name] = None if None in each else tuple(each)
                case "file":
                    settings[name] = self._file(settings[name], expr.span)
            if settings[name] is None:
                return None
        try:
            value: Value = VALUES.call(word.name, lambda: word.kind(**settings, span=expr.span), span=expr.span)
            fault = VALUES.call(word.name, word.check, value, span=expr.span)
        except SpecError as error:
            self.diagnostics.extend(error.diagnostics)
            return None
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
                no_file(path, written),
                span,
                help="name a safetensors file, relative to this spec",
            )
            return None
        if why := header_fault(path):
            self.diagnostics.report(
                "E688",
                f"cannot read `{shown_path(path)}`",
                span,
                notes=(why,),
                help="save it with safetensors.torch.save_file",
            )
            return None
        reads.note(path)
        return path
