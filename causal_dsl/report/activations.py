"""Vectors that a test saves: ``activations/TEST.safetensors`` in the folder of its spec, with the keys of their rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np

from causal_dsl.diagnostics import fail
from causal_dsl.engine.execute import Execution, TestRun
from causal_dsl.planning import graph as g
from causal_dsl.program.program import PlaceRead
from causal_dsl.store.out import SpecFolder
from causal_dsl.store.streamed import write_streamed


def saves(execution: Execution) -> Iterator[tuple[TestRun, PlaceRead]]:
    """What is to be saved."""
    for run in execution.runs.values():
        for cell in run.test.cells:
            for look in cell.looks:
                if look.kind == "save":
                    yield run, look


def refuse_nowhere(execution: Execution, folder: SpecFolder | None) -> None:
    """Refuse to save vectors where results are not kept (E849)."""
    for _, look in saves(execution):
        if folder is None:
            raise fail(
                "E849",
                "vectors are saved, and no folder is given for them",
                look.span,
                notes=("they are kept beside the results",),
                help="say where: causal-dsl run spec.causal --out results",
            )


def save_activations(execution: Execution, folder: SpecFolder) -> None:
    """Write the vectors of the cells that are done. Raises OSError.

    ``vectors.I`` [n, width] are those of one cell, run and site, in float32, ``pair`` [n] the numbers of their pairs in pairs.parquet,
    and ``token.I`` [n] where in its prompt each was read, counted from 0 and without padding. The metadata say of each I which cell,
    run and site it is.
    """
    for run in {id(run): run for run, _ in saves(execution)}.values():
        arrays, told = list(_arrays(execution, run)), list(_told(run))
        if told:
            name = re.sub(r"[^\w.-]+", "_", run.test.name)
            about = {"test": run.test.name, "network": run.test.network.name, "vectors": json.dumps(told)}
            with folder.writing(f"activations/{name}.safetensors") as part:
                write_streamed(part, arrays, about)


def _arrays(execution: Execution, run: TestRun) -> Iterator[tuple[str, np.ndarray]]:
    plan, (inputs,) = execution.plan, [execution.plan.inputs[run.test.network.key]]
    yield "pair", np.arange(run.n, dtype=np.int64)
    every = list(_saved(run))
    for number, (node, _, look, _) in enumerate(every):
        base = node.run.base if isinstance(node.run, g.Resume) else node.run
        (place,), rows = look.places, plan.rows[base]
        spots = inputs.reads[rows] if place.position is None else inputs.spans(place.position, rows)[1]
        yield f"token.{number}", np.asarray(spots, dtype=np.int64)
    for number, (_, _, _, vectors) in enumerate(every):
        yield f"vectors.{number}", vectors


def _told(run: TestRun) -> Iterator[dict[str, object]]:
    for _, (role, cell), look, _ in _saved(run):
        yield {"cell": cell, "run": role, "site": str(look.places[0])}


def _saved(run: TestRun) -> Iterator[tuple[g.ReadNode, tuple[str, dict[str, object]], PlaceRead, np.ndarray]]:
    for cell in run.cells:
        for role, read in cell.node.reads if cell.done.all() else ():
            for looked in read.looks:
                if looked.look.kind == "save":
                    vectors = cell.vectors[role, looked.look.asked.site]
                    yield read, (role, dict(cell.node.cell)), looked.look, vectors


__all__ = ["refuse_nowhere", "save_activations"]
