"""The fits of a spec, run: every feature that its tests write through, and what they are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.engine.answers import Answers
from causal_dsl.features.base import Feature
from causal_dsl.features.build import build
from causal_dsl.features.controls import OnAxes, random_like
from causal_dsl.features.natural import alive_axes
from causal_dsl.fitting import kept, loop
from causal_dsl.fitting.bank import Bank, fill
from causal_dsl.fitting.job import Job, Material
from causal_dsl.fitting.labels import Labels, Targets, labels_of
from causal_dsl.fitting.rows import Stepper
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.fits import Experiment, Fits, Unit
from causal_dsl.planning.memory import Budget
from causal_dsl.program.features import FeatureRef
from causal_dsl.program.program import Test
from causal_dsl.report.progress import Progress

_SHUFFLES = 7_919
#: How many times as far from the middle as it ever gets a number is called far; and what of the site's size a number that
#: never moves counts for.
FAR, DEAD = 3.0, 0.1
_LOOKED_AT = 512


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of one fit: ``losses`` and ``checks`` by epoch, the ``pairs`` and distinct ``inputs`` that it was fitted
    on, ``found`` where it was on disk already, ``stopped`` by its patience; ``restarts`` tried."""

    unit: Unit
    losses: tuple[float, ...]
    checks: tuple[tuple[float, float], ...]
    steps: int
    pairs: int
    inputs: int
    restarts: int
    found: bool
    path: Path | None
    #: the inputs that a feature of a file was fitted on, by :func:`kept.hash_of`; None where it was fitted here
    seen: np.ndarray | None = None


@dataclass(eq=False)
class Library:
    """The fitted maps by what names them, and how each was fitted."""

    maps: dict[FeatureRef, Feature] = field(default_factory=dict)
    fits: dict[FeatureRef, Fitted] = field(default_factory=dict)
    natural: dict[FeatureRef, torch.Tensor] = field(default_factory=dict)
    #: of the vectors that a map writes on the inputs it was fitted on, the share far from all that the site takes
    outside: dict[FeatureRef, float] = field(default_factory=dict)

    def want(self, ref: FeatureRef) -> None:
        """Make the map that a reference names out of the fitted one."""
        if ref.map in self.maps:
            return
        fitted = self.maps[ref.fitted]
        made: Feature
        if ref.variant == "random":
            made = random_like(fitted, ref.number + 1)
        else:
            assert ref.variant == "natural"
            made = OnAxes(fitted, alive_axes(self.natural[ref.fitted]))
        made.harden()
        made.requires_grad_(False)
        with torch.no_grad():
            made.prepare()
        self.maps[ref.map] = made

    @property
    def digest(self) -> str:
        """A digest of the numbers of all maps."""
        found = hashlib.sha256()
        for ref, feature in self.maps.items():
            found.update(f"{ref.variables} {ref.place} {ref} {ref.variant} {ref.number}".encode())
            for name, tensor in feature.tensors().items():
                found.update(name.encode())
                found.update(
                    tensor.to(torch.float64).numpy().tobytes()
                    if tensor.is_floating_point()
                    else tensor.numpy().tobytes()
                )
        return found.hexdigest()


def fit_all(
    fits: Fits, networks: Mapping[str, Network], answers: Mapping[str, Answers], targets: Targets,
    budgets: Mapping[str, Budget], bar: Progress, seed: int = 0, out: Path | None = None,
) -> Library:  # fmt: skip
    """Fit every unit, those of a network together; raises E711 to E729 for faults of data, fits and files.

    ``answers[test]`` and ``targets(test, quantity)`` say what the read-outs can say, and the ids of labels; ``seed`` is
    added to the spec's. Finished fits are kept in the cache, and in the folder ``out``.
    """
    library = Library()
    labels: dict[str, Labels] = {}
    for unit in fits.units:
        for experiment in unit.experiments:
            for test, resume in ((experiment.test, experiment.fit), (None, experiment.validation)):
                name = _name(fits, resume) if test is None else test.name
                whose = test or next(t for t in fits.plan.tests if t.name == name)
                labels[name] = labels_of(whose, answers[name], targets)
    for name in fits.networks:
        units = [unit for unit in fits.units if unit.network == name]
        _Network(fits, units, networks[name], labels, budgets[name], bar, seed, out, library).run()
    return library


def _name(fits: Fits, resume: g.Resume) -> str:
    for name, scores in fits.plan.scores.items():
        read = scores[0].read("patched")
        if read is not None and read.run is resume:
            return name
    raise AssertionError(resume)


class _Network:
    """The fits of one network."""

    def __init__(
        self, fits: Fits, units: list[Unit], network: Network, labels: Mapping[str, Labels], budget: Budget, bar: Progress,
        seed: int, out: Path | None, library: Library,
    ):  # fmt: skip
        self.fits, self.units, self.network, self.labels, self.budget = fits, units, network, labels, budget
        self.bar, self.seed, self.out, self.library = bar, seed, out, library

    def run(self) -> None:
        bank = fill(
            self.fits.plan, self.network, self._resumes(), self._natural(), self.budget,
            lambda total: self.bar.begin(f"{self.network.name}: prompts of the fits", total), self.bar.advance,
        )  # fmt: skip
        jobs: list[Job] = []
        found: dict[Job, tuple[Path, str]] = {}
        seen: dict[Job, np.ndarray] = {}
        for unit in self.units:
            for restart in range(1 if unit.fitting.file else unit.fitting.restarts):
                job = self._job(unit, bank, restart)
                if unit.fitting.file:
                    job.done = True
                    seen[job] = kept.from_file(Path(unit.fitting.file), job, self.network)
                else:
                    key = kept.key_of(unit, job, bank, self.network, self.seed + restart)
                    path = kept.folder() / f"{key}.safetensors"
                    found[job] = (path, key)
                    known = kept.read(path)
                    if known is not None and not kept.take(job, known):
                        known = None
                jobs.append(job)
        before = {job for job in jobs if job.done and job.optimiser is not None}
        self._train([job for job in jobs if not job.done], found, bank)
        for job in jobs:
            job.finish()
            if job in found and job not in before:
                kept.write(found[job][0], job, bank, self.network, found[job][1])
        for unit in self.units:
            mine = [job for job in jobs if job.unit is unit]
            best = min(mine, key=lambda job: job.checks[job.best_at][0] if job.checks else 0.0)
            for ref in unit.maps:
                self.library.outside[ref] = self._outside(unit, ref, best.features[ref], bank)
            self._enter(unit, best, bank, len(mine), best in before, found.get(best, (None, ""))[0], seen.get(best))

    def _resumes(self) -> list[g.Resume]:
        return [resume for unit in self.units for e in unit.experiments for resume in (e.fit, e.validation)]

    def _runs(self, experiment: Experiment) -> list[g.Forward]:
        from causal_dsl.planning.steps import captures

        sources = [leaf.run for leaf in captures(experiment.fit) if isinstance(leaf, g.Capture)]
        return list(dict.fromkeys([experiment.fit.base, *sources]))

    def _natural(self) -> list[g.Capture]:
        return [
            g.Capture(run, ref.place)
            for unit in self.units for e in unit.experiments for run in self._runs(e) for ref in unit.maps
        ]  # fmt: skip

    def _job(self, unit: Unit, bank: Bank, restart: int) -> Job:
        fit: list[Material] = []
        validation: list[Material] = []
        for number, experiment in enumerate(unit.experiments):
            for materials, resume in ((fit, experiment.fit), (validation, experiment.validation)):
                labels = self.labels[_name(self.fits, resume)]
                if unit.shuffled:
                    labels = labels.shuffled(_SHUFFLES + number)
                materials.append(Material(resume, labels))
        features = {ref: self._feature(unit, ref, bank, restart) for ref in unit.maps}
        return Job(unit, restart, features, fit, validation)

    def _feature(self, unit: Unit, ref: FeatureRef, bank: Bank, restart: int) -> Feature:
        runs = [run for experiment in unit.experiments for run in self._runs(experiment)]
        data = bank.natural(ref.place, runs, ref.joined)
        self.library.natural[ref] = data
        facts, site = self.network.facts, ref.place.site
        heads = None
        if (
            site.component in ("q", "k", "v", "z", "q_rot", "k_rot")
            and facts.head_dim
            and data.shape[1] % facts.head_dim == 0
        ):
            heads = (data.shape[1] // facts.head_dim, facts.head_dim)
        wide = torch.float64 if self.network.dtype == torch.float64 else torch.float32
        labels = self._classes(unit, ref, bank) if any(f.name == "linear_probe" for f in ref.chain) else None
        return build(
            ref.chain, data.shape[1], self.seed + restart, dtype=wide, device=data.device, heads=heads,
            data=data, labels=labels, span=ref.span or NOWHERE,
        )  # fmt: skip

    def _classes(self, unit: Unit, ref: FeatureRef, bank: Bank) -> torch.Tensor:
        """The class of the variable in each natural vector [n], in the order of :meth:`Bank.natural`."""
        parts = []
        for run in dict.fromkeys(run for experiment in unit.experiments for run in self._runs(experiment)):
            _, pairs = np.unique(bank.plan.rows[run], return_index=True)
            codes = bank.plan.drawn[run.draw].values[run.role][ref.variables[0]][pairs]
            which, _ = bank.layouts.tokens(ref.place, run, pairs)
            parts.append(codes if ref.joined else codes[which])
        _, classes = np.unique(np.concatenate(parts), return_inverse=True)
        found = classes.reshape(-1)
        if unit.shuffled:
            found = np.random.Generator(np.random.PCG64(_SHUFFLES)).permutation(found)
        return torch.from_numpy(found)

    def _train(self, jobs: list[Job], found: Mapping[Job, tuple[Path, str]], bank: Bank) -> None:
        if not jobs:
            return
        named = {found[job][1]: job for job in jobs}
        states = kept.folder() / f"{hashlib.sha256(' '.join(sorted(named)).encode()).hexdigest()}.going"
        kept.restore_states(states, named)
        self.bar.begin(f"{self.network.name}: {len(jobs)} fits", sum(job.steps for job in jobs))
        self.bar.advance(sum(job.step for job in jobs))

        def tick(steps: int, said: str) -> None:
            self.bar.advance(steps)
            self.bar.say(f"{self.network.name}: {said}"[:60])

        stepper = Stepper(bank)
        most = stepper.most_rows(self._resumes(), self.budget)
        loop.run(jobs, stepper, most, lambda: kept.keep_states(states, named), tick)
        states.unlink(missing_ok=True)

    @torch.no_grad()
    def _outside(self, unit: Unit, ref: FeatureRef, feature: Feature, bank: Bank) -> float:
        """Of the vectors that a map writes, the share with a number further from the middle of what that number takes
        naturally than three times as far as it ever gets."""
        data = self.library.natural[ref].double()
        low, high = data.amin(0), data.amax(0)
        half = ((high - low) / 2).clamp_min(DEAD * float(data.pow(2).mean().sqrt()))
        far, count = 0, 0
        for experiment in unit.experiments:
            writes = [w for w in experiment.fit.writes if w.feature is not None and w.feature.map == ref]
            pairs = np.arange(min(_LOOKED_AT, bank.plan.drawn[experiment.fit.base.draw].n))
            if not writes or not all(isinstance(write.value, g.Capture) for write in writes):
                continue

            def at(capture: g.Capture, pairs: np.ndarray = pairs) -> torch.Tensor:
                rows = bank.vectors[capture.place.site][torch.from_numpy(bank.slots(capture, None, pairs))]
                return rows.reshape(len(pairs), -1) if ref.joined else rows

            vectors = at(g.Capture(experiment.fit.base, ref.place))
            for write in writes:
                assert isinstance(write.value, g.Capture) and write.feature is not None
                block = None if write.feature.block is None else slice(*write.feature.block)
                vectors = feature.swap(vectors, at(write.value), block)
            away = (vectors.double() - (low + high) / 2).abs() > FAR * half
            far += int(away.any(1).sum())
            count += len(vectors)
        return far / count if count else 0.0

    def _enter(
        self, unit: Unit, job: Job, bank: Bank, restarts: int, before: bool, path: Path | None, seen: np.ndarray | None
    ) -> None:  # fmt: skip
        runs = [run for experiment in unit.experiments for run in self._runs(experiment)]
        inputs = len(np.unique(np.concatenate([bank.plan.rows[run] for run in runs])))
        told = Fitted(
            unit, tuple(job.losses), tuple(job.checks), job.step, job.total, inputs, restarts, before, path, seen
        )  # fmt: skip
        for ref, feature in job.features.items():
            self.library.maps[ref], self.library.fits[ref] = feature, told
        if self.out is not None and path is not None and path.is_file():
            name = "-".join(
                [
                    unit.maps[0].alignment,
                    *unit.maps[0].variables,
                    *([unit.maps[0].variant] * bool(unit.maps[0].variant)),
                ]
            )
            self.out.mkdir(parents=True, exist_ok=True)
            from causal_dsl.files import write_atomic

            write_atomic(self.out / f"{name}-{path.stem[:8]}.safetensors", path.read_bytes())


def refuse_seen(library: Library, test: Test, inputs: object, rows: np.ndarray) -> None:
    """Refuse to judge a feature of a file on an input that it was fitted on (E711)."""
    from causal_dsl.planning.inputs import Inputs

    assert isinstance(inputs, Inputs)
    for cell in test.cells:
        for intervention in cell.interventions:
            for ref in intervention.features:
                told = library.fits.get(ref.fitted)
                if told is None or told.seen is None:
                    continue
                seen = set(told.seen.tolist())
                for index in np.unique(rows).tolist():
                    if kept.hash_of(inputs, index) in seen:
                        raise fail("E711", f"`{test.name}` judges a feature on inputs that it was fitted on",
                                   test.design.statements[0].span, notes=("the file of the feature says so",),
                                   help="draw other inputs, as with `where`")  # fmt: skip


__all__ = ["Fitted", "Library", "fit_all", "refuse_seen"]
