"""Compiles the expressions of ``metric``, ``expect`` and ``report`` into typed values.

Needs no network: ``check`` and ``run`` use the same function, so what is refused is refused before anything is run.
Codes: E600 to E612, W600.
"""

from __future__ import annotations

import dataclasses

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.measures.context import Expectation, Reported, TestContext, TestScores
from causal_dsl.measures.metric_expressions import ExpressionReader
from causal_dsl.measures.names import COMPARISONS, RESERVED, short
from causal_dsl.measures.of_alignments import OfAlignment
from causal_dsl.measures.of_circuits import CircuitCurve, OfCircuit
from causal_dsl.measures.of_numbers import Correlation, Explained
from causal_dsl.measures.per_cell import (
    CellScore,
    Chosen,
    Isolate,
    OfOutput,
    Order,
    OverCells,
    PairMean,
    ScoreOp,
)
from causal_dsl.measures.per_pair import FixedNumber, Pair, is_share
from causal_dsl.measures.ratios import Ratio
from causal_dsl.measures.units import SHARE, TRUTH
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.measures import given


def read_number(expr: tree.Expr, context: TestContext, diagnostics: Diagnostics) -> Pair | None:
    """The metric by which an output that is a real number is read; None where a fault was reported."""
    found = ExpressionReader(context, diagnostics).value(expr, verdict=False)
    if found is None:
        return None
    if isinstance(found, Pair) and not found.two_runs and found.unit != TRUTH:
        return found
    diagnostics.report(
        "E749",
        f"`{short(format_expr(expr))}` is not a number of one run",
        expr.span,
        notes=(f"`{context.output}` is a number, and what reads it is a metric of a single run",),
        help='write a metric of logits or probabilities, as in `logit("yes") - logit("no")`',
    )
    return None


def compile_metrics(context: TestContext, diagnostics: Diagnostics) -> TestScores:
    """The metrics of a test, and what has to be collected for them.

    Faults are reported (E600 to E612; W600 where a cell is chosen and judged on the same pairs), and the line that
    has one is left out.
    """
    for name, expr in context.metrics.items():
        if name in RESERVED:
            title = f"`{name}` is a measure of the language and cannot be defined"
            diagnostics.report("E612", title, expr.span, help="give the metric another name")
    expectations, reports = [], []
    for member in context.members:
        if isinstance(member, tree.Expect):
            expectation = _expectation(member, ExpressionReader(context, diagnostics))
            if expectation is not None:
                expectations.append(expectation)
                _warn_of_choosing(expectation, context, diagnostics)
        elif isinstance(member, tree.Report):
            found = (_reported(value, member, ExpressionReader(context, diagnostics)) for value in member.values)
            reports += [reported for reported in found if reported is not None]
    for reported in tuple(reports):  # a sum that leaving out what counteracts can raise is not quoted alone
        value = reported.value
        if isinstance(value, CircuitCurve) and value.which == "cpr":
            text = reported.text.replace("cpr(", "cmd(", 1)
            if all(one.text != text for one in reports):
                reports.append(Reported(text, reported.span, dataclasses.replace(value, text=text, which="cmd")))
    reader = ExpressionReader(context, diagnostics)
    names = (*given("answer"), *(given("interchange") if context.interchange else ()))
    if context.number is not None:
        names = given("number")
    if not context.stated:
        names = ()
    always = {name: score for name in names if isinstance(score := reader.measure(name, context.span), CellScore)}
    for output in context.several:
        own = ((f"{name}({output})", reader.of_output(name, output, context.span)) for name in names)
        always |= {text: score for text, score in own if isinstance(score, CellScore)}
    return TestScores(context, always, tuple(expectations), tuple(reports))


def _expectation(line: tree.Expect, reader: ExpressionReader) -> Expectation | None:
    value = reader.value(line.value, verdict=True)
    if value is None:
        return None
    text, span = format_expr(line.value), line.value.span
    if isinstance(value, FixedNumber) or (isinstance(value, CellScore) and not _measured(value)):
        title = f"`{short(text)}` refers to no measure"
        reader.report("E606", title, span, help="compare a score: `iia >= 95%`")
        return None
    if value.unit != TRUTH or not isinstance(value, CellScore):
        share = is_share(value) if isinstance(value, Pair) else value.unit == SHARE
        help = f"compare it: `{short(text)} >= {'95%' if share else '…'}`; or show it: `report {short(text)}`"
        reader.report("E606", f"`{short(text)}` is a number, and an expectation is true or false", span, help=help)
        return None
    return Expectation(text, line.span, value)


def _measured(value: CellScore) -> bool:
    kinds = PairMean | Isolate | OfOutput | Order | Ratio | Chosen | OfCircuit | OfAlignment | Explained | Correlation
    return any(isinstance(part, kinds) for part in value.walk())


def _reported(expr: tree.Expr, line: tree.Report, reader: ExpressionReader) -> Reported | None:
    value = reader.value(expr, verdict=False)
    if value is None:
        return None
    score, text = reader.lift(value), format_expr(expr)
    if score is None or score.unit == TRUTH:
        help = "report a score, and expect a comparison: `report iia`, `expect iia >= 95%`"
        reader.report("E606", f"`{short(text)}` is not a number that can be reported", expr.span, help=help)
        return None
    return Reported(text, line.span, dataclasses.replace(score, text=text))


def _warn_of_choosing(expectation: Expectation, context: TestContext, diagnostics: Diagnostics) -> None:
    """W600 where a ``max`` over cells is to be large, or a ``min`` small: the choice favours the expectation."""
    if context.cells < 2:
        return
    for comparison in expectation.comparisons:
        if not isinstance(comparison, ScoreOp) or comparison.op not in COMPARISONS:
            continue
        for side, large in zip(comparison.operands, ((">", ">="), ("<", "<=")), strict=True):
            favoured = "max" if comparison.op in large else "min" if comparison.op[0] in "<>" else ""
            for part in side.walk() if isinstance(side, CellScore) else ():
                if isinstance(part, OverCells) and part.which == favoured:
                    diagnostics.report(
                        "W600",
                        f"`{short(part.text)}` chooses one of {context.cells} cells and judges it on the same pairs",
                        expectation.span,
                        notes=(
                            "the best of many cells looks better than it is, and its interval does not account for the search",
                        ),
                        help=f"`best({part.score.text})` chooses on one half of the bases and scores on the other",
                    )
