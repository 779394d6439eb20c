"""Expressions of metrics: names, arithmetic, comparisons and logic, each of pairs or of scores.

Codes: E600, E601, E602, E606, E608, E609, E830.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import did_you_mean
from causal_dsl.measures.calls import CallReader
from causal_dsl.measures.names import FUNCTIONS, short
from causal_dsl.measures.per_cell import CellScore, Chosen, ChosenParameter, ChosenParameterIs, ScoreOp
from causal_dsl.measures.per_pair import FixedNumber, Pair, PairOp
from causal_dsl.measures.unit_check import in_range, unit_of_both
from causal_dsl.measures.units import INDEX, RATIO, SHARE, TRUTH, Unit, product, quotient, written
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS

_DEEPEST = 80
_LARGEST = 2000


@dataclass
class ExpressionReader(CallReader):
    """Makes values of expressions. ``inside`` are the metrics that are being expanded."""

    inside: tuple[str, ...] = ()
    depth: int = 0
    size: int = 0

    def value(self, expr: Any, verdict: bool) -> Pair | CellScore | FixedNumber | None:
        """The value of an expression, or None where a fault was reported.

        ``verdict``: a comparison here is of scores, so a metric in it stands for its mean over pairs. Elsewhere
        (in a ``metric``, in the argument of a function) a comparison of metrics holds or not pair by pair.
        """
        self.size += 1
        if self.depth > _DEEPEST or self.size > _LARGEST:
            help = "split it into metrics that use fewer others"
            self.report("E600", "the metric is too large to be read", expr.span, help=help)
            return None
        self.depth += 1
        try:
            return self._value(expr, verdict)
        finally:
            self.depth -= 1

    def _value(self, expr: Any, verdict: bool) -> Pair | CellScore | FixedNumber | None:
        match expr:
            case tree.Number():
                number, unit = written(expr.value, expr.unit)
                return FixedNumber(format_expr(expr), unit, number)
            case tree.Name():
                return self.name(expr)
            case tree.Call():
                return self.call(expr)
            case tree.Attribute():
                return self.attribute(expr)
            case tree.Located():
                return self.located(expr)
            case tree.Unary(op="-"):
                return self.arithmetic(expr, "negative", (expr.operand,), verdict)
            case tree.Unary(op="not"):
                return self.logic(expr, "not", (expr.operand,), verdict)
            case tree.Binary(op="and" | "or"):
                return self.logic(expr, expr.op, (expr.left, expr.right), verdict)
            case tree.Binary(op="+" | "-" | "*" | "/"):
                return self.arithmetic(expr, expr.op, (expr.left, expr.right), verdict)
            case tree.Compare():
                return self.comparison(expr, verdict)
        self.report(
            "E600",
            f"`{short(format_expr(expr))}` cannot be part of a metric",
            expr.span,
            notes=("a metric is made of measures, numbers, + - * /, comparisons, `and`, `or`, `not`",),
            help="the measures are listed in docs/measures.md",
        )
        return None

    # ── names ───────────────────────────────────────────────────────────────────────────────────

    def name(self, expr: tree.Name) -> Pair | CellScore | FixedNumber | None:
        name = expr.name
        if self.is_measure(name):
            return self.measure(name, expr.span)
        if name in FUNCTIONS:
            help = f"write `{name}({self.example(name)})`"
            self.report("E602", f"`{name}` needs an argument", expr.span, help=help)
            return None
        if self.is_reading(name):
            return self.reading(expr, name)
        metric = self.context.metrics.get(name)
        if metric is None:
            self.unknown(expr)
            return None
        if name in self.inside:
            chain = " -> ".join([*self.inside[self.inside.index(name) :], name])
            help = "define it by measures and by other metrics"
            self.report("E608", f"the metric `{name}` is defined by itself", expr.span, notes=(chain,), help=help)
            return None
        self.inside += (name,)
        try:
            value = self.value(metric, verdict=False)
        finally:
            self.inside = self.inside[:-1]
        return None if value is None else dataclasses.replace(value, text=name)

    def of_gradients(self, expr: tree.Expr) -> bool:
        """Whether an expression is a reading of gradients, which is of the output that its metric names."""
        name = expr.function.name if isinstance(expr, tree.Call) and isinstance(expr.function, tree.Name) else ""
        return name in READINGS and READINGS[name].of == "gradients" and name not in self.context.metrics

    def located(self, expr: tree.Located) -> Pair | None:
        """``logit(answer) @ layer[3].resid_post[last]``: a measure of one run, taken at a place."""
        if self.site is not None:
            help = f"name one place for each measure, or a metric without a place: `{self.example('')} @ layer[3].resid_post[last]`"
            self.report("E830", "a measure is taken at one place, and two are named", expr.span, help=help)
            return None
        if self.context.several and not self.of_gradients(expr.value):
            help = "make an alignment that reads one of them, and test on that"
            title = "a measure is taken at a place where one output is read, and this test reads several"
            self.report("E838", title, expr.span, help=help)
            return None
        self.site = expr.site
        try:
            value = self.value(expr.value, verdict=False)
        finally:
            self.site = None
        if value is None:
            return None
        if (
            not isinstance(value, Pair)
            or value.two_runs
            or not all(q.place is not None for _, q in value.needs("base"))
        ):
            self.not_there(value.text, expr.value.span)
            return None
        return dataclasses.replace(value, text=format_expr(expr))

    def unknown(self, expr: tree.Name) -> None:
        name = expr.name
        some = "measures are `iia`, `accuracy`, `logit(…)`, `prob(…)`, `kl` and more; see docs/measures.md"
        help = did_you_mean(name, [*self.context.metrics, *MEASURES, *FUNCTIONS], some)
        if name in self.context.variables:
            help = f"`{name}` is a variable: measure its value, `logit({name})` or `prob({name})`"
        self.report("E601", f"no metric or measure `{short(name)}`", expr.span, label="not known here", help=help)

    def attribute(self, expr: tree.Attribute) -> CellScore | None:
        """``argmax(iia).l``: a parameter of the chosen cell, as a number."""
        chosen = self.chosen_cell(expr)
        if chosen is None:
            return None
        name = expr.name.name
        values = self.context.parameters[name]
        if not all(isinstance(value, int | float) for value in values):
            help = f"write `{format_expr(expr)} == {values[0]}`, or `report {chosen.text}`"
            self.report("E609", f"`{name}` is a word, not a number, in this sweep", expr.span, help=help)
            return None
        return ChosenParameter(format_expr(expr), INDEX, chosen, name)

    def chosen_cell(self, expr: tree.Attribute) -> Chosen | None:
        """The ``argmax(…)`` that an attribute is of; reported where it is none, or the parameter is not the sweep's."""
        value = self.value(expr.value, verdict=False)
        if value is None:
            return None
        name = expr.name.name
        if not isinstance(value, Chosen):
            help = "`argmax(iia).l` is the parameter `l` of the cell with the highest iia"
            self.report("E609", f"`{short(value.text)}` is not a cell: it has no `{name}`", expr.span, help=help)
            return None
        if name not in self.context.parameters:
            help = did_you_mean(name, self.context.parameters)
            self.report("E601", f"the sweep has no parameter `{name}`", expr.name.span, help=help)
            return None
        return value

    # ── operators ───────────────────────────────────────────────────────────────────────────────

    def operands(self, expr: tree.Expr, parts: tuple[tree.Expr, ...], verdict: bool, lift: bool) -> list[Any] | None:
        """The values of the parts, all of pairs or all of scores (bare numbers are either)."""
        values = [self.value(part, verdict) for part in parts]
        found: list[Any] = [value for value in values if value is not None]
        if len(found) < len(values):
            return None
        for value in found:
            if isinstance(value, Chosen):
                parameter = next(iter(self.context.parameters))
                help = f"name a parameter of it: `{short(value.text)}.{parameter}`"
                self.report("E609", f"`{short(value.text)}` is a cell, not a number", expr.span, help=help)
                return None
        if lift:
            found = [self.lift(value) or value for value in found]
        pair = next((value for value in found if isinstance(value, Pair)), None)
        score = next((value for value in found if isinstance(value, CellScore)), None)
        if pair is not None and score is not None:
            title = f"`{short(pair.text)}` is a number for each pair, and `{short(score.text)}` one for them all"
            self.report(
                "E609", title, expr.span, help=f"say which summary of the pairs you mean: `mean({short(pair.text)})`"
            )
            return None
        return found

    def operation(self, expr: tree.Expr, op: str, values: list[Any], unit: Unit) -> Any:
        text = format_expr(expr)
        if all(isinstance(value, FixedNumber) for value in values):
            return FixedNumber(text, unit, ScoreOp(text, unit, op, tuple(values)).assume({}))
        kind = PairOp if any(isinstance(value, Pair) for value in values) else ScoreOp
        return kind(text, unit, op, tuple(values))

    def arithmetic(self, expr: Any, op: str, parts: tuple[tree.Expr, ...], verdict: bool) -> Any:
        values = self.operands(expr, parts, verdict, lift=False)
        if values is None:
            return None
        truth = next((value for value in values if value.unit == TRUTH), None)
        if truth is not None:
            help = "combine it with `and`, `or`, `not`; or take its share: `mean(…)`"
            self.report("E609", f"`{short(truth.text)}` is true or false, not a number", expr.span, help=help)
            return None
        unit: Unit | None = values[0].unit
        if op in ("*", "/"):
            unit = (product if op == "*" else quotient)(values[0].unit, values[1].unit)
        elif op in ("+", "-"):
            verb = {"+": "added to", "-": "taken from"}[op]
            unit = unit_of_both(values[0], values[1], (parts[0], parts[1]), verb, self.diagnostics)
        if unit is None:
            return None
        # A sum, a difference or a negative of shares need not lie between 0 and 1.
        return self.operation(expr, op, values, RATIO if unit == SHARE and op not in ("*", "/") else unit)

    def logic(self, expr: Any, op: str, parts: tuple[tree.Expr, ...], verdict: bool) -> Any:
        values = self.operands(expr, parts, verdict, lift=False)
        if values is None:
            return None
        for value, part in zip(values, parts, strict=True):
            if isinstance(value, FixedNumber) and value.unit == TRUTH:
                title = f"`{short(value.text)}` refers to no measure"
                self.report("E606", title, part.span, help="leave it out")
                return None
            if value.unit != TRUTH:
                title = f"`{short(value.text)}` is a number, and `{op}` joins values that are true or false"
                wanted = "95%" if value.unit == SHARE else "…"
                self.report("E606", title, part.span, help=f"compare it: `{short(value.text)} >= {wanted}`")
                return None
        return self.operation(expr, op, values, TRUTH)

    def comparison(self, expr: tree.Compare, verdict: bool) -> Any:
        for side, other in ((expr.left, expr.right), (expr.right, expr.left)):
            if isinstance(side, tree.Attribute) and self.is_word(side):
                return self.word(expr, side, other)
        values = self.operands(expr, (expr.left, expr.right), verdict, lift=verdict)
        if values is None:
            return None
        if any(value.unit == TRUTH for value in values):
            title = "a value that is true or false cannot be compared with a number"
            self.report("E609", title, expr.span, help="leave the second comparison out")
            return None
        parts = (expr.left, expr.right)
        if unit_of_both(values[0], values[1], parts, "compared with", self.diagnostics) is None:
            return None
        if not in_range((values[0], values[1]), parts, self.diagnostics):
            return None
        return self.operation(expr, expr.op, values, TRUTH)

    def is_word(self, side: tree.Attribute) -> bool:
        """Whether this is a parameter of a chosen cell that is not a number (or none of the sweep's at all)."""
        function = side.value.function if isinstance(side.value, tree.Call) else None
        if not (isinstance(function, tree.Name) and function.name in ("argmax", "argmin")):
            return False
        values = self.context.parameters.get(side.name.name, ())
        return not values or not all(isinstance(value, int | float) for value in values)

    def word(self, expr: tree.Compare, side: tree.Attribute, other: tree.Expr) -> CellScore | None:
        """``argmax(iia).p == last``"""
        chosen = self.chosen_cell(side)
        if chosen is None:
            return None
        name, text = side.name.name, format_expr(other)
        plain = other.value if isinstance(other, tree.String) else text
        words = [str(value) for value in self.context.parameters[name]]
        word = next((word for word in words if word in (text, plain)), None)
        if word is None:
            title = f"`{name}` is never `{short(text)}` in this sweep"
            self.report("E601", title, other.span, help=did_you_mean(text, words))
            return None
        if expr.op not in ("==", "!="):
            help = f"write `{format_expr(side)} == {word}`"
            self.report("E609", f"`{name}` has no order: its values are words", expr.span, help=help)
            return None
        return ChosenParameterIs(format_expr(expr), TRUTH, chosen, name, word, expr.op == "!=")
