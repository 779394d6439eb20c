"""Blocks of a plan that several processes run at once, each its own: what each did is told to all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from causal_dsl.engine.block_results import BlockResults
from causal_dsl.engine.heap import give_back
from causal_dsl.engine.measured_cells import MeasuredCells
from causal_dsl.engine.network_share import Context
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.network.shard_group import ShardedLayers
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import Block, Step


class BlockRunner(Protocol):
    """The executor of the blocks of a plan, an ``Execution``: its store, and where it puts what it measures."""

    plan: Plan
    store: ChunkStore | None
    measured: MeasuredCells
    reused: int

    def run_block(self, number: int, step: Step, block: Block, context: Context) -> None: ...

    def keep(self, act: Callable[[ChunkStore], None]) -> None: ...


class NotedBlocks(ChunkStore):
    """Stands in for the store of finished blocks in a turn: what would be kept is noted, and kept once all have had theirs."""

    def __init__(self) -> None:
        self.finished: list[tuple[int, Block, BlockResults]] = []
        self.halved: list[tuple[int, Block]] = []

    def get(self, step: int, block: Block, plan: Plan) -> BlockResults | None:
        return None

    def was_halved(self, step: int, block: Block) -> bool:
        return False

    def put(self, step: int, block: Block, block_results: BlockResults) -> None:
        self.finished.append((step, block, block_results))

    def halve(self, step: int, block: Block) -> None:
        self.halved.append((step, block))


def found_by_first(
    sharded: ShardedLayers, store: ChunkStore | None, number: int, blocks: tuple[Block, ...], plan: Plan
) -> list[BlockResults | None]:
    """Of some blocks those that were finished before, as the store of the first process has them."""
    found = [None if store is None else store.get(number, block, plan) for block in blocks]
    agreed: list[BlockResults | None] = sharded.group.agree(found)
    return agreed


def take_turns(
    sharded: ShardedLayers, number: int, blocks: list[Block], run: Callable[[Block, NotedBlocks], None]
) -> tuple[list[tuple[int, Block, BlockResults]], list[tuple[int, Block, BlockResults]], list[tuple[int, Block]]]:
    """Run as many blocks as there are processes, or fewer, each in one of them. Gives what this process finished, what the
    others did, and which blocks were run as their halves."""
    group, noted = sharded.group, NotedBlocks()
    with group.turn([sharded]):
        if group.rank < len(blocks):
            run(blocks[group.rank], noted)
    told: list[Any] = group.gather((noted.finished, noted.halved))
    others = [item for rank, (finished, _) in enumerate(told) if rank != group.rank for item in finished]
    return noted.finished, others, [item for _, halved in told for item in halved]


def share_out(
    execution: BlockRunner, number: int, step: Step, context: Context, sharded: ShardedLayers
) -> Iterator[int]:
    """Run a step whose network's weights several processes share out: each runs a block of its own at a time, or all
    run the same where interventions are run one by one. Says how many blocks were done."""
    size = 1 if step.why else sharded.group.size
    for start in range(0, len(step.blocks), size):
        blocks = step.blocks[start : start + size]
        found = found_by_first(sharded, execution.store, number, blocks, execution.plan)
        for block_results in found:
            if block_results is not None:
                execution.reused += 1
                execution.measured.merge(block_results)
        left = [block for block, known in zip(blocks, found, strict=True) if known is None]
        give_back()
        store = execution.store
        if step.why:
            for block in left:
                execution.run_block(number, step, block, context)
        elif left:

            def run(block: Block, noted: NotedBlocks) -> None:
                execution.store = noted
                execution.run_block(number, step, block, context)

            try:
                own, others, halved = take_turns(sharded, number, left, run)
            finally:
                execution.store = store
            for _, _, block_results in others:
                execution.measured.merge(block_results)
            for where, block in halved:
                execution.keep(lambda kept, where=where, block=block: kept.halve(where, block))  # type: ignore[misc]
            for where, block, block_results in (*own, *others):
                execution.keep(lambda kept, it=(where, block, block_results): kept.put(*it))  # type: ignore[misc]
        yield len(blocks)


__all__ = ["BlockRunner", "share_out"]
