"""The language server: texts as they are edited, and what is told of them.

A text is parsed in the moment in which it is edited, and its faults of syntax are told at once. A process of its own checks it
once the author pauses (:mod:`causal_dsl.tools.lsp.check_process`); an edit gives up the check of the text before.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from causal_dsl.diagnostics import Diagnostic, real_path
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.tools.lsp.check_messages import CheckAnswer
from causal_dsl.tools.lsp.checker import Checker, CheckerGone
from causal_dsl.tools.lsp.message_protocol import SpecProtocol
from causal_dsl.tools.lsp.name_uses import uses_of
from causal_dsl.tools.lsp.open_texts import OpenText, OpenTexts, file_of
from causal_dsl.tools.lsp.parsed_texts import ParsedText
from causal_dsl.tools.lsp.shown_diagnostics import shown
from causal_dsl.tools.lsp.spec_files import SpecFiles
from causal_dsl.tools.lsp.spec_states import SpecState, nowhere
from causal_dsl.tools.lsp.symbols import Meanings, NameUse

#: Seconds without an edit after which a text is checked.
PAUSE = 0.15
#: Seconds that a request waits for what only a check can tell.
LONGEST_WAIT = 3.0


class SpecServer(LanguageServer):
    """Serves the specs that an editor has open. ``words`` are given to the process that checks (``--trust``, ``--allow DIR``)."""

    def __init__(self, version: str, words: Sequence[str] = ()):
        sync = types.TextDocumentSyncKind.Incremental
        super().__init__("causal-dsl", version, text_document_sync_kind=sync, protocol_cls=SpecProtocol)
        self.words = list(words)
        self.checker = Checker(words)
        self.states: dict[str, SpecState] = {}
        self.texts = OpenTexts(None)
        self.files = SpecFiles(self.texts)
        self._meanings: Meanings | None = None
        self._meant_at: tuple[int, float] = (0, 0.0)
        self._edits = 0
        self._uses: dict[str, list[NameUse]] = {}
        self._ending: asyncio.Task[None] | None = None
        self._serve_texts()

    def _serve_texts(self) -> None:
        handlers: dict[str, Callable[..., Any]] = {
            types.INITIALIZE: self.began,
            types.TEXT_DOCUMENT_DID_OPEN: self.opened,
            types.TEXT_DOCUMENT_DID_CHANGE: self.edited,
            types.TEXT_DOCUMENT_DID_SAVE: self.saved,
            types.TEXT_DOCUMENT_DID_CLOSE: self.closed,
            types.WORKSPACE_DID_CHANGE_WATCHED_FILES: self.changed_on_disk,
            types.SHUTDOWN: self.ended,
        }
        for method, handler in handlers.items():
            self.serve(method, handler)

    def serve(self, method: str, handler: Callable[..., Any], options: Any = None, command: bool = False) -> None:
        """Answer a request, or a command, by what a handler gives."""

        def answer(*given: Any) -> Any:
            if command:
                _refuse_arguments(method, handler, given)
            return handler(*given)

        async def later(*given: Any) -> Any:
            if command:
                _refuse_arguments(method, handler, given)
            return await handler(*given)

        function = later if asyncio.iscoroutinefunction(handler) else answer
        if command:
            self.command(method)(function)
        else:
            self.feature(method, options)(function)

    # ── texts ──

    def began(self, params: types.InitializeParams) -> None:
        """Get ready: the grammar is loaded, and the process that checks is started while the editor still opens its files."""
        self.texts = OpenTexts.like(self.workspace)
        self.protocol._workspace = self.texts
        self.files = SpecFiles(self.texts)
        load_grammar()
        asyncio.get_running_loop().create_task(self.checker.start())

    def opened(self, params: types.DidOpenTextDocumentParams) -> None:
        text = self.texts.get(params.text_document.uri)
        if text is not None:
            self.take(text)

    def edited(self, params: types.DidChangeTextDocumentParams) -> None:
        text = self.texts.get(params.text_document.uri)
        if text is not None:
            self.take(text)

    def saved(self, params: types.DidSaveTextDocumentParams) -> None:
        """Files beside the text may have been written with it."""
        text = self.texts.get(params.text_document.uri)
        if text is not None:
            self.check_again([text])

    def closed(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        state = self.states.pop(uri, None)
        if state is not None and state.task is not None:
            state.task.cancel()
        self._edits += 1
        self.files.drop(uri)
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))
        self.check_users(file_of(uri))

    def changed_on_disk(self, params: types.DidChangeWatchedFilesParams) -> None:
        paths = {real_path(path) for change in params.changes if (path := file_of(change.uri)) is not None}
        self._edits += 1
        known = [(text, self.states.get(text.uri)) for text in self.texts.every()]
        self.check_again([t for t, s in known if s is not None and (s.reads & paths or not s.reads)])

    def ended(self, params: None) -> None:
        """The answer comes at once; the process that checks ends meanwhile, or with the server."""
        for state in self.states.values():
            if state.task is not None:
                state.task.cancel()
        self._ending = asyncio.get_running_loop().create_task(self.checker.stop())

    def take(self, text: OpenText) -> None:
        """A text is new: tell its faults of syntax now, and check it once the author pauses."""
        state = self.states.get(text.uri)
        sound = set[str]() if state is None else state.sound
        parsed = ParsedText.of(self.texts.name_of(text), text.text.text, sound)
        self._edits += 1
        if state is None:
            state = self.states[text.uri] = SpecState(parsed, sound=sound)
            check = True
        else:
            check = state.edit(parsed)
        self.files.put(text, parsed)
        self.tell(text, state)
        if check:
            self.check_soon(text, state)
            self.check_users(text.file)

    def check_users(self, file: Path | None) -> None:
        """Check the other open texts that read a file, which is now another."""
        if file is not None:
            real = real_path(file)
            users = [t for t in self.texts.every() if t.file is None or real_path(t.file) != real]
            self.check_again([t for t in users if t.uri in self.states and real in self.states[t.uri].reads])

    def check_again(self, texts: Sequence[OpenText]) -> None:
        """Check texts that are as they were, for something that they read is not."""
        for text in texts:
            state = self.states.get(text.uri)
            if state is not None:
                state.changes += 1
                state.checked = None
                state.costs.clear()
                self.check_soon(text, state)

    # ── checks ──

    def check_soon(self, text: OpenText, state: SpecState) -> None:
        """Check a text after a pause; the check of the text before is given up."""
        if state.task is not None:
            state.task.cancel()
        state.task = asyncio.get_running_loop().create_task(self._check(text, state))

    async def _check(self, text: OpenText, state: SpecState) -> None:
        me = asyncio.current_task()
        try:
            await asyncio.sleep(PAUSE)
            part = state.changed_part()
            if part is not None:
                state.take_part(await self.ask(text, state, tests=part.tests), part)
                self.tell(text, state)
            state.take(await self.ask(text, state))
        except CheckerGone:
            state.found, state.checked = (gone(state),), None
        finally:
            if state.task is me:
                state.task = None
        if self.states.get(text.uri) is state:
            self.tell(text, state)
            self.refresh()

    async def ask(self, text: OpenText, state: SpecState, tests: Sequence[str] = (), cost: str = "") -> CheckAnswer:
        """The answer of the process that checks on a text as it is now."""
        parsed, folder = state.parsed, self.texts.folder_of(text)
        return await self.checker.ask(parsed.source.path, parsed.text, folder, self.texts.unsaved(), tests, cost)

    async def cost_of(self, uri: str, test: str) -> str:
        """The work of running a test, in words; empty where it is not known, or not in time."""
        text, state = self.texts.get(uri), self.states.get(uri)
        if text is None or state is None:
            return ""
        if test not in state.costs:
            changes = state.changes
            with suppress(CheckerGone, asyncio.TimeoutError):
                answer = await asyncio.wait_for(self.ask(text, state, cost=test), LONGEST_WAIT)
                if state.changes == changes:
                    state.costs[test] = answer.cost
                return answer.cost
        return state.costs.get(test, "")

    async def first_check(self, state: SpecState) -> None:
        """Wait for the first check of a text, but not for long: before it nothing is known of its network."""
        if state.task is not None and not state.summary.digest:
            await asyncio.wait([state.task], timeout=LONGEST_WAIT)

    # ── telling ──

    def tell(self, text: OpenText, state: SpecState) -> None:
        """Publish what is known of a text."""
        own = all(one.span.source == state.parsed.source for one in state.diagnostics)
        imports = {} if own else state.imports(self.texts.folder_of(text))
        found = [shown(one, text, self.texts, imports) for one in state.diagnostics]
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(text.uri, found, text.version))

    def refresh(self) -> None:
        """Ask the client for what hangs on a check: lenses and colours."""
        workspace = self.client_capabilities.workspace
        if workspace is not None and workspace.code_lens is not None and workspace.code_lens.refresh_support:
            self.workspace_code_lens_refresh(None)
        if workspace is not None and workspace.semantic_tokens and workspace.semantic_tokens.refresh_support:
            self.workspace_semantic_tokens_refresh(None)

    # ── what features ask ──

    def known(self, uri: str) -> tuple[OpenText, SpecState] | None:
        """An open text and what is known of it."""
        text, state = self.texts.get(uri), self.states.get(uri)
        return None if text is None or state is None else (text, state)

    def uses(self, file: str) -> list[NameUse]:
        """The names of a file, and what they mean, in the order of the text."""
        meanings = self.meanings()
        if file not in self._uses:
            self._uses[file] = uses_of(file, meanings)
        return self._uses[file]

    def address(self, file: str) -> str:
        """The address of a file, or of a text that has none."""
        return self.texts.address(Path(file)) if Path(file).is_absolute() else file

    def version_of(self, file: str) -> int | None:
        """The version of an open text; None for a file that is not open."""
        text = self.texts.at(Path(file)) if Path(file).is_absolute() else self.texts.get(file)
        return None if text is None else text.version

    def meanings(self) -> Meanings:
        """The meanings of names in all files, as they are now."""
        edits, at = self._meant_at
        if self._meanings is None or edits != self._edits or time.monotonic() - at > 2.0:
            self._meanings, self._meant_at = Meanings(self.files), (self._edits, time.monotonic())
            self._uses = {}
        return self._meanings


def _refuse_arguments(command: str, handler: Callable[..., Any], given: Sequence[Any]) -> None:
    """Raise JsonRpcInvalidParams where a client gives a command other arguments than texts, or too few or too many."""
    names = list(inspect.signature(handler).parameters.values())
    needed = sum(one.default is inspect.Parameter.empty for one in names)
    if not needed <= len(given) <= len(names) or not all(isinstance(one, str) for one in given):
        told = " and ".join(f"`{one.name}`" for one in names)
        raise JsonRpcInvalidParams(f"`{command}` takes {told}, as {'a text' if len(names) == 1 else 'texts'}")


def gone(state: SpecState) -> Diagnostic:
    """E880: the process that checks ended."""
    return Diagnostic(
        "E880",
        "the process that checks this text ended before it was done",
        nowhere(state.parsed.source),
        notes=("faults of syntax are still shown; the next edit starts another process",),
        help="if it ended for want of memory, draw fewer pairs (`n=`); else please report it with the text",
    )


__all__ = ["SpecServer"]
