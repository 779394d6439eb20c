"""More pairs of an interchange, which recombine the inputs of its test, where runs cost next to nothing.

A network that errs by itself hides a claim that fails in few pairs, unless there are many pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import SEED, in_tokens, is_small, prompts_of, rows_of_tokens
from causal_dsl.planning.rest_of_layer import layers_of
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Cell, Test
from causal_dsl.score.own_failures import MorePairs

#: How many pairs, of all cells of a test together.
_PAIRS = 2**12


def more_pairs(test: Test, execution: Execution, settings: Mapping[str, object]) -> MorePairs | None:
    """More pairs of the cell of a test with these settings; None where they cannot be run, or a condition ties the roles of a pair to each other."""
    plan, network = execution.plan, test.network
    inputs = plan.inputs[network.key]
    number = next(n for n, cell in enumerate(test.cells) if dict(cell.values) == dict(settings))
    cell = test.cells[number]
    pairs = _PAIRS // max(1, test.unlike)
    tied = any(one.where is not None or one.like for one in test.design.statements)
    if tied or test.solved or not test.controls or pairs <= plan.draw_of(test).n:
        return None
    if not is_small(inputs) and not rows_of_tokens(inputs):
        return None
    made = _layer(test, number, cell, execution)
    if made is None:
        return None
    layer, drawn, draw = made, plan.draw_of(test), plan.scores[test.name][0].label.draw
    stream, roles = Stream(SEED, drawn.n, "pairs"), ("base", *dict.fromkeys(role for _, role in test.swaps))
    if roles.count("base") > 1 or any(Forward(network.key, draw, role) not in plan.rows for role in roles):
        return None
    chosen = {role: stream.below(drawn.n, pairs) for role in roles}
    index = {role: plan.rows[Forward(network.key, draw, role)][rows] for role, rows in chosen.items()}
    values = {role: {n: c[chosen[role]] for n, c in drawn.values[role].items()} for role in roles}
    if any(len(np.unique(some["template"])) > 1 for some in values.values() if "template" in some):
        return None
    do = {variable: values[role][variable] for variable, role in test.swaps}
    try:
        labels = test.model.evaluate({name: values["base"][name] for name in test.model.exogenous}, do)
    except SpecError:
        return None
    distinct, back = np.unique(np.concatenate(list(index.values())), return_inverse=True)
    at = dict(zip(roles, back.reshape(len(roles), pairs), strict=True))
    lines = {role: some.get("template") for role, some in values.items()}
    own = None if lines["base"] is None else np.full(len(distinct), lines["base"][0])
    said, vectors = layer.said(distinct, own)[0], layer.read(distinct)
    mixed, blocks = vectors[at["base"]].clone(), layer.blocks(test, int(distinct[0]))
    for variable, role in test.swaps:
        columns = blocks[variable]
        mixed[:, columns] = vectors[at[role]][:, columns]
    right, output = test.model.accepted(test.readout.variable).right, test.readout.variable
    patched, _ = layer.said(index["base"], lines["base"], mixed)
    alone = {role: ~right(said[at[role]], values[role][output]) for role in roles}
    return MorePairs(values, dict(labels), ~right(patched, labels[output]), alone, at)


def _layer(test: Test, number: int, cell: Cell, execution: Execution) -> LayerVectors | None:
    """The layer of which a cell interchanges parts, and nothing else; None where it does anything else."""
    layers, _ = layers_of(test, cell)
    written = tuple(i.variable for i in cell.interventions if i.variable)
    if len(layers) != 1 or len(written) < len(cell.interventions) or layers[0].early:
        return None
    inputs = execution.plan.inputs[test.network.key]
    tokens = in_tokens(inputs)
    if tokens and len(set(inputs.lengths[prompts_of(execution.plan, test)].tolist())) > 1:
        return None
    layer = LayerVectors(execution, test, Unmapped(number, layers[0].site, ((),), written, (), "decided", tokens))
    return None if layer.unfit or len(set(written)) < len(test.swaps) else layer


__all__ = ["more_pairs"]
