"""The fits of a spec, run: every feature that its tests write through, and what they are compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from causal_dsl.base import counter
from causal_dsl.diagnostics import NOWHERE
from causal_dsl.engine.readings import Targets
from causal_dsl.features.base import Feature
from causal_dsl.features.instantiate import build
from causal_dsl.fitting import fit_loop, stored
from causal_dsl.fitting.job import Job, Material
from causal_dsl.fitting.labels import Labels, labels_of
from causal_dsl.fitting.library import Fitted, Library
from causal_dsl.fitting.maps_off_manifold import share_off_manifold
from causal_dsl.fitting.precomputed import FitActivations, fill
from causal_dsl.fitting.step_rows import Stepper
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.fit_groups import groups_of, tokens_of_rows
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.plan import Experiment, Fits, FitUnit
from causal_dsl.program.answers import Answers
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.read_features import FeatureRef, family
from causal_dsl.report.progress import Progress
from causal_dsl.store import stepwise
from causal_dsl.store.files import if_possible
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.keys import FitInputs, key_of
from causal_dsl.store.out import SpecFolder
from causal_dsl.store.stepwise import kept_in
from causal_dsl.store.stored_only import refuse_making
from causal_dsl.vocabulary.components import COMPONENTS

_SHUFFLES = 7_919


def fit_all(
    fits: Fits,
    networks: Mapping[NetworkKey, Network],
    answers: Mapping[str, Answers],
    targets: Targets,
    budgets: Mapping[NetworkKey, Budget],
    bar: Progress,
    seed: int = 0,
    out: SpecFolder | None = None,
) -> Library:
    """Fit every unit, those of a group together; raises E711 to E729 for faults of data, fits and files.

    ``answers[test]`` and ``targets(test, quantity)`` say what the read-outs can say, and the ids of labels; ``seed`` is
    added to the spec's. Finished fits are kept in the cache, and in the folder ``out``.
    """
    return FitRun(fits, networks, answers, targets, budgets, bar, seed, out).library()


class FitRun:
    """The fits of a spec, to be run together or group by group; what they read of a network is computed once."""

    def __init__(
        self,
        fits: Fits,
        networks: Mapping[NetworkKey, Network],
        answers: Mapping[str, Answers],
        targets: Targets,
        budgets: Mapping[NetworkKey, Budget],
        bar: Progress,
        seed: int = 0,
        out: SpecFolder | None = None,
    ):
        labels: dict[str, Labels] = {}
        for unit in fits.units:
            for experiment in unit.experiments:
                for test, resume in ((experiment.test, experiment.fit), (None, experiment.validation)):
                    name = _name(fits, resume) if test is None else test.name
                    whose = test or next(t for t in fits.plan.tests if t.name == name)
                    labels[name] = labels_of(whose, answers[name], targets, fits.plan.draw_of(whose))
        self._networks = [
            _Network(
                fits,
                [unit for unit in fits.units if unit.network == key],
                networks[key],
                labels,
                budgets[key],
                bar,
                seed,
                out,
            )
            for key in fits.networks
        ]

    def library(self) -> Library:
        """All maps, fitted or found."""
        library = Library()
        for one in self._networks:
            one.library = library
            one.run()
        return library

    def share(self, place: int, number: int, count: int) -> None:
        """Fit, or find, the groups that are a unit's: of the network that is fitted as the ``place``-th, share ``number`` of
        ``count``; in the order of the groups, and all shares together are all groups."""
        if place < len(self._networks):
            one = self._networks[place]
            one.library = Library()
            one.run(number, count)


def _name(fits: Fits, resume: g.Resume) -> str:
    for name, scores in fits.plan.scores.items():
        read = scores[0].read("patched")
        if read is not None and read.run is resume:
            return name
    raise AssertionError(resume)


class _Network:
    """The fits of one network."""

    def __init__(
        self,
        fits: Fits,
        units: list[FitUnit],
        network: Network,
        labels: Mapping[str, Labels],
        budget: Budget,
        bar: Progress,
        seed: int,
        out: SpecFolder | None,
    ):
        self.fits, self.units, self.network, self.labels, self.budget = fits, units, network, labels, budget
        self.bar, self.seed, self.out, self.library = bar, seed, out, Library()

    @cached_property
    def cache(self) -> FitActivations:
        """The activations that all fits of the network read: a group comes out alike whether the others are fitted here or elsewhere."""
        return fill(
            self.fits.plan,
            self.network,
            self._resumes(),
            self._natural(),
            self.budget,
            lambda total: self.bar.begin(f"{self.network.name}: prompts of the fits", total),
            self.bar.advance,
        )

    @cached_property
    def stepper(self) -> Stepper:
        return Stepper(self.cache)

    def run(self, number: int = 0, count: int = 1) -> None:
        """Fit, or find, share ``number`` of ``count`` of the groups."""
        groups = groups_of(self.units, self._tokens(self.cache), self.budget.most_tokens // 2)
        for place, units in enumerate(groups):
            if place * count // len(groups) == number:
                self._group(units, self.cache)

    def _tokens(self, cache: FitActivations) -> int:
        """The tokens that a row of a step has at most."""
        whole = cache.width if cache.prefixes is None else 0
        return tokens_of_rows(self.fits.plan, cache.layouts, self.units, whole)

    def _group(self, units: Sequence[FitUnit], cache: FitActivations) -> None:
        """Fit some units together: what is stored of them is taken, and the others share each step."""
        jobs: list[Job] = []
        found: dict[Job, tuple[Path, FitInputs]] = {}
        seen: dict[Job, np.ndarray] = {}
        there: set[Job] = set()  # kept by a run before, those too that nothing is fitted of
        for unit in units:
            for restart in range(1 if unit.fitting.file else unit.fitting.restarts):
                job = self._job(unit, cache, restart)
                if unit.fitting.file:
                    job.done = True
                    seen[job] = stored.from_file(Path(unit.fitting.file), job, self.network)
                else:
                    inputs = stored.key_of(unit, job, cache, self.network, self.seed + restart)
                    key = key_of(inputs)
                    known = stored.find(key)
                    path = known[0] if known is not None else kept_in("features") / f"{key}.safetensors"
                    found[job] = (path, inputs)
                    if known is not None and stored.take(job, known[1]):
                        there.add(job)
                jobs.append(job)
        before = {job for job in there if job.optimiser is not None}
        states = self._train([job for job in jobs if not job.done], found)
        for job in jobs:
            job.finish()
            if job in found and job not in there:
                with if_possible("a fitted feature"):
                    stored.write(found[job][0], job, cache, self.network, found[job][1])
                stored.keep(found[job][0], job, cache, self.network, found[job][1])
        if states is not None:
            with if_possible("a fitted feature"):
                states.unlink(missing_ok=True)  # not before all of them are kept
        for unit in units:
            mine = [job for job in jobs if job.unit is unit]
            best = min(mine, key=lambda job: job.checks[job.best_at][0] if job.checks else 0.0)
            for ref in unit.maps:
                data = self.library.natural[ref]
                self.library.outside[ref] = share_off_manifold(unit, ref, best.features[ref], cache, data)
            self._enter(
                unit, best, cache, len(mine), best in before, found[best][0] if best in found else None, seen.get(best)
            )

    def _resumes(self) -> list[g.Resume]:
        return [resume for unit in self.units for e in unit.experiments for resume in (e.fit, e.validation)]

    def _runs(self, experiment: Experiment) -> list[g.Forward]:
        from causal_dsl.planning.steps import captures

        sources = [capture.forward for capture in captures(experiment.fit)]
        return list(dict.fromkeys([experiment.fit.base, *sources]))

    def _natural(self) -> list[g.Capture]:
        return [
            g.Capture(run, ref.place)
            for unit in self.units
            for e in unit.experiments
            for run in self._runs(e)
            for ref in unit.maps
        ]

    def _job(self, unit: FitUnit, cache: FitActivations, restart: int) -> Job:
        fit: list[Material] = []
        validation: list[Material] = []
        for number, experiment in enumerate(unit.experiments):
            for materials, resume in ((fit, experiment.fit), (validation, experiment.validation)):
                labels = self.labels[_name(self.fits, resume)]
                if unit.shuffled:
                    labels = labels.shuffled(_SHUFFLES + number)
                materials.append(Material(resume, labels))
        features = {ref: self._feature(unit, ref, cache, restart) for ref in unit.maps}
        return Job(unit, restart, features, fit, validation)

    def _feature(self, unit: FitUnit, ref: FeatureRef, cache: FitActivations, restart: int) -> Feature:
        runs = [run for experiment in unit.experiments for run in self._runs(experiment)]
        data = cache.natural(ref.place, runs, ref.joined)
        self.library.natural[ref] = data
        facts, site = self.network.facts, ref.place.site
        heads = None
        if COMPONENTS[site.component].by_heads and facts.head_dim and data.shape[1] % facts.head_dim == 0:
            heads = (data.shape[1] // facts.head_dim, facts.head_dim)
        wide = torch.float64 if self.network.dtype == torch.float64 else torch.float32
        labels = self._classes(unit, ref, cache) if any(family(f).classes for f in ref.chain) else None
        return build(
            ref.chain,
            data.shape[1],
            self.seed + restart,
            dtype=wide,
            device=data.device,
            heads=heads,
            data=data,
            labels=labels,
            span=ref.span or NOWHERE,
        )

    def _classes(self, unit: FitUnit, ref: FeatureRef, cache: FitActivations) -> torch.Tensor:
        """The class of the variable in each natural vector [n], in the order of :meth:`FitActivations.natural`."""
        parts = []
        for run in dict.fromkeys(run for experiment in unit.experiments for run in self._runs(experiment)):
            _, pairs = np.unique(cache.plan.rows[run], return_index=True)
            codes = cache.plan.drawn[run.draw].values[run.role][ref.variables[0]][pairs]
            which, _ = cache.layouts.tokens(ref.place, run, pairs)
            parts.append(codes if ref.joined else codes[which])
        _, classes = np.unique(np.concatenate(parts), return_inverse=True)
        found = classes.reshape(-1)
        if unit.shuffled:
            found = found[counter.permutation(counter.key(_SHUFFLES, "classes"), len(found))]
        return torch.from_numpy(found)

    def _train(self, jobs: list[Job], found: Mapping[Job, tuple[Path, FitInputs]]) -> Path | None:
        """Fit jobs to their ends; gives the file that their states are in till then, None where there is nothing to fit."""
        if not jobs:
            return None
        refuse_making()
        named = {found[job][0].stem: job for job in jobs}
        # named by all fits of the group: of those that were stopped, some may have been kept as finished
        every = " ".join(sorted(path.stem for path, _ in found.values()))
        states = kept_in("features") / f"{of_bytes(every.encode())}.going"
        checkpoint = stepwise.Checkpoint(states, "fit step", "the checkpoint of these fits", states.stem)
        most = self.stepper.most_rows(self._resumes(), self.budget)
        fitting = fit_loop.FittingLoop(named, self.stepper, most, self._tick)
        checkpoint.take(fitting)
        self.bar.begin(f"{self.network.name}: {len(jobs)} fits", sum(job.steps for job in jobs))
        self.bar.advance(sum(job.step for job in jobs))

        stepwise.run(fitting, checkpoint)
        return states

    def _tick(self, steps: int, said: str) -> None:
        self.bar.advance(steps)
        self.bar.say(f"{self.network.name}: {said}"[:60])

    def _enter(
        self,
        unit: FitUnit,
        job: Job,
        cache: FitActivations,
        restarts: int,
        before: bool,
        path: Path | None,
        seen: np.ndarray | None,
    ) -> None:
        runs = [run for experiment in unit.experiments for run in self._runs(experiment)]
        inputs = len(np.unique(np.concatenate([cache.plan.rows[run] for run in runs])))
        pairs = job.total
        if not any(
            ref.trained or feature.made_from_inputs or any(family(part).file is not None for part in ref.chain)
            for ref, feature in job.features.items()
        ):
            pairs = inputs = 0  # it is made from its settings alone
        whole = path is not None and path.is_file()
        name = "" if path is None else f"features/{path.name}"
        if self.out is not None and path is not None:
            first = unit.maps[0]
            words = [first.alignment.name, *first.variables, *([first.variant] * bool(first.variant))]
            named = re.sub(r"[^\w.-]+", "_", "-".join(words))  # a parameter of an alignment may hold any character
            name = f"features/{named}-{path.stem[:8]}.safetensors"
        told = Fitted(
            unit,
            tuple(job.losses),
            tuple(job.checks),
            job.step,
            pairs,
            inputs,
            restarts,
            before,
            path,
            seen,
            sum(cache.plan.drawn[experiment.fit.base.draw].unanswered for experiment in unit.experiments),
            job.moved,
            name if whole else "",
        )
        for ref, feature in job.features.items():
            self.library.maps[ref], self.library.fits[ref] = feature, told
        if self.out is not None and path is not None and whole:
            try:
                self.out.write(name, path.read_bytes())
            except OSError as error:  # the fit is told all the same
                self.library.unkept = error


__all__ = ["FitRun", "Fitted", "Library", "fit_all"]
