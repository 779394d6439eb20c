"""The plan, run: every step, block after block, by the executor that the step names; everything kept that was computed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from causal_dsl.base import faults
from causal_dsl.base.faults import raise_if_stopped
from causal_dsl.diagnostics import SpecError, fail
from causal_dsl.engine.activation_cache import Means
from causal_dsl.engine.block_progress import BlockProgress, floor_tokens
from causal_dsl.engine.budgets import budget_of, out_of_memory
from causal_dsl.engine.edges_stacked import EdgeExecutor
from causal_dsl.engine.heap import give_back
from causal_dsl.engine.measured_cells import MeasuredCells
from causal_dsl.engine.network_share import Context
from causal_dsl.engine.readings import Numbers, Targets
from causal_dsl.engine.reference import ReferenceExecutor
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.engine.sweep import Sweep
from causal_dsl.engine.trial import Trials
from causal_dsl.engine.turns import share_out
from causal_dsl.features.base import Feature
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.network.compare import told
from causal_dsl.network.fingerprint import same_network
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.cost import Cost, cost_of
from causal_dsl.planning.lower import unfit_networks, whole_batches
from causal_dsl.planning.noise_floor import floors_of
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import EDGES, Block, Step, early_means
from causal_dsl.planning.verify import verify
from causal_dsl.program.answers import Answers
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store.stored_only import nothing_is_made


class Execution:
    """One run of one plan. ``runs[test]`` holds what is finished, also when :meth:`run` was interrupted.

    ``answers[test]`` says what the read-out can say; ``targets(test, quantity)`` gives the ids [n] whose logits are
    asked; ``memory[network]`` is how many bytes a pass may take beside the weights (:func:`budget_of` by default).
    ``tick`` hears of layer-tokens that are done. ``store`` keeps finished blocks and gives back those of a run before.
    ``compiled``: the MLPs of the layers go through ``torch.compile``. ``features`` are the fitted maps.
    ``columns`` is the folder for the numbers of pairs, where there are too many to be held; ``scored``: they are read here, and not in another
    process, which takes them from the store.
    """

    def __init__(
        self,
        plan: Plan,
        networks: Mapping[NetworkKey, Network],
        answers: dict[str, Answers],
        targets: Targets,
        memory: Mapping[NetworkKey, int] | None = None,
        tick: Callable[[int], None] = lambda tokens: None,
        store: ChunkStore | None = None,
        compiled: bool = False,
        features: Mapping[FeatureRef, Feature] = MappingProxyType({}),
        columns: Path | None = None,
        scored: bool = True,
    ):
        self.networks, self.answers, self.targets = networks, answers, targets
        self.tick, self.compiled, self.features = tick, compiled, features
        self.store = store
        self.budgets = {key: budget_of(network, (memory or {}).get(key)) for key, network in networks.items()}
        if compiled:
            _refuse_compiled(networks.values())
        plan = unfit_networks(plan, {key: _unfit(network) for key, network in networks.items()})
        plan = whole_batches(plan, {key for key, network in networks.items() if _fixed(network)})
        self.given = GivenMaps(same_network(networks))
        trials = Trials(plan, networks, self.budgets, features)
        plan = trials.settle()
        #: mistakes of this package that were gone around, by network
        at_load = {key: proof.fault for key, network in networks.items() if (proof := proof_of(network)) is not None}
        self.faults = {key: fault for key, fault in {**at_load, **trials.faults}.items() if fault}
        self.plan = chunk_to_memory(plan, self.budgets)
        groups = [network.sharded.group for network in networks.values() if network.sharded is not None]
        #: why blocks are kept no longer
        self.unkept: OSError | None = None
        #: why networks were left to whole forward passes in the middle of a run
        self.refused: dict[NetworkKey, str] = {}
        if store is not None:
            try:
                self.plan = store.settle(self.plan)
            except OSError as error:
                self.unkept, self.store = error, None
        if groups:
            blocks = groups[0].agree([step.blocks for step in self.plan.steps])
            steps = zip(self.plan.steps, blocks, strict=True)
            self.plan = replace(self.plan, steps=tuple(replace(step, blocks=own) for step, own in steps))
        verify(self.plan, "cut")
        self._broken: set[NetworkKey] = set()
        #: how many blocks were left out, where only what is stored is used
        self.left = 0
        #: how many blocks were run, halves of them for themselves; and how many were taken whole from the store
        self.ran = self.reused = 0
        #: networks for whose blocks memory did not suffice
        self.halved: list[NetworkKey] = []
        self._told: BlockProgress | None = None
        self.measured = MeasuredCells(self.plan, networks, columns, scored)
        self.runs = self.measured.runs
        self.contexts = {key: self._context(key) for key in networks}

    def __repr__(self) -> str:
        tests = sum(not run.test.control[0] for run in self.runs.values())
        blocks = sum(len(step.blocks) for step in self.plan.steps)
        left = f", {self.left} left out" if self.left else ""
        ways = dict.fromkeys(self.executor(key).partition(":")[0].partition(",")[0] for key in self.networks)
        return (
            f"<Execution: {tests} test{'s' * (tests != 1)}, {blocks} block{'s' * (blocks != 1)}, "
            f"{self.ran} run and {self.reused} from the store{left}; executor {', '.join(ways) or 'none'}>"
        )

    def _context(self, key: NetworkKey) -> Context:
        network, layouts = self.networks[key], Layouts(self.plan)
        tests = [test for test in self.plan.tests if test.network.key == key]
        numbers = {test.name: self._numbers(test, network) for test in tests}
        floors: dict[g.Resume, g.Resume] = {}
        for test in tests:
            floors |= floors_of(self.plan, test)
        return Context(
            self.plan,
            network,
            layouts,
            numbers,
            Means(layouts, self.given),
            self.budgets[key],
            self._ticked,
            floors,
            self.features,
            self.given,
            targets=self.targets,
        )

    def _numbers(self, test: Test, network: Network) -> Numbers:
        quantities = [q for score in self.plan.scores[test.name] for _, read in score.reads for q in read.quantities]
        vocabulary = network.facts.outputs or 2**62
        drawn = self.plan.draw_of(test)
        return Numbers(test, self.answers[test.name], self.targets, quantities, vocabulary, drawn)

    @cached_property
    def cost(self) -> Cost:
        """The cost of its plan, as it stands before the run."""
        return cost_of(self.plan)

    def total(self) -> int:
        """The number of layer-tokens that a run takes, for the progress bar: from then on ``tick`` hears of so many in all."""
        floors = {floor: own for context in self.contexts.values() for floor, own in context.noise_floors.items()}
        total = self.cost.layer_tokens + floor_tokens(self.plan, floors)
        self._told = BlockProgress(self.plan, total, self.tick)
        return total

    def _ticked(self, tokens: int) -> None:
        (self.tick if self._told is None else self._told)(tokens)

    def executor(self, key: NetworkKey) -> str:
        """How a network's steps are run, in words."""
        mine = [step for step in self.plan.steps if step.network == key]
        slow = list(dict.fromkeys(step.why for step in mine if step.why and step.why != EDGES))
        edged = any(step.why == EDGES for step in mine) and key not in self._broken
        if mine and edged and all(step.why == EDGES or not step.resumes for step in mine):
            return f"whole forward passes of many interventions at once: {EDGES}"
        if all(step.why for step in mine) and slow:
            return f"reference: {'; '.join(slow)}"
        proof = proof_of(self.networks[key])
        if slow:
            return f"sweep, and for some interventions reference: {'; '.join(slow)}"
        if proof is not None and proof.sweep == "fixed":
            return f"sweep, all rows from the input to the logits: {proof.slow}"
        if proof is not None and proof.slow:
            return f"sweep, rows with all their tokens: {proof.slow}"
        return "sweep"

    # ── running ─────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def run(self) -> Iterator[str]:
        """Run everything; says what is done after each block."""
        count, done = len(self.blocks), 0
        for number, step in enumerate(self.plan.steps):
            context = self.contexts[step.network]
            sharded = context.network.sharded
            if sharded is not None:
                shared = iter(step.blocks)
                for blocks in share_out(self, number, step, context, sharded):
                    done += blocks
                    if self._told is not None:
                        for block in islice(shared, blocks):
                            self._told.begin(number, block)
                            self._told.end()
                    yield f"block {done} of {count}"
                continue
            for block in step.blocks:
                done += 1
                self._one(number, step, block, context)
                yield f"block {done} of {count}"
        self.measured.finish()

    @cached_property
    def blocks(self) -> list[tuple[int, Block]]:
        """The blocks of all steps in the order in which they are run, each with the number of its step."""
        return [(number, block) for number, step in enumerate(self.plan.steps) for block in step.blocks]

    @torch.no_grad()
    def run_share(self, share: int, count: int) -> None:
        """Run, or find, one of ``count`` shares of the blocks: all shares together are all blocks."""
        for place, (number, block) in enumerate(self.blocks):
            if place * count // len(self.blocks) == share:
                step = self.plan.steps[number]
                self._one(number, step, block, self.contexts[step.network])

    def _one(self, number: int, step: Step, block: Block, context: Context) -> None:
        """Run a block, or take it from the store."""
        if self._told is not None:
            self._told.begin(number, block)
        self._run_or_find(number, step, block, context)
        if self._told is not None:
            self._told.end()

    def _run_or_find(self, number: int, step: Step, block: Block, context: Context) -> None:
        found = self.store.get(number, block, self.plan) if self.store is not None else None
        if found is not None:
            self.reused += 1
            self.measured.merge(found)
            return
        give_back()
        before = self.ran + self.left
        try:
            self.run_block(number, step, block, context)
        except Exception as error:
            self._go_around(step, error)
            context.means = Means(context.layouts, self.given)
            self.run_block(number, step, block, context)
        self.reused += self.ran + self.left == before  # both of its halves were stored

    @torch.no_grad()
    def logits(self) -> dict[g.Resume, Tensor]:
        """The logits [pairs, vocabulary] of every intervention, each as its step runs it: for a comparison."""
        found: dict[g.Resume, Tensor] = {}
        for number, step in enumerate(self.plan.steps):
            context = self.contexts[step.network]
            executor = self._executor(step, context)
            for block in step.blocks:
                self._means(number, step, context)
                found |= executor.logits(step, block)
        return found

    def _executor(self, step: Step, context: Context) -> ReferenceExecutor | Sweep:
        if step.why == EDGES and step.network not in self._broken:
            return EdgeExecutor(context)
        return ReferenceExecutor(context) if step.why or step.network in self._broken else Sweep(context, self.compiled)

    def _go_around(self, step: Step, error: Exception) -> None:
        """Leave a network to the reference executor from here on, where a pass failed by a mistake of this package, or in
        the network's own code: it may need all rows of its input where a pass has those that are intervened on."""
        if step.why or step.network in self._broken or isinstance(error, SpecError | MemoryError | OSError):
            raise error
        if not faults.is_ours(error):
            if out_of_memory(error) or not _in_model(error):
                raise error
            self._broken.add(step.network)
            self.refused[step.network] = f"its own code raises in a pass with interventions: {told(error)}"
            return
        faults.raise_if_strict(error)
        self._broken.add(step.network)
        self.faults.setdefault(step.network, faults.told(error))

    def _means(self, number: int, step: Step, context: Context) -> None:
        """The means over all pairs that no single pass sees whole. ``step`` may be a part of the step of that number."""
        early = [
            node
            for node in early_means(step, ahead=bool(step.why) or step.network in self._broken)
            if node not in context.means
        ]
        if not early:
            return
        whole = self.plan.steps[number].blocks  # also where a run before halved a block, of which `step` is the halves
        for block in dict.fromkeys(replace(block, first=0, last=None) for block in whole):
            self._mean_of(step, block, early, context)

    def _mean_of(self, step: Step, block: Block, early: list[g.Average], context: Context) -> None:
        nodes = [n for n in early if len(block.pairs(self.plan.drawn[n.capture.forward.draw].n))]
        if not nodes:
            return
        try:
            kept = self._executor(step, context).keep(
                step, block, [capture for node in nodes for capture in node.captures]
            )
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            for half in self._halves(step, block, error, between_pairs=True):
                self._mean_of(step, half, nodes, context)
            return
        for node in nodes:
            context.means.collect(node, kept)

    def run_block(self, number: int, step: Step, block: Block, context: Context) -> None:
        """Run a block; where memory does not suffice, its halves."""
        raise_if_stopped()
        halves = None
        if self.store is None or not self.store.was_halved(number, block):
            if nothing_is_made():
                self.left += 1
                return
            started = time.perf_counter()
            self.ran += 1
            self._means(number, step, context)
            try:
                block_results = self._executor(step, context).run(step, block)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                halves = self._halves(step, block, error)
            else:
                for block_result in block_results.values():
                    block_result.seconds = (time.perf_counter() - started) / len(block_results)
                self.keep(lambda store: store.put(number, block, block_results))
                self.measured.merge(block_results)
                return
        halves = halves or self._halves(step, block, None)
        self.keep(lambda store: store.halve(number, block))
        if context.network.device.type == "cuda":
            torch.cuda.empty_cache()
        cut = replace(step, blocks=halves)
        for half in halves:
            found = self.store.get(number, half, self.plan) if self.store is not None else None
            if found is not None:
                self.measured.merge(found)
            else:
                self.run_block(number, cut, half, context)

    def keep(self, act: Callable[[ChunkStore], None]) -> None:
        """Keep what was computed, where blocks are kept. A full disk ends the keeping, not the run."""
        if self.store is None:
            return
        try:
            act(self.store)
        except OSError as error:
            self.unkept, self.store = error, None

    def _halves(
        self, step: Step, block: Block, error: BaseException | None, between_pairs: bool = False
    ) -> tuple[Block, Block]:
        draws = {run.draw for run in (*step.forwards, *(resume.base for resume in step.resumes))}
        count = 1 if between_pairs else len(step.resumes)
        halves = block.halves(count, max(self.plan.drawn[draw].n for draw in draws))
        if halves is None:
            raise fail(
                "E642",
                "there is not enough memory for one pair",
                self.networks[step.network].span,
                notes=(str(error)[:200],),
                help="use a smaller dtype (--dtype bfloat16) or another device",
            ) from error
        self.halved.append(step.network)
        return halves


def _refuse_compiled(networks: Iterable[Network]) -> None:
    """Raise E942 where blocks are to be compiled whose weights are read as they are needed."""
    for network in networks:
        if network.stream is not None or network.sharded is not None:
            held = "weights=stream" if network.stream is not None else "shard=auto"
            raise fail(
                "E942",
                f"`{network.name}` cannot be run with --compile: it has `{held}`",
                network.span,
                notes=("compiled code keeps the addresses of weights, and these have none that stay",),
                help=f"leave --compile out, or {held}",
            )


def _in_model(error: BaseException) -> bool:
    """Whether an exception was raised while a module ran."""
    return any(frame.f_code.co_name == "_call_impl" for frame, _ in traceback.walk_tb(error.__traceback__))


def _unfit(network: Network) -> str:
    proof = proof_of(network)
    return proof.unfit if proof is not None else ""


def _fixed(network: Network) -> bool:
    proof = proof_of(network)
    return proof is not None and proof.sweep == "fixed"
