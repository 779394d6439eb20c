"""Tests of scores: a test's lines compiled against a context, and columns of made-up runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.measures.compile import compile_metrics
from causal_dsl.measures.context import TestContext, TestScores
from causal_dsl.measures.quantities import Columns, Quantity, ValueRef
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse

ANSWER = Quantity("answer")
NAMES = ("Mary", "John", "Tom", "Anna")
METRICS = "metric logit_diff = logit(answer) - logit(subject)\n"


def compiled(lines: str, metrics: str = METRICS, **changes: Any) -> tuple[TestScores, Diagnostics]:
    """The lines of a test, compiled against one with an interchange, over a sweep of 2 layers x 2 positions."""
    found = Diagnostics()
    text = f"{metrics}\ntest t on tau {{\n{lines}\n}}\n"
    spec = parse(Source("t.causal", text), found)
    test = next(d for d in spec.declarations if isinstance(d, tree.TestDecl))
    assert not found.errors, list(found)
    context: dict[str, Any] = {
        "name": "t",
        "roles": ("base", "source"),
        "variables": {"answer": NAMES, "subject": NAMES, "count": (0, 1)},
        "output": "answer",
        "members": test.members,
        "metrics": {d.name.name: d.value for d in spec.declarations if isinstance(d, tree.MetricDecl)},
        "interchange": True,
        "intervened": True,
        "parameters": {"l": (0, 1), "p": ("last", "subject")},
        "span": test.span,
    }
    return compile_metrics(TestContext(**{**context, **changes}), found), found


def codes(found: Diagnostics) -> list[str]:
    return [diagnostic.code for diagnostic in found]


def logit(variable: str, role: str = "base") -> Quantity:
    return Quantity("logit", ValueRef(role, variable))


def made_up(scores: TestScores, n: int, seed: int, answers: int = 4) -> Columns:
    """Random numbers for every quantity that the scores need."""
    rng = np.random.default_rng(seed)

    def numbers(quantity: Quantity) -> np.ndarray:
        if quantity.kind == "answer":
            return rng.integers(0, answers, n)
        if quantity.kind == "log_normalizer":
            return rng.normal(6, 0.5, n)
        return rng.random(n) if quantity.kind in ("kl", "js") else rng.normal(1, 2, n)

    runs = {run: {q: numbers(q) for q in sorted(wanted, key=repr)} for run, wanted in scores.quantities.items()}
    base, patched = runs.pop("base"), runs.pop("patched", {})
    return Columns(base, patched, runs)
