"""The functions of metrics: ``recovered(m)``, ``max(iia)``, and which reader a call belongs to.

Codes: E601, E602, E607, E609.
"""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import did_you_mean
from causal_dsl.measures.circuit_calls import CircuitScoreReader
from causal_dsl.measures.measure_names import PATCHED
from causal_dsl.measures.names import (
    AGGREGATIONS,
    BETWEEN_RUNS,
    FUNCTIONS,
    OF_CIRCUITS,
    RESERVED,
    WITH_METRIC,
    short,
)
from causal_dsl.measures.per_cell import Best, CellScore, Chosen, Order, OverCells, PairMean
from causal_dsl.measures.per_pair import Change, FixedNumber, Pair
from causal_dsl.measures.ratios import (
    Recovered,
    RecoveredMedian,
    RecoveredPerPair,
    RelativeChange,
    RelativeChangeMedian,
    RelativeChangePerPair,
)
from causal_dsl.measures.units import INDEX, RATIO, SHARE, TRUTH
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.circuit_scores import CIRCUIT_SCORES
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS

_RECOVERED = "goes from the base run (0) to a source run (1)"


def _setting_of(name: str) -> tuple[str, ...]:
    """The name of the setting of a score of circuits; none where it has none."""
    score = CIRCUIT_SCORES.get(name)
    return (score.setting[0],) if score is not None and score.setting is not None else ()


@dataclass
class CallReader(CircuitScoreReader):
    """Makes values of calls; :class:`~causal_dsl.measures.metric_expressions.ExpressionReader` adds the operators."""

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
        settings = ("clean",) if name.startswith("recovered") else _setting_of(name)
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
                    help=did_you_mean(argument.name.name, settings, f"write `{name}({self.example(name)})`"),
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
        self.report("E602", title, expr.span, help=f"write `{name}({self.example(name)})`")
        return None

    def between_runs(
        self, expr: tree.Call, name: str, value: Pair | CellScore | FixedNumber, clean: tree.Argument | None
    ) -> Pair | CellScore | None:
        """``recovered(m)``, ``change(m)``, ``relative_change(m)``, and the first and the last as other averages."""
        if not isinstance(value, Pair):
            what = f"`{name}` takes a metric, a number for each pair, not `{short(value.text)}`"
            self.report(
                "E609", what, expr.span, help=f"write `{name}({self.example(name)})`: the mean is taken for you"
            )
            return None
        if value.two_runs:
            help = f"use it as it is: `{short(value.text)}`"
            self.report("E609", f"`{short(value.text)}` compares two runs already", expr.span, help=help)
            return None
        if not self.context.intervened:
            has = "nothing is intervened on"
            self.lacks(f"`{name}` {PATCHED}", has, expr.span, "write a `do(…)` in this test")
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
        asked = text.removeprefix(f"{name}(").removesuffix(")")
        return kinds.get(name, RecoveredPerPair)(text, RATIO, value, run, asked)

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
            self.report("E609", title, expr.span, help=f"write `{name}({self.example('best')})`")
            return None
        if self.context.differ and any(run != "base" for part in score.walk() for run, _ in part.needs()):
            self.differ(score.text, self.context.differ, expr.span)
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
