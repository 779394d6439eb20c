"""The outcomes of tests when they were last run: in the editor, or with ``--out DIR`` in a folder that it has open."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import real_path
from causal_dsl.store.documents import take_document, write_document
from causal_dsl.store.hashes import cache_root, of_bytes
from causal_dsl.store.out import MARKER

RESULTS = "results.json"
#: Folders of results that are looked through, and seconds for which what was found there holds.
_MOST_FOLDERS, _FRESH = 200, 5.0
_LARGEST = 64 * 2**20


@dataclass(frozen=True)
class LastResult:
    """The outcome of a test: its verdict and the sentence for it, of which text (``digest``), and when, in seconds since 1970."""

    verdict: str
    said: str
    passed: bool
    digest: str
    when: float


class LastResults:
    """The last results of each file's tests."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, ...], tuple[float, dict[Path, dict[str, LastResult]]]] = {}

    def of(self, file: Path, roots: Iterable[Path]) -> dict[str, LastResult]:
        """By test: the newest result of any run of a file."""
        real = real_path(file)
        kept = self._kept(real)
        for name, one in self._beside(tuple(roots)).get(real, {}).items():
            if name not in kept or kept[name].when < one.when:
                kept[name] = one
        return kept

    def keep(self, file: Path, document: Mapping[str, Any]) -> None:
        """Keep the results of a run: a document of ``run --json`` of one file."""
        real = real_path(file)
        found = {**self._kept(real), **results_of(document, time.time())}
        with suppress(OSError):
            place = self._place(real)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_document(place, {"tests": {name: vars(one) for name, one in found.items()}})

    def _place(self, real: Path) -> Path:
        return cache_root() / "editor" / f"{of_bytes(str(real).encode('utf-8', 'surrogateescape'))}.json"

    def _kept(self, real: Path) -> dict[str, LastResult]:
        found: dict[str, LastResult] = {}

        def well(said: dict[str, Any]) -> bool:
            try:
                found.update({name: LastResult(**one) for name, one in said["tests"].items()})
            except (KeyError, TypeError, AttributeError):
                return False
            return True

        take_document(self._place(real), "results of an editor", well)
        return found

    def _beside(self, roots: tuple[Path, ...]) -> dict[Path, dict[str, LastResult]]:
        """The results in folders of ``--out``, by the spec that was run."""
        at, found = self._found.get(roots, (0.0, {}))
        if time.monotonic() - at > _FRESH or roots not in self._found:
            found = {}
            for folder in _folders(roots):
                with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    _add(folder, found)
            self._found[roots] = (time.monotonic(), found)
        return found


def _folders(roots: Iterable[Path]) -> Iterator[Path]:
    told = 0
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".") and name != "node_modules"]
            if MARKER in files and RESULTS in files:
                folders.clear()
                yield Path(folder)
                told += 1
                if told >= _MOST_FOLDERS:
                    return


def _add(folder: Path, found: dict[Path, dict[str, LastResult]]) -> None:
    about = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    place = folder / RESULTS
    stat = place.stat()
    if stat.st_size > _LARGEST:
        return
    spec = real_path(about["spec"])
    for name, one in results_of({"specs": [json.loads(place.read_text(encoding="utf-8"))]}, stat.st_mtime).items():
        before = found.setdefault(spec, {}).get(name)
        if before is None or before.when < one.when:
            found[spec][name] = one


def results_of(document: Mapping[str, Any], when: float) -> dict[str, LastResult]:
    """By test: what a document of results says of it. The members of a family stand under its name as well."""
    found: dict[str, LastResult] = {}
    for spec in document["specs"]:
        for test in spec["tests"]:
            if "status" not in test:
                continue
            one = LastResult(*_said(test), spec.get("digest", ""), when)
            found[test["name"]] = one
            found.setdefault(test.get("family") or test["name"], one)
    return found


def _said(test: Mapping[str, Any]) -> tuple[str, str, bool]:
    """The verdict of a test, its sentence, and whether no expectation failed."""
    failed = [one["text"] for one in test["expectations"] if one["passed"] is False]
    passed = not failed
    if test["status"] == "interrupted":
        return "interrupted", "not all cells were measured", passed
    if failed:
        return "failed", "does not hold: " + "; ".join(failed), passed
    verdict = test.get("verdict")
    if verdict is not None:
        return verdict["code"], verdict["text"], passed
    if test["expectations"]:
        number = len(test["expectations"])
        return "passed", f"all {number} expectations hold" if number > 1 else "its expectation holds", passed
    return "no verdict", "it was run, and expects nothing", passed


__all__ = ["LastResult", "LastResults", "results_of"]
