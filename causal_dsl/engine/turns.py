"""Blocks of a plan that several processes run at once, each its own: what each did is told to all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from causal_dsl.engine.block_results import BlockResults
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.network.shard_group import ShardedLayers
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import Block


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


__all__ = ["NotedBlocks", "found_by_first", "take_turns"]
