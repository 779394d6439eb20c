"""What is read at places in the runs of a pass, and the numbers that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, Span, fail
from causal_dsl.engine.attended_keys import as_wide
from causal_dsl.engine.attribution import Attribution
from causal_dsl.engine.place_readings import vectors as vectors_at
from causal_dsl.engine.readout import measure
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.ending import Ending
from causal_dsl.planning import graph as g
from causal_dsl.planning.looks_held import LENS_ROWS
from causal_dsl.planning.memory import MOST_LOGITS_CPU, MOST_LOGITS_DEVICE
from causal_dsl.planning.pass_layout import Layout
from causal_dsl.program.program import PlaceRead, Test
from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.plugins import made
from causal_dsl.vocabulary.readings import READINGS

if TYPE_CHECKING:
    from causal_dsl.engine.runner import Context

#: A run, and a place in it.
Key = tuple[g.Forward | g.Resume, Place]


@dataclass(eq=False)
class Looks:
    """What the tests measure at places in one pass. ``values[key]`` are the vectors there [k, width], in the order of the
    layout's watch of the key."""

    context: Context
    layout: Layout
    values: dict[Key, Tensor] = field(default_factory=dict)
    #: what several readings are made from
    shared: dict[Any, Any] = field(default_factory=dict)
    _done: dict[object, dict[Quantity, np.ndarray]] = field(default_factory=dict)

    @property
    def watches(self) -> list[Key]:
        """The places that the pass reads."""
        return list(self.layout.watches)

    def take(self, key: Key, values: Tensor) -> None:
        """All vectors of a place."""
        self.values[key] = self._wide(key, values)

    def put(self, key: Key, index: Tensor, values: Tensor) -> None:
        """Some vectors of a place."""
        values = self._wide(key, values)
        if key not in self.values:
            self.values[key] = values.new_full((len(self.layout.watches[key].rows), values.shape[1]), float("nan"))
        self.values[key][index.to(values.device)] = values

    def _wide(self, key: Key, values: Tensor) -> Tensor:
        site = key[1].site
        if site.component != "pattern" or site.dims is not None:
            return values
        heads = len(site.heads) or self.context.network.facts.heads or 1
        return as_wide(values, heads, self.layout.width)

    # ── numbers ─────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def numbers(self, test: Test, pairs: np.ndarray) -> dict[tuple[int, str], dict[Quantity, np.ndarray]]:
        """Of each cell and run of a test, what is measured at places, a number for each of ``pairs``."""
        found: dict[tuple[int, str], dict[Quantity, np.ndarray]] = {}
        for number, score in enumerate(self.context.plan.scores[test.name]):
            for role, read in score.reads:
                if not read.looks or (read.run, read.looks[0].look.places[0]) not in self.layout.watches:
                    continue
                own: dict[Quantity, np.ndarray] = {}
                for looked in read.looks:
                    own |= self._numbers(test, read.run, looked, pairs)
                found[number, role] = own
        return found

    def _numbers(
        self, test: Test, run: g.Forward | g.Resume, looked: g.Looked, pairs: np.ndarray
    ) -> dict[Quantity, np.ndarray]:
        look = looked.look
        asked = tuple((q.kind, q.of) for q in looked.quantities)
        key = (test.name, run, look.kind, look.places, look.arguments, asked)
        if key not in self._done:
            if look.kind in ("stream", "normed", "tuned_lens"):
                self._done[key] = self._lens(test, run, looked, pairs)
            elif look.kind == "attribution":
                self._done[key] = Attribution(self, test, run, pairs).numbers(looked)
            elif READINGS[look.kind].of == "pairs":
                watch, back = self.layout.watches[run, look.places[0]], self.back(run, pairs)
                begins = np.searchsorted(watch.which, [back, back + 1])
                tokens = np.concatenate([np.arange(start, end) for start, end in begins.T]) if len(back) else back
                kept = vectors_at(self, run, look.places[0])[torch.from_numpy(tokens)]
                self._done[key] = dict.fromkeys(looked.quantities, kept.float().cpu().numpy())
            else:
                values = made(READINGS[look.kind].function)(self, run, look)[self.back(run, pairs)]
                self._done[key] = dict.fromkeys(looked.quantities, values)
        # Of two cells that read the same the quantities are named by their own words.
        return dict(zip(looked.quantities, self._done[key].values(), strict=True))

    def back(self, run: g.Forward | g.Resume, pairs: np.ndarray) -> np.ndarray:
        """Which of the pairs of a run's watches stands for each pair of the block."""
        if isinstance(run, g.Forward):
            return np.arange(len(pairs))
        return next(family.back for family in self.layout.families if family.resume == run)

    def ids(self, test: Test, quantity: Quantity, run: g.Forward | g.Resume, pairs: np.ndarray) -> Tensor:
        """The ids whose logits a quantity asks for in a run [n] (of sets [n, most])."""
        assert self.context.targets is not None
        role = run.role if isinstance(run, g.Forward) else run.base.role
        return torch.from_numpy(self.context.targets(test, Quantity("logit", quantity.of), role)[pairs])

    @cached_property
    def ending(self) -> Ending:
        """The end of the network, from the residual stream to logits."""
        inputs = self.context.plan.inputs[self.layout.network]
        shortest = self.layout.inputs[int(inputs.lengths[self.layout.inputs].argmin())]
        every = (read for scores in self.context.plan.scores.values() for score in scores for _, read in score.reads)
        span = next((looked.look.span for read in every for looked in read.looks), NOWHERE)
        return Ending(self.context.network, inputs.rows(np.array([shortest])), span)

    def _lens(
        self, test: Test, run: g.Forward | g.Resume, looked: g.Looked, pairs: np.ndarray
    ) -> dict[Quantity, np.ndarray]:
        """The logit lens (nostalgebraist 2020): what the last norm and the read-out make of a vector of the stream."""
        (place,) = looked.look.places
        vectors = self.values[run, place]
        at = torch.from_numpy(self.layout.watches[run, place].at[self.back(run, pairs)])
        ids = {q: self.ids(test, q, run, pairs) for q in looked.quantities if q.of is not None}
        ending = self.ending
        device = self.context.network.device_of(ending.unembed)
        vectors = vectors.to(device)
        if looked.look.kind == "tuned_lens":
            vectors = self._tuned(looked.look, vectors)
        normed = vectors if looked.look.kind == "normed" else ending.normed(vectors)
        if ending.narrow and all(q.kind == "logit" and ids[q].dim() == 1 for q in looked.quantities):
            return {q: self._single(normed, at, ids[q]) for q in looked.quantities}
        return self._whole(normed, at, ids, looked.quantities)

    def _tuned(self, look: PlaceRead, vectors: Tensor) -> Tensor:
        """Vectors [k, width] through the map of a tuned lens (Belrose et al. 2023)."""
        path, name = look.arguments
        if not name:
            return vectors
        if look.arguments not in self.shared:
            self.shared[look.arguments] = load_map(path, name, look.span)
        weight, bias = (tensor.to(vectors) for tensor in self.shared[look.arguments])
        return vectors + vectors @ weight.T + bias

    def _single(self, normed: Tensor, at: Tensor, ids: Tensor) -> np.ndarray:
        """One logit of each pair, without the others."""
        found = torch.empty(len(at), dtype=torch.float64)
        step = max(1, MOST_LOGITS_CPU // max(1, normed.shape[1]))
        for start in range(0, len(at), step):
            part = slice(start, start + step)
            weights, biases = self.ending.weights(ids[part].clamp(min=0))
            here = normed.index_select(0, at[part].to(normed.device)).double()
            found[part] = ((here * weights).sum(dim=1) + biases).cpu()
        finished = self.ending.finished(found)
        return torch.where(ids >= 0, finished, torch.nan).numpy()

    def _whole(
        self, normed: Tensor, at: Tensor, ids: dict[Quantity, Tensor], quantities: Sequence[Quantity]
    ) -> dict[Quantity, np.ndarray]:
        """Measures of all logits, of some vectors at a time."""
        found = {quantity: np.full(len(at), np.nan) for quantity in quantities}
        outputs = self.context.network.facts.outputs or normed.shape[1]
        most = MOST_LOGITS_CPU if normed.device.type == "cpu" else MOST_LOGITS_DEVICE
        step = max(1, most // max(1, outputs))
        together = max(step, LENS_ROWS)  # each product reads the whole unembedding
        for start in range(0, len(normed), together):
            logits = self.ending.logits(normed[start : start + together])
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


__all__ = ["Key", "Looks"]
