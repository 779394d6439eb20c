"""The specs of :mod:`tests.engine.tiny` held against hooks on a model of transformers: one prompt at a time, each whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import causal_dsl as cd
from tests.engine.byhand import hook

PROMPTS = ("{x} w1 {y} w2 {z} w3", "w4 {x} w1 {y} w5 w2 {z}")
#: The path of a module of layer ``l``, the side of it, and which numbers of the last axis.
Place = Callable[[int], tuple[str, str, slice]]


@torch.no_grad()
def hold(
    text: str, model: Any, place: Place, options: cd.Options | None = None, close: float = 2e-4, drawn_as: str = ""
) -> Any:
    """Run a spec whose first test swaps the variable at one place a cell, and hold ``logit(o)`` of each cell against hooks on
    ``model``; gives the results. Some swap must move some logit. ``drawn_as``: a spec of the same draws whose network `check` knows,
    where it does not know that of ``text``."""
    options = options or cd.Options()
    results = cd.run(cd.parse(text), options)
    result, plan = results.tests[0], cd.check(cd.parse(drawn_as or text), options).plan
    assert plan is not None
    drawn, causal = plan.draw_of(plan.tests[0]), plan.tests[0].model
    moved = 0.0
    for cell in result.cells:
        path, side, columns = place(int(cell.cell["l"]))
        module, found, before = model.get_submodule(path), [], []
        for row in range(drawn.n):
            runs = {}
            for role in ("base", "source"):
                values = {v: causal.decode(v, [drawn.values[role][v][row]])[0] for v in "xyz"}
                line = int(drawn.values[role]["template"][row])
                ids = [int(word[1:]) for word in PROMPTS[line].format(**values).split()]
                at = line if cell.cell["p"] == "x" else len(ids) - 1
                answer = values["x"] if values["x"] == values["y"] else values["z"]
                runs[role] = torch.tensor([ids]), at, int(str(answer)[1:])
            (ids, at, _), (base_ids, base_at, answer) = runs["source"], runs["base"]
            vector = _vector(model, ids, module, side, at, columns)
            before.append(float(model(input_ids=base_ids).logits[0, -1, answer]))
            found.append(_patched(model, base_ids, module, side, base_at, columns, vector, answer))
        assert abs(cell.scores["logit(o)"].value - np.mean(found)) < close, (cell.cell, np.mean(found))
        moved = max(moved, float(np.abs(np.subtract(found, before)).max()))
    assert moved > 1e-3
    return result


def _vector(model: Any, ids: Tensor, module: Any, side: str, at: int, columns: slice) -> Tensor:
    kept = []

    def look(tensor: Tensor) -> Tensor:
        kept.append(tensor[0, at, columns].clone())
        return tensor

    handle = hook(module, side, look)
    model(input_ids=ids)
    handle.remove()
    return kept[0]


def _patched(
    model: Any, ids: Tensor, module: Any, side: str, at: int, columns: slice, vector: Tensor, answer: int
) -> float:
    def put(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[0, at, columns] = vector
        return tensor

    handle = hook(module, side, put)
    found = float(model(input_ids=ids).logits[0, -1, answer])
    handle.remove()
    return found
