"""The ways of doing the same work: one class each, imported only in the environment that has its package.

A contender loads the network from a folder, and ``run(arrays)`` gives the patched logits [cells, pairs, 2] of the
ids that are wanted, at the last token. Everything that it needs from a source it computes within ``run``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Where a contender is: ``environment`` (``ours``: the project's own), ``module`` and class.

    ``form`` says in a line how it works, ``way`` which of :data:`benchmarks.flops.WAYS` counts its FLOPs. ``growth``:
    whether it runs W5, where of each package only its fastest form does. ``only``: the workloads that it is timed on.
    """

    name: str
    environment: str
    module: str
    cls: str
    form: str
    way: str
    growth: bool = False
    only: tuple[str, ...] = ()

    def runs(self, workload: str) -> bool:
        """Whether it is timed on a workload."""
        return workload in self.only if self.only else self.growth or not workload.startswith("W5")

    def load(self, folder: Path) -> Any:
        """The contender with the network loaded; only in its own environment."""
        module = importlib.import_module(f"benchmarks.{self.module}")
        return getattr(module, self.cls)(folder)


_PYVENE, _NNSIGHT, _LENS = (f"contenders.{name}_cells" for name in ("pyvene", "nnsight", "transformer_lens"))

CONTENDERS = {
    entry.name: entry
    for entry in (
        Entry(
            "ours",
            "ours",
            "ours",
            "Ours",
            "a spec's plan executed (check, plan and scores are timed apart)",
            "bound",
            True,
        ),
        Entry(
            "hooks-plain",
            "plain",
            "contenders.hooks",
            "Plain",
            "hooks by hand, nothing cached: a whole source and a whole patched forward per cell, all logits",
            "all",
            only=("W2",),
        ),
        Entry(
            "hooks-all",
            "plain",
            "contenders.hooks",
            "AllLogits",
            "hooks by hand: sources cached; a whole forward per cell, logits of all tokens",
            "cached",
        ),
        Entry(
            "hooks",
            "plain",
            "contenders.hooks",
            "OnePosition",
            "hooks by hand: sources cached; a whole forward per cell, logits at the last token",
            "one-position",
            True,
        ),
        Entry(
            "hooks-resume",
            "plain",
            "contenders.hooks",
            "Resumed",
            "layers called by hand: bases cached too; a layer's cells in one batch, from that layer on",
            "above",
            True,
        ),
        Entry(
            "pyvene",
            "pyvene",
            _PYVENE,
            "Cells",
            "source_representations collected once; an IntervenableModel call per cell",
            "one-position",
        ),
        Entry(
            "pyvene-folded",
            "pyvene",
            _PYVENE,
            "Folded",
            "the same; the cells of a layer are rows of one call",
            "one-position",
            True,
        ),
        Entry("nnsight", "nnsight", _NNSIGHT, "Cells", "sources cached in one trace; a trace per cell", "one-position"),
        Entry(
            "nnsight-folded",
            "nnsight",
            _NNSIGHT,
            "Folded",
            "the same; the cells of a layer are invokes of one trace",
            "one-position",
        ),
        Entry(
            "nnsight-skip",
            "nnsight",
            _NNSIGHT,
            "Skipped",
            "bases cached too; a layer's cells in one trace that skips the layers below",
            "above",
            True,
        ),
        Entry(
            "tlens",
            "transformer_lens",
            _LENS,
            "Cells",
            "TransformerBridge: run_with_cache of the sources; run_with_hooks per cell",
            "one-position",
        ),
        Entry(
            "tlens-folded",
            "transformer_lens",
            _LENS,
            "Folded",
            "the same; the cells of a layer are rows of one call",
            "one-position",
            True,
        ),
    )
}

#: Those that fit (:mod:`benchmarks.fits`): ``ours`` and packages under the names that they have above, where they have one.
FITTERS = {
    entry.name: entry
    for entry in (
        Entry(
            "ours",
            "ours",
            "fits.ours",
            "Ours",
            "a spec's fits: prompts once; a step runs the written tokens alone, all cells in one batch",
            "fit-bound",
        ),
        Entry(
            "hooks",
            "plain",
            "fits.hooks",
            "Hooks",
            "hooks by hand: a source forward that stops at the layer, a base forward that is written, a backward",
            "fit-stop",
            only=("W3",),
        ),
        Entry(
            "hooks-resume",
            "plain",
            "fits.hooks",
            "Resumed",
            "layers called by hand: sources and the bases' streams kept; a step is the layers above, all tokens",
            "fit-resume",
            only=("W3",),
        ),
        Entry(
            "pyvene",
            "pyvene",
            "fits.pyvene_fits",
            "Sources",
            "LowRankRotatedSpaceIntervention; bases and sources given to every call, as in its tutorials",
            "fit-both",
        ),
        Entry(
            "pyvene-cached",
            "pyvene",
            "fits.pyvene_fits",
            "Cached",
            "the same with source_representations that are collected once",
            "fit-base",
        ),
    )
}

#: Gives the machine's rate; compared with nothing.
FORWARD_PROMPTS = 256
FORWARD = Entry(
    "forward", "plain", "contenders.forward", "Forward", f"one whole forward of {FORWARD_PROMPTS} prompts", "forward"
)
