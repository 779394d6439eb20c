"""The compiled scores of a circuit, as their records name them (``vocabulary/circuit_scores.py``)."""

from __future__ import annotations

from causal_dsl.measures.circuit_run_names import MOST_NODES
from causal_dsl.measures.circuit_tests import EquivalenceTest, IndependenceTest, MinimalityTest
from causal_dsl.measures.context import OnCircuit
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
from causal_dsl.measures.per_pair import Pair
from causal_dsl.measures.units import RATIO, SHARE


def faithfulness(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return Faithfulness(text, RATIO, metric, circuit.outside)


def faithfulness_per_pair(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return FaithfulnessPerPair(text, RATIO, metric, circuit.outside)


def faithfulness_median(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return FaithfulnessMedian(text, RATIO, metric, circuit.outside)


def sufficiency(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return Sufficiency(text, RATIO, metric, circuit.outside)


def necessity(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return Necessity(text, RATIO, metric, circuit.outside)


def completeness(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return Completeness(text, RATIO, metric, circuit.outside)


def minimality(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    most = max(count for _, count in circuit.counts)
    return Minimality(text, RATIO, metric, circuit.outside, tuple(range(max(1, min(most, MOST_NODES)))))


def area(text: str, metric: Pair, circuit: OnCircuit, name: str) -> CellScore:
    """Of the curve over the circuits of a sweep."""
    score = Faithfulness(f"faithfulness({metric.text})", RATIO, metric, circuit.outside)
    return CircuitCurve(text, RATIO, name, score, circuit.shares)


def equivalence_test(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return EquivalenceTest(text, SHARE, metric, circuit.outside, number)


def independence_test(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return IndependenceTest(text, SHARE, metric, circuit.outside)


def minimality_test(text: str, metric: Pair, circuit: OnCircuit, number: float) -> CellScore:
    return MinimalityTest(text, SHARE, metric, circuit.outside, number, circuit.counts)
