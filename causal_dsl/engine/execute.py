"""The plan, run: every step, block after block, by the executor that the step names; everything kept that was computed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from causal_dsl import faults
from causal_dsl.diagnostics import SpecError, fail
from causal_dsl.engine.activation_cache import Means
from causal_dsl.engine.block_results import BlockResult, BlockResults
from causal_dsl.engine.edges_stacked import EdgeExecutor
from causal_dsl.engine.heap import give_back
from causal_dsl.engine.kept_columns import HELD_COLUMNS, DonePairs, KeptColumns, columns_of
from causal_dsl.engine.linear_probe import probe_numbers, rows_of, token_bounds
from causal_dsl.engine.readings import Numbers, Targets
from causal_dsl.engine.reference import ReferenceExecutor
from causal_dsl.engine.runner import Context
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.engine.sweep import Sweep
from causal_dsl.engine.trial import Trials
from causal_dsl.engine.turns import NotedBlocks, found_by_first, take_turns
from causal_dsl.features.base import Feature
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.measures.quantities import NO_ANSWER, Columns, Quantity
from causal_dsl.network.compare import told
from causal_dsl.network.fingerprint import same_network
from causal_dsl.network.network import Network
from causal_dsl.network.shard_group import ShardedLayers
from causal_dsl.network.steadiness import most_of_batch, refused_noise
from causal_dsl.planning import graph as g
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.cost import Cost, cost_of
from causal_dsl.planning.floors import floors_of
from causal_dsl.planning.lower import unfit_networks, whole_batches
from causal_dsl.planning.memory import MOST_TOKENS_CPU, MOST_TOKENS_DEVICE, Budget, default_bytes
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import EDGES, Block, Step, early_means
from causal_dsl.planning.verify import verify
from causal_dsl.program.answers import Answers
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store.scratch import no_room
from causal_dsl.store.stored_only import nothing_is_made
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.readings import READINGS


@dataclass
class CellRun:
    """What was measured in one cell: ``done`` marks the pairs that were run. ``fired[i]`` of intervention i: at how
    many places it acted, the sum of its relative changes there, and how many places cannot reach the read-out."""

    node: g.ScoreNode
    columns: Columns
    done: DonePairs | np.ndarray
    fired: list[tuple[int, float, int]] = field(default_factory=list)
    noise_floor: float | None = None
    outside: tuple[int, int] = (0, 0)
    #: what was kept of all pairs, [n, width], by the run and the site
    vectors: dict[tuple[str, tree.Expr], np.ndarray] = field(default_factory=dict)


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

    ``answers[test]`` says what the read-out can say; ``targets(test, quantity)`` gives the ids [n] whose logits are
    asked; ``memory[network]`` is how many bytes a pass may take beside the weights (:func:`budget_of` by default).
    ``tick`` hears of layer-tokens that are done. ``store`` keeps finished blocks and gives back those of a run before.
    ``compiled``: the MLPs of the layers go through ``torch.compile``. ``features`` are the fitted maps.
    ``columns`` is the folder for the numbers of pairs, where there are too many to be held.
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
        proved = {key: network.proof.fault for key, network in networks.items() if network.proof is not None}
        self.faults = {key: fault for key, fault in {**proved, **trials.faults}.items() if fault}
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
        #: networks for whose blocks memory did not suffice
        self.halved: list[NetworkKey] = []
        #: where columns are, if there are more than are held
        self.kept = KeptColumns(columns) if columns_of(plan) > HELD_COLUMNS else None
        self.runs: dict[str, TestRun] = {}
        for test in plan.tests:
            shared: dict[tuple[str, Quantity], np.ndarray] = {}
            nodes, n = plan.scores[test.name], plan.draw_of(test).n
            cells = [CellRun(node, self._empty(test, i, n, shared), DonePairs(n)) for i, node in enumerate(nodes)]
            self.runs[test.name] = TestRun(test, n, cells)
        self.contexts = {key: self._context(key) for key in networks}

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
            self.tick,
            floors,
            self.features,
            self.given,
            targets=self.targets,
        )

    def _numbers(self, test: Test, network: Network) -> Numbers:
        quantities = [q for score in self.plan.scores[test.name] for _, read in score.reads for q in read.quantities]
        return Numbers(test, self.answers[test.name], self.targets, quantities, network.facts.outputs or 2**62)

    def _empty(self, test: Test, cell: int, n: int, shared: dict[tuple[str, Quantity], np.ndarray]) -> Columns:
        """The columns of a cell, without numbers yet. ``shared`` has those that all cells of the test have: of plain runs."""

        def blank(run: str, read: g.ReadNode | None) -> MutableMapping[Quantity, np.ndarray]:
            plain = read.quantities if read else ()
            places = tuple(quantity for looked in (read.looks if read else ()) for quantity in looked.quantities)
            if self.kept is not None:
                return self.kept.numbers(test.name, run, cell, n, plain, places)
            found: dict[Quantity, np.ndarray] = {}
            for quantity in plain:
                if (run, quantity) not in shared or run == "patched":
                    answer = quantity.kind == "answer"
                    shared[run, quantity] = np.full(n, NO_ANSWER, np.int64) if answer else np.full(n, np.nan)
                found[quantity] = shared[run, quantity]
            return found | {quantity: np.full(n, np.nan) for quantity in places}

        node = self.plan.scores[test.name][cell]
        others = {run: blank(run, read) for run, read in node.reads if run not in ("base", "patched")}
        return Columns(blank("base", node.read("base")), blank("patched", node.read("patched")), others)

    @cached_property
    def cost(self) -> Cost:
        """What its plan costs, as it stands before the run."""
        return cost_of(self.plan)

    def total(self) -> int:
        """The number of layer-tokens that a run takes, for the progress bar."""
        return self.cost.layer_tokens

    def executor(self, key: NetworkKey) -> str:
        """How a network's steps are run, in words."""
        mine = [step for step in self.plan.steps if step.network == key]
        slow = list(dict.fromkeys(step.why for step in mine if step.why and step.why != EDGES))
        edged = any(step.why == EDGES for step in mine) and key not in self._broken
        if mine and edged and all(step.why == EDGES or not step.resumes for step in mine):
            return f"whole forward passes of many interventions at once: {EDGES}"
        if all(step.why for step in mine) and slow:
            return f"reference: {'; '.join(slow)}"
        proof = self.networks[key].proof
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
                for blocks in self._shared_out(number, step, context, sharded):
                    done += blocks
                    yield f"block {done} of {count}"
                continue
            for block in step.blocks:
                done += 1
                self._one(number, step, block, context)
                yield f"block {done} of {count}"
        self.finish()

    def _shared_out(self, number: int, step: Step, context: Context, sharded: ShardedLayers) -> Iterator[int]:
        """Run a step whose network's weights several processes share out: each runs a block of its own at a time, or all
        run the same where interventions are run one by one. Says how many blocks were done."""
        size = 1 if step.why else sharded.group.size
        for start in range(0, len(step.blocks), size):
            blocks = step.blocks[start : start + size]
            found = found_by_first(sharded, self.store, number, blocks, self.plan)
            for block_results in found:
                if block_results is not None:
                    self.merge(block_results)
            left = [block for block, known in zip(blocks, found, strict=True) if known is None]
            give_back()
            store = self.store
            if step.why:
                for block in left:
                    self._block(number, step, block, context)
            elif left:

                def run(block: Block, noted: NotedBlocks) -> None:
                    self.store = noted
                    self._block(number, step, block, context)

                try:
                    own, others, halved = take_turns(sharded, number, left, run)
                finally:
                    self.store = store
                for _, _, block_results in others:
                    self.merge(block_results)
                for where, block in halved:
                    self._keep(lambda kept, where=where, block=block: kept.halve(where, block))  # type: ignore[misc]
                for where, block, block_results in (*own, *others):
                    self._keep(lambda kept, it=(where, block, block_results): kept.put(*it))  # type: ignore[misc]
            yield len(blocks)

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
        found = self.store.get(number, block, self.plan) if self.store is not None else None
        if found is not None:
            self.merge(found)
            return
        give_back()
        try:
            self._block(number, step, block, context)
        except Exception as error:
            self._go_around(step, error)
            context.means = Means(context.layouts, self.given)
            self._block(number, step, block, context)

    def finish(self) -> None:
        """Make what is made of the vectors of all pairs together, in the cells that are done; hold no columns of many pairs."""
        if self.kept is not None:
            try:
                self.kept.flush()
            except OSError as error:
                raise no_room(error) from error
        for run in self.runs.values():
            for cell in run.cells:
                for role, read in cell.node.reads if cell.vectors and cell.done.all() else ():
                    held = cell.columns
                    own = {**held.sources, "base": held.base, "patched": held.patched}[role]
                    for looked in read.looks:
                        if looked.look.kind in READINGS and READINGS[looked.look.kind].of == "pairs":
                            vectors = cell.vectors[role, looked.look.asked.site]
                            values = probe_numbers(self.plan, run.test, read.run, looked.look, vectors)
                            own.update(dict.fromkeys(looked.quantities, values))

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

    def _block(self, number: int, step: Step, block: Block, context: Context) -> None:
        """Run a block; where memory does not suffice, its halves."""
        halves = None
        if self.store is None or not self.store.was_halved(number, block):
            if nothing_is_made():
                self.left += 1
                return
            started = time.perf_counter()
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
                self._keep(lambda store: store.put(number, block, block_results))
                self.merge(block_results)
                return
        halves = halves or self._halves(step, block, None)
        self._keep(lambda store: store.halve(number, block))
        if context.network.device.type == "cuda":
            torch.cuda.empty_cache()
        cut = replace(step, blocks=halves)
        for half in halves:
            found = self.store.get(number, half, self.plan) if self.store is not None else None
            if found is not None:
                self.merge(found)
            else:
                self._block(number, cut, half, context)

    def _keep(self, act: Callable[[ChunkStore], None]) -> None:
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

    def merge(self, block_results: BlockResults) -> None:
        for name, block_result in block_results.items():
            self._merge_test(self.runs[name], block_result)

    def _merge_test(self, run: TestRun, block_result: BlockResult) -> None:
        run.seconds += block_result.seconds
        pairs = block_result.pairs
        if self.kept is not None:
            try:
                self.kept.add(run.test.name, block_result)
            except OSError as error:
                raise no_room(error) from error
        for role, numbers in block_result.unpatched.items():
            filled: set[int] = set()
            for cell in run.cells:
                columns = cell.columns.base if role == "base" else cell.columns.sources[role]
                for quantity, values in numbers.items() if self.kept is None else ():
                    if id(columns[quantity]) not in filled:
                        columns[quantity][pairs] = values
                        filled.add(id(columns[quantity]))
                if cell.node.read("patched") is None and role == "base":
                    self._mark(cell, pairs)
        for (number, role), numbers in block_result.looked.items():
            self._merge_looked(run, number, role, numbers, block_result)
        for place, number in enumerate(block_result.cells):
            cell = run.cells[number]
            for quantity, values in block_result.patched.items() if self.kept is None else ():
                cell.columns.patched[quantity][pairs] = values[place]
            fired = [(int(rows), float(change), int(dead)) for rows, change, dead in block_result.fired[number]]
            cell.fired = _added(cell.fired, fired)
            if number in block_result.floors:
                cell.noise_floor, share = block_result.floors[number]
                self._refuse_noise(run.test, cell, share)
            out, of = block_result.outside.get(number, (0, 0))
            cell.outside = (cell.outside[0] + out, cell.outside[1] + of)
            self._mark(cell, pairs)

    def _mark(self, cell: CellRun, pairs: np.ndarray) -> None:
        assert isinstance(cell.done, DonePairs)
        cell.done.mark(pairs)

    def _merge_looked(
        self, run: TestRun, number: int, role: str, numbers: Mapping[Quantity, np.ndarray], block_result: BlockResult
    ) -> None:
        """What was read at places in a run of a cell: a number a pair, or vectors, which are held."""
        cell, pairs = run.cells[number], block_result.pairs
        for quantity, values in numbers.items():
            if values.ndim == 1:
                if self.kept is None:
                    cell.columns.of_run(role)[quantity][pairs] = values
                continue
            assert quantity.place is not None
            key, bounds, rows = (role, quantity.place.site), self._bounds(cell, role, quantity), pairs
            if key not in cell.vectors:
                cell.vectors[key] = rows_of(run.n if bounds is None else int(bounds[-1]), values.shape[1])
            if bounds is not None:
                rows = np.concatenate([np.arange(bounds[pair], bounds[pair + 1]) for pair in pairs])
            cell.vectors[key][rows] = values

    def _bounds(self, cell: CellRun, role: str, quantity: Quantity) -> np.ndarray | None:
        """Where the tokens of each pair begin among the vectors that are kept; None where each pair has one vector."""
        read = cell.node.read(role)
        assert read is not None
        look = next(looked.look for looked in read.looks if looked.look.asked == quantity.place)
        return token_bounds(self.plan, read.run, look)

    def _refuse_noise(self, test: Test, cell: CellRun, share: float) -> None:
        """Raise E664 where the base patched into itself is not itself, by more than rounding: its numbers are not its own.

        A feature may lose something on the way in and out; what it does so is a finding (``noise``).
        """
        read = cell.node.read("patched")
        if read is None or not isinstance(read.run, g.Resume) or any(write.feature for write in read.run.writes):
            return
        network = self.networks[test.network.key]
        if share > most_of_batch(network.dtype):
            raise refused_noise(network, share, test.name)


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


def budget_of(network: Network, given: int | None = None) -> Budget:
    """What a run on a network may take: ``given`` bytes, else half of what is free where the network is."""
    size = torch.empty((), dtype=network.dtype).element_size()
    if network.sharded is not None:  # processes that cut their work otherwise would wait for each other
        given = network.sharded.group.agree(given or _free(network))
    if network.device.type == "cuda":
        return Budget(given or _free(network), size, MOST_TOKENS_DEVICE)
    return Budget(given or _free(network), size, MOST_TOKENS_CPU)


def _free(network: Network) -> int:
    if network.device.type == "cuda":
        return int(torch.cuda.mem_get_info(network.device)[0]) // 2
    return default_bytes()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch says it of a GPU by a class, of a CPU in words."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _in_model(error: BaseException) -> bool:
    """Whether an exception was raised while a module ran."""
    return any(frame.f_code.co_name == "_call_impl" for frame, _ in traceback.walk_tb(error.__traceback__))


def _unfit(network: Network) -> str:
    return network.proof.unfit if network.proof is not None else ""


def _fixed(network: Network) -> bool:
    return network.proof is not None and network.proof.sweep == "fixed"


def _added(one: list[tuple[int, float, int]], other: list[tuple[int, float, int]]) -> list[tuple[int, float, int]]:
    if not one:
        return list(other)
    return [(a + d, b + e, c + f) for (a, b, c), (d, e, f) in zip(one, other, strict=True)]
