"""Finished blocks of a plan as arrays, kept and taken up again (:mod:`causal_dsl.store.blocks`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from causal_dsl.engine.block_results import BlockResult, BlockResults
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import Block
from causal_dsl.store.blocks import Blocks
from causal_dsl.store.later import Later
from causal_dsl.store.old_runs import name_of_run


class ChunkStore:
    """The finished blocks of one spec in a folder. ``inputs`` is what they belong to, as plain data; ``later`` hears of what is read as
    the run goes on. ``units``: a folder of blocks that workers computed, each run in a folder of its own there; with
    ``shared`` this process is one of the workers, and its blocks go there."""

    def __init__(
        self,
        folder: Path,
        inputs: Mapping[str, Any],
        later: Later | None = None,
        units: Path | None = None,
        shared: bool = False,
    ):
        theirs = None if units is None else units / name_of_run(inputs)
        self._blocks = Blocks(folder if not shared or theirs is None else theirs, inputs, later, shared)
        self._noted: list[Path] = []
        self._theirs = None
        if theirs is not None and not shared and theirs.is_dir():
            self._theirs = Blocks(theirs, inputs, later, shared=True)

    @property
    def folder(self) -> Path:
        """Where finished blocks are put."""
        return self._blocks.folder

    @property
    def found(self) -> int:
        """How many blocks were taken from the run before, or of what workers computed."""
        return self._blocks.found + (self._theirs.found if self._theirs is not None else 0)

    def take_noted(self) -> list[Path]:
        """The files of the blocks that were put or taken since this was last asked."""
        found, self._noted = self._noted, []
        return found

    def settle(self, plan: Plan) -> Plan:
        """The plan, cut as the run before was cut: blocks that were run can then be taken, and the numbers that come
        after do not depend on how much memory happened to be free."""
        before = _cut(self._blocks.cut)
        if before is not None and len(before) == len(plan.steps):
            return _as_cut(plan, before)
        before = _cut(self._theirs.cut) if self._theirs is not None else None
        if before is not None and len(before) == len(plan.steps):
            plan = _as_cut(plan, before)
        self._blocks.begin([[astuple(block) for block in s.blocks] for s in plan.steps])
        settled = _cut(self._blocks.cut)  # of several workers the first says it
        return plan if settled is None or len(settled) != len(plan.steps) else _as_cut(plan, settled)

    def discard(self) -> None:
        """Keep nothing of this run: no number of it can be trusted."""
        self._blocks.discard()

    def was_halved(self, step: int, block: Block) -> bool:
        """Whether memory ran out in this block before."""
        name = _name(step, block)
        return self._blocks.was_halved(name) or (self._theirs is not None and self._theirs.was_halved(name))

    def halve(self, step: int, block: Block) -> None:
        """Note that a block is run as its halves."""
        self._blocks.halve(_name(step, block))

    def put(self, step: int, block: Block, block_results: BlockResults) -> None:
        """Keep a finished block."""
        arrays: dict[str, np.ndarray] = {}
        about = {}
        for name, block_result in block_results.items():
            about[name] = {
                "cells": block_result.cells,
                "roles": list(block_result.unpatched),
                "floors": list(block_result.noise_floors.items()),
                "outside": list(block_result.off_manifold.items()),
                "looked": list(block_result.looked),
                "seconds": block_result.seconds,
            }
            arrays[f"{name}/pairs"] = block_result.pairs
            for role, numbers in block_result.unpatched.items():
                for i, values in enumerate(numbers.values()):
                    arrays[f"{name}/{role}/{i}"] = values
            for i, values in enumerate(block_result.patched.values()):
                arrays[f"{name}/patched/{i}"] = values
            for (cell, run), numbers in block_result.looked.items():
                for i, values in enumerate(numbers.values()):
                    arrays[f"{name}/{cell}/{run}/at/{i}"] = values
            if block_result.cells:
                arrays[f"{name}/fired"] = np.concatenate([block_result.fired[cell] for cell in block_result.cells])
        self._blocks.put(_name(step, block), arrays, about)
        self._note(step, block)

    def get(self, step: int, block: Block, plan: Plan) -> BlockResults | None:
        """A block that was finished before, or None."""
        found = self._blocks.get(_name(step, block))
        if found is None and self._theirs is not None:
            found = self._theirs.get(_name(step, block))
        if found is None:
            return None
        self._note(step, block)
        return _pieces(*found, plan)

    def _note(self, step: int, block: Block) -> None:
        self._noted.append(self.folder / f"{_name(step, block)}.npz")


def _as_cut(plan: Plan, blocks: list[tuple[Block, ...]]) -> Plan:
    return replace(plan, steps=tuple(replace(s, blocks=b) for s, b in zip(plan.steps, blocks, strict=True)))


def _cut(said: list[Any] | None) -> list[tuple[Block, ...]] | None:
    """How a run was cut, out of plain data; None where it says nothing of the kind."""
    try:
        return None if said is None else [tuple(Block(*block) for block in blocks) for blocks in said]
    except TypeError:
        return None


def _pieces(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], plan: Plan) -> BlockResults:
    block_results = {}
    for name, said in about.items():
        first = plan.scores[name][0]
        block_result = BlockResult(arrays[f"{name}/pairs"], cells=said["cells"], seconds=said["seconds"])
        for role in said["roles"]:
            read = first.read(role)
            assert read is not None
            block_result.unpatched[role] = _numbers(arrays, f"{name}/{role}", read.quantities)
        if block_result.cells:
            read = plan.scores[name][block_result.cells[0]].read("patched")
            assert read is not None
            block_result.patched = _numbers(arrays, f"{name}/patched", read.quantities)
            ends = np.cumsum([_writes(plan.scores[name][cell]) for cell in block_result.cells])[:-1]
            parts = np.split(arrays[f"{name}/fired"].reshape(-1, 3), ends)
            block_result.fired = dict(zip(block_result.cells, parts, strict=True))
        block_result.noise_floors = {int(cell): (float(floor), float(share)) for cell, (floor, share) in said["floors"]}
        block_result.off_manifold = {int(cell): (int(out), int(of)) for cell, (out, of) in said["outside"]}
        for cell, run in said["looked"]:
            read = plan.scores[name][cell].read(run)
            assert read is not None
            asked = tuple(quantity for looked in read.looks for quantity in looked.quantities)
            block_result.looked[int(cell), str(run)] = _numbers(arrays, f"{name}/{cell}/{run}/at", asked)
        block_results[name] = block_result
    return block_results


def _writes(node: g.ScoreNode) -> int:
    """How many writes the intervention of a cell has: cells need not have as many."""
    read = node.read("patched")
    assert read is not None and isinstance(read.run, g.Resume)
    return len(read.run.writes)


def _numbers(arrays: Mapping[str, np.ndarray], name: str, quantities: tuple[Any, ...]) -> dict[Any, np.ndarray]:
    return {quantity: arrays[f"{name}/{i}"] for i, quantity in enumerate(quantities)}


def _name(step: int, block: Block) -> str:
    last = "end" if block.last is None else block.last
    return f"step{step}-pairs{block.start}-{block.stop}of{block.of}-cells{block.first}-{last}"
