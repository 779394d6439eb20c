"""Whose token a measure is about: the ``x`` of ``logit(x)``."""

from __future__ import annotations

from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.measures.context import TestContext
from causal_dsl.measures.quantities import ValueRef
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr


@dataclass
class ReferenceReader:
    """Reads ``answer``, ``source.answer``, ``label``, ``"Mary"``. Codes: E601, E602, E607, E610, E612."""

    context: TestContext
    diagnostics: Diagnostics

    def read(self, measure: str, expr: tree.Expr | None, span: Span) -> ValueRef | None:
        """The reference, or None, reported. Without ``expr``: the label, or else the base's own answer."""
        context = self.context
        if expr is None and not context.stated:
            title = f"the causal model does not say what `{context.output}` is, so `{measure}` needs a token"
            self._report("E607", title, span, help=f'write `{measure}("…")`')
            return None
        if expr is None:
            role = "label" if context.interchange else "base"
            return self._one_token(ValueRef(role, context.output), measure, span)
        ref = self._reference(measure, expr)
        return None if ref is None else self._one_token(ref, measure, expr.span)

    def _reference(self, measure: str, expr: tree.Expr) -> ValueRef | None:
        context = self.context
        match expr:
            case tree.Name(name="label"):
                return self._label(expr)
            case tree.Name(name=name) if name in context.variables:
                return self._variable("base", name, expr.span)
            case tree.Name(name=name):
                if name in context.roles:
                    self._report(
                        "E602",
                        f"`{name}` is a run: say which of its variables",
                        expr.span,
                        help=f"write `{name}.{context.output}`",
                    )
                else:
                    self._report(
                        "E601",
                        f"no variable `{name}` to measure",
                        expr.span,
                        help=did_you_mean(name, [*context.variables, "label"], "see the causal model of this test"),
                    )
                return None
            case tree.Attribute(value=tree.Name(name=role), name=ident):
                if role not in context.roles:
                    self._report(
                        "E601", f"no run `{role}` in this test", expr.value.span, help=did_you_mean(role, context.roles)
                    )
                    return None
                if ident.name not in context.variables:
                    self._report(
                        "E601",
                        f"no variable `{ident.name}` to measure",
                        ident.span,
                        help=did_you_mean(ident.name, context.variables, "see the causal model of this test"),
                    )
                    return None
                return self._variable(role, ident.name, expr.span)
        literal = _literal(expr)
        if literal is None:
            self._report(
                "E602",
                f"`{measure}` takes a variable or a value, not `{format_expr(expr)[:60]}`",
                expr.span,
                help=f"write `{measure}({context.output})`",
            )
            return None
        if context.answers is not None and not _among(literal, context.answers):
            words = [str(answer) for answer in context.answers]
            self._report(
                "E610",
                f"the read-out never gives `{format_expr(expr)[:60]}`",
                expr.span,
                help=did_you_mean(str(literal), words, f"it gives one of {len(words)} values"),
            )
            return None
        return ValueRef("", constant=literal)

    def _label(self, expr: tree.Name) -> ValueRef | None:
        if "label" in self.context.variables:
            self._report(
                "E612",
                "`label` is the causal model's counterfactual answer, and also a variable here",
                expr.span,
                help="give the variable another name, or write `base.label`",
            )
            return None
        if not self.context.interchange:
            self._report(
                "E607",
                "`label` is the answer under an interchange, and no variable is interchanged",
                expr.span,
                help=f"measure the base's own answer: `{self.context.output}`",
            )
            return None
        return ValueRef("label", self.context.output)

    def _variable(self, role: str, name: str, span: Span) -> ValueRef | None:
        if name == self.context.output and not self.context.stated:
            title = f"the causal model does not say what `{name}` is, so it has no token"
            self._report("E607", title, span, help='name a token, as in `logit("yes")`, or another variable')
            return None
        answers, values = self.context.answers, self.context.variables[name]
        if answers is not None and (values is None or not all(_among(value, answers) for value in values)):
            other = "it is not finite" if values is None else next(repr(v) for v in values if not _among(v, answers))
            self._report(
                "E610",
                f"the read-out does not give all values of `{name}`",
                span,
                notes=(f"`{name}` can be {other}" if values is not None else other,),
                help=f"measure a variable with the values of `{self.context.output}`",
            )
            return None
        return ValueRef(role, name)

    def _one_token(self, ref: ValueRef, measure: str, span: Span) -> ValueRef | None:
        long = self.context.several_tokens(ref) if self.context.several_tokens is not None else None
        if long is not None:
            self._report(
                "E610",
                f"`{measure}` takes one token, and `{long.value}` has several",
                span,
                notes=("a value of several tokens has no logit of its own", *long.said),
                help="use `accuracy` or `iia`, which read whole values; or draw values of one token",
            )
            return None
        return ref

    def _report(self, code: str, title: str, span: Span, **more: Any) -> None:
        self.diagnostics.report(code, title, span, **more)


def _literal(expr: tree.Expr) -> Any:
    match expr:
        case tree.String(value=value) | tree.Bool(value=value):
            return value
        case tree.Number(value=value, unit=None):
            return value
        case tree.Unary(op="-", operand=tree.Number(value=value, unit=None)):
            return -value
    return None


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether a value is one of them; true is not 1."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)
