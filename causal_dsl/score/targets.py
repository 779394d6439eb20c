"""Which logit a quantity asks for, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causal_dsl.causal.accepted import UNKNOWN
from causal_dsl.engine.readings import Targets
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.network import Network
from causal_dsl.planning.plan import Plan
from causal_dsl.program.answers import Answers, first_token
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import Test
from causal_dsl.score.truth import labels_of


def target_ids(plan: Plan, answers: Mapping[str, Answers], networks: Mapping[NetworkKey, Network]) -> Targets:
    """For each row of a test, the id whose logit a quantity asks for ``[n]``; of a set, those of its values, -1 where there
    are fewer ``[n, most]``. They are read after the prompts of a role: an answer may have other tokens after another."""

    def ids(test: Test, quantity: Quantity, role: str = "base", /) -> np.ndarray:
        known, drawn = answers[test.name], plan.draw_of(test)
        if not known.lines:
            return after(test, quantity, 0)
        lines = drawn.templates(role)
        parts = [
            (rows, after(test, quantity, known.lines.index(own))) for _, own, rows in known.by_spelling(lines, drawn.n)
        ]
        if parts[0][1].ndim == 1:
            found = np.empty(drawn.n, dtype=np.int64)
        else:
            found = np.full((drawn.n, max(own.shape[1] for _, own in parts)), -1, dtype=np.int64)
        for rows, own in parts:
            if found.ndim == 1:
                found[rows] = own[rows]
            else:
                found[rows, : own.shape[1]] = own[rows]
        return found

    def after(test: Test, quantity: Quantity, line: int) -> np.ndarray:
        ref = quantity.of
        assert ref is not None
        drawn, known = plan.draw_of(test), answers[test.name]
        tokens = networks[test.network.key].tokens

        def one(value: Any) -> int:
            if value == UNKNOWN and value not in known.at(line).ids:
                return -1
            return first_token(value, test.readout, known, tokens, test.alignment, line)

        if not ref.role:
            return np.full(drawn.n, one(ref.constant), dtype=np.int64)
        variable = test.readout.variable if ref.role == "label" else ref.variable
        codes = labels_of(test, drawn) if ref.role == "label" else drawn.values[ref.role][variable]
        assert codes is not None
        distinct, back = np.unique(codes, return_inverse=True)
        if variable in test.model.sets:
            sets = test.model.sets[variable]
            held = [list(dict.fromkeys(map(one, sets.values(code)))) for code in distinct.tolist()]
            ids_of = np.full((len(held), max(map(len, held), default=0)), -1, dtype=np.int64)
            for row, own in zip(ids_of, held, strict=True):
                row[: len(own)] = own
            return ids_of[back.reshape(-1)]
        ids_of = np.array([one(value) for value in test.model.decode(variable, distinct)], dtype=np.int64)
        return ids_of[back.reshape(-1)]

    return ids
