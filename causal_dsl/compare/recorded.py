"""Runs as they were kept: ``results.json``, ``pairs.parquet`` and the spec of a folder of ``--out``, or the output of ``run --json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl.diagnostics import Span, SpecError, did_you_mean, fail, shown_path
from causal_dsl.score.results import SCHEMA
from causal_dsl.store.out import MARKER, SPEC
from causal_dsl.store.reads import refuse_large

if TYPE_CHECKING:
    import pandas

RESULTS, PAIRS = "results.json", "pairs.parquet"
#: What the result of a spec has in every version that this one reads.
_FIELDS = {"path": str, "identity": dict, "versions": dict, "networks": dict, "tests": list}
_OF_TEST = {"name": str, "status": str, "cells": list, "expectations": list}
_OF_CELL = {"cell": dict, "scores": dict}
_NUMBERS = {"value": (int, float, type(None)), "low": (int, float, type(None)), "high": (int, float, type(None))}


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """What was kept of one run of one spec. ``folder`` is its folder of ``--out``; None for the output of ``run --json``."""

    document: Mapping[str, Any]
    file: Path
    folder: Path | None = None

    @property
    def name(self) -> str:
        """How messages name the run: its folder, or the file and the spec in it."""
        return shown_path(self.folder) if self.folder is not None else shown_path(self.file)

    @property
    def spec(self) -> str:
        """The name of the spec's file."""
        return Path(str(self.document["path"])).name

    @property
    def digest(self) -> str:
        """SHA-256 of the spec and its imports: runs with the same one are runs of one spec."""
        return str(self.document.get("digest") or self.document["identity"].get("spec", ""))

    @property
    def tests(self) -> dict[str, Mapping[str, Any]]:
        return {test["name"]: test for test in self.document["tests"]}

    @cached_property
    def pairs(self) -> pandas.DataFrame | None:
        """The rows of ``pairs.parquet``; None where there is none that can be read."""
        if self.folder is None:
            return None
        import pandas
        import pyarrow

        try:
            return pandas.read_parquet(self.folder / PAIRS)
        except (OSError, ValueError, pyarrow.ArrowException):
            return None

    @cached_property
    def spec_text(self) -> str | None:
        """The spec as it was run; None where it was not kept."""
        if self.folder is None:
            return None
        try:
            refuse_large(self.folder / SPEC)
            return (self.folder / SPEC).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None


def read_runs(path: Path, place: Span) -> list[RecordedRun]:
    """The runs that a path names: a ``results.json`` or the output of ``run --json``, the folder of a spec's results, or a
    folder of ``--out`` with several of them. Raises E870 where there is none, or it cannot be read."""
    try:
        if path.is_dir():
            inside = [path / RESULTS] if (path / RESULTS).is_file() else sorted(path.glob(f"*/{RESULTS}"))
            if not inside:
                raise _refused(path, place, f"the folder holds no `{RESULTS}`", _near(path))
            return [run for file in inside for run in _of_file(file, place)]
        return list(_of_file(path, place))
    except RecursionError as error:
        raise _refused(path, place, "it is nested too deeply", _near(path)) from error
    except (OSError, ValueError) as error:
        raise _refused(path, place, getattr(error, "strerror", None) or str(error), _near(path)) from error


def _near(path: Path) -> str:
    if path.exists():
        return "name a folder that `run --out` made, or a `results.json`"
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return f"there is no folder `{shown_path(path.parent)}` either"
    return did_you_mean(path.name, names, "name a folder that `run --out` made, or a `results.json`")


def _of_file(file: Path, place: Span) -> Iterator[RecordedRun]:
    refuse_large(file)
    document = json.loads(file.read_bytes().decode("utf-8"), parse_constant=_refuse_constant)
    several = isinstance(document, dict) and isinstance(document.get("specs"), list)
    ours = not several and (file.parent / MARKER).is_file()
    found = document["specs"] if several else [document]
    if not found:
        raise _refused(
            file, place, "it holds the results of no spec", "run a spec first: `causal-dsl run SPEC --out DIR`"
        )
    for one in found:
        why = _fault(one)
        if why:
            raise _refused(
                file, place, why, "name the output of `run`: a folder of `--out`, or what `run --json` printed"
            )
        if int(one.get("schema") or document.get("schema") or 0) != SCHEMA:
            raise _refused(
                file,
                place,
                f"its schema is {one.get('schema')}, and this version of causal_dsl reads {SCHEMA}",
                "run the spec again with this version",
            )
        yield RecordedRun(one, file, file.parent if ours else None)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it has the number {name}, which results never have")


def _fault(one: Any) -> str:
    """Why a document is not the result of a spec; empty where it is."""
    if not isinstance(one, dict) or (missing := _missing(one, _FIELDS)):
        named = f": `{missing}` is missing" if isinstance(one, dict) else ""
        return f"it is not the result of a run{named}"
    names: set[str] = set()
    for test in one["tests"]:
        if missing := _missing(test, _OF_TEST):
            return f"one of its tests is damaged: `{missing}` is missing"
        if test["name"] in names:
            return f"the test `{test['name']}` is in it twice"
        names.add(test["name"])
        cells = [json.dumps(cell.get("cell"), sort_keys=True) for cell in test["cells"] if isinstance(cell, dict)]
        if len(set(cells)) < len(cells):
            return f"a cell of `{test['name']}` is in it twice"
        for cell in test["cells"]:
            if missing := _missing(cell, _OF_CELL):
                return f"a cell of `{test['name']}` is damaged: `{missing}` is missing"
            for score, estimate in cell["scores"].items():
                if missing := _missing(estimate, _NUMBERS):
                    return f"`{score}` of `{test['name']}` is damaged: `{missing}` is missing"
    return ""


def _missing(one: Any, fields: Mapping[str, Any]) -> str:
    """The first of the fields that is not there, or is of another type."""
    if not isinstance(one, dict):
        return next(iter(fields))
    return next((name for name, kind in fields.items() if not isinstance(one.get(name, _NOTHING), kind)), "")


_NOTHING = object()


def _refused(path: Path, place: Span, why: str, help: str) -> SpecError:
    return fail("E870", f"`{shown_path(path)}` cannot be read as the results of a run", place, notes=(why,), help=help)


__all__ = ["RecordedRun", "read_runs"]
