"""Readings at a place: ``norm``, ``attention(last, subject)``, ``attribution(logit(answer))``.

Codes: E601, E602, E841, E843, E895.
"""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import did_you_mean
from causal_dsl.measures.gradients import no_gradient
from causal_dsl.measures.measure_names import MeasureReader
from causal_dsl.measures.names import short
from causal_dsl.measures.per_pair import AtOutput, Pair, Read, of_one_output, sums_logits
from causal_dsl.measures.quantities import Asked, GradientOf
from causal_dsl.measures.units import UNITS
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.readings import READINGS, Reading


@dataclass
class PlaceReader(MeasureReader):
    """Makes what is computed from what is at a place."""

    def is_reading(self, name: str) -> bool:
        """Whether a name is that of a reading; a metric of the spec comes before it."""
        return name in READINGS and name not in self.context.metrics

    def reading(self, expr: tree.Name | tree.Call, name: str) -> Pair | None:
        """``norm``, ``attention(last, subject)``: what is computed from what is at the place that is named."""
        record = READINGS[name]
        written = f"`{record.written} @ {record.example}`"
        if self.site is None:
            title = f"`{name}` is read at a place, and none is named"
            self.report("E841", title, expr.span, help=f"write the place behind it: {written}")
            return None
        given = expr.arguments if isinstance(expr, tree.Call) else ()
        plain = [argument.value for argument in given if argument.name is None]
        named = [argument.name for argument in given if argument.name is not None]
        other = next((word for word in named if word.name not in record.settings), None)
        if other is not None or len(plain) != len(record.arguments):
            count = {0: "no arguments", 1: "one argument"}.get(
                len(record.arguments), f"{len(record.arguments)} arguments"
            )
            has = f"no setting `{other.name}`" if other is not None else f"{count}, not {len(plain)}"
            verb = "has" if other is not None else "takes"
            self.report("E602", f"`{name}` {verb} {has}", expr.span, help=f"write {written}")
            return None
        if record.of == "gradients":
            return self.by_gradients(expr, record, plain[0])
        if "metric" in record.arguments:
            return self.taken(expr, record, plain[record.arguments.index("metric")])
        if self.how is not None:
            self.not_within(expr)
            return None
        if "variable" in record.arguments and not all(map(self.known, [argument.value for argument in given])):
            return None
        return Read(format_expr(expr), UNITS[record.unit or ""], name, Asked(self.site, expr))

    def known(self, expr: tree.Expr) -> bool:
        """Whether an expression names a variable of the base (else E601)."""
        name, variables = format_expr(expr), list(self.context.variables)
        if name in variables:
            return True
        title = f"the causal model has no variable `{short(name)}`"
        self.report("E601", title, expr.span, help=did_you_mean(name, variables))
        return False

    def not_within(self, expr: tree.Expr) -> None:
        """Report a reading inside of another one."""
        if isinstance(self.how, tree.Name):
            self.not_summed(expr)
        else:
            self.not_there(format_expr(expr), expr.span)

    def taken(self, expr: tree.Name | tree.Call, record: Reading, argument: tree.Expr) -> Pair | None:
        """``attribution(logit(answer))``: a metric, taken in another way at the place."""
        if self.how is not None:
            self.not_within(expr)
            return None
        arguments = tuple(a for a in getattr(expr, "arguments", ()) if a.value is not argument)
        self.how = tree.Name(record.name, span=expr.span)
        if isinstance(expr, tree.Call) and arguments:
            self.how = replace(expr, arguments=arguments)
        try:
            value = self.value(argument, verdict=False)
        finally:
            self.how = None
        if value is None:
            return None
        if record.name == "attribution" and not sums_logits(value):
            self.not_summed(expr)
            return None
        if not isinstance(value, Pair) or value.two_runs:
            self.not_there(value.text, argument.span)
            return None
        return replace(value, text=format_expr(expr))

    def by_gradients(self, expr: tree.Name | tree.Call, record: Reading, argument: tree.Expr) -> Pair | None:
        """``integrated_gradients(logit(answer), baseline=source)``: what a place adds to a metric of the base run."""
        if self.how is not None:
            self.not_within(expr)
            return None
        assert self.site is not None
        site, self.site = self.site, None
        try:
            value = self.value(argument, verdict=False)
        finally:
            self.site = site
        if value is None:
            return None
        output = ""
        if self.context.several and isinstance(value, Pair):
            own = of_one_output(value)
            if own is None:
                self.report(
                    "E895",
                    f"`{short(value.text)}` is not of one output",
                    argument.span,
                    notes=("gradients are those of what is read of one output, at its token",),
                    help=f"add up readings of single outputs: {record.name}(…) + {record.name}(…)",
                )
                return None
            output, value = own
        without = value.text if not isinstance(value, Pair) or value.two_runs else no_gradient(value)
        if without is not None or not isinstance(value, Pair):
            self.report(
                "E895",
                f"`{short(without or value.text)}` has no gradient at a place",
                argument.span,
                notes=(
                    "gradients are of logits, probabilities and entropies of one run, and of what is computed from them",
                ),
                help=f"write `{record.written} @ {record.example}`",
            )
            return None
        text = format_expr(expr)
        found = Read(text, value.unit, record.name, Asked(self.site, expr, GradientOf(value, self.context.sources)))
        return AtOutput(text, value.unit, output, found) if output else found

    def not_summed(self, expr: tree.Expr) -> None:
        """Report E843: what is added to the stream adds to sums of logits alone."""
        self.report(
            "E843",
            f"`{short(format_expr(expr))}` is not of a sum of logits",
            expr.span,
            notes=(
                "a term of the residual stream adds to each logit, and so to sums of logits times numbers, and to nothing else",
            ),
            help="write `attribution(logit(answer)) @ layer[5].head[1]`, or a metric such as `logit(a) - logit(b)` in it",
        )
