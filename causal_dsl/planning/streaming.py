"""The work of reading weights that stay in their files: bytes, and the time that reading them takes."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.cost import sizes
from causal_dsl.planning.fit_groups import groups_of, tokens_of_rows
from causal_dsl.planning.memory import MOST_TOKENS_CPU, Budget, default_bytes
from causal_dsl.planning.peak import columns_of
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.weights_held import STREAMED
from causal_dsl.store.tensor_headers import header_of

if TYPE_CHECKING:
    from causal_dsl import shapes
    from causal_dsl.planning.plan import Plan

#: A matrix of a layer, by the name of its tensor.
_OF_LAYER = re.compile(r"(?:^|\.)\d+\.")
#: Bytes that are read to find how fast the files are.
_TRIED = 1 << 26
_SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class StreamedBytes:
    """The readings of the weights of ``network``: ``bytes`` in ``blocks`` passes over layers of ``layer_bytes`` each, at a
    ``bandwidth`` of bytes a second, as reading some of them took; before that, at most ``fit_bytes`` by ``fit_steps`` steps of fits."""

    network: str
    bytes: float
    blocks: int
    layer_bytes: float
    bandwidth: float
    fit_bytes: float = 0.0
    fit_steps: int = 0

    @property
    def seconds(self) -> float:
        """How long reading takes where nothing else does, that of fits too."""
        return (self.bytes + self.fit_bytes) / self.bandwidth

    def __str__(self) -> str:
        blocks = f"{self.blocks:,} block{'s' * (self.blocks != 1)}"
        steps = f"{self.fit_steps:,} step{'s' * (self.fit_steps != 1)}"
        fits = (
            f", and at most {_told(self.fit_bytes)} by fits, in {steps} and the checks after each epoch"
            if self.fit_steps
            else ""
        )
        return (
            f"weights of {self.network}: {_told(self.bytes)} read from their files in {blocks}, each layer at most once a block "
            f"({_told(self.layer_bytes)} a layer){fits}; {self.seconds:,.1f} s at {_told(self.bandwidth)}/s, as fast as some of them were just read"
        )

    def to_json(self) -> shapes.StreamedBytesJson:
        return {
            "network": self.network,
            "bytes": round(self.bytes),
            "blocks": self.blocks,
            "layer_bytes": round(self.layer_bytes),
            "bandwidth": self.bandwidth,
            "seconds": self.seconds,
            "fit_bytes": round(self.fit_bytes),
            "fit_steps": self.fit_steps,
        }


def streamed_bytes(plan: Plan) -> list[StreamedBytes]:
    """The readings for a plan on a CPU with the memory that it is given, or takes unasked, of each network whose weights are streamed and
    whose files are at hand."""
    found = []
    refs = {key: ref for key, ref in plan.networks.items() if ref.held == STREAMED}
    refs = {key: ref for key, ref in refs.items() if ref.facts.folder is not None}
    if not refs:
        return []
    budgets = {
        key: Budget(plan.asked or default_bytes(), _SIZES.get(dict(key.settings).get("dtype", ""), 4))
        for key in plan.inputs
    }
    cut = chunk_to_memory(plan, budgets)
    for key, ref in refs.items():
        assert ref.facts.folder is not None
        inside, unembedding = _matrices(ref.facts.folder)
        each = sum(inside.values()) / max(1, layers_of(ref.facts))
        read, blocks = 0.0, 0.0
        for step, sized, times in sizes(cut):
            if step.network != key:
                continue
            passes = times / sized.share * (len(step.resumes) + len(step.forwards) if step.why else 1)
            levels = sum(bool(live.tokens + live.keys_only) for live in sized.schedule.levels[:-1])
            asked = unembedding if columns_of(cut, step) is None and sized.schedule.levels[-1].tokens else 0
            read, blocks = read + passes * (levels * each + asked), blocks + passes
        steps, fitted = _of_fits(plan, key, each, unembedding)
        bandwidth = _bandwidth(ref.facts.folder)
        found.append(StreamedBytes(ref.name, read, round(blocks), each, bandwidth, fitted, steps))
    return found


def _of_fits(plan: Plan, key: NetworkKey, each: float, unembedding: int) -> tuple[int, float]:
    """The steps of the fits on a network, those of a group together, and what they and the checks after each epoch read at most: a
    step reads the layers from the first written one on, and once more on the way back."""
    own = [] if plan.fits is None else [u for u in plan.fits.units if u.network == key and not u.fitting.file]
    if plan.fits is None or not own:
        return 0, 0.0
    fits = plan.fits.plan
    inputs, layers = fits.inputs[key], layers_of(fits.inputs[key].facts)
    tokens = tokens_of_rows(fits, Layouts(fits), own)

    def passes(pairs: int) -> int:
        return math.ceil(pairs * tokens / MOST_TOKENS_CPU)

    total, read = 0, float(passes(len(inputs.lengths)) * layers * each)
    for group in groups_of(own, tokens, MOST_TOKENS_CPU // 2):
        first = min((w.place.site.layer or 0 for u in group for e in u.experiments for w in e.fit.writes), default=0)
        once = (layers - min(layers, max(0, first))) * each + unembedding
        pairs = {u: sum(fits.drawn[e.fit.base.draw].n for e in u.experiments) for u in group}
        steps = max(u.fitting.epochs * math.ceil(pairs[u] / u.fitting.batch) for u in group)
        checked = sum(fits.drawn[e.validation.base.draw].n * u.fitting.restarts for u in group for e in u.experiments)
        read += (2 * steps + max(u.fitting.epochs for u in group) * passes(checked)) * once
        total += steps
    return total, read


def _matrices(folder: Path) -> tuple[Mapping[str, int], int]:
    """The bytes of each matrix of a layer, by its name, and those of the unembedding."""
    inside: dict[str, int] = {}
    outside: dict[str, int] = {}
    for path in folder.glob("*.safetensors"):
        header = header_of(path)
        for name, tensor in header.tensors.items() if header is not None else ():
            if len(tensor.shape) >= 2:
                (inside if _OF_LAYER.search(name) else outside)[name] = tensor.nbytes
    return inside, max(outside.values(), default=0)


def _bandwidth(folder: Path) -> float:
    """How many bytes a second are read from the largest file of a checkpoint: from the middle of it."""
    path = max(folder.glob("*.safetensors"), key=lambda one: one.stat().st_size, default=None)
    if path is None:
        return math.inf
    number = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(number).st_size
        begin, done, started = max(0, (size - _TRIED) // 2), 0, time.perf_counter()
        while done < _TRIED and (got := os.pread(number, 1 << 22, begin + done)):
            done += len(got)
        return done / max(1e-9, time.perf_counter() - started)
    finally:
        os.close(number)


def _told(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"


__all__ = ["StreamedBytes", "streamed_bytes"]
