"""Measures by their names, at one output of several too: ``iia``, ``logit(answer)``, ``kl(color)``.

Codes: E601, E607, E747, E831, E850, E853.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.measures.context import TestContext
from causal_dsl.measures.names import CHOICES, FUNCTIONS, short
from causal_dsl.measures.per_cell import CellScore, OfOutput, PairMean, asks
from causal_dsl.measures.per_pair import AnyMoved, AtOutput, FixedNumber, Moved, OfDistribution, OfToken, Pair, is_share
from causal_dsl.measures.quantities import Asked
from causal_dsl.measures.references import ReferenceReader
from causal_dsl.measures.units import SHARE, UNITS
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.measures import MEASURES, Measure
from causal_dsl.vocabulary.plugins import made

_INTERCHANGED = "compares with the answer that the causal model gives under an interchange"
PATCHED = "compares the patched run with the base run"


@dataclass
class MeasureReader:
    """Makes measures of their names, and reports where a test has not what one needs."""

    context: TestContext
    diagnostics: Diagnostics
    #: the place at which measures are taken, where one is named
    site: tree.Expr | None = None
    #: how they are taken there, where a reading says so
    how: tree.Expr | None = None

    def example(self, function: str) -> str:
        """An argument that a function of scores could have in this test, for a message."""
        output, number = next(iter(self.context.outputs)), self.context.number
        if function in MEASURES:
            return output
        if function in CHOICES:
            return "iia" if self.context.interchange else "kl" if self.context.intervened else "accuracy"
        return f"logit({output})" if number is None else number.text

    def value(self, expr: Any, verdict: bool) -> Pair | CellScore | FixedNumber | None:
        raise NotImplementedError

    def report(self, code: str, title: str, span: Span, **more: Any) -> None:
        self.diagnostics.report(code, title, span, **more)

    def lacks(self, needs: str, has: str, span: Span, help: str) -> None:
        """Report that a test has not what a measure needs."""
        self.report("E607", f"{needs}, and {has}", span, help=help)

    def lift(self, value: Pair | CellScore | FixedNumber) -> CellScore | None:
        """A score: itself, or the mean over pairs of a metric. None for a bare number."""
        if isinstance(value, Pair):
            return PairMean(value.text, SHARE if is_share(value) else value.unit, value, self.context.main)
        return value if isinstance(value, CellScore) else None

    def measure(self, name: str, span: Span) -> Pair | CellScore | None:
        """A measure that is written as a bare name."""
        record = MEASURES.find(name, span, self.diagnostics)
        if record is None:
            return None
        if record.of_token:
            return self.of_token(record, None, span)
        if "patched" in record.needs and not self.context.intervened:
            self.lacks(f"`{name}` {PATCHED}", "nothing is intervened on", span, "write a `do(…)` in this test")
            return None
        if not self.context.stated and "answer" in record.needs and "patched" not in record.needs:
            compares, has = (
                f"`{name}` compares answers",
                f"the causal model does not say what `{self.context.output}` is",
            )
            self.lacks(compares, has, span, "report `moved`, `kl` or a metric" if self.context.intervened else "")
            return None
        if "label" in record.needs and not self.context.interchange:
            other = "report `moved` or `kl`" if self.context.intervened else "use `accuracy`"
            help = f"set a variable, `do(variable <- source)`; or {other}"
            self.lacks(f"`{name}` {_INTERCHANGED}", "no variable is interchanged", span, help)
            return None
        if self.site is not None and not (record.of_distribution and not record.against_base):
            self.not_there(name, span)
            return None
        if "placed" in record.needs and not self.has_places(name, span):
            return None
        number = self.context.number
        if ("answer" in record.needs and number is not None) or ("number" in record.needs and number is None):
            what = ("numbers", "no number", "iia") if number is None else ("answers", "a number", "r2")
            compares, has = f"`{name}` compares {what[0]}", f"`{self.context.output}` is {what[1]}"
            self.lacks(compares, has, span, f"use `{what[2]}`" if self.context.interchange else "")
            return None
        if number is not None and "number" in record.needs:
            score: CellScore = MEASURES.call(
                name, lambda: made(str(record.formula))(self.context.main, number), span=span
            )
            return score
        if record.of_distribution:
            if self.context.several:
                self.which_output(name, f"{name}({{output}})", span)
                return None
            return OfDistribution(name, UNITS[record.unit], name, self.place)
        found: Pair | CellScore = MEASURES.call(name, lambda: made(str(record.formula))(self.context.main), span=span)
        if self.context.several and isinstance(found, CellScore) and any(map(asks, found.walk())):
            self.which_output(name, f"{name}({{output}})", span)
            return None
        return AnyMoved(found.text, found.unit) if self.context.several and isinstance(found, Moved) else found

    def of_output(self, name: str, output: str, span: Span) -> Pair | CellScore | None:
        """A measure at the read-out of one output: `iia(color)`, `kl(color)`."""
        found = self.alone(output).measure(name, span)
        return None if found is None else self.at(output, f"{name}({output})", found)

    def at(self, output: str, text: str, found: Pair | CellScore) -> Pair | CellScore:
        """A value that was read of one output alone, as a part of this test."""
        if not self.context.several:
            return replace(found, text=text)
        if isinstance(found, Pair):
            return AtOutput(text, found.unit, output, found)
        return OfOutput(text, found.unit, output, found)

    def alone(self, output: str) -> Self:
        """The reader of the test as it is for one output."""
        return replace(self, context=self.context.outputs[output])

    def which_output(self, name: str, example: str, span: Span) -> None:
        outputs = list(self.context.outputs)
        self.report(
            "E747",
            f"`{name}` of which output?",
            span,
            notes=(f"this test reads {len(outputs)}: " + ", ".join(f"`{output}`" for output in outputs),),
            help="write " + ", or ".join(f"`{example.format(output=output)}`" for output in outputs[:2]),
        )

    def is_measure(self, name: str) -> bool:
        """Whether a name is that of a measure. A metric of the spec comes before a measure that a package adds."""
        return name in MEASURES.own or (name in MEASURES and name not in FUNCTIONS and name not in self.context.metrics)

    def of_token(
        self, record: Measure, argument: tree.Expr | None, span: Span, of: tree.Argument | None = None
    ) -> Pair | None:
        name = record.name
        if of is not None or self.context.several or of_label(argument):
            output = self.output_of(name, argument, of, span)
            if output is None:
                return None
            inner = argument.value if isinstance(argument, tree.Attribute) and of_label(argument) else argument
            found = self.alone(output).of_token(record, inner, span)
            text = name if argument is None else format_expr(argument)
            text = f"{name}({text}, of={output})" if of is not None else f"{name}({text})"
            made = None if found is None else self.at(output, text, found)
            assert made is None or isinstance(made, Pair)
            return made
        ref = ReferenceReader(self.context, self.diagnostics).read(name, argument, span)
        if ref is None:
            return None
        text = name if argument is None else f"{name}({format_expr(argument)})"
        return OfToken(text, UNITS[record.unit], name, ref, self.place)

    @property
    def place(self) -> Asked | None:
        """The place at which measures are taken; None at the read-out."""
        return None if self.site is None else Asked(self.site, self.how)

    def output_of(self, name: str, argument: tree.Expr | None, of: tree.Argument | None, span: Span) -> str | None:
        """The output at whose read-out a token is looked at: the one that is named, or the one whose value it is."""
        outputs = self.context.outputs
        if of is not None:
            return self.named_output(of.value)
        match argument:
            case tree.Name(name=found) if found in outputs:
                return found
            case tree.Attribute(name=ident) if ident.name in outputs:
                return ident.name
        shown = "" if argument is None else format_expr(argument)
        example = f"{name}({shown}, of={{output}})" if argument is not None else f"{name}({{output}})"
        if shown == "label":
            example = f"{name}(label.{{output}})"
        self.which_output(f"{name}({shown})" if shown else name, example, span)
        return None

    def named_output(self, expr: tree.Expr) -> str | None:
        """The output that an argument names (else E601)."""
        outputs = list(self.context.outputs)
        found = expr.name if isinstance(expr, tree.Name) else ""
        if found in outputs:
            return found
        title = f"`{short(format_expr(expr))}` is not an output that this test reads"
        self.report("E601", title, expr.span, help=did_you_mean(found, outputs))
        return None

    def has_places(self, name: str, span: Span) -> bool:
        """Whether a test has what measures of a whole alignment need (else E850, E853)."""
        if self.context.several:
            self.report(
                "E853",
                f"`{name}` is of an alignment that reads one output",
                span,
                notes=("this one reads " + ", ".join(f"`{output}`" for output in self.context.outputs),),
                help="make an alignment that reads one of them, and test on that",
            )
            return False
        if not self.context.placed:
            self.report(
                "E850",
                f"`{name}` is of the places of an alignment, and this one places nothing that leads to `{self.context.output}`",
                span,
                help="write `variable @ site` in the alignment",
            )
            return False
        return True

    def not_there(self, text: str, span: Span) -> None:
        """Report E831: a measure that is not of one run, or not of logits, has no value at a place."""
        self.report(
            "E831",
            f"`{short(text)}` cannot be taken at a place",
            span,
            notes=(
                "at a place are measures of the logits that one run would give from there, and what is computed from the vectors there",
            ),
            help="write the place behind the measure of one run: `change(logit(answer) @ layer[3].resid_post[last])`",
        )


def of_label(argument: tree.Expr | None) -> bool:
    """Whether it is `label.color`: what the causal model says under the interchange of one output."""
    return (
        isinstance(argument, tree.Attribute)
        and isinstance(argument.value, tree.Name)
        and argument.value.name == "label"
    )
