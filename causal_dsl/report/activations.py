"""Vectors that a test saves: ``activations/TEST.safetensors`` in the folder of its spec, with the keys of their rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from causal_dsl.diagnostics import fail
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.linear_probe import token_bounds
from causal_dsl.engine.measured_cells import TestRun
from causal_dsl.planning import graph as g
from causal_dsl.program.program import PlaceRead
from causal_dsl.store.out import SpecFolder
from causal_dsl.store.streamed import write_streamed


def saves(execution: Execution) -> Iterator[tuple[TestRun, PlaceRead]]:
    """The activations that are to be saved."""
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


def refuse_zarr(execution: Execution) -> None:
    """Refuse to save vectors as zarr where it is not installed (E897)."""
    for _, look in saves(execution):
        if look.arguments == ("zarr",) and find_spec("zarr") is None:
            raise fail(
                "E897",
                "vectors are to be saved as zarr, which is not installed",
                look.span,
                help="pip install 'causal-dsl[zarr]', or leave `format` out",
            )


def save_activations(execution: Execution, folder: SpecFolder) -> None:
    """Write the vectors of the cells that are done. Raises OSError.

    ``vectors.I`` are those of one cell, run and site, in float32: [n, width], a vector for each pair, or [m, width] where a pair has several
    tokens; ``length.I`` [n] then says how many each pair has. ``pair`` [n] are the numbers of the pairs in pairs.parquet, and ``token.I`` where
    in its prompt each vector was read, counted from 0 and without padding. The metadata say of each I which cell, run and site it is.
    """
    for run in {id(run): run for run, _ in saves(execution)}.values():
        name = re.sub(r"[^\w.-]+", "_", run.test.name)
        about = {"test": run.test.name, "network": run.test.network.name}
        for form in ("safetensors", "zarr"):
            arrays, told = list(_arrays(execution, run, form)), list(_told(run, form))
            if told and form == "safetensors":
                with folder.writing(f"activations/{name}.safetensors") as part:
                    write_streamed(part, arrays, about | {"vectors": json.dumps(told)})
            elif told:
                with folder.writing(f"activations/{name}.zarr.zip") as part:
                    _write_zarr(part, arrays, about | {"vectors": told})


def _write_zarr(path: Path, arrays: Sequence[tuple[str, np.ndarray]], about: Mapping[str, Any]) -> None:
    """A group of arrays in one zip file, in chunks of some megabytes, which zarr reads as it lies there."""
    import zarr
    from zarr.storage import ZipStore

    with ZipStore(str(path), mode="w") as store:
        group = zarr.create_group(store, attributes=dict(about))
        for name, array in arrays:
            rows = max(1, min(len(array), 2**22 // max(1, array[:1].nbytes)))
            made = group.create_array(
                name, shape=array.shape, dtype=array.dtype, chunks=(rows, *array.shape[1:]), overwrite=False
            )
            for start in range(0, len(array), rows):
                made[start : start + rows] = np.asarray(array[start : start + rows])


def _arrays(execution: Execution, run: TestRun, form: str) -> Iterator[tuple[str, np.ndarray]]:
    plan, (inputs,) = execution.plan, [execution.plan.inputs[run.test.network.key]]
    yield "pair", np.arange(run.n, dtype=np.int64)
    every = list(_saved(run, form))
    for number, (node, _, look, _) in enumerate(every):
        base = node.run.base if isinstance(node.run, g.Resume) else node.run
        (place,), rows = look.places, plan.rows[base]
        spots = inputs.reads[rows] if place.position is None else inputs.spans(place.position, rows)[1]
        yield f"token.{number}", np.asarray(spots, dtype=np.int64)
        bounds = token_bounds(plan, node.run, look)
        if bounds is not None:
            yield f"length.{number}", np.diff(bounds).astype(np.int64)
    for number, (_, _, _, vectors) in enumerate(every):
        yield f"vectors.{number}", vectors


def _told(run: TestRun, form: str) -> Iterator[dict[str, object]]:
    for _, (role, cell), look, _ in _saved(run, form):
        yield {"cell": cell, "run": role, "site": str(look.places[0])}


def _saved(
    run: TestRun, form: str
) -> Iterator[tuple[g.ReadNode, tuple[str, dict[str, object]], PlaceRead, np.ndarray]]:
    for cell in run.cells:
        for role, read in cell.node.reads if cell.done.all() else ():
            for looked in read.looks:
                if looked.look.kind == "save" and looked.look.arguments == (form,):
                    vectors = cell.vectors[role, looked.look.asked.site]
                    yield read, (role, dict(cell.node.cell)), looked.look, vectors


__all__ = ["refuse_nowhere", "refuse_zarr", "save_activations"]
