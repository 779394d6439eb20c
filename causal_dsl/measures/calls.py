"""The measures and functions of metrics: ``iia``, ``logit(answer)``, ``recovered(m)``, ``max(iia)``.

Codes: E601, E602, E607, E609, E831, E841, E843.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.faults import OwnFault
from causal_dsl.measures.circuit_run_names import MOST_NODES
from causal_dsl.measures.circuit_tests import EquivalenceTest, IndependenceTest, MinimalityTest
from causal_dsl.measures.context import TestContext
from causal_dsl.measures.gradients import no_gradient
from causal_dsl.measures.names import (
    AGGREGATIONS,
    BETWEEN_RUNS,
    FUNCTIONS,
    OF_CIRCUITS,
    RESERVED,
    TESTS_OF_CIRCUITS,
    WITH_METRIC,
    example,
    short,
)
from causal_dsl.measures.of_alignments import RecoveredMetric
from causal_dsl.measures.of_circuits import (
    CircuitCurve,
    Completeness,
    Faithfulness,
    FaithfulnessMedian,
    FaithfulnessPerPair,
    Minimality,
    Necessity,
    OfCircuit,
    Sufficiency,
)
from causal_dsl.measures.per_cell import (
    Best,
    CellScore,
    Chosen,
    OfOutput,
    Order,
    OverCells,
    PairMean,
    asks,
)
from causal_dsl.measures.per_pair import (
    AnyMoved,
    AtOutput,
    Change,
    FixedNumber,
    Moved,
    OfDistribution,
    OfToken,
    Pair,
    Read,
    is_share,
    of_one_output,
    sums_logits,
)
from causal_dsl.measures.quantities import Asked, GradientOf
from causal_dsl.measures.ratios import (
    Recovered,
    RecoveredMedian,
    RecoveredPerPair,
    RelativeChange,
    RelativeChangeMedian,
    RelativeChangePerPair,
)
from causal_dsl.measures.references import ReferenceReader
from causal_dsl.measures.units import INDEX, RATIO, SHARE, TRUTH, UNITS
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.measures import MEASURES, Measure
from causal_dsl.vocabulary.plugins import made
from causal_dsl.vocabulary.readings import READINGS, Reading

_INTERCHANGED = "compares with the answer that the causal model gives under an interchange"
_PATCHED = "compares the patched run with the base run"
_RECOVERED = "goes from the base run (0) to a source run (1)"


@dataclass
class CallReader:
    """Makes values of names and calls; :class:`~causal_dsl.measures.metric_expressions.ExpressionReader` adds the operators."""

    context: TestContext
    diagnostics: Diagnostics
    #: the place at which measures are taken, where one is named
    site: tree.Expr | None = None
    #: how they are taken there, where a reading says so
    how: tree.Expr | None = None

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

    # ── measures ────────────────────────────────────────────────────────────────────────────────

    def measure(self, name: str, span: Span) -> Pair | CellScore | None:
        """A measure that is written as a bare name."""
        record = MEASURES.find(name, span, self.diagnostics)
        if record is None:
            return None
        if record.of_token:
            return self.of_token(record, None, span)
        if "patched" in record.needs and not self.context.intervened:
            self.lacks(f"`{name}` {_PATCHED}", "nothing is intervened on", span, "write a `do(…)` in this test")
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
            score: CellScore = made(str(record.formula))(self.context.main, number)
            return score
        if record.of_distribution:
            if self.context.several:
                self.which_output(name, f"{name}({{output}})", span)
                return None
            return OfDistribution(name, UNITS[record.unit], name, self.place)
        found: Pair | CellScore = made(str(record.formula))(self.context.main)
        if self.context.several and isinstance(found, CellScore) and any(map(asks, found.walk())):
            self.which_output(name, f"{name}({{output}})", span)
            return None
        return AnyMoved(found.text, found.unit) if self.context.several and isinstance(found, Moved) else found

    def of_output(self, name: str, output: str, span: Span) -> Pair | CellScore | None:
        """A measure at the read-out of one output: `iia(color)`, `kl(color)`."""
        found = self.alone(output).measure(name, span)
        return None if found is None else self.at(output, f"{name}({output})", found)

    def at(self, output: str, text: str, found: Pair | CellScore) -> Pair | CellScore:
        """What was read of one output alone, as a part of this test."""
        if not self.context.several:
            return replace(found, text=text)
        if isinstance(found, Pair):
            return AtOutput(text, found.unit, output, found)
        return OfOutput(text, found.unit, output, found)

    def alone(self, output: str) -> CallReader:
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

    # ── at a place ──────────────────────────────────────────────────────────────────────────────

    @property
    def place(self) -> Asked | None:
        """The place at which measures are taken; None at the read-out."""
        return None if self.site is None else Asked(self.site, self.how)

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
        title = f"`{short(format_expr(expr))}` is no output that this test reads"
        self.report("E601", title, expr.span, help=did_you_mean(found, outputs))
        return None

    # ── functions ───────────────────────────────────────────────────────────────────────────────

    def call(self, expr: tree.Call) -> Pair | CellScore | FixedNumber | None:
        name = expr.function.name if isinstance(expr.function, tree.Name) else ""
        if self.is_reading(name):
            return self.reading(expr, name)
        record = MEASURES.find(name, expr.span, self.diagnostics) if self.is_measure(name) else None
        if record is None and self.is_measure(name):
            return None
        if record is not None and record.of_token:
            plain = self.arguments(expr, name, 0, ("of",))
            of = next((argument for argument in expr.arguments if argument.name is not None), None)
            return None if plain is None else self.of_token(record, plain[0] if plain else None, expr.span, of)
        if record is not None and name in WITH_METRIC and not self.context.several:
            plain = self.arguments(expr, name, 1)
            metric = None if plain is None else self.value(plain[0], verdict=False)
            return None if metric is None else self.of_alignment(expr, name, metric)
        if record is not None:
            plain = self.arguments(expr, name, 1)
            output = None if plain is None else self.named_output(plain[0])
            return None if output is None else self.of_output(name, output, expr.span)
        if name in self.context.metrics and name not in RESERVED:
            self.report("E602", f"`{name}` takes no arguments", expr.span, help=f"write `{name}`")
            return None
        if name not in FUNCTIONS:
            known = [*(measure.name for measure in MEASURES.own.values() if measure.of_token), *FUNCTIONS, *READINGS]
            self.report(
                "E601",
                f"no function `{short(format_expr(expr.function))}` of scores",
                expr.function.span,
                help=did_you_mean(name, known, "the functions are listed in docs/measures.md"),
            )
            return None
        settings = ("clean",) if name.startswith("recovered") else tuple(TESTS_OF_CIRCUITS.get(name, ()))
        plain = self.arguments(expr, name, 1, settings)
        value = None if plain is None else self.value(plain[0], verdict=False)
        if value is None:
            return None
        if name in OF_CIRCUITS:
            return self.of_circuit(expr, name, value)
        if name in BETWEEN_RUNS:
            clean = next((argument for argument in expr.arguments if argument.name is not None), None)
            return self.between_runs(expr, name, value, clean)
        return self.aggregate(expr, name, value)

    def arguments(
        self, expr: tree.Call, name: str, least: int, settings: tuple[str, ...] = ()
    ) -> list[tree.Expr] | None:
        """The arguments without a name, ``least`` or one of them; None where a fault was reported."""
        for argument in expr.arguments:
            if argument.name is not None and argument.name.name not in settings:
                self.report(
                    "E602",
                    f"`{name}` has no setting `{argument.name.name}`",
                    argument.name.span,
                    help=did_you_mean(argument.name.name, settings, f"write `{name}({example(name)})`"),
                )
                return None
        plain = [argument.value for argument in expr.arguments if argument.name is None]
        named = [argument for argument in expr.arguments if argument.name is not None]
        if least <= len(plain) <= 1 and len(named) <= 1:
            return plain
        title = (
            f"`{name}` takes one argument, not {len(plain)}"
            if len(named) <= 1
            else f"`{name}` has two settings `{settings[0]}`"
        )
        self.report("E602", title, expr.span, help=f"write `{name}({example(name)})`")
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

    def of_alignment(self, expr: tree.Call, name: str, value: Pair | CellScore | FixedNumber) -> CellScore | None:
        """``scrubbed(m)``: how much of a metric is recovered."""
        if not isinstance(value, Pair) or value.two_runs:
            what = f"`{name}` takes a metric of one run, a number for each pair, not `{short(value.text)}`"
            self.report("E609", what, expr.span, help=f"write `{name}(logit_diff)`, or `{name}` alone")
            return None
        if not self.has_places(name, expr.span):
            return None
        for _, quantity in value.needs("base"):
            ref = quantity.of
            if quantity.place is not None or (ref is not None and ref.role not in ("", "base")):
                self.report(
                    "E854",
                    f"`{short(value.text)}` is not of the answers of the base alone",
                    expr.span,
                    notes=(f"`{name}` compares runs on other inputs with the base's own answer",),
                    help=f"name variables of the base: `{name}(logit(answer))`",
                )
                return None
        return RecoveredMetric(format_expr(expr), RATIO, name, value)

    def of_circuit(self, expr: tree.Call, name: str, value: Pair | CellScore | FixedNumber) -> CellScore | None:
        """``faithfulness(m)`` and its like, of the one circuit that is intervened on."""
        if not isinstance(value, Pair) or value.two_runs:
            what = f"`{name}` takes a metric of one run, a number for each pair, not `{short(value.text)}`"
            self.report("E609", what, expr.span, help=f"write `{name}(logit_diff)`")
            return None
        circuit = self.context.circuit
        if circuit is None:
            self.report(
                "E806",
                f"`{name}` is of a test that reads one output, and whose only action is on one circuit",
                expr.span,
                help="write do(outside(circuit) <- source), or do(circuit = mean), and no other action",
            )
            return None
        text = format_expr(expr)
        match name:
            case "cpr" | "cmd":
                return self.curve(
                    expr, name, Faithfulness(f"faithfulness({value.text})", RATIO, value, circuit.outside)
                )
            case "faithfulness" | "faithfulness_per_pair" | "faithfulness_median":
                kind = {"faithfulness": Faithfulness, "faithfulness_median": FaithfulnessMedian}
                return kind.get(name, FaithfulnessPerPair)(text, RATIO, value, circuit.outside)
            case "sufficiency":
                return Sufficiency(text, RATIO, value, circuit.outside)
            case "necessity":
                return Necessity(text, RATIO, value, circuit.outside)
            case "completeness":
                return Completeness(text, RATIO, value, circuit.outside)
            case "minimality":
                most = max(count for _, count in circuit.counts)
                return Minimality(text, RATIO, value, circuit.outside, tuple(range(max(1, min(most, MOST_NODES)))))
            case "equivalence_test" | "independence_test" | "minimality_test":
                return self.circuit_test(expr, name, value)
        raise OwnFault(f"no score of circuits is made for `{name}`")

    def circuit_test(self, expr: tree.Call, name: str, value: Pair) -> CellScore | None:
        """``equivalence_test(m, epsilon=0.1)`` and its like: a p-value."""
        circuit, text = self.context.circuit, format_expr(expr)
        assert circuit is not None
        given = next((argument for argument in expr.arguments if argument.name is not None), None)
        number = next(iter(TESTS_OF_CIRCUITS[name].values()), 0.0)
        if given is not None:
            read = self.value(given.value, verdict=False)
            most = 0.5 if name == "equivalence_test" else 1.0
            if not isinstance(read, FixedNumber) or not 0 <= read.value < most:
                which = "" if given.name is None else given.name.name
                self.report(
                    "E822",
                    f"`{which}` of `{name}` is a number from 0 to below {most:g}",
                    given.value.span,
                    help=f"write {which}={number:g}",
                )
                return None
            number = read.value
        if name == "equivalence_test":
            return EquivalenceTest(text, SHARE, value, circuit.outside, number)
        if name == "independence_test":
            return IndependenceTest(text, SHARE, value, circuit.outside)
        return MinimalityTest(text, SHARE, value, circuit.outside, number, circuit.counts)

    def curve(self, expr: tree.Call, name: str, score: Faithfulness) -> CircuitCurve | None:
        """``cpr(m)`` and ``cmd(m)``, over the circuits of a sweep."""
        circuit, text = self.context.circuit, format_expr(expr)
        assert circuit is not None
        if len(circuit.shares) < 2:
            help = "sweep over its size: circuit c(k in [0.01, 0.1, 0.5]) : net = json(…, keep=k, by=signed)"
            self.lacks(f"`{name}` is over circuits of several sizes", "this test has one", expr.span, help)
            return None
        if circuit.differ:
            self.differ(text, circuit.differ, expr.span)
            return None
        return CircuitCurve(text, RATIO, name, score, circuit.shares)

    def differ(self, text: str, choices: tuple[str, ...], span: Span) -> None:
        """E807: cells that are ablations of different kinds."""
        self.report(
            "E807",
            f"the cells of `{short(text)}` are ablations that differ in {' and '.join(choices)}",
            span,
            notes=("numbers of ablations that make different choices do not compare",),
            help="sweep over the circuit alone, and make a test of each choice",
        )

    def between_runs(
        self, expr: tree.Call, name: str, value: Pair | CellScore | FixedNumber, clean: tree.Argument | None
    ) -> Pair | CellScore | None:
        """``recovered(m)``, ``change(m)``, ``relative_change(m)``, and the first and the last as other averages."""
        if not isinstance(value, Pair):
            what = f"`{name}` takes a metric, a number for each pair, not `{short(value.text)}`"
            self.report("E609", what, expr.span, help=f"write `{name}(logit_diff)`: the mean is taken for you")
            return None
        if value.two_runs:
            help = f"use it as it is: `{short(value.text)}`"
            self.report("E609", f"`{short(value.text)}` compares two runs already", expr.span, help=help)
            return None
        if not self.context.intervened:
            has = "nothing is intervened on"
            self.lacks(f"`{name}` {_PATCHED}", has, expr.span, "write a `do(…)` in this test")
            return None
        text = format_expr(expr)
        if name == "change":
            return Change(text, RATIO if value.unit in (SHARE, TRUTH) else value.unit, value)
        if name.startswith("relative_change"):
            relative = {"relative_change": RelativeChange, "relative_change_median": RelativeChangeMedian}
            return relative.get(name, RelativeChangePerPair)(text, RATIO, value)
        sources = self.context.sources
        if not sources:
            help = "draw one, `base, source ~ …`; or use `change(…)`"
            self.lacks(f"`{name}` {_RECOVERED}", "there is no source", expr.span, help)
            return None
        run = sources[0]
        if clean is not None:
            run = clean.value.name if isinstance(clean.value, tree.Name) else ""
            if run not in sources:
                title = f"no source `{short(format_expr(clean.value))}` in this test"
                self.report("E601", title, clean.value.span, help=did_you_mean(run, sources))
                return None
        elif len(sources) > 1:
            help = f"say which: `{name}({short(value.text)}, clean={sources[0]})`"
            self.lacks(f"`{name}` {_RECOVERED}", f"there are {len(sources)} of them", expr.span, help)
            return None
        kinds = {"recovered": Recovered, "recovered_median": RecoveredMedian}
        return kinds.get(name, RecoveredPerPair)(text, RATIO, value, run)

    def aggregate(self, expr: tree.Call, name: str, value: Pair | CellScore | FixedNumber) -> CellScore | None:
        """``mean`` and its like, over pairs of a metric and over cells of a score; ``argmax``, ``argmin``, ``best``."""
        text = format_expr(expr)
        if name in AGGREGATIONS and isinstance(value, Pair):
            unit = SHARE if value.unit == TRUTH else value.unit
            if name == "mean":
                return PairMean(text, unit, value, self.context.main)
            return Order(text, unit, name, value, self.context.main)
        score = self.lift(value)
        if score is None or score.unit == TRUTH:
            title = f"`{name}` takes a score or a metric, not `{short(value.text)}`"
            self.report("E609", title, expr.span, help=f"write `{name}(iia)`")
            return None
        differ = self.context.circuit.differ if self.context.circuit is not None else ()
        if differ and any(isinstance(part, OfCircuit) for part in score.walk()):
            self.differ(score.text, differ, expr.span)
            return None
        if score.over_cells:
            title = f"`{short(score.text)}` is one value for all cells: there is nothing for `{name}` to go over"
            self.report("E609", title, expr.span, help=f"write `{short(score.text)}`")
            return None
        if name in AGGREGATIONS:
            return OverCells(text, score.unit, name, score)
        if name == "best":
            return Best(text, score.unit, score)
        if not self.context.parameters:
            help = "test on an alignment with parameters, without giving them"
            self.lacks(f"`{name}` names a cell of a sweep", "this test is one cell", expr.span, help)
            return None
        return Chosen(text, INDEX, name, score)


def of_label(argument: tree.Expr | None) -> bool:
    """Whether it is `label.color`: what the causal model says under the interchange of one output."""
    return (
        isinstance(argument, tree.Attribute)
        and isinstance(argument.value, tree.Name)
        and argument.value.name == "label"
    )
