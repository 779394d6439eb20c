"""Scores of circuits and of whole alignments: ``faithfulness(m)``, ``cpr(m)``, ``scrubbed(m)``.

Codes: E607, E609, E806, E807, E822, E854.
"""

from __future__ import annotations

from causal_dsl.diagnostics import Span
from causal_dsl.faults import OwnFault
from causal_dsl.measures.circuit_run_names import MOST_NODES
from causal_dsl.measures.circuit_tests import EquivalenceTest, IndependenceTest, MinimalityTest
from causal_dsl.measures.names import TESTS_OF_CIRCUITS, short
from causal_dsl.measures.of_alignments import RecoveredMetric
from causal_dsl.measures.of_circuits import (
    CircuitCurve,
    Completeness,
    Faithfulness,
    FaithfulnessMedian,
    FaithfulnessPerPair,
    Minimality,
    Necessity,
    Sufficiency,
)
from causal_dsl.measures.per_cell import CellScore
from causal_dsl.measures.per_pair import FixedNumber, Pair
from causal_dsl.measures.place_calls import PlaceReader
from causal_dsl.measures.units import RATIO, SHARE
from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr


@dataclass
class CircuitScoreReader(PlaceReader):
    """Makes the scores that compare runs of a circuit, or of an alignment, with the base."""

    def of_alignment(self, expr: tree.Call, name: str, value: Pair | CellScore | FixedNumber) -> CellScore | None:
        """``scrubbed(m)``: how much of a metric is recovered."""
        if not isinstance(value, Pair) or value.two_runs:
            what = f"`{name}` takes a metric of one run, a number for each pair, not `{short(value.text)}`"
            self.report("E609", what, expr.span, help=f"write `{name}({self.example('')})`, or `{name}` alone")
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
            self.report("E609", what, expr.span, help=f"write `{name}({self.example(name)})`")
            return None
        circuit = self.context.circuit
        if circuit is None:
            title = f"`{name}` is of a test that reads one output, and whose only action is on one circuit"
            help = "write do(outside(circuit) <- source), or do(circuit = mean), and no other action"
            if self.context.several:
                read = ", ".join(f"`{output}`" for output in self.context.outputs)
                title = f"`{name}` is of a test that reads one output, and this one reads {read}"
                help = "test on an alignment that reads one of them, or report `change(…)`, `recovered(…)` and `kl(…)`"
            self.report("E806", title, expr.span, help=help)
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
        if self.context.differ:
            self.differ(text, self.context.differ, expr.span)
            return None
        return CircuitCurve(text, RATIO, name, score, circuit.shares)

    def differ(self, text: str, choices: tuple[str, ...], span: Span) -> None:
        """E807: cells that are ablations of different kinds."""
        self.report(
            "E807",
            f"the cells of `{short(text)}` are ablations that differ in {' and '.join(choices)}",
            span,
            notes=("numbers of ablations that make different choices do not compare",),
            help="sweep over what is ablated alone, and make a test of each choice",
        )
