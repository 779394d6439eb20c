"""The plan, run: unpatched inputs once each, then every intervention, wave by wave of pairs.

This is the reference executor: plain forward hooks and whole forwards, nothing resumed, trimmed or mixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from causal_dsl.engine.answers import Answers
from causal_dsl.engine.clean import Clean, Demand, forward_inputs, run_clean
from causal_dsl.engine.columns import NO_ANSWER, Columns, Quantity
from causal_dsl.engine.memory import rows_that_fit
from causal_dsl.engine.readout import greedy, measure
from causal_dsl.engine.written import Means, Written
from causal_dsl.network.forward import Write, forward
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import Plan
from causal_dsl.program.program import Noise, Test

#: Pairs of a cell on which the base is patched into itself, and cells of a test that are asked.
FLOOR_ROWS, FLOOR_CELLS = 4, 8


@dataclass
class CellRun:
    """What was measured in one cell: ``done`` marks the pairs that were run; ``fired[i]`` is (rows, change) of intervention i."""

    node: g.Score
    columns: Columns
    done: np.ndarray
    fired: list[tuple[int, float]] = field(default_factory=list)
    noise_floor: float | None = None


@dataclass
class TestRun:
    """The cells of one test, filled as the run goes on."""

    __test__ = False  # not a pytest class

    test: Test
    n: int
    cells: list[CellRun]
    seconds: float = 0.0


class Execution:
    """One run of one plan. ``runs[test]`` holds what is finished, also when :meth:`run` was interrupted.

    ``answers[test]`` says what the read-out can say; ``targets(test, quantity)`` gives the ids [n] whose logits are asked.
    """

    def __init__(
        self, plan: Plan, networks: dict[str, Network], answers: dict[str, Answers],
        targets: Callable[[Test, Quantity], np.ndarray], memory: dict[str, int], tick: Callable[[int], None],
    ):  # fmt: skip
        self.plan = plan
        self.networks = networks
        self.answers = answers
        self.targets = targets
        self.memory = memory
        self.tick = tick
        self.runs: dict[str, TestRun] = {}
        self._target_cache: dict[tuple[str, Quantity], torch.Tensor] = {}
        for test in plan.tests:
            nodes = plan.scores[test.name]
            n = plan.draw_of(test).n
            self.runs[test.name] = TestRun(
                test, n, [CellRun(node, self._empty(node, n), np.zeros(n, bool)) for node in nodes]
            )

    def _empty(self, node: g.Score, n: int) -> Columns:
        def blank(read: g.Read | None) -> dict[Quantity, np.ndarray]:
            found: dict[Quantity, np.ndarray] = {}
            for quantity in read.quantities if read else ():
                found[quantity] = np.full(n, NO_ANSWER, np.int64) if quantity.kind == "answer" else np.full(n, np.nan)
            return found

        others = {run: blank(read) for run, read in node.reads if run not in ("base", "patched")}
        return Columns(blank(node.read("base")), blank(node.read("patched")), others)

    # ── size ────────────────────────────────────────────────────────────────────────────────────

    def total(self) -> int:
        """The number of rows of forwards that a run takes, for the progress bar."""
        rows = sum(len(demand.runs) for name in self.networks for demand in [self._demand(name, 0, 1)])
        return rows + sum(
            run.n * sum(cell.node.read("patched") is not None for cell in run.cells) for run in self.runs.values()
        )

    def waves(self, name: str) -> int:
        """Into how many parts the pairs are cut so that what is kept of them stays within the budget."""
        demand, network = self._demand(name, 0, 1), self.networks[name]
        size = torch.empty((), dtype=network.dtype).element_size()
        width = max([network.facts.width or 0, network.facts.mlp_width or 0, *network.facts.widths, 1])
        kept = sum(len(slots) * (len(site.dims) if site.dims else width) for site, slots in demand.vectors.items())
        kept += len(demand.logits) * (network.facts.vocabulary or network.facts.classes or 1)
        return max(1, -(-kept * size // max(1, self.memory[name] // 2)))

    # ── running ─────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def run(self) -> Iterator[CellRun]:
        """Run everything; gives each cell when its pairs (of one wave) are done."""
        for name in self.networks:
            waves = self.waves(name)
            means = Means()
            if waves > 1:
                self._all_means(name, waves, means)
            for wave in range(waves):
                yield from self._wave(name, wave, waves, means)

    def _tests(self, name: str) -> list[TestRun]:
        return [run for run in self.runs.values() if run.test.network.name == name]

    def _rows(self, n: int, wave: int, waves: int) -> np.ndarray:
        return np.arange(n * wave // waves, n * (wave + 1) // waves)

    def _demand(self, name: str, wave: int, waves: int, only_means: bool = False) -> Demand:
        demand = Demand(self.plan.inputs[name])
        for run in self._tests(name):
            rows = self._rows(run.n, wave, waves)
            for cell in run.cells:
                for _, read in cell.node.reads:
                    if isinstance(read.run, g.Forward):
                        if not only_means:
                            demand.want_logits(self.plan.rows[read.run][rows])
                        continue
                    for write in read.run.writes:
                        for node in _captures(write.value):
                            if isinstance(node, g.Average) and (only_means or waves == 1):
                                demand.want(node.capture.place, self.plan.rows[node.capture.run][rows])
                            elif isinstance(node, g.Capture) and not only_means:
                                demand.want(node.place, self.plan.rows[node.run][rows])
        return demand

    def _all_means(self, name: str, waves: int, means: Means) -> None:
        for wave in range(waves):
            demand = self._demand(name, wave, waves, only_means=True)
            if demand.runs:
                clean = run_clean(self.networks[name], demand, self.memory[name], self.tick)
                self._collect(name, wave, waves, clean, means)

    def _collect(self, name: str, wave: int, waves: int, clean: Clean, means: Means) -> None:
        nodes = {
            node: run.n
            for run in self._tests(name)
            for cell in run.cells
            for _, read in cell.node.reads
            if isinstance(read.run, g.Resume)
            for write in read.run.writes
            for node in _captures(write.value)
            if isinstance(node, g.Average)
        }
        for node, n in nodes.items():
            rows = self._rows(n, wave, waves)
            if len(rows):
                means.collect(node, clean, self.plan.rows[node.capture.run][rows])

    def _wave(self, name: str, wave: int, waves: int, means: Means) -> Iterator[CellRun]:
        network = self.networks[name]
        clean = run_clean(network, self._demand(name, wave, waves), self.memory[name], self.tick)
        if waves == 1:
            self._collect(name, wave, waves, clean, means)
        for run in self._tests(name):
            started = time.perf_counter()
            rows = self._rows(run.n, wave, waves)
            if not len(rows):
                continue
            self._unpatched(run, network, clean, rows)
            written = Written(self.plan.inputs[name], clean, means, self.plan.rows)
            asked = set(np.linspace(0, len(run.cells) - 1, FLOOR_CELLS).astype(int).tolist())
            for number, cell in enumerate(run.cells):
                read = cell.node.read("patched")
                if read is not None:
                    self._patched(run.test, network, cell, read, written, rows)
                    if wave == 0 and number in asked:
                        cell.noise_floor = self._noise_floor(network, read, rows[:FLOOR_ROWS])
                cell.done[rows] = True
                run.seconds += time.perf_counter() - started
                started = time.perf_counter()
                yield cell

    def _unpatched(self, run: TestRun, network: Network, clean: Clean, rows: np.ndarray) -> None:
        """The read-outs of base and sources, once for all cells."""
        first = run.cells[0]
        for name, read in first.node.reads:
            if not isinstance(read.run, g.Forward):
                continue
            inputs = self.plan.rows[read.run][rows]
            base = self.plan.rows[read.against][rows] if read.against is not None else None
            found: dict[Quantity, np.ndarray] = {}
            for start in range(0, len(rows), 1024):
                part = slice(start, start + 1024)
                logits = clean.logits_of(inputs[part])
                against = clean.logits_of(base[part]) if base is not None else None
                tokens = self._said(run.test, network, logits, inputs[part], None)
                numbers = self._numbers(run.test, read, logits, against, rows[part], tokens)
                for quantity, values in numbers.items():
                    found.setdefault(quantity, np.empty(len(rows), values.dtype))[part] = values
            for cell in run.cells:
                columns = cell.columns.base if name == "base" else cell.columns.sources[name]
                for quantity, values in found.items():
                    columns[quantity][rows] = values

    def _patched(
        self, test: Test, network: Network, cell: CellRun, read: g.Read, written: Written, rows: np.ndarray
    ) -> None:
        resume = read.run
        assert isinstance(resume, g.Resume)
        bases = self.plan.rows[resume.base]
        distinct, back = self._distinct(resume, rows)
        inputs = written.inputs
        order = np.argsort([inputs.length(int(bases[row])) for row in distinct], kind="stable")
        changes = [(0, 0.0) for _ in resume.writes]
        start = 0
        while start < len(order):
            longest = inputs.length(int(bases[distinct[order[start]]]))
            size = rows_that_fit(network, longest, self.memory[network.name], True)
            batch = distinct[order[start : start + size]]
            outcome_logits, said = self._forward(test, network, resume, written, batch, changes)
            # every pair whose distinct row is in this batch
            at = {int(row): i for i, row in enumerate(batch)}
            pairs = np.array([i for i, row in enumerate(back) if int(distinct[row]) in at])
            which = torch.tensor([at[int(distinct[back[i]])] for i in pairs])
            logits = outcome_logits[which.to(outcome_logits.device)]
            against = None
            if read.against is not None:
                against = written.clean.logits_of(self.plan.rows[read.against][rows[pairs]])
            numbers = self._numbers(test, read, logits, against, rows[pairs], said[which.numpy()])
            for quantity, values in numbers.items():
                cell.columns.patched[quantity][rows[pairs]] = values
            self.tick(len(pairs))
            start += size
        cell.fired = _merge(cell.fired, changes)

    def _distinct(self, resume: g.Resume, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows that are different pairs of inputs, and for each row which of them it is; all rows where there is noise."""
        if any(isinstance(value, Noise) for write in resume.writes for value in _leaves(write.value)):
            return rows, np.arange(len(rows))
        runs = [resume.base, *(c.run for w in resume.writes for c in _captures(w.value) if isinstance(c, g.Capture))]
        keys = np.stack([self.plan.rows[run][rows] for run in dict.fromkeys(runs)], axis=1)
        _, first, back = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return rows[first], back.reshape(-1)

    def _forward(
        self, test: Test, network: Network, resume: g.Resume, written: Written, batch: np.ndarray,
        changes: list[tuple[int, float]],
    ) -> tuple[torch.Tensor, np.ndarray]:  # fmt: skip
        inputs = self.plan.inputs[network.name]
        indices = self.plan.rows[resume.base][batch].tolist()
        writes = []
        for write in resume.writes:
            rows, tokens = written.targets(write.place, resume.base, batch)
            counts = torch.bincount(rows, minlength=len(batch)).tolist()
            writes.append(Write(write.place.site, rows, tokens, written.edit(write, counts, batch)))
        outcome = forward(
            network, forward_inputs(inputs, indices, network), [], writes, readout=torch.arange(len(batch)),
            stop=False, padding=network.padding,
        )  # fmt: skip
        assert outcome.logits is not None
        fired = [(one.rows, float(one.change.double().nan_to_num(posinf=0.0).sum())) for one in outcome.written]
        changes[:] = _merge(changes, fired)
        said = self._said(test, network, outcome.logits, np.array(indices), writes)
        return outcome.logits, said

    def _said(
        self, test: Test, network: Network, logits: torch.Tensor, inputs: np.ndarray, writes: list[Write] | None
    ) -> np.ndarray:
        """The greedy continuation [m, longest answer], token after token where answers have several."""
        answers = self.answers[test.name]
        among = torch.tensor(answers.among, device=logits.device) if answers.among is not None else None
        said = [greedy(logits, among)]
        prompts = None
        while len(said) < answers.longest:
            prompts = prompts or [list(self.plan.inputs[network.name].ids(i)) for i in inputs.tolist()]
            grown = [ids + [max(0, int(column[row])) for column in said] for row, ids in enumerate(prompts)]
            parts = []
            if writes:
                more = forward(
                    network, grown, [], writes, readout=torch.arange(len(grown)), stop=False, padding=network.padding
                )
                assert more.logits is not None
                parts.append(more.logits)
            else:
                size = rows_that_fit(network, max(map(len, grown)), self.memory[network.name], True)
                for start in range(0, len(grown), size):
                    part = grown[start : start + size]
                    more = forward(network, part, readout=torch.arange(len(part)), stop=False, padding=network.padding)
                    assert more.logits is not None
                    parts.append(more.logits)
            said.append(greedy(torch.cat(parts), None))
        return torch.stack(said, dim=1).cpu().numpy()

    def _numbers(
        self,
        test: Test,
        read: g.Read,
        logits: torch.Tensor,
        against: torch.Tensor | None,
        rows: np.ndarray,
        said: np.ndarray,
    ) -> dict[Quantity, np.ndarray]:
        answers = self.answers[test.name]
        targets = {}
        for quantity in read.quantities:
            if quantity.kind == "logit":
                key = (test.name, quantity)
                if key not in self._target_cache:
                    self._target_cache[key] = torch.from_numpy(self.targets(test, quantity))
                targets[quantity] = self._target_cache[key][torch.from_numpy(rows)].to(logits.device)
        classes = None
        if answers.among is not None and len(answers.among) < logits.shape[1]:
            classes = torch.tensor(answers.among, device=logits.device)
        found = {q: v.cpu().numpy() for q, v in measure(logits, read.quantities, targets, classes, against).items()}
        for quantity in read.quantities:
            if quantity.kind == "answer":
                found[quantity] = answers.codes_of(said)
        return found

    def _noise_floor(self, network: Network, read: g.Read, rows: np.ndarray) -> float:
        """The largest change of a logit when the base is patched into itself at the written places."""
        resume = read.run
        assert isinstance(resume, g.Resume)
        inputs = self.plan.inputs[network.name]
        indices = self.plan.rows[resume.base][rows].tolist()
        mine = Demand(inputs)
        for write in resume.writes:
            mine.want(write.place, np.array(indices))
        mine.want_logits(np.array(indices))
        kept = run_clean(network, mine, self.memory[network.name], lambda _: None)
        writes = []
        for write in resume.writes:
            spans = [inputs.where(write.place.position, i) for i in indices]
            keys = [(inputs.run_of(i), token) for i, span in zip(indices, spans, strict=True) for token in span]
            values = kept.rows_of(write.place.site, keys)
            at = torch.tensor([row for row, span in enumerate(spans) for _ in span])
            tokens = torch.tensor([token for span in spans for token in span])
            writes.append(Write(write.place.site, at, tokens, values.to))
        outcome = forward(
            network, forward_inputs(inputs, indices, network), [], writes, readout=torch.arange(len(indices)),
            stop=False, padding=network.padding,
        )  # fmt: skip
        assert outcome.logits is not None
        return float((outcome.logits - kept.logits_of(np.array(indices))).abs().max())


def _captures(value: g.Written) -> Iterator[g.Capture | g.Average]:
    for leaf in _leaves(value):
        if isinstance(leaf, (g.Capture, g.Average)):
            yield leaf


def _leaves(value: g.Written) -> Iterator[g.Written]:
    if isinstance(value, g.Combine):
        yield from _leaves(value.left)
        yield from _leaves(value.right)
    else:
        yield value


def _merge(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if not one:
        return list(other)
    return [(a + c, b + d) for (a, b), (c, d) in zip(one, other, strict=True)]
