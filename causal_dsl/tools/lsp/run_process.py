"""Runs one test of a file for the editor: ``python -m causal_dsl.tools.lsp.run_process FILE TEST [--trust] [--allow DIR]…``.

Each line of standard output is a JSON document: ``{"work": …, "done": …, "total": …}`` while it runs, and at the end ``{"results": …}``
as ``run --json`` prints them, or ``{"fault": …}``. An empty TEST is all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from causal_dsl import api
from causal_dsl.base.options_shown import EDITOR, shown_in
from causal_dsl.diagnostics import SpecError
from causal_dsl.messages.unexpected import unexpected
from causal_dsl.report.progress import Progress
from causal_dsl.report.which_progress import progress_shown_by


class LineProgress(Progress):
    """Progress as lines of JSON."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.text, self.done, self.total = "", 0, 0

    def begin(self, text: str, total: int) -> None:
        self.text, self.done, self.total = text, 0, total
        self._tell()

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        self._tell()

    def say(self, text: str) -> None:
        self.text = text
        self._tell()

    def _tell(self) -> None:
        put(self.stream, {"work": self.text, "done": self.done, "total": self.total})


def put(stream: TextIO, document: dict[str, Any]) -> None:
    """Write one line; where the server has gone, nobody wants more of the run."""
    try:
        stream.write(json.dumps(document) + "\n")
        stream.flush()
    except BrokenPipeError:
        os._exit(1)


def main(words: Sequence[str] | None = None) -> int:
    """Run a test; whatever goes wrong is told as a line."""
    parser = argparse.ArgumentParser(prog="run_process")
    parser.add_argument("file", type=Path)
    parser.add_argument("test")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--allow", action="append", default=[], type=Path)
    given = parser.parse_args(words)
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tests = (given.test,) if given.test else ()
    options = api.Options.of(vars(given), tests=tests, progress=True)
    try:
        with shown_in(EDITOR), progress_shown_by(lambda: LineProgress(stream)):
            results = api.run_files([given.file], options)
        put(stream, {"results": results.to_json()})
    except SpecError as error:
        put(stream, {"fault": str(error)})
    except Exception as error:
        put(stream, {"fault": unexpected(error).render(EDITOR)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
