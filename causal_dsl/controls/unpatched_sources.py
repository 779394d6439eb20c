"""Which sources of a test the network answers wrong by itself, where runs cost next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import in_tokens, is_small, rows_of_tokens
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.vocabulary.locations import Site


def wrong_sources(outputs: Sequence[Test], execution: Execution) -> dict[str, np.ndarray]:
    """In which pairs the network answers a source wrong, in any of the ``outputs`` [n], by role; of none where that costs more than next to nothing."""
    plan, found = execution.plan, dict[str, np.ndarray]()
    inputs = plan.inputs[outputs[0].network.key]
    if not is_small(inputs) and not rows_of_tokens(inputs):
        return {}
    for one in outputs:
        probe = Unmapped(0, Site("embed"), ((),), (), (), "decided", in_tokens(inputs))
        runs, drawn = LayerVectors(execution, one, probe), plan.draw_of(one)
        if runs.unfit:
            return {}
        draw, output = plan.scores[one.name][0].label.draw, one.readout.variable
        for role in dict.fromkeys(role for _, role in one.swaps if role != "base"):
            forward = Forward(one.network.key, draw, role)
            if forward not in plan.rows:
                continue
            index, first, back = np.unique(plan.rows[forward], return_index=True, return_inverse=True)
            values = drawn.values[role]
            said, _ = runs.said(index, values["template"][first] if "template" in values else None)
            wrong = ~one.model.accepted(output).right(said, values[output][first])
            found[role] = wrong[back.reshape(-1)] | found.get(role, np.zeros(drawn.n, bool))
    return found


__all__ = ["wrong_sources"]
