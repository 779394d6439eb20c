"""One call of a tool of the MCP server, in a process of its own: it can be stopped, and nothing that it prints is protocol.

The server writes a request to standard input, one JSON object. Each line of standard output is one too: ``ready`` as soon as a
stop is heard, ``progress``, and in the end ``reply``. SIGINT stops a run, and the reply is what was finished.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from causal_dsl.report.progress import Progress

#: Seconds between two tellings of progress.
_PAUSE = 0.25


class _Stop:
    """SIGINT, noted as it comes: a library may make another exception of it while it is imported."""

    def __init__(self) -> None:
        self.stopped = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        raise KeyboardInterrupt


def main() -> int:
    """Answer the request on standard input."""
    stop = _Stop()
    signal.signal(signal.SIGINT, stop)
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries and code of a network print is no answer
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        _write(wire, {"ready": True})
        reply = _answer(json.loads(sys.stdin.readline()), wire, stop)
    except KeyboardInterrupt:  # stopped before there was anything to do
        return 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is finished is told, however often it is stopped
    _write(wire, {"reply": reply})
    return 0


def _end_with(parent: int) -> None:
    """End as soon as the server has ended: nobody would read the answer."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _write(wire: TextIO, line: dict[str, Any]) -> None:
    wire.write(json.dumps(line, allow_nan=False) + "\n")
    wire.flush()


def _answer(request: dict[str, Any], wire: TextIO, stop: _Stop) -> dict[str, Any]:
    try:
        from causal_dsl.base.options_shown import MCP, shown_in
        from causal_dsl.diagnostics import NOWHERE, SpecError
        from causal_dsl.messages.unexpected import unexpected

        try:
            with shown_in(MCP):
                return _act(request, lambda line: _write(wire, line))
        except SpecError as error:
            with shown_in(MCP):
                return faults(error)
        except KeyboardInterrupt:
            raise
        except Exception as error:
            if stop.stopped:
                raise KeyboardInterrupt from None
            return faults(SpecError([unexpected(error, NOWHERE)]))
    except KeyboardInterrupt:
        return {"text": "", "document": {}, "is_error": True, "interrupted": True}


def faults(error: Any) -> dict[str, Any]:
    """The reply of a call that is at fault: its diagnostics, as text and as data."""
    document = {"diagnostics": [diagnostic.to_json() for diagnostic in error.diagnostics]}
    return {"text": str(error), "document": document, "is_error": True, "interrupted": False}


def _act(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from causal_dsl import api
    from causal_dsl.tools.budget import RunBudget, memory_of_passes

    given, root = request["arguments"], Path(request["root"])
    allowed = RunBudget(**request["budget"])
    options = api.Options.of(
        {**given, "trust": request["trust"]},  # no request can change what may be read
        allow=tuple(map(Path, request["allow"])),
        memory=memory_of_passes(allowed),
        command=("mcp", request["tool"]),
    )
    spec = _opened(given, root, options)
    if request["tool"] == "check":
        checked = api.check(spec, options, beside=False)
        text = checked.text() or f"{checked.path}: no faults, and no tests"
        found = checked.to_json()
        return _reply(text, {"specs": [found], "diagnostics": found["diagnostics"]}, bool(checked.errors))
    if request["tool"] == "plan":
        return _plan(spec, options)
    return _run(spec, options, allowed, bool(given.get("full")), tell)


def _reply(text: str, document: dict[str, Any], is_error: bool = False, interrupted: bool = False) -> dict[str, Any]:
    from causal_dsl.diagnostics import printable

    return {"text": printable(text), "document": document, "is_error": is_error, "interrupted": interrupted}


def _opened(given: dict[str, Any], root: Path, options: Any) -> Any:
    """The spec of a request: a text, whose paths start from the server's folder, or a file below that."""
    from causal_dsl import api
    from causal_dsl.diagnostics import Source, Span, fail, printable
    from causal_dsl.store.reading import readable

    if "text" in given:
        return api.parse(given["text"], "<text>", root)
    path, place = root / given["path"], Span(Source(printable(given["path"]), ""), 0, 0)
    try:
        inside = readable(root, options.trust, options.allow).holds(path)
    except (OSError, ValueError) as error:
        raise fail("E886", "`path` is not a file name", place, notes=(str(error),)) from None
    if not inside:
        raise fail(
            "E886",
            "the spec lies outside of the folders that this server reads",
            place,
            help="give its `text`, or start the server with `--allow` and the folder that holds it",
        )
    return api.load(path)


def _plan(spec: Any, options: Any) -> dict[str, Any]:
    from causal_dsl import api
    from causal_dsl.checking.checking import planned
    from causal_dsl.tools.budget import predicted

    checked = api.check(spec, options)
    checked.raise_errors()
    plan = planned(checked, options)
    tests = [
        {"name": test.name, "cells": len(plan.scores.get(test.name, ())), "pairs": plan.draw_of(test).n}
        for test in plan.tests
        if not test.control[0]
    ]
    document = {
        "path": spec.name,
        "tests": tests,
        "predicted": predicted(checked, plan).to_json(),
        "diagnostics": [diagnostic.to_json() for diagnostic in checked.diagnostics],
    }
    return _reply(plan.text(), document)


def _run(spec: Any, options: Any, allowed: Any, full: bool, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from causal_dsl import api
    from causal_dsl.checking.checking import planned
    from causal_dsl.diagnostics import Source, Span, SpecError, render_all
    from causal_dsl.report.which_progress import progress_shown_by
    from causal_dsl.tools.budget import predicted, refused, with_seconds

    checked = api.check(spec, options)
    checked.raise_errors()
    plan = api.plan(spec, replace(options, load=True)) if checked.plan is None else planned(checked, options)
    found = with_seconds(predicted(checked, plan))
    over = refused(found, allowed, Span(Source(spec.name, ""), 0, 0))
    beside = {"predicted": found.to_json(), "budget": allowed.to_json()}
    if over is not None:
        reply = faults(SpecError([over]))
        reply["document"] |= beside
        return reply
    interrupted = False
    try:
        with progress_shown_by(lambda: ToldProgress(tell)):
            results = api.run(spec, options)
    except KeyboardInterrupt as stopped:
        if not hasattr(stopped, "results"):
            raise
        results, interrupted = stopped.results, True
    text = results.text()
    shown = [*results.faults, *results.diagnostics]
    if shown:
        text += "\n" + render_all(shown)
    document = results.to_json() if full else summary(results.to_json(), {t.name: t.asked for t in results.tests})
    document = {**document, "passed": results.passed, **beside}
    return _reply(text, document, bool(results.faults) or interrupted, interrupted)


class ToldProgress(Progress):
    """Progress as lines to the server."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._write = tell
        self._text, self._done, self._total, self._last = "", 0, 0, 0.0

    def begin(self, text: str, total: int) -> None:
        self._text, self._done, self._total = text, 0, total
        self._tell()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        self._tell()

    def say(self, text: str) -> None:
        self._text = text
        self._tell()

    def _tell(self) -> None:
        if time.monotonic() - self._last > _PAUSE:
            self._last = time.monotonic()
            self._write({"progress": {"done": self._done, "total": self._total, "text": self._text}})


#: What a summary keeps of a test.
_OF_TEST = (
    "name",
    "line",
    "status",
    "network",
    "n",
    "kept",
    "cell_count",
    "ceilings",
    "verdict",
    "expectations",
    "reports",
    "findings",
)


def summary(document: dict[str, Any], asked: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Results without what few readers need: of each cell the scores that its test asks for, its verdict, and the codes of its findings."""
    specs = []
    for spec in document["specs"]:
        tests = []
        for test in spec["tests"]:
            kept = {name: test[name] for name in _OF_TEST if name in test}
            kept["cells"] = [_of_cell(cell, asked.get(test["name"], ())) for cell in test["cells"]]
            tests.append(kept)
        specs.append({**{name: spec[name] for name in ("path", "digest", "diagnostics")}, "tests": tests})
    return {"specs": specs}


def _of_cell(cell: dict[str, Any], asked: tuple[str, ...]) -> dict[str, Any]:
    names = [name for name in asked if name in cell["scores"]] or list(cell["scores"])
    kept = {name: {key: cell["scores"][name][key] for key in ("value", "low", "high", "n")} for name in names}
    verdict = {"verdict": cell["verdict"]["code"]} if "verdict" in cell else {}
    return {"cell": cell["cell"], "scores": kept, **verdict, "findings": [one["code"] for one in cell["findings"]]}


if __name__ == "__main__":
    sys.exit(main())
