"""Finished blocks of a run on disk, so that a run that was stopped goes on where it was.

Each block is one file, written beside its name and then renamed, so that it is there whole or not at all. ``run.json``
says what the blocks belong to; blocks of another spec, other weights or other settings are never taken.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from causal_dsl.engine.pieces import Piece, Pieces
from causal_dsl.files import write_atomic
from causal_dsl.planning.lower import Plan
from causal_dsl.planning.steps import Block

#: What the files hold; another number, and they are not read.
FORMAT = 1


class ChunkStore:
    """The finished blocks of one spec in a folder. ``key`` is what they belong to, as data."""

    def __init__(self, folder: Path, key: Mapping[str, Any]):
        self.folder = folder
        self.key = {"format": FORMAT, **key}
        self.found = 0
        self._about: dict[str, Any] = self._read()
        self._halved: set[str] = set(self._about.get("halved", ()))

    def _read(self) -> dict[str, Any]:
        try:
            about: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return about if about.get("key") == json.loads(json.dumps(self.key)) else {}

    def settle(self, plan: Plan) -> Plan:
        """The plan, cut as the run before was cut: blocks that were run can then be taken, and the numbers that come
        after do not depend on how much memory happened to be free."""
        if self._about:
            before = [tuple(Block(*block) for block in blocks) for blocks in self._about["blocks"]]
            if len(before) == len(plan.steps):
                return replace(plan, steps=tuple(replace(s, blocks=b) for s, b in zip(plan.steps, before, strict=True)))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._about = {"key": self.key, "blocks": [[astuple(block) for block in s.blocks] for s in plan.steps]}
        self._halved = set()
        self._write()
        return plan

    def _write(self) -> None:
        document = {**self._about, "halved": sorted(self._halved)}
        write_atomic(self.folder / "run.json", json.dumps(document).encode())

    def was_halved(self, step: int, block: Block) -> bool:
        """Whether memory ran out in this block before."""
        return _name(step, block) in self._halved

    def halve(self, step: int, block: Block) -> None:
        """Note that a block is run as its halves."""
        self._halved.add(_name(step, block))
        self._write()

    def put(self, step: int, block: Block, pieces: Pieces) -> None:
        """Keep a finished block."""
        arrays: dict[str, np.ndarray] = {}
        about = {}
        for name, piece in pieces.items():
            about[name] = {"cells": piece.cells, "roles": list(piece.unpatched), "floors": list(piece.floors.items()),
                           "outside": list(piece.outside.items()),
                           "seconds": piece.seconds}  # fmt: skip
            arrays[f"{name}/pairs"] = piece.pairs
            for role, numbers in piece.unpatched.items():
                for i, values in enumerate(numbers.values()):
                    arrays[f"{name}/{role}/{i}"] = values
            for i, values in enumerate(piece.patched.values()):
                arrays[f"{name}/patched/{i}"] = values
            if piece.cells:
                arrays[f"{name}/fired"] = np.stack([piece.fired[cell] for cell in piece.cells])
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        data = io.BytesIO()
        np.savez(data, **arrays)  # type: ignore[arg-type]
        write_atomic(self.folder / _name(step, block), data.getvalue())

    def get(self, step: int, block: Block, plan: Plan) -> Pieces | None:
        """A block that was finished before, or None."""
        try:
            with np.load(self.folder / _name(step, block), allow_pickle=False) as arrays:
                pieces = _pieces(arrays, plan)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None  # not there, or torn: it is run again
        self.found += 1
        return pieces


def _pieces(arrays: Any, plan: Plan) -> Pieces:
    about = json.loads(bytes(arrays["about"]))
    pieces = {}
    for name, said in about.items():
        first = plan.scores[name][0]
        piece = Piece(arrays[f"{name}/pairs"], cells=said["cells"], seconds=said["seconds"])
        for role in said["roles"]:
            read = first.read(role)
            assert read is not None
            piece.unpatched[role] = _numbers(arrays, f"{name}/{role}", read.quantities)
        if piece.cells:
            read = plan.scores[name][piece.cells[0]].read("patched")
            assert read is not None
            piece.patched = _numbers(arrays, f"{name}/patched", read.quantities)
            piece.fired = dict(zip(piece.cells, arrays[f"{name}/fired"], strict=True))
        piece.floors = {int(cell): float(floor) for cell, floor in said["floors"]}
        piece.outside = {int(cell): (int(out), int(of)) for cell, (out, of) in said["outside"]}
        pieces[name] = piece
    return pieces


def _numbers(arrays: Any, name: str, quantities: tuple[Any, ...]) -> dict[Any, np.ndarray]:
    return {quantity: arrays[f"{name}/{i}"] for i, quantity in enumerate(quantities)}


def _name(step: int, block: Block) -> str:
    last = "end" if block.last is None else block.last
    return f"step{step}-pairs{block.start}-{block.stop}of{block.of}-cells{block.first}-{last}.npz"
