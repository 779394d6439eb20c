"""Scores of circuits and of whole alignments: ``faithfulness(m)``, ``cpr(m)``, ``scrubbed(m)``.

Codes: E607, E609, E806, E807, E822, E854.
"""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span
from causal_dsl.measures.context import OnCircuit
from causal_dsl.measures.names import short
from causal_dsl.measures.of_alignments import RecoveredMetric
from causal_dsl.measures.per_cell import CellScore
from causal_dsl.measures.per_pair import FixedNumber, Pair
from causal_dsl.measures.place_calls import PlaceReader
from causal_dsl.measures.units import RATIO
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.circuit_scores import CIRCUIT_SCORES, CircuitScore
from causal_dsl.vocabulary.plugins import made


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
        text, record = format_expr(expr), CIRCUIT_SCORES[name]
        if record.over_sizes and not self.is_curve(expr, name, circuit):
            return None
        number = self.number_of(expr, record)
        score: CellScore | None = None
        if number is not None:
            score = made(record.make)(text, value, circuit, name if record.over_sizes else number)
        return score

    def number_of(self, expr: tree.Call, record: CircuitScore) -> float | None:
        """The number of its setting, ``equivalence_test(m, epsilon=0.1)``; None where a fault was reported."""
        number = 0.0 if record.setting is None else record.setting[1]
        given = next((argument for argument in expr.arguments if argument.name is not None), None)
        if given is None:
            return number
        read = self.value(given.value, verdict=False)
        if isinstance(read, FixedNumber) and 0 <= read.value < record.below:
            return read.value
        which = "" if given.name is None else given.name.name
        self.report(
            "E822",
            f"`{which}` of `{record.name}` is a number from 0 to below {record.below:g}",
            given.value.span,
            help=f"write {which}={number:g}",
        )
        return None

    def is_curve(self, expr: tree.Call, name: str, circuit: OnCircuit) -> bool:
        """Whether the circuits of a sweep make a curve: ``cpr(m)`` and ``cmd(m)``."""
        if len(circuit.shares) < 2:
            help = "sweep over its size: circuit c(k in [0.01, 0.1, 0.5]) : net = json(…, keep=k, by=signed)"
            self.lacks(f"`{name}` is over circuits of several sizes", "this test has one", expr.span, help)
            return False
        if self.context.differ:
            self.differ(format_expr(expr), self.context.differ, expr.span)
            return False
        return True

    def differ(self, text: str, choices: tuple[str, ...], span: Span) -> None:
        """E807: cells that are ablations of different kinds."""
        self.report(
            "E807",
            f"the cells of `{short(text)}` are ablations that differ in {' and '.join(choices)}",
            span,
            notes=("numbers of ablations that make different choices do not compare",),
            help="sweep over what is ablated alone, and make a test of each choice",
        )
