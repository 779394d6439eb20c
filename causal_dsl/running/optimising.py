"""The constants of ``optimal``: found on the fit part of a test's inputs, before the plan that judges them is run.

Optimal ablation (Li and Janson 2024) puts in the place of components the constants that change least what the network says: of
all constants those that minimise, over inputs, the divergence of what it then says from what it says untouched. The constants
of one intervention are found together; each intervention, those on random circuits too, has its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Options
from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.engine.budgets import budget_of
from causal_dsl.network.edges import EdgeWrite, edges_patched
from causal_dsl.network.fingerprint import anywhere
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.network.tape import TapeOutcome
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import CellScores, Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.work_before import constants_asked, optimal_in
from causal_dsl.program.identity import NetworkKey
from causal_dsl.report.progress import Progress
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import TestResult
from causal_dsl.store import later, rooms, stopping_points
from causal_dsl.store.keys import FitInputs, key_of, told, versions
from causal_dsl.store.out import SpecFolder
from causal_dsl.store.stepwise import kept_in
from causal_dsl.store.stored_only import refuse_making
from causal_dsl.store.tensors import take_tensors, write_tensors
from causal_dsl.vocabulary.values.optimal import FittedConstant, Optimal

#: The loss at the means, the loss that was reached, in how many steps, on how many inputs.
Course = tuple[float, float, int, int]


@dataclass(frozen=True)
class Constants:
    """The plan with the constants in place, how each intervention's were found, and the keys of all."""

    plan: Plan
    courses: Mapping[g.Resume, Course]
    keys: tuple[str, ...] = ()


def find_constants(
    checked: Checked,
    networks: Mapping[NetworkKey, Network],
    options: Options,
    bar: Progress,
    folder: SpecFolder | None,
    memory: Mapping[NetworkKey, int] = MappingProxyType({}),
    share: tuple[int, int] = (0, 1),
) -> Constants:
    """Find the constants of every intervention of a plan that writes ``optimal``, or take those that were kept; of one ``share`` of them,
    where it is not the whole. ``memory``: bytes that a pass on a network may take, where it is not half of what is free."""
    plan = checked.plan
    assert plan is not None
    if checked.constants is None:
        return Constants(plan, {})
    layouts = Layouts(checked.constants)
    changed: dict[g.Resume, g.Resume] = {}
    courses: dict[g.Resume, Course] = {}
    keys: list[str] = []
    wanted = constants_asked(plan)
    for number, (test, resume) in enumerate(wanted):
        if number * share[1] // len(wanted) != share[0]:
            continue
        name = checked.fitted_on[test.control[0] or test.name]
        draw = checked.constants.scores[name][0].label.draw
        one = _Fit(networks[test.network.key], layouts, resume, draw, options.memory, memory.get(test.network.key))
        bar.say(f"{test.name}: constants of intervention {number + 1} of {len(wanted)}"[:60])
        path, key, course = one.run()
        keys.append(key)
        if folder is not None:
            folder.write(f"constants/{test.name}-{number + 1}.safetensors".replace(":", ""), path.read_bytes())
        writes = tuple(
            replace(w, value=FittedConstant(w.value, path, str(n))) if isinstance(w.value, Optimal) else w
            for n, w in enumerate(resume.writes)
        )
        changed[resume] = replace(resume, writes=writes)
        courses[changed[resume]] = course
    return Constants(_with(plan, changed), courses, tuple(keys))


def _with(plan: Plan, changed: Mapping[g.Resume, g.Resume]) -> Plan:
    """A plan with other interventions in the place of some."""

    def read(node: g.ReadNode) -> g.ReadNode:
        return replace(node, run=changed[node.run]) if isinstance(node.run, g.Resume) and node.run in changed else node

    scores = {
        name: tuple(replace(node, reads=tuple((role, read(one)) for role, one in node.reads)) for node in nodes)
        for name, nodes in plan.scores.items()
    }
    steps = tuple(replace(step, resumes=tuple(changed.get(r, r) for r in step.resumes)) for step in plan.steps)
    return replace(plan, scores=CellScores(scores), steps=steps)


class _Fit:
    """The constants of one intervention on one network."""

    def __init__(
        self,
        network: Network,
        layouts: Layouts,
        resume: g.Resume,
        draw: g.DrawNode,
        memory: int | None,
        bytes: int | None,
    ):
        self.network, self.layouts, self.resume, self.memory = network, layouts, resume, memory
        asked = optimal_in(resume)
        assert asked is not None
        self.asked = asked
        self.inputs = layouts.plan.inputs[network.key]
        self.forward = g.Forward(network.key, draw, "base")
        runs = self.inputs.runs[layouts.plan.rows[self.forward]]
        distinct, self.pairs, counts = np.unique(runs, return_index=True, return_counts=True)
        self.weights = torch.from_numpy(counts / counts.sum())
        self.rows = distinct
        tokens = self.inputs.lengths[distinct]
        facts = network.facts
        each = (facts.layers or 1) * (16 * (facts.width or 64) + 4 * (facts.mlp_width or 256)) + 4 * (
            facts.outputs or 1
        )
        room = budget_of(network, bytes).bytes // (4 * each)
        self.size = max(1, int(room // max(1, int(tokens.max(initial=1)))))

    def run(self) -> tuple[Path, str, Course]:
        """Where the constants are kept, their key, and how they were found."""
        inputs = self._key()
        key = key_of(inputs)
        name = f"{key}.safetensors"

        def read(path: Path) -> dict[str, Any] | None:
            known = take_tensors(path, "constants in the cache", key)
            return known[1] if known is not None and later.holds(known[1].get("later")) else None

        known = rooms.found("constants", name, read)
        if known is not None:
            first, last, steps, count = known[1]["course"]
            return known[0], key, (first, last, steps, count)
        refuse_making()
        constants, course = self._found()
        path = kept_in("constants") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        named = {str(n): tensor for n, tensor in enumerate(constants)}
        places = [str(write.place) for write in self.resume.writes]
        about = {"made_for": told(inputs), "course": course, "places": places, "later": later.told_now()}
        write_tensors(path, named, about, key)
        rooms.put("constants", path)
        stopping_points.reached("constants")
        return path, key, course

    def _key(self) -> FitInputs:
        found = hashlib.sha256()
        for index, weight in zip(self.rows.tolist(), self.weights.tolist(), strict=True):
            found.update(self.inputs.content(index))
            found.update(f"{weight} {self.inputs.read(index)}".encode())
        for write in self.resume.writes:
            found.update(np.array(self.layouts.spans(write.place.position, self.forward)[1]).tobytes())
        writes = tuple([repr(w.place), w.to.masks if w.to is not None else None] for w in self.resume.writes)
        settings = {name: value for name, value in asdict(self.asked).items() if name != "span"}
        settings["memory"] = self.memory  # by which the inputs are shared out over passes
        return FitInputs(settings, writes, {}, found.hexdigest(), 0, anywhere(self.network), "constants", versions())

    # ── the search ──────────────────────────────────────────────────────────────────────────────

    def _found(self) -> tuple[list[Tensor], Course]:
        batches = [
            np.arange(len(self.rows))[start : start + self.size] for start in range(0, len(self.rows), self.size)
        ]
        constants, clean = self._means(batches)
        for constant in constants:
            constant.requires_grad_(True)
        optimiser = torch.optim.LBFGS(
            constants,
            max_iter=self.asked.steps,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )
        losses: list[float] = []
        best: list[Tensor] = []

        def closure() -> Tensor:
            optimiser.zero_grad()
            total = torch.zeros((), dtype=torch.float64)
            with torch.enable_grad():
                for batch, there in zip(batches, clean, strict=True):
                    loss = self._loss(self._patched(batch, constants), there) @ self.weights[batch].to(there.device)
                    loss.backward()
                    total += loss.detach().cpu()
            if not torch.isfinite(total):
                raise fail(
                    "E894",
                    f"the loss of the constants is {float(total)} after {len(losses)} evaluations",
                    self.asked.span or NOWHERE,
                    notes=(f"it is `{self.asked.loss}` of `{self.network.name}` as it is and as it is intervened on",),
                    help="use a dtype that holds its logits (--dtype float32), or write `mean`",
                )
            if not losses or float(total) < min(losses):
                best[:] = [constant.detach().clone() for constant in constants]
            losses.append(float(total))
            return total

        optimiser.step(closure)
        steps = int(next(iter(optimiser.state.values()))["n_iter"])
        return best, (losses[0], min(losses), steps, len(self.rows))

    @torch.no_grad()
    def _means(self, batches: Sequence[np.ndarray]) -> tuple[list[Tensor], list[Tensor]]:
        """The mean vectors at the places, and the logits [rows, vocabulary] of each batch as the network is."""
        sums: list[Tensor] = []
        clean = []
        for batch in batches:
            spots = [self._spot(write, batch) for write in self.resume.writes]
            reads = [
                SiteRead(write.place.site, rows, positions)
                for write, (rows, positions, _) in zip(self.resume.writes, spots, strict=True)
            ]
            outcome = self._run(batch, reads, [])
            assert outcome.logits is not None
            clean.append(outcome.logits)
            for n, (values, (rows, _, order)) in enumerate(zip(outcome.reads, spots, strict=True)):
                each = int(order.max()) + 1
                if n == len(sums):
                    shape = (1 if self.asked.pooled else each, values.shape[-1])
                    sums.append(torch.zeros(shape, dtype=torch.float32, device=values.device))
                self._refuse_unlike(each, len(sums[n]), len(rows), len(batch), self.resume.writes[n])
                weight = self.weights[batch].to(values.device).float()[rows.to(values.device)]
                weight = weight / each if self.asked.pooled else weight
                at = torch.zeros_like(order) if self.asked.pooled else order
                sums[n].index_add_(0, at.to(values.device), values.float() * weight[:, None])
        return sums, clean

    def _refuse_unlike(self, each: int, known: int, tokens: int, rows: int, write: g.WriteNode) -> None:
        """A constant for each token needs as many tokens in every input."""
        if self.asked.pooled or (each == known and tokens == each * rows):
            return
        raise fail(
            "E894",
            f"`{write.place.position}` is not as many tokens in every input, and a constant is found for each",
            self.asked.span or NOWHERE,
            help="write optimal(pooled=true), one constant for all tokens, or draw inputs of one length",
        )

    def _spot(self, write: g.WriteNode, batch: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """The places of a write in some inputs: row, token, and the token's number in its span."""
        which, tokens = self.layouts.tokens(write.place, self.forward, self.pairs[batch])
        order = np.arange(len(which)) - np.searchsorted(which, which)
        return torch.from_numpy(which), torch.from_numpy(tokens), torch.from_numpy(order)

    def _patched(self, batch: np.ndarray, constants: Sequence[Tensor]) -> Tensor:
        """The logits [rows, vocabulary] with the constants in place."""
        writes: list[SiteWrite] = []
        edges: list[EdgeWrite] = []
        for write, constant in zip(self.resume.writes, constants, strict=True):
            rows, positions, order = self._spot(write, batch)
            made = SiteWrite(write.place.site, rows, positions, _put(constant, order))
            if write.to is None:
                writes.append(made)
            else:
                edges.append(EdgeWrite(made, write.to))
        with ExitStack() as stack:
            if edges:
                prompts = self.inputs.rows(self.rows[batch])
                stack.enter_context(edges_patched(self.network, prompts, edges, self.network.padding))
            outcome = self._run(batch, [], writes)
        assert outcome.logits is not None
        return outcome.logits

    def _run(self, batch: np.ndarray, reads: Sequence[SiteRead], writes: Sequence[SiteWrite]) -> TapeOutcome:
        return forward(
            self.network,
            self.inputs.rows(self.rows[batch]),
            reads,
            writes,
            readout=torch.arange(len(batch)),
            positions=torch.from_numpy(self.inputs.reads[self.rows[batch]]),
            stop=False,
            padding=self.network.padding,
        )

    def _loss(self, logits: Tensor, clean: Tensor) -> Tensor:
        """The loss of each row [rows]."""
        if self.asked.loss == "square":
            return (logits.double() - clean.double()).square().sum(dim=-1)
        there, here = clean.double().log_softmax(dim=-1), logits.double().log_softmax(dim=-1)
        return (there.exp() * (there - here)).sum(dim=-1)


def _put(constant: Tensor, order: Tensor) -> Callable[[Tensor], Tensor]:
    def edit(current: Tensor) -> Tensor:
        each = constant.to(current.device, current.dtype)
        return each.expand_as(current) if len(each) == 1 else each[order.to(each.device)]

    return edit


# ── what is told of it ──────────────────────────────────────────────────────────────────────────


def with_constants(result: TestResult, runs: Sequence[g.ScoreNode], courses: Mapping[g.Resume, Course]) -> TestResult:
    """The result with how the constants of each cell were found."""
    by_cell = {tuple(node.cell): read.run for node in runs if (read := node.read("patched")) is not None}
    cells = []
    for cell in result.cells:
        run = by_cell.get(tuple(cell.cell.items()))
        if isinstance(run, g.Resume) and run in courses:
            first, last, steps, count = courses[run]
            asked = next(w.value.of for w in run.writes if isinstance(w.value, FittedConstant))
            ended = f"in {steps} steps" if steps < asked.steps else f"when all {steps} steps were done"
            said = (
                f"the constants were found on draws of the fit part, {count} distinct inputs weighted by how often each was drawn: "
                f"their loss ({asked.loss}) was {first:.4g} at the means and {last:.4g} {ended}"
            )
            cell = replace(cell, findings=(*cell.findings, Finding("optimal", said)))
        cells.append(cell)
    return replace(result, cells=tuple(cells))


__all__ = ["Constants", "Course", "find_constants", "with_constants"]
