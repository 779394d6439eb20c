"""Linear probes at places: what is read off vectors that were kept of all pairs, by probes that never saw their input."""

from __future__ import annotations

from tempfile import TemporaryFile

import numpy as np
import torch

from causal_dsl.base.faults import OwnFault
from causal_dsl.features.probe import logistic
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.probe_splits import control_task, halves, tasks_of
from causal_dsl.program.program import PlaceRead, Test

#: The most steps of L-BFGS.
MOST_STEPS = 200
#: Bytes of vectors that are held in memory; more lie in a file that is removed with the run.
_IN_MEMORY = 16 * 2**20


def rows_of(n: int, width: int) -> np.ndarray:
    """Room for the vectors [n, width] of all pairs, in memory or in a temporary file."""
    if n * width * 4 <= _IN_MEMORY:
        return np.full((n, width), np.nan, np.float32)
    with TemporaryFile() as file:  # it lives as long as it is mapped
        return np.memmap(file, np.float32, "w+", shape=(n, width))


@torch.no_grad()
def outcomes(vectors: np.ndarray, classes: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Whether each pair's class [n] is read off its vector [n, width] by the probe of the other half, 1 or 0.

    The probe is multinomial logistic regression (:func:`causal_dsl.features.probe.logistic`), on vectors that are centred and divided by one number, both
    of the half that it is fitted on; minimised by L-BFGS from zero in float64: the same data give the same probe.
    """
    known, codes = np.unique(classes, return_inverse=True)
    codes, found = codes.reshape(-1), np.full(len(classes), np.nan)
    for judged in (0, 1):
        fitted = half != judged
        x = torch.from_numpy(np.ascontiguousarray(vectors[fitted])).double()
        y = torch.from_numpy(np.ascontiguousarray(vectors[~fitted])).double()
        mean = x.mean(dim=0)
        x, y = x - mean, y - mean
        scale = x.square().mean().sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        if (
            x.shape[1] > x.shape[0]
        ):  # the weights lie in the span of what is fitted, and the penalty sees their norm alone
            basis = torch.linalg.qr(x.T).Q
            x, y = x @ basis, y @ basis
        if not bool(torch.isfinite(x).all()):
            continue
        weights, bias = logistic(x / scale, torch.from_numpy(codes[fitted]), len(known), MOST_STEPS, 1e-7, 1e-10)
        said = (y / scale @ weights + bias).argmax(dim=1).numpy()
        found[~fitted] = said == codes[~fitted]
    return found


def token_bounds(plan: Plan, run: g.Forward | g.Resume, look: PlaceRead) -> np.ndarray | None:
    """Where the tokens of each pair begin [n + 1] among those of all pairs; None where each pair has one."""
    (position,) = (place.position for place in look.places[:1])
    if position is None or position.single:
        return None
    base = run.base if isinstance(run, g.Resume) else run
    sizes = plan.inputs[base.network].sizes(position, plan.rows[base])
    return np.concatenate([[0], np.cumsum(sizes)])


def probe_numbers(
    plan: Plan, test: Test, run: g.Forward | g.Resume, look: PlaceRead, vectors: np.ndarray
) -> np.ndarray:
    """The number for each pair that is made of the vectors [n, width] of a place (of several tokens [tokens of all pairs, width])."""
    if look.kind == "save":
        parts = np.array_split(vectors, 64)
        norms = np.concatenate([np.linalg.norm(part.astype(np.float64), axis=1) for part in parts])
        bounds = token_bounds(plan, run, look)
        return norms if bounds is None else np.add.reduceat(norms, bounds[:-1]) / np.diff(bounds)
    if look.kind not in ("probe_accuracy", "probe_selectivity"):
        raise OwnFault(f"nothing is made of the vectors of all pairs for `{look.kind}`")
    base = run.base if isinstance(run, g.Resume) else run
    inputs, rows = plan.inputs[base.network], plan.rows[base]
    classes, types = tasks_of(inputs, rows, plan.draw_of(test).values["base"], look)
    half = halves(inputs.runs[rows])
    right = outcomes(vectors, classes, half)
    if look.kind == "probe_accuracy":
        return right
    control = control_task(types, classes)
    assert control is not None
    return right - outcomes(vectors, control, half)


__all__ = ["outcomes", "probe_numbers", "rows_of", "token_bounds"]
