"""Runs as they were kept: ``results.json``, ``pairs.parquet`` and the spec of a folder of ``--out``, or the output of ``run --json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.compare.pair_file import PairFile
from causal_dsl.diagnostics import Source, Span, SpecError, did_you_mean, fail, shown_path
from causal_dsl.score.document_faults import fault_in
from causal_dsl.score.read_results import spec_result
from causal_dsl.score.results import TestResult
from causal_dsl.score.seal import SEAL, seal_of
from causal_dsl.score.spec_results import SCHEMA, Results, SpecResult
from causal_dsl.store.json_text import NotJson, json_of
from causal_dsl.store.keys import own_version
from causal_dsl.store.out import MARKER, SPEC
from causal_dsl.store.reads import refuse_large

RESULTS, PAIRS = "results.json", "pairs.parquet"
#: What the result of a spec has, and no other document.
_OWN = ("schema", "path", "tests")


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """The record of one run of one spec. ``folder`` is its folder of ``--out``; None for the output of ``run --json``.
    ``result`` is what the document says, as a value."""

    document: Mapping[str, Any]
    file: Path
    folder: Path | None
    result: SpecResult

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

    def of(self, test: str) -> TestResult:
        """The result of a test that it has."""
        return next(one for one in self.result.tests if one.name == test)

    @cached_property
    def pairs(self) -> PairFile | None:
        """The rows of ``pairs.parquet``; None where the run has no folder."""
        return None if self.folder is None else PairFile(self.folder / PAIRS)

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


def read_results(*paths: str | Path) -> Results:
    """Results that a run kept: of a folder of ``--out``, of a ``results.json``, or of what ``run --json`` printed.

    Of several paths, or of a folder with the results of several specs, all are in it; runs of one spec are told apart by
    where they lie. Raises SpecError for what is not there or is no result (E870), and for damaged results (E861).
    """
    return results_of(
        run for path in paths for run in read_runs(Path(path), Span(Source(shown_path(Path(path)), ""), 0, 0))
    )


def results_of(runs: Iterable[RecordedRun]) -> Results:
    """The runs as results, in which the path of a spec that was run several times names the run, too."""
    every = list(runs)
    count = Counter(run.result.path for run in every)
    return Results(
        tuple(
            run.result if count[run.result.path] < 2 else replace(run.result, path=f"{run.result.path} ({run.name})")
            for run in every
        )
    )


def read_runs(path: Path, place: Span) -> list[RecordedRun]:
    """The runs that a path names: a ``results.json`` or the output of ``run --json``, the folder of a spec's results, or a
    folder of ``--out`` with several of them. Raises E870 where there is none, or it cannot be read, and
    E861 where it is damaged."""
    try:
        if path.is_dir():
            inside = [path / RESULTS] if (path / RESULTS).is_file() else sorted(path.glob(f"*/{RESULTS}"))
            if not inside:
                raise _refused(path, place, f"the folder holds no `{RESULTS}`", _near(path))
            return [run for file in inside for run in _of_file(file, place)]
        return list(_of_file(path, place))
    except NotJson as error:
        raise _refused(path, place, str(error), _near(path)) from error
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        why = getattr(error, "strerror", None) or "no file can have this name"
        raise _refused(path, place, why, _near(path)) from error


def _kept_in(folder: Path) -> bool:
    """Whether a folder holds results."""
    return (folder / RESULTS).is_file() or next(folder.glob(f"*/{RESULTS}"), None) is not None


def _near(path: Path) -> str:
    if path.exists():
        return (
            "name a folder that `run --out` made, a folder that holds several of them side by side, or a `results.json`"
        )
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix == ".json" or _kept_in(entry)]
    except (OSError, ValueError):
        return f"there is no folder `{shown_path(path.parent)}` either"
    return did_you_mean(path.name, names, "name a folder that `run --out` made, or a `results.json`")


def _of_file(file: Path, place: Span) -> Iterator[RecordedRun]:
    refuse_large(file)
    document = json_of(file.read_bytes())
    several = isinstance(document, dict) and isinstance(document.get("specs"), list)
    ours = not several and (file.parent / MARKER).is_file()
    found = document["specs"] if several else [document]
    if not found:
        raise _refused(
            file, place, "it holds the results of no spec", "run a spec first: `causal-dsl run SPEC --out DIR`"
        )
    for one in found:
        why = _other(one)
        if why:
            raise _refused(
                file, place, why, "name the output of `run`: a folder of `--out`, or what `run --json` printed"
            )
        if one["schema"] != SCHEMA:
            raise _refused(
                file,
                place,
                f"its schema is {one['schema']}, and this version of causal_dsl reads {SCHEMA}",
                "run the spec again with this version",
            )
        why = fault_in(one) or _changed(one)
        if why:
            raise _damaged(file, one, place, why)
        try:
            result = spec_result(one)
        except ValueError as error:
            raise _damaged(file, one, place, str(error)) from error
        yield RecordedRun(one, file, file.parent if ours else None, result)


def _other(one: Any) -> str:
    """Why a document is of another kind than the result of a spec; empty where it is of this kind."""
    if not isinstance(one, dict):
        return "it is not the result of a run"
    lacking = next((name for name in _OWN if name not in one), "")
    if lacking:
        return f"it is not the result of a run: `{lacking}` is missing"
    schema = one["schema"]
    return "" if type(schema) is int else "it is not the result of a run: its `schema` is not a number"


def _changed(one: Mapping[str, Any]) -> str:
    """Whether a document is not as a run wrote it, though each of its fields could be."""
    return "" if one[SEAL] == seal_of(one) else f"something in it was changed after the run: its `{SEAL}` is another"


def _damaged(file: Path, document: Mapping[str, Any], place: Span, why: str) -> SpecError:
    versions, own = document.get("versions"), own_version()
    wrote = versions.get("causal_dsl") if isinstance(versions, dict) else None
    other = (f"causal_dsl {wrote} wrote them, and this is {own}",) if isinstance(wrote, str) and wrote != own else ()
    return fail(
        "E861",
        f"the results in `{shown_path(file)}` are damaged, or of another version of causal_dsl",
        place,
        notes=(why, *other),
        help="run the spec again",
    )


def _refused(path: Path, place: Span, why: str, help: str) -> SpecError:
    return fail("E870", f"`{shown_path(path)}` cannot be read as the results of a run", place, notes=(why,), help=help)


__all__ = ["RecordedRun", "read_results", "read_runs", "results_of"]
