"""Do the interventions of this very plan ride in one pass? Held against the reference executor before they are run.

The proof at load knows sites, and a plan knows what is written there: vectors of other runs, means, sums, features, each
from its own place in the network. So of every kind of intervention in the plan one is run both ways on its first pairs.
A kind that was proved on a network is not run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

import torch
from torch import Tensor

from causal_dsl.base import faults
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.activation_cache import Means
from causal_dsl.engine.network_share import Context
from causal_dsl.engine.reference import ReferenceExecutor
from causal_dsl.engine.sweep import Sweep
from causal_dsl.features.base import Feature
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.network.compare import distance, tolerance_of
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import Block, Step, captures, early_means, in_tree
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.overlap import overlap
from causal_dsl.program.read_features import FeatureRef

#: Pairs on which an intervention is run both ways.
PAIRS = 2


def kind_of(resume: g.Resume) -> frozenset[object]:
    """The key of the right order of an intervention: its sites, what is written there, and where that comes from;
    not which layer, token or head it is."""
    return frozenset(_kind_of_write(write) for write in resume.writes)


def _proved_at_load(resume: g.Resume, exchanged: frozenset[str]) -> bool:
    """Whether the proof at load held such an intervention against whole forward passes: one whole vector for another's."""
    if len(resume.writes) != 1:
        return False
    write = resume.writes[0]
    site = write.place.site
    plain = (
        isinstance(write.value, g.Capture)
        and isinstance(write.value.run, g.Forward)
        and write.value.place.site == site
        and not site.heads
        and site.dims is None
    )
    return plain and not write.add and write.feature is None and site.component in exchanged


def _kind_of_write(write: g.WriteNode) -> object:
    feature = None if write.feature is None else write.feature.joined
    site = write.place.site
    return (site.form, write.value.order(site), write.add, feature, write.inside)


@dataclass(eq=False)
class Trials:
    """Tries the kinds of interventions of a plan on its networks. ``faults[network]``: mistakes of this package that
    showed on the way."""

    plan: Plan
    networks: Mapping[NetworkKey, Network]
    budgets: Mapping[NetworkKey, Budget]
    features: Mapping[FeatureRef, Feature]
    faults: dict[NetworkKey, str] = field(default_factory=dict)

    @torch.no_grad()
    def settle(self) -> Plan:
        """The plan, its interventions that do not fit into one pass in steps of their own for the reference executor."""
        layouts = Layouts(self.plan)
        steps: list[Step] = []
        for step in self.plan.steps:
            proof = proof_of(self.networks[step.network])
            if step.why or proof is None or not step.resumes:
                steps.append(step)
                continue
            self._try(step, layouts)
            apart: dict[str, list[g.Resume]] = {}
            for resume in step.resumes:
                why = self._read_where_written(resume) or proof.kinds.get(kind_of(resume), "")
                apart.setdefault(why, []).append(resume)
            stay = tuple(apart.pop("", ()))
            if stay or step.forwards:
                steps.append(replace(step, resumes=stay))
            steps += [replace(step, forwards=(), resumes=tuple(rest), why=why) for why, rest in apart.items()]
        return replace(self.plan, steps=tuple(steps))

    def _read_where_written(self, resume: g.Resume) -> str:
        """Why an intervention does not ride in one pass where it takes a vector from a run at the very place at which that run is
        written: a row of a pass reads a place before it is written there."""
        facts = self.plan.inputs[resume.base.network].facts
        for run in in_tree(resume):
            for capture in captures(run):
                writes = capture.run.writes if isinstance(capture.run, g.Resume) else ()
                if any(overlap(write.place, capture.place, facts) for write in writes):
                    return f"`{capture.place}` is read in a run in which it is written"
        return ""

    def _try(self, step: Step, layouts: Layouts) -> None:
        """Run one intervention of each kind that is not proved yet both ways; those of one draw together."""
        proof = proof_of(self.networks[step.network])
        assert proof is not None
        unknown: dict[frozenset[object], list[g.Resume]] = {}
        for resume in step.resumes:
            kind = kind_of(resume)
            known = kind in proof.kinds or _proved_at_load(resume, proof.exchanged)
            if not known and self._ready(resume) and not self._read_where_written(resume):
                unknown.setdefault(kind, []).append(resume)
        by_draw: dict[g.DrawNode, list[g.Resume]] = {}
        for resumes in unknown.values():
            # one from the middle, or the next to it that reaches what is read: of many pairs each look takes its time
            middle_first = sorted(range(len(resumes)), key=lambda n: abs(n - len(resumes) // 2))
            chosen = next((resumes[n] for n in middle_first if any(layouts.reaches(resumes[n]))), None)
            if chosen is not None:
                by_draw.setdefault(chosen.base.draw, []).append(chosen)
        for draw, chosen_ones in by_draw.items():
            of = max(1, self.plan.drawn[draw].n // PAIRS)
            for resume, why in self._both_ways(step, chosen_ones, Block(0, 1, of), layouts):
                proof.kinds[kind_of(resume)] = why

    def _ready(self, resume: g.Resume) -> bool:
        """Whether the maps that an intervention writes through are there: a plan may be shown before they are fitted."""
        return all(
            write.feature is None or write.inside or write.feature.map in self.features
            for run in in_tree(resume)
            for write in run.writes
        )

    def _both_ways(
        self, step: Step, resumes: list[g.Resume], block: Block, layouts: Layouts
    ) -> Iterable[tuple[g.Resume, str]]:
        """Which of some interventions were tried, and why each does not fit into one pass (empty: it does)."""
        trial = replace(step, forwards=(), resumes=tuple(resumes), blocks=(Block(),))
        try:
            expected = self._run(trial, block, layouts, by_forwards=True)
        except SpecError:
            return []  # a fault of the spec, which the run itself will tell
        try:
            found = self._run(trial, block, layouts, by_forwards=False)
        except Exception as raised:
            if len(resumes) > 1:  # which of them it is
                each = (self._both_ways(step, [resume], block, layouts) for resume in resumes)
                return [one for ones in each for one in ones]
            if isinstance(raised, SpecError):
                return [(resumes[0], f"interventions on {_places(resumes[0])}: {raised.diagnostics[0].title}")]
            if faults.is_ours(raised):
                faults.raise_if_strict(raised)
                self.faults.setdefault(step.network, faults.told(raised))
            return [
                (resumes[0], f"interventions on {_places(resumes[0])} cannot share one pass: {faults.in_words(raised)}")
            ]
        limit = 10 * tolerance_of(self.networks[step.network].dtype)
        return [(resume, _difference(resume, found[resume], expected[resume], limit)) for resume in resumes]

    def _run(self, step: Step, block: Block, layouts: Layouts, by_forwards: bool) -> dict[g.Resume, Tensor]:
        network = self.networks[step.network]
        given = GivenMaps()
        means = Means(layouts, given)
        context = Context(
            self.plan,
            network,
            layouts,
            {},
            means,
            self.budgets[step.network],
            lambda tokens: None,
            {},
            self.features,
            given,
        )
        executor: ReferenceExecutor | Sweep = ReferenceExecutor(context) if by_forwards else Sweep(context)
        early = early_means(step, ahead=by_forwards)
        if early:
            kept = executor.keep(step, block, [capture for node in early for capture in node.captures])
            for node in early:
                means.collect(node, kept)
        return executor.logits(step, block)


def _places(resume: g.Resume) -> str:
    return ", ".join(f"`{write.place}`" for write in resume.writes[:3]) + (", …" if len(resume.writes) > 3 else "")


def _difference(resume: g.Resume, found: Tensor, expected: Tensor, limit: float) -> str:
    """Why one intervention is not to be run in a pass: by how much it came out otherwise than by whole forward passes."""
    error = distance(torch.nan_to_num(found), torch.nan_to_num(expected))
    if error <= limit:
        return ""
    return f"with an intervention on {_places(resume)} a pass differs from whole forward passes by {error:.1e} of their size"
