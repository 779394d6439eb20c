"""The numbers that are made of what was read at places in the runs of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from causal_dsl.diagnostics import Span, fail
from causal_dsl.engine.attribution import Attribution
from causal_dsl.engine.looked_at import Looks
from causal_dsl.engine.place_readings import vectors as vectors_at
from causal_dsl.engine.readout import measure
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning import graph as g
from causal_dsl.planning.looks_held import LENS_ROWS
from causal_dsl.planning.memory import MOST_LOGITS_CPU, MOST_LOGITS_DEVICE
from causal_dsl.program.program import PlaceRead, Test
from causal_dsl.vocabulary.plugins import made
from causal_dsl.vocabulary.readings import READINGS


@torch.no_grad()
def numbers_at(looks: Looks, test: Test, pairs: np.ndarray) -> dict[tuple[int, str], dict[Quantity, np.ndarray]]:
    """Of each cell and run of a test, what is measured at places, a number for each of ``pairs``."""
    found: dict[tuple[int, str], dict[Quantity, np.ndarray]] = {}
    for number, score in enumerate(looks.context.plan.scores[test.name]):
        for role, read in score.reads:
            if not read.looks or (read.run, read.looks[0].look.places[0]) not in looks.layout.watches:
                continue
            own: dict[Quantity, np.ndarray] = {}
            for looked in read.looks:
                own |= _numbers(looks, test, read.run, looked, pairs)
            found[number, role] = own
    return found


def _numbers(
    looks: Looks, test: Test, run: g.Forward | g.Resume, looked: g.Looked, pairs: np.ndarray
) -> dict[Quantity, np.ndarray]:
    look = looked.look
    asked = tuple((q.kind, q.of) for q in looked.quantities)
    key = (test.name, run, look.kind, look.places, look.arguments, asked)
    if key not in looks.done:
        if look.kind in ("stream", "normed", "tuned_lens"):
            looks.done[key] = _lens(looks, test, run, looked, pairs)
        elif look.kind == "attribution":
            looks.done[key] = Attribution(looks, test, run, pairs).numbers(looked)
        elif READINGS[look.kind].of == "pairs":
            watch, back = looks.layout.watches[run, look.places[0]], looks.back(run, pairs)
            begins = np.searchsorted(watch.which, [back, back + 1])
            tokens = np.concatenate([np.arange(start, end) for start, end in begins.T]) if len(back) else back
            kept = vectors_at(looks, run, look.places[0])[torch.from_numpy(tokens)]
            looks.done[key] = dict.fromkeys(looked.quantities, kept.float().cpu().numpy())
        else:
            values = made(READINGS[look.kind].function)(looks, run, look)[looks.back(run, pairs)]
            looks.done[key] = dict.fromkeys(looked.quantities, values)
    # Of two cells that read the same the quantities are named by their own words.
    return dict(zip(looked.quantities, looks.done[key].values(), strict=True))


def _lens(
    looks: Looks, test: Test, run: g.Forward | g.Resume, looked: g.Looked, pairs: np.ndarray
) -> dict[Quantity, np.ndarray]:
    """The logit lens (nostalgebraist 2020): what the last norm and the read-out make of a vector of the stream."""
    (place,) = looked.look.places
    vectors = looks.values[run, place]
    at = torch.from_numpy(looks.layout.watches[run, place].at[looks.back(run, pairs)])
    ids = {q: looks.ids(test, q, run, pairs) for q in looked.quantities if q.of is not None}
    ending = looks.ending
    device = looks.context.network.device_of(ending.unembed)
    vectors = vectors.to(device)
    if looked.look.kind == "tuned_lens":
        vectors = _tuned(looks, looked.look, vectors)
    normed = vectors if looked.look.kind == "normed" else ending.normed(vectors)
    if ending.narrow and all(q.kind == "logit" and ids[q].dim() == 1 for q in looked.quantities):
        return {q: _single(looks, normed, at, ids[q]) for q in looked.quantities}
    return _whole(looks, normed, at, ids, looked.quantities)


def _tuned(looks: Looks, look: PlaceRead, vectors: Tensor) -> Tensor:
    """Vectors [k, width] through the map of a tuned lens (Belrose et al. 2023)."""
    path, name = look.arguments
    if not name:
        return vectors
    if look.arguments not in looks.shared:
        looks.shared[look.arguments] = load_map(path, name, look.span)
    weight, bias = (tensor.to(vectors) for tensor in looks.shared[look.arguments])
    return vectors + vectors @ weight.T + bias


def _single(looks: Looks, normed: Tensor, at: Tensor, ids: Tensor) -> np.ndarray:
    """One logit of each pair, without the others."""
    found = torch.empty(len(at), dtype=torch.float64)
    step = max(1, MOST_LOGITS_CPU // max(1, normed.shape[1]))
    for start in range(0, len(at), step):
        part = slice(start, start + step)
        weights, biases = looks.ending.weights(ids[part].clamp(min=0))
        here = normed.index_select(0, at[part].to(normed.device)).double()
        found[part] = ((here * weights).sum(dim=1) + biases).cpu()
    finished = looks.ending.finished(found)
    return torch.where(ids >= 0, finished, torch.nan).numpy()


def _whole(
    looks: Looks, normed: Tensor, at: Tensor, ids: dict[Quantity, Tensor], quantities: Sequence[Quantity]
) -> dict[Quantity, np.ndarray]:
    """Measures of all logits, of some vectors at a time."""
    found = {quantity: np.full(len(at), np.nan) for quantity in quantities}
    outputs = looks.context.network.facts.outputs or normed.shape[1]
    most = MOST_LOGITS_CPU if normed.device.type == "cpu" else MOST_LOGITS_DEVICE
    step = max(1, most // max(1, outputs))
    together = max(step, LENS_ROWS)  # each product reads the whole unembedding
    for start in range(0, len(normed), together):
        logits = looks.ending.logits(normed[start : start + together])
        mine = torch.nonzero((at >= start) & (at < start + together)).reshape(-1)
        for first in range(0, len(mine), step):
            rows = mine[first : first + step]
            picked = logits.index_select(0, (at[rows] - start).to(logits.device))
            targets = {q: ids[q][rows].to(logits.device) for q in ids}
            for quantity, values in measure(picked, quantities, targets, None, None).items():
                found[quantity][rows.numpy()] = values.double().cpu().numpy()
    return found


def load_map(path: Path, name: str, span: Span) -> tuple[Tensor, Tensor]:
    """The weight [width, width] and the bias [width] of one layer of a tuned lens; E848 where they cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return file.get_tensor(f"{name}.weight"), file.get_tensor(f"{name}.bias")
    except (OSError, SafetensorError) as error:
        raise fail("E848", f"`{path.name}` cannot be read", span, notes=(str(error)[:200],)) from error


__all__ = ["numbers_at"]
