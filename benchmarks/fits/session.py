"""Runs fitting contenders side by side: first what they write and how their losses go, then times.

The vectors that the first rotation writes must be equal to 1e-6 of their size, and the logits to 1e-3. Losses of
``hooks``, whose rotation is parametrised as ours is, must be ours to 1e-3; pyvene's rotation is torch's orthogonal
parametrisation, which has another gradient for the same map, so its losses only have to stay near.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import Entry
from benchmarks.fits.ours import arrays_of
from benchmarks.fits.workloads import ALONE, CHECK, FitArrays, FitWorkload
from benchmarks.flops import Shape
from benchmarks.harness import REFERENCE, TOLERANCE, Disagreement, Session

#: Of written vectors, as a part of their size: rounding of float32.
VECTORS = 1e-6
#: Of losses of another parametrisation, in nats.
NEAR = 0.05


@dataclass
class FitSession:
    """The part of a session that fits; times and differences go to the session's own."""

    session: Session
    fitters: list[Entry]
    workloads: list[FitWorkload]
    #: what was found in the last round: losses and checks by workload and contender
    curves: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Write the specs and their arrays."""
        width = Shape.of(self.session.model).width
        for workload in (CHECK, *ALONE, *self.workloads, *(w.warmup for w in self.workloads)):
            (self.session.work / f"{workload.name}.causal").write_text(workload.spec, encoding="utf-8")
            arrays_of(workload.spec, width).save(self.session.arrays(workload))

    # ── agreement ───────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Raise :class:`Disagreement` where what is written, logits or losses are not those of plain hooks, or where a
        fit comes out otherwise alone than among others."""
        from benchmarks.contenders import FITTERS

        wrong: list[str] = []
        entries = {entry.name: entry for entry in (FITTERS[REFERENCE], *self.fitters)}
        for entry in entries.values():
            works = (CHECK, *ALONE) if entry.name == "ours" else (CHECK,)
            paths = {w.name: self._found(w.name, entry) for w in works}
            self.session.job(
                entry,
                {
                    "kind": "fit-check",
                    "works": [{"arrays": str(self.session.arrays(w)), "found": str(paths[w.name])} for w in works],
                },
            )
            with np.load(paths[CHECK.name]) as mine, np.load(self._found(CHECK.name, entries[REFERENCE])) as wanted:
                size = np.linalg.norm(wanted["vectors"], axis=-1)
                away = float((np.linalg.norm(mine["vectors"] - wanted["vectors"], axis=-1) / size).max())
                logits, losses, checks = (
                    float(np.abs(mine[name] - wanted[name])[..., :1].max())
                    if name == "checks"
                    else float(np.abs(mine[name] - wanted[name]).max())
                    for name in ("logits", "losses", "checks")
                )
            losses = max(losses, checks)
            bound = NEAR if entry.environment == "pyvene" else TOLERANCE
            told = f"vectors {away:.1e} of their size, logits {logits:.1e}, losses {losses:.1e}"
            for name, value, most in (
                ("vectors", away, VECTORS),
                ("logits", logits, TOLERANCE),
                ("losses", losses, bound),
            ):
                if not value <= most:
                    wrong.append(f"{entry.name}'s {name} differ by {value:.2e}")
            if entry.name == "ours":
                alone = self._alone(entry)
                told += f"; alone against together {alone:.1e}"
                if not alone <= TOLERANCE:
                    wrong.append(f"fits alone differ from those in one batch by {alone:.2e}")
            print(f"  {entry.name:15} differs from {REFERENCE} by at most: {told}", flush=True)
        if wrong:
            raise Disagreement("; ".join(wrong))

    def _alone(self, entry: Entry) -> float:
        """The largest difference of a loss between cells that were fitted alone and the same in one batch."""
        every = FitArrays.load(self.session.arrays(CHECK))
        worst = 0.0
        for workload in ALONE:
            own = FitArrays.load(self.session.arrays(workload))
            (at,) = np.flatnonzero((every.layers == own.layers[0]) & (every.seeds == own.seeds[0]))
            with np.load(self._found(CHECK.name, entry)) as many, np.load(self._found(workload.name, entry)) as one:
                for name in ("losses", "checks"):
                    worst = max(worst, float(np.abs(many[name][at] - one[name][0]).max()))
        return worst

    # ── times ───────────────────────────────────────────────────────────────────────────────────

    def time(self, rounds: int, seed: int) -> None:
        """Time everything ``rounds`` times, in another order each time."""
        order = random.Random(seed)
        for number in range(rounds):
            for workload in self.workloads:
                entries = [entry for entry in self.fitters if entry.runs(workload.name)]
                order.shuffle(entries)
                for entry in entries:
                    self._time(entry, workload, number, rounds)
                self._compare(workload, entries)

    def _time(self, entry: Entry, workload: FitWorkload, number: int, rounds: int) -> None:
        part = None if entry.name == "ours" else [workload.every, workload.epochs_timed]
        result = self.session.job(
            entry,
            {
                "kind": "fit-time",
                "warmup": str(self.session.arrays(workload.warmup)),
                "arrays": str(self.session.arrays(workload)),
                "part": part,
                "found": str(self._found(workload.name, entry)),
            },
        )
        self.session.times.setdefault(workload.name, {}).setdefault(entry.name, []).append(result)
        scaled = f" (scaled from 1/{result['scale']:.0f})" if result["scale"] > 1 else ""
        parts = ", ".join(f"{name} {cpu:.1f}" for name, (_, cpu) in result["parts"].items())
        print(
            f"  round {number + 1}/{rounds}  {workload.name:15} {entry.name:15}"
            f" {result['cpu']:8.1f} s CPU ({parts}) {result['wall']:8.1f} s wall{scaled}",
            flush=True,
        )

    def _compare(self, workload: FitWorkload, entries: list[Entry]) -> None:
        """Keep the losses of the timed runs, and how far each contender's are from ours, on what both ran."""
        curves = self.curves[workload.name] = {}
        for entry in entries:
            with np.load(self._found(workload.name, entry)) as file:
                curves[entry.name] = {name: file[name].tolist() for name in ("cells", "losses", "checks")}
        ours = curves.get("ours")
        for name, found in curves.items():
            if ours is None:
                break
            rows = [ours["cells"].index(cell) for cell in found["cells"]]
            mine = np.array(ours["losses"])[rows, : np.array(found["losses"]).shape[1]]
            difference = float(np.abs(mine - np.array(found["losses"])).max())
            kept = self.session.differences.setdefault(name, {})
            kept[workload.name] = max(kept.get(workload.name, 0.0), difference)

    def _found(self, workload: str, entry: Entry) -> Path:
        return self.session.work / f"{workload}-{entry.name}-fitted.npz"
