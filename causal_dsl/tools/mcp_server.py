"""The MCP server: protocol on standard input and output, and each call of `check`, `plan` and `run` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import mcp_types as types
import psutil
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from causal_dsl.diagnostics import Diagnostic, Span, SpecError
from causal_dsl.messages.unexpected import unexpected
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.tools.budget import RunBudget, megabytes
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.ended import STOPPED
from causal_dsl.tools.explain import list_of_all, page_of
from causal_dsl.tools.mcp_tools import TEMPLATE, TOOLS, called, page_at, pages, refuse_wrong, title_of
from causal_dsl.tools.mcp_worker import faults

_INSTRUCTIONS = """\
causal_dsl tests hypotheses about what a neural network computes. Read the resource causal-dsl://docs/skill.md first: it teaches
the language, its measures and their traps. Write a spec, `check` it until no fault is left, look at `plan`, then `run` it."""
#: The longest line that a process may answer with.
_LONGEST = 512 * 2**20
#: Seconds that a stopped run has for the scores of what was finished.
_GRACE = 20.0
#: Seconds between two looks at the memory of a run.
_LOOK = 0.1

Context = ServerRequestContext[Any]


def serve(root: Path, allow: tuple[Path, ...], trust: bool, most: RunBudget) -> None:
    """Answer requests until standard input ends, or the client has gone. ``most`` is the most that any run may take, whatever is
    asked for. Ctrl-C ends the process with all work in hand."""
    own = CausalServer(root, allow, trust, most)
    signal.signal(signal.SIGINT, own.interrupted)
    try:
        anyio.run(_serve, own)
    except BaseExceptionGroup as several:
        _, others = several.split((BrokenPipeError, anyio.BrokenResourceError, anyio.ClosedResourceError))
        if others is not None:
            raise


async def _serve(own: CausalServer) -> None:
    server: Server[Any] = Server(
        "causal-dsl",
        version=_version(),
        instructions=_INSTRUCTIONS,
        on_list_tools=own.list_tools,
        on_call_tool=own.call_tool,
        on_list_resources=own.list_resources,
        on_list_resource_templates=own.list_templates,
        on_read_resource=own.read_resource,
    )
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _kind(page: Path) -> str:
    return {".md": "text/markdown", ".json": "application/schema+json"}.get(page.suffix, "text/plain")


def _version() -> str:
    try:
        return version("causal-dsl")
    except PackageNotFoundError:
        return ""


class CausalServer:
    """A server with the folders that it reads, whether code is trusted, and its limits."""

    def __init__(self, root: Path, allow: tuple[Path, ...], trust: bool, most: RunBudget):
        self.root, self.allow, self.trust, self.most = root, allow, trust, most
        self._one_run = anyio.CapacityLimiter(1)
        self._at_work: set[Process] = set()
        self._tools: dict[str, Callable[[Context, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "check": self._check,
            "plan": self._plan,
            "run": self._run,
            "explain": self._explain,
            "zoo": self._zoo,
        }

    def interrupted(self, number: int, frame: FrameType | None) -> Any:
        """End at once: a thread may wait for standard input, which nobody closes."""
        for process in self._at_work:
            _kill(process)
        os.write(2, b"stopped\n")
        os._exit(STOPPED)

    async def list_tools(self, ctx: Context, params: Any) -> types.ListToolsResult:
        """Every tool changes nothing but the cache."""
        hints = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True)
        tools = [
            types.Tool(name=one.name, title=one.title, description=one.says, input_schema=one.schema, annotations=hints)
            for one in TOOLS.values()
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """A tool's answer as text and as data; every fault is a diagnostic."""
        name, arguments = params.name, params.arguments or {}
        try:
            refuse_wrong(name, arguments)
            reply = await self._tools[name](ctx, arguments)
        except SpecError as error:
            reply = faults(error)
        except Exception as error:
            reply = faults(SpecError([unexpected(error, called(name, arguments))]))
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=reply["text"])]
        return types.CallToolResult(content=content, structured_content=reply["document"], is_error=reply["is_error"])

    async def list_resources(self, ctx: Context, params: Any) -> types.ListResourcesResult:
        """The pages of the documentation."""
        listed = [
            types.Resource(uri=uri, name=path.name, title=title_of(path), mime_type=_kind(path))
            for uri, path in pages().items()
        ]
        return types.ListResourcesResult(resources=listed)

    async def list_templates(self, ctx: Context, params: Any) -> types.ListResourceTemplatesResult:
        """The pages of diagnostics, by their codes."""
        one = types.ResourceTemplate(
            uri_template=TEMPLATE, name="diagnostic", title="A diagnostic by its code", mime_type="text/markdown"
        )
        return types.ListResourceTemplatesResult(resource_templates=[one])

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """A page; whatever else is asked for is refused."""
        page = page_at(str(params.uri))
        if page is None:
            raise MCPError(code=types.INVALID_PARAMS, message=f"E886: there is no page {str(params.uri)[:200]!r}")
        text = page.read_text(encoding="utf-8")
        held = types.TextResourceContents(uri=params.uri, mime_type=_kind(page), text=text)
        return types.ReadResourceResult(contents=[held])

    async def _check(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._worked(ctx, "check", arguments, self.most)

    async def _plan(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._worked(ctx, "plan", arguments, self.most)

    async def _run(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        memory = arguments.get("max_memory_mb")
        asked = RunBudget(
            arguments.get("max_seconds", self.most.seconds),
            arguments.get("max_flops", self.most.flops),
            self.most.memory if memory is None else int(min(memory * 1e6, float(self.most.memory))),
        )
        async with self._one_run:  # two runs at once would each take the other's time
            return await self._worked(ctx, "run", arguments, asked.within(self.most))

    async def _explain(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        word = arguments.get("word")
        if word is None:
            text = "\n".join(list_of_all())
        else:
            text = page_of(word, CommandLine(["explain", word]), "the tool `explain` without a word lists them all")
        return {"text": text, "document": {"page": text}, "is_error": False}

    async def _zoo(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        entries = [
            {
                "name": entry.name,
                "task": entry.task,
                "kind": entry.kind,
                "parameters": entry.parameters,
                "bytes": entry.size,
                "ships": entry.ships,
                "accuracy": entry.accuracy,
            }
            for entry in catalogue().values()
        ]
        text = "\n".join(f'zoo("{one["name"]}"): {one["task"]}; {one["parameters"]:,} parameters' for one in entries)
        return {"text": text, "document": {"networks": entries}, "is_error": False}

    async def _worked(self, ctx: Context, tool: str, arguments: dict[str, Any], budget: RunBudget) -> dict[str, Any]:
        """The reply of a process that does the work. It is killed with whatever it started if the request is cancelled."""
        request = {
            "tool": tool,
            "arguments": arguments,
            "root": str(self.root),
            "allow": [str(folder) for folder in self.allow],
            "trust": self.trust,
            "budget": budget.to_json(),
        }
        process = await anyio.open_process(
            [sys.executable, "-m", "causal_dsl.tools.mcp_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": _path()},
            start_new_session=True,
        )
        watch = _Watch(process, budget)
        self._at_work.add(process)
        try:
            assert process.stdin is not None and process.stdout is not None
            await process.stdin.send(json.dumps(request).encode() + b"\n")
            reply: dict[str, Any] | None = None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.guard)
                reply = await _reply_of(process, ctx, watch)
                tasks.cancel_scope.cancel()
        finally:
            self._at_work.discard(process)
            _kill(process)
            with anyio.CancelScope(shield=True):
                await process.wait()
        return _told(reply, watch, tool, called(tool, arguments))


def _path() -> str:
    """Where the process finds this package, wherever it starts: as the server has found it."""
    own = str(Path(__file__).resolve().parents[2])
    there = os.environ.get("PYTHONPATH")
    return own if not there else os.pathsep.join([own, there])


async def _reply_of(process: Process, ctx: Context, watch: _Watch) -> dict[str, Any] | None:
    """The last reply of the process, its progress told on the way; None where it ends without one."""
    assert process.stdout is not None
    lines = BufferedByteReceiveStream(process.stdout)
    while True:
        try:
            line = json.loads(await lines.receive_until(b"\n", _LONGEST))
        except (anyio.IncompleteRead, anyio.EndOfStream):
            return None
        if "reply" in line:
            reply: dict[str, Any] = line["reply"]
            return reply
        watch.ready = watch.ready or "ready" in line
        if "progress" not in line:
            continue
        told = line["progress"]
        await ctx.session.report_progress(told["done"], told["total"] or None, told["text"])


class _Watch:
    """Stops a process that is over its budget: first by SIGINT, on which it answers with what was finished, then for good. One that is
    not ``ready`` to hear of a stop has finished nothing."""

    def __init__(self, process: Process, budget: RunBudget):
        self.process, self.budget = process, budget
        self.over = ""
        self.ready = False

    async def guard(self) -> None:
        """Look at the clock and at the memory until the process is over its budget."""
        began = time.monotonic()
        while not self.over:
            await anyio.sleep(_LOOK)
            spent, held = time.monotonic() - began, self._memory()
            if spent > self.budget.seconds:
                self.over = f"it took more than {self.budget.seconds:g} s"
            elif held > self.budget.memory:
                self.over = f"its process held {megabytes(held)}, of {megabytes(self.budget.memory)} that it may hold"
        if self.ready:
            self.process.send_signal(signal.SIGINT)
            await anyio.sleep(_GRACE)
        _kill(self.process)

    def _memory(self) -> int:
        try:
            own = psutil.Process(self.process.pid)
            return int(sum(one.memory_info().rss for one in (own, *own.children(recursive=True))))
        except psutil.Error:
            return 0


def _kill(process: Process) -> None:
    """End the process and all that it has started."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def _told(reply: dict[str, Any] | None, watch: _Watch, tool: str, place: Span) -> dict[str, Any]:
    """The reply, with E888 where the process was stopped or has ended by itself."""
    if reply is not None and not (watch.over and reply["interrupted"]):
        return reply
    document = {} if reply is None else reply["document"]
    why = watch.over or "its process ended without an answer; the system may have run out of memory"
    finished = bool(document.get("specs"))
    stopped = Diagnostic(
        "E888",
        f"`{tool}` {'was stopped' if watch.over else 'ended'} before it was done",
        place,
        notes=(why, "what was finished is in the answer" if finished else "nothing was finished"),
        help="draw fewer pairs, sweep over fewer cells, or ask for more where the server allows it",
    )
    found = faults(SpecError([stopped]))
    text = f"{reply['text']}\n{found['text']}" if reply is not None and reply["text"] else found["text"]
    return {"text": text, "document": {**document, **found["document"]}, "is_error": True}
