"""Our contender: a spec through ``check``, then its fits; and the arrays that all others read, from the plan of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fits.cache import cache_in
from benchmarks.fits.clocks import Clocks
from benchmarks.fits.workloads import COMPARED, FitArrays, Fitted
from causal_dsl import api
from causal_dsl.api import Checked, Options
from causal_dsl.running.session import Session


def check(spec: str) -> Checked:
    """The spec checked and planned."""
    checked = api.check(api.parse(spec), Options())
    checked.raise_errors()
    assert checked.fits is not None and checked.plan is not None, "the network's tokenizer is not here"
    return checked


def arrays_of(spec: str, width: int) -> FitArrays:
    """What the plan of a spec's fits draws, as numbers; and where the package begins and in what order it goes."""
    import torch

    from causal_dsl.features.instantiate import build
    from causal_dsl.fitting.job import Job, Material
    from causal_dsl.fitting.labels import Labels

    checked = check(spec)
    fits: Any = checked.fits
    plan = fits.plan
    pairs, targets = [], []
    first = fits.units[0].experiments[0]
    for resume in (first.fit, first.validation):
        inputs = next(iter(plan.inputs.values()))
        (write,) = resume.writes
        rows = [plan.rows[run] for run in (resume.base, write.value.run)]
        pairs.append([np.array([inputs.ids(int(row)) for row in one], dtype=np.int64) for one in rows])
        names = first.test.model.decode("recipient", plan.drawn[resume.base.draw].values["source"]["recipient"])
        targets.append(np.array([inputs.tokens.encode(f"to {name}").ids[-1] for name in names], dtype=np.int64))
    layers, seeds, starts, orders = [], [], [], []
    for unit in fits.units:
        (ref,) = unit.maps
        feature = build(ref.chain, width, 0, dtype=torch.float32, device="cpu")
        job = Job(unit, 0, {}, [Material(unit.experiments[0].fit, Labels(None, targets[0]))], [])
        order = []
        for step in range(job.steps):
            job.step = step
            ((_, picked),) = job.batch()
            order.append(picked)
        layers.append(ref.place.site.layer)
        seeds.append(unit.fitting.seed)
        starts.append(feature.tensors()["rotation"].numpy())
        orders.append(order)
    return FitArrays(
        spec,
        *pairs[0],
        targets[0],
        *pairs[1],
        targets[1],
        np.array(layers),
        np.array(seeds),
        np.array(starts),
        np.array(orders),
        job.steps_an_epoch,
        unit.fitting.rate,
    )


class Ours:
    """The spec of a workload, its fits run by this package. What it keeps goes to a folder of this process."""

    def __init__(self, folder: Path):
        from causal_dsl.fitting import fit, fit_loop

        self.network: Any = None
        self.checked: dict[str, Checked] = {}
        self.clocks = Clocks()
        self.kept = tempfile.TemporaryDirectory()
        fit.fill = self._timed("prompts", fit.fill)  # type: ignore[attr-defined]
        fit_loop._step, fit_loop._check = self._timed("steps", fit_loop._step), self._timed("checks", fit_loop._check)
        self.fresh = 0

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **more: Any) -> Any:
            with self.clocks[name]:
                return call(*given, **more)

        return timed

    def prepare(self, arrays: FitArrays) -> None:
        """Everything before the timed part: the spec checked and planned; the network loaded and proved, once."""

        checked = self.checked[arrays.spec] = check(arrays.spec)
        if self.network is None:
            assert checked.plan is not None
            self.network = Session(Options()).network(next(iter(checked.plan.networks.values())))

    def fit(self, arrays: FitArrays) -> Fitted:
        """The timed part."""
        library = self.library(arrays)
        told = list(library.fits.values())
        return Fitted(np.array([fit.losses for fit in told]), np.array([fit.checks for fit in told]))

    def library(self, arrays: FitArrays) -> Any:
        """As :func:`causal_dsl.running.running.fit_features` does it, finding nothing on disk."""
        from causal_dsl.engine.budgets import budget_of
        from causal_dsl.fitting.fit import fit_all
        from causal_dsl.report.progress import Progress
        from causal_dsl.score.targets import target_ids

        self.fresh += 1
        checked: Any = self.checked[arrays.spec]
        networks = {self.network.key: self.network}
        targets = target_ids(checked.fits.plan, checked.answers, networks)
        budgets = {self.network.key: budget_of(self.network)}
        with cache_in(Path(self.kept.name) / str(self.fresh)):
            return fit_all(checked.fits, networks, checked.answers, targets, budgets, Progress())

    def written(self, arrays: FitArrays) -> tuple[np.ndarray, np.ndarray]:
        """The vectors [cells, k, width] that are written by the first rotations, and the logits [cells, k, vocabulary]."""
        import torch

        from causal_dsl.engine.budgets import budget_of
        from causal_dsl.features.instantiate import build
        from causal_dsl.fitting.precomputed import fill
        from causal_dsl.fitting.step_rows import Part, Stepper

        fits: Any = self.checked[arrays.spec].fits
        resumes = [unit.experiments[0].fit for unit in fits.units]
        stepper = Stepper(fill(fits.plan, self.network, resumes, [], budget_of(self.network)))
        parts, vectors = [], []
        for unit, resume, start in zip(fits.units, resumes, arrays.starts, strict=True):
            (ref,) = unit.maps
            feature = build(
                ref.chain,
                len(start),
                0,
                dtype=torch.float32,
                device="cpu",
                tensors={"rotation": torch.from_numpy(start)},
            )
            spied: list[Any] = []
            vectors.append(spied)
            feature.swap = _spying(feature.swap, spied)  # type: ignore[method-assign]
            parts.append(Part(resume, np.arange(COMPARED), {ref: feature}, None))
        with torch.no_grad():
            logits = stepper.logits(parts)
        return np.stack([one[0].numpy() for one in vectors]), np.stack([one.numpy() for one in logits])


def _spying(swap: Callable[..., Any], seen: list[Any]) -> Callable[..., Any]:
    def spying(*given: Any) -> Any:
        seen.append(swap(*given))
        return seen[-1]

    return spying
