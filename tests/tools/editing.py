"""A real language client at work: what the tests of the language server are written in."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities, make_test_lsp_client

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, "-m", "causal_dsl.tools.cli", "lsp"]


class Editor:
    """A client, and the texts that it has open, as an editor would have them."""

    def __init__(self, client: LanguageClient):
        self.client = client
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}

    def open(self, uri: str, text: str) -> str:
        self.texts[uri], self.versions[uri] = text, 1
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "causal", 1, text))
        )
        return uri

    def file(self, path: Path) -> str:
        return self.open(path.as_uri(), path.read_text(encoding="utf-8"))

    def replace(self, uri: str, start: int, end: int, text: str) -> None:
        """Put a text in the place of characters, as one edit of a range."""
        old = self.texts[uri]
        place = types.Range(position(old, start), position(old, end))
        self.texts[uri] = old[:start] + text + old[end:]
        self._change(uri, place, text)

    def _change(self, uri: str, place: types.Range, text: str) -> None:
        self.versions[uri] += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(uri=uri, version=self.versions[uri]),
                [types.TextDocumentContentChangePartial(range=place, text=text)],
            )
        )

    def position(self, uri: str, at: int) -> types.Position:
        """A position in a text whose lines may end in any way that the protocol knows."""
        text = self.texts[uri]
        ends = [found.end() for found in re.finditer(r"\r\n|\n|\r", text)]
        before = [end for end in ends if end <= at]
        start = before[-1] if before else 0
        return types.Position(len(before), len(text[start:at].encode("utf-16-le", "surrogatepass")) // 2)

    def replace_anywhere(self, uri: str, start: int, end: int, text: str) -> None:
        """:meth:`replace`, in such a text."""
        place = types.Range(self.position(uri, start), self.position(uri, end))
        self.texts[uri] = self.texts[uri][:start] + text + self.texts[uri][end:]
        self._change(uri, place, text)

    def write(self, uri: str, before: str, after: str) -> None:
        """Replace the only place of a text."""
        assert self.texts[uri].count(before) == 1, before
        at = self.texts[uri].index(before)
        self.replace(uri, at, at + len(before), after)

    def at(self, uri: str, word: str, inside: int = 0, nth: int = 0) -> types.Position:
        """The position of a text that stands there."""
        offset = -1
        for _ in range(nth + 1):
            offset = self.texts[uri].index(word, offset + 1)
        return position(self.texts[uri], offset + inside)

    def place(self, uri: str, word: str, inside: int = 0, nth: int = 0) -> dict[str, Any]:
        """What a request about a position is made of."""
        return {
            "text_document": types.TextDocumentIdentifier(uri),
            "position": self.at(uri, word, inside, nth),
        }

    async def until(
        self, uri: str, good: Callable[[list[types.Diagnostic]], bool], seconds: float = 30.0
    ) -> list[types.Diagnostic]:
        """The diagnostics of a text once they are as they should be."""
        for _ in range(int(seconds / 0.02)):
            found = list(self.client.diagnostics.get(uri, []))
            if uri in self.client.diagnostics and good(found):
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"{uri}: {self.client.diagnostics.get(uri)}")

    async def checked(self, uri: str) -> list[types.Diagnostic]:
        """The diagnostics of a text once it was checked as it is now."""
        while not await self.command("causal-dsl.checked", uri):
            await asyncio.sleep(0.02)
        return list(self.client.diagnostics.get(uri, []))

    async def command(self, name: str, *arguments: Any) -> Any:
        return await self.client.workspace_execute_command_async(types.ExecuteCommandParams(name, list(arguments)))

    def part(self, uri: str, place: types.Range) -> str:
        """The text of a range."""
        text = self.texts[uri]
        return text[offset(text, place.start) : offset(text, place.end)]


def position(text: str, at: int) -> types.Position:
    """A position in UTF-16, worked out from bytes: nothing of the package is in it."""
    line = text.count("\n", 0, at)
    start = text.rfind("\n", 0, at) + 1
    return types.Position(line, len(text[start:at].encode("utf-16-le", "surrogatepass")) // 2)


def offset(text: str, place: types.Position) -> int:
    lines = text.split("\n")
    data = lines[place.line].encode("utf-16-le", "surrogatepass")[: 2 * place.character]
    return sum(len(line) + 1 for line in lines[: place.line]) + len(data.decode("utf-16-le", "surrogatepass"))


class Checks:
    """Hears of each check that the server's checking process begins, by a hook that this process imports as it starts."""

    HOOK = """
import os, sys

if "causal_dsl.tools.lsp.check_process" in sys.orig_argv:
    from causal_dsl.checking import checking

    check = checking.check

    def begun(*given, **more):
        with open(os.environ["CHECKS_BEGUN"], "ab") as file:
            file.write(b".")
        return check(*given, **more)

    checking.check = begun
"""

    def __init__(self, folder: Path):
        hooks = folder.parent / f"{folder.name}-hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(self.HOOK, encoding="utf-8")
        self.file = hooks / "begun"
        self.environment = {"PYTHONPATH": f"{hooks}{os.pathsep}{ROOT}", "CHECKS_BEGUN": str(self.file)}

    @property
    def count(self) -> int:
        """How many have begun."""
        return self.file.stat().st_size if self.file.exists() else 0

    async def begun(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many have begun."""
        for _ in range(int(seconds / 0.02)):
            if self.count >= count:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{self.count} of {count} checks began within {seconds:g} seconds")


@asynccontextmanager
async def editor(
    folder: Path, *words: str, units: str = "", environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Editor]:
    """An editor that has a folder open, and a server of its own."""
    client = make_test_lsp_client()
    for method in (types.WORKSPACE_CODE_LENS_REFRESH, types.WORKSPACE_SEMANTIC_TOKENS_REFRESH):
        client.feature(method)(lambda *given: None)
    await client.start_io(*SERVER, *words, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, cwd=folder)
    able = client_capabilities("visual-studio-code")
    if units:
        able.general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind(units)])
    try:
        await client.initialize_session(
            types.InitializeParams(
                capabilities=able,
                workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name)],
                root_uri=folder.as_uri(),
            )
        )
        yield Editor(client)
        await client.shutdown_session()
    except BaseException:
        if client._server is not None and client._server.returncode is None:
            client._server.kill()
        raise
    finally:
        await client.stop()


def edit(
    folder: Path,
    work: Callable[[Editor], Awaitable[None]],
    *words: str,
    seconds: float = 120.0,
    units: str = "",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Do some work in an editor."""

    async def session() -> None:
        async with editor(folder, *words, units=units, environment=environment) as one:
            await asyncio.wait_for(work(one), seconds)

    asyncio.run(session())
