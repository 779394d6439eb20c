"""A lens above each test: run it, and what it said when it was last run."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lsprotocol import types

from causal_dsl.diagnostics import printable
from causal_dsl.syntax import tree
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.last_results import LastResult, LastResults
from causal_dsl.tools.lsp.open_texts import OpenText
from causal_dsl.tools.lsp.spec_states import SpecState

RUN_TEST, SHOW_RESULT, CHECKED, TEXT = "causal-dsl.run", "causal-dsl.result", "causal-dsl.checked", "causal-dsl.text"
#: Bytes of a line of a run: its results are one.
_LONGEST_LINE = 2**30
_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def register(server: SpecServer) -> None:
    """Answer requests for lenses, and the commands."""
    runner = TestRunner(server)

    def lenses(params: types.CodeLensParams) -> list[types.CodeLens]:
        known = server.known(params.text_document.uri)
        return [] if known is None else list(lenses_of(*known, server, runner.results))

    async def run(uri: str, test: str = "") -> dict[str, Any] | None:
        return await runner.run(uri, test)

    def result(uri: str, test: str) -> None:
        runner.show(uri, test)

    def checked(uri: str) -> bool:
        """Whether the text was checked as it is now."""
        state = server.states.get(uri)
        return state is not None and state.task is None

    def text(uri: str) -> dict[str, Any] | None:
        """The text as the server has it, for whoever writes a client."""
        known = server.known(uri)
        return None if known is None else {"text": known[0].text.text, "version": known[0].version}

    server.serve(types.TEXT_DOCUMENT_CODE_LENS, lenses, types.CodeLensOptions())
    for name, act in ((RUN_TEST, run), (SHOW_RESULT, result), (CHECKED, checked), (TEXT, text)):
        server.serve(name, act, command=True)


def lenses_of(text: OpenText, state: SpecState, server: SpecServer, results: LastResults) -> Iterator[types.CodeLens]:
    """The lenses of a text."""
    file = text.file
    last = results.of(file, server.texts.roots()) if file is not None else {}
    tests = [one for one in state.parsed.tree.declarations if isinstance(one, tree.TestDecl)]
    for one in tests:
        place = text.text.range(one.span.start, one.name.span.end)
        yield types.CodeLens(place, types.Command("▶ run", RUN_TEST, arguments=[text.uri, one.name.name]))
        found = last.get(one.name.name)
        if found is not None:
            title = told(found, state.summary.digest)
            yield types.CodeLens(place, types.Command(title, SHOW_RESULT, arguments=[text.uri, one.name.name]))


def told(found: LastResult, digest: str) -> str:
    """The title of a lens: the verdict, how old it is, and whether the spec was another then."""
    mark = "✓" if found.passed and found.verdict not in ("failed", "interrupted") else "✗"
    other = "" if not digest or found.digest == digest else ", before the spec was changed"
    return printable(f"{mark} {found.verdict} ({_ago(time.time() - found.when)}{other})")


def _ago(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            number = int(seconds / size)
            return f"{number} {unit}{'s' * (number != 1)} ago"
    return "just now"


class TestRunner:
    """Runs tests in processes of their own, one for each, with their progress in the editor."""

    __test__ = False  # not a pytest class

    def __init__(self, server: SpecServer):
        self.server = server
        self.results = LastResults()
        self.numbers = itertools.count(1)

    def say(self, kind: types.MessageType, message: str) -> None:
        self.server.window_show_message(types.ShowMessageParams(kind, printable(message)))

    async def run(self, uri: str, test: str) -> dict[str, Any] | None:
        """Run a test of a saved file; its verdict, and None where it was not run to its end."""
        known = self.server.known(uri)
        file = known[0].file if known is not None else None
        if known is None or file is None or not file.is_file():
            self.say(types.MessageType.Warning, "A run reads the file: save this text first.")
            return None
        if _on_disk(file) != known[0].text.text.replace("\r\n", "\n"):
            self.say(types.MessageType.Warning, f"A run reads {file.name} as it is saved: save it first.")
            return None
        token = f"causal-dsl-run-{next(self.numbers)}"
        await self._begin(token, test or file.name)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "causal_dsl.tools.lsp.run_process",
            str(file),
            test,
            *self.server.words,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            limit=_LONGEST_LINE,
        )
        try:
            document = await self._follow(process, token)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            self.server.work_done_progress.end(token, types.WorkDoneProgressEnd())
        return self._end(uri, file, test, document)

    async def _begin(self, token: str, title: str) -> None:
        window = self.server.client_capabilities.window
        if window is not None and window.work_done_progress:
            await self.server.work_done_progress.create_async(token)
        begin = types.WorkDoneProgressBegin(title=f"running {title}", cancellable=True, percentage=0)
        self.server.work_done_progress.begin(token, begin)

    async def _follow(self, process: asyncio.subprocess.Process, token: str) -> dict[str, Any] | None:
        """The last line that a run says; None where it was cancelled, or ended before."""
        assert process.stdout is not None
        cancelled = self.server.work_done_progress.tokens[token]
        while True:
            line = asyncio.ensure_future(process.stdout.readline())
            while not line.done():
                await asyncio.wait([line], timeout=0.1)
                if cancelled.cancelled() or cancelled.done():
                    line.cancel()
                    return None
            data = line.result()
            if not data:
                return {"fault": f"the run ended before it was done (exit code {await process.wait()})"}
            document: dict[str, Any] = json.loads(data)
            if "work" not in document:
                return document
            share = min(100, int(100 * document["done"] / document["total"])) if document["total"] else None
            self.server.work_done_progress.report(
                token, types.WorkDoneProgressReport(message=printable(document["work"]), percentage=share)
            )

    def _end(self, uri: str, file: Path, test: str, document: dict[str, Any] | None) -> dict[str, Any] | None:
        if document is None:
            self.say(types.MessageType.Info, f"{test or file.name}: stopped")
            return None
        if "fault" in document:
            self.say(types.MessageType.Error, document["fault"])
            return None
        self.results.keep(file, document["results"])
        self.server.refresh()
        self.show(uri, test)
        found = self.results.of(file, ()).get(test)
        return None if found is None else {"verdict": found.verdict, "said": found.said, "passed": found.passed}

    def show(self, uri: str, test: str) -> None:
        """Show what a test said when it was last run."""
        known = self.server.known(uri)
        file = known[0].file if known is not None else None
        found = self.results.of(file, self.server.texts.roots()).get(test) if file is not None else None
        if found is not None:
            kind = types.MessageType.Info if found.passed else types.MessageType.Warning
            self.say(kind, f"{test}: {found.said}")


def _on_disk(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except OSError:
        return ""


__all__ = ["register"]
