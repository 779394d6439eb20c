"""Places of a variable with their mean over the inputs in which it has the same value.

A trace of a code, a small fraction of what a place holds, shows in no distance. If the network reads the trace and not the variable, the answer
moves when what differs between inputs with one value of the variable is levelled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from causal_dsl.controls.assembling import Assembling
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.probe_rows import LEAST, is_small
from causal_dsl.planning.rest_of_layer import layers_of
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import exceeds, levelled_finding, of_pairs
from causal_dsl.vocabulary.locations import Place


@torch.no_grad()
def with_levelled(cell: CellResult, number: int, test: Test, execution: Execution) -> CellResult:
    """The cell ``number`` of a test, told whether the answer moves when a place is levelled: in a small vector network, beside a full verdict, where
    nothing else was said of what the place holds."""
    if cell.verdict is None or cell.verdict.code not in FULL or not is_small(execution.plan.inputs[test.network.key]):
        return cell
    if any(one.code in ("holds_more", "input_copy", "idle_place") for one in cell.findings):
        return cell
    layers, _ = layers_of(test, test.cells[number])
    written = tuple(dict.fromkeys(i.variable for i in test.cells[number].interventions if i.variable))
    if len(layers) != 1:
        return cell
    site = layers[0].site
    assembling = Assembling(execution, (test,), Unmapped(number, site, ((),), written, (), "decided", False))
    if len(assembling.inputs) < LEAST:
        return cell
    iia = cell.scores["iia"].value
    allowed = max(assembling.wrong, 0.0 if iia is None else 1 - iia)
    found = []
    for name, columns in assembling.layer.blocks(test, int(assembling.inputs[0])).items():
        if not assembling.varies(columns, [name]):
            continue
        vectors, group = (
            assembling.vectors.clone(),
            np.unique(assembling.values[name], return_inverse=True)[1].reshape(-1),
        )
        for value in range(int(group.max()) + 1):
            rows = torch.from_numpy(np.flatnonzero(group == value))
            vectors[rows[:, None], torch.tensor(columns)[None]] = vectors[rows][:, columns].mean(dim=0)
        every = np.arange(len(assembling.inputs))
        said, _ = assembling.layer.said(assembling.inputs, assembling.lines(every), vectors)
        hits = of_pairs((said != assembling.answers) & (said != TIED), False)
        if exceeds(hits, allowed, len(written)):
            places = ", ".join(
                str(place) for p in test.cells[number].placed if p.variable == name for place in p.places
            )
            found.append(levelled_finding(hits, name, places or str(Place(site))))
    return replace(cell, findings=(*cell.findings, *found)) if found else cell


__all__ = ["with_levelled"]
