"""The MCP server by the client of the official SDK, over standard input and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

import causal_dsl as cd
from causal_dsl.vocabulary.measures import MEASURES

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
pytestmark = pytest.mark.tools

SLOW = """
domain Shape = {"arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"}

causal equality {
  a, b, c, d ~ Shape

  left  := a == b
  right := c == d
  output same := left == right
}

network net = zoo("equality-gpt2")

align tau(l in 0:3, p in [a, b, c, d, last]) : equality -> net {
  prompt "{a} {b} {c} {d} ="

  left @ layer[l].resid_post[p]
  same @ next_token
}

test slow on tau {
  base, source ~ equality(n=8000, seed=0)
  do(left <- source)
  report iia
}
"""

#: A network that is quick, and one that never ends on many inputs.
NET = """import time

import torch


class Net(torch.nn.Module):
    def __init__(self, slow):
        super().__init__()
        self.slow = slow
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

    def forward(self, x):
        time.sleep(600 if self.slow and len(x) > 100 else 0)
        return self.layers(x)


def build(slow):
    torch.manual_seed(0)
    return Net(slow)
"""
ASLEEP = """causal same {
  a ~ 0..3
  b ~ 0..3
  output equal := a == b
}

network net(slow in [0, 1]) = torch("net.py:build", slow=slow)

align tau : same -> net {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  equal @ logits
}

test t on tau {
  base, source ~ same(n=2000, seed=0)
  do(input[0:4] <- source)
  report accuracy
}
"""


@asynccontextmanager
async def client(*options: str, errors: Any = None, root: Path = SPECS) -> AsyncIterator[Any]:
    """A client of a server that is started for it."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["-m", "causal_dsl.tools.cli", "mcp", "--root", str(root), *options]
    server = StdioServerParameters(command=sys.executable, args=words, env=environment)
    async with Client(stdio_client(server, errlog=errors or sys.stderr)) as made:
        yield made


def diagnostics(result: Any) -> list[tuple[str, str]]:
    """The codes and titles of a refused call, which holds no traceback."""
    assert result.is_error and "Traceback" not in result.content[0].text
    return [(one["code"], one["title"]) for one in result.structured_content["diagnostics"]]


def workers() -> list[psutil.Process]:
    """The processes that do the work of servers of this test."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            found += [one] if "mcp_worker" in " ".join(one.cmdline()) else []
    return found


def test_every_tool_and_page() -> None:
    async def talk() -> None:
        async with client() as own:
            tools = (await own.list_tools()).tools
            assert {tool.name for tool in tools} == {"check", "plan", "run", "explain", "zoo"}
            assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
            assert not any("trust" in json.dumps(tool.input_schema) or "allow" in tool.input_schema for tool in tools)

            checked = await own.call_tool("check", {"path": "equality_relu.causal"})
            assert not checked.is_error
            expected = cd.check(SPECS / "equality_relu.causal", beside=False).to_json()
            (found,) = checked.structured_content["specs"]
            assert found["tests"] == expected["tests"] and found["diagnostics"] == []

            planned = await own.call_tool("plan", {"path": "equality_relu.causal"})
            cost = cd.plan(SPECS / "equality_relu.causal").to_json()["cost"]
            assert planned.structured_content["predicted"]["flops"] == cost["flops"]
            assert planned.structured_content["tests"][0]["name"] == "solves_the_task"

            asked = {"path": "equality_relu.causal", "tests": ["left_is_localised"]}
            ran = await own.call_tool("run", asked)
            results = cd.run(SPECS / "equality_relu.causal", cd.Options(tests=("left_is_localised",)))
            assert not ran.is_error and ran.structured_content["passed"]
            (cell,) = ran.structured_content["specs"][0]["tests"][0]["cells"]
            assert cell["scores"]["iia"]["value"] == results["left_is_localised"].cell().scores["iia"].value
            assert cell["verdict"] == "supported" and "left_is_localised" in ran.content[0].text
            full = await own.call_tool("run", {**asked, "full": True})
            whole = full.structured_content["specs"][0]
            assert whole["identity"] and set(cell["scores"]) <= set(whole["tests"][0]["cells"][0]["scores"])

            page = await own.call_tool("explain", {"word": "iia"})
            assert MEASURES["iia"].says in page.content[0].text
            every = await own.call_tool("explain", {})
            assert "E201" in every.content[0].text and "never_moved" in every.content[0].text
            zoo = await own.call_tool("zoo", {})
            assert "equality-gpt2" in {one["name"] for one in zoo.structured_content["networks"]}

            listed = (await own.list_resources()).resources
            names = {str(one.uri).rsplit("/", 1)[1]: one for one in listed}
            assert {"language.md", "measures.md", "tutorial.md", "output.schema.json"} <= set(names)
            for one in listed:
                read = await own.read_resource(one.uri)
                assert read.contents[0].text == (ROOT / "docs" / one.name).read_text(encoding="utf-8")
            (template,) = (await own.list_resource_templates()).resource_templates
            read = await own.read_resource(template.uri_template.replace("{code}", "E201"))
            assert read.contents[0].text.startswith("# E201")

    anyio.run(talk)


#: Calls that are refused, with the code and a word of the message.
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("rn", {}, "E886", "no tool `rn`"),
    ("run", {}, "E886", "one spec"),
    ("run", {"path": "equality.causal", "text": "x"}, "E886", "one spec"),
    ("run", {"path": 3}, "E886", "`path`"),
    ("run", {"path": "equality.causal", "trust": True}, "E886", "have the server started as `causal-dsl mcp --trust`"),
    ("run", {"path": "equality.causal", "out": "/tmp/x"}, "E886", "its arguments: `path`"),
    ("run", {"text": SLOW, "max_seconds": -1}, "E886", "run(text=…, max_seconds=-1)"),
    ("run", {"text": SLOW, "max_second": 1}, "E886", "did you mean `max_seconds`?"),
    ("run", {"text": SLOW, "path": 3}, "E886", "run(text=…, path=3)"),
    ("run", {"text": SLOW, "tests": "slow"}, "E886", "is no list"),
    ("check", {"path": "equality.causal", "seed": "one"}, "E886", "`seed`"),
    ("check", {"path": "nowhere.causal"}, "E220", "no such file"),
    ("check", {"path": "../pyproject.tom\0l"}, "E886", "not a file name"),
    ("check", {"path": "/etc/passwd"}, "E886", "outside"),
    ("plan", {"path": "equality_relu.causal", "tests": ["no_such"]}, "E7", "no_such"),
    ("run", {"text": "causal x { output }"}, "E1", ""),
    ("run", {"text": 'from "x.py" import f\ncausal c {\n  a ~ 0..3\n  output b := f(a)\n}\n'}, "E2", ""),
    ("explain", {"word": "E2O1"}, "E707", "E2O1"),
    ("explain", {"word": "nosuchword"}, "E707", "the tool `explain` without a word"),
    ("explain", {"word": "x" * 100_000}, "E886", "explain"),
    ("zoo", {"name": "x"}, "E886", "`zoo` has no argument `name`"),
]


def test_bad_input_gives_a_diagnostic() -> None:
    async def talk() -> None:
        async with client() as own:
            for tool, arguments, code, said in WRONG:
                result = await own.call_tool(tool, arguments)
                found = diagnostics(result)
                assert all(one.startswith(code) for one, _ in found), (tool, arguments, found)
                assert said in result.content[0].text, result.content[0].text
                assert len(result.content[0].text) < 5000, (tool, len(result.content[0].text))
                assert "circle" not in result.content[0].text, "the text of a spec is not told"
            for uri in (
                "causal-dsl://docs/../pyproject.toml",
                "causal-dsl://docs/diagnostics.d/E000.md",
                "file:///etc/passwd",
            ):
                with pytest.raises(Exception, match="E886"):
                    await own.read_resource(uri)
            assert not (await own.call_tool("explain", {"word": "E886"})).is_error  # it still answers

    anyio.run(talk)


def test_code_runs_by_the_option_of_the_server_alone(tmp_path: Path) -> None:
    """Not by a request; and nothing outside of the folder is read."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "pyproject.toml").touch()
    (tmp_path / "secret.csv").write_text("key,value\na,b\n", encoding="utf-8")
    mark = tmp_path / "ran"
    (tmp_path / "served" / "net.py").write_text(
        f"import pathlib, torch\n\n\ndef build():\n    print('printed by code')\n    pathlib.Path({str(mark)!r}).touch()\n"
        "    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))\n",
        encoding="utf-8",
    )
    spec = """causal same {
  a, b ~ 0..3
  output equal := a == b
}

network net = torch("net.py:build")

align tau : same -> net {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  equal @ logits
}

test t on tau {
  base ~ same(n=16, seed=0)
  report accuracy
}
"""
    outside = 'table T = csv("../secret.csv", key=key)\ncausal c {\n  k ~ T\n  output v := T[k].value\n}\n'

    async def talk() -> None:
        async with client(root=tmp_path / "served") as own:
            assert diagnostics(await own.call_tool("run", {"text": spec}))
            assert not mark.exists()
            assert [code for code, _ in diagnostics(await own.call_tool("check", {"text": outside}))] == ["E224"]
        async with client("--trust", root=tmp_path / "served") as own:
            ran = await own.call_tool("run", {"text": spec})
            assert not ran.is_error, ran.content[0].text
            assert mark.exists()
        async with client("--allow", str(tmp_path), root=tmp_path / "served") as own:
            assert not (await own.call_tool("check", {"text": outside})).is_error

    before = {path for path in tmp_path.rglob("*")}
    anyio.run(talk)
    made = {path for path in tmp_path.rglob("*")} - before - {mark}
    assert {path.name for path in made if path.is_file() and path.suffix != ".pyc"} == set()


def test_a_run_keeps_within_its_budget(tmp_path: Path) -> None:
    """Refused by its plan, stopped by the clock or by memory, with what was finished; the server's limits are the upper ones."""

    async def talk() -> None:
        async with client("--max-seconds", "30", "--max-flops", "1e9") as own:
            over = await own.call_tool("run", {"path": "equality_relu.causal", "max_flops": 1000})
            assert [code for code, _ in diagnostics(over)] == ["E887"]
            assert over.structured_content["predicted"]["flops"] > 1000
            more = await own.call_tool("run", {"text": SLOW, "max_flops": 1e18})
            assert [code for code, _ in diagnostics(more)] == ["E887"]
            assert more.structured_content["budget"] == {
                "seconds": 30,
                "flops": 1e9,
                "memory": more.structured_content["budget"]["memory"],
            }
            small = await own.call_tool("run", {"path": "equality_relu.causal", "max_memory_mb": 20})
            assert {code for code, _ in diagnostics(small)} <= {"E887", "E888"}
        async with client("--trust", root=tmp_path) as own:
            began = time.monotonic()
            stopped = await own.call_tool("run", {"text": ASLEEP, "max_seconds": 20})
            assert [code for code, _ in diagnostics(stopped)] == ["E888"]
            assert time.monotonic() - began < 60
            tests = {test["name"]: test for test in stopped.structured_content["specs"][0]["tests"]}
            assert tests["t(slow=0)"]["status"] == "finished" and len(tests["t(slow=0)"]["cells"]) == 1
            assert tests["t(slow=1)"]["status"] == "interrupted" and not tests["t(slow=1)"]["cells"]
            assert not workers()

    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    anyio.run(talk)


def test_a_cancelled_request_stops_the_work() -> None:
    progress: list[tuple[float, float | None, str | None]] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        progress.append((done, total, message))

    async def talk() -> None:
        async with client("--max-flops", "1e18") as own:
            async with anyio.create_task_group() as tasks:

                async def long() -> None:
                    await own.call_tool("run", {"text": SLOW}, progress_callback=hear)

                tasks.start_soon(long)
                with anyio.fail_after(60):
                    while not progress or not workers():
                        await anyio.sleep(0.1)
                tasks.cancel_scope.cancel()
            with anyio.fail_after(10):
                while workers():
                    await anyio.sleep(0.1)
            assert not (await own.call_tool("check", {"path": "equality_relu.causal"})).is_error

    anyio.run(talk)
    assert progress and progress[-1][0] <= (progress[-1][1] or 0)


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "causal_dsl.tools.cli", "mcp", "--root", str(SPECS)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as started:
        yield started
        started.kill()


def test_standard_output_holds_protocol_alone(server: subprocess.Popen[str]) -> None:
    """Every line is JSON-RPC, whatever is sent; the server ends when its input does."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "zoo", "arguments": {}}},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "check", "arguments": {"text": "x"}}},
        {"jsonrpc": "2.0", "id": 4, "method": "no/such"},
    ]
    assert server.stdin is not None and server.stdout is not None
    for line in lines:
        server.stdin.write(json.dumps(line) + "\n")
    server.stdin.write("this is no JSON\n")
    server.stdin.flush()
    answers = {}
    while not {1, 2, 3, 4} <= answers.keys():
        message = json.loads(server.stdout.readline())
        assert message["jsonrpc"] == "2.0"
        answers[message.get("id")] = message
    assert answers[3]["result"]["isError"] and "error" in answers[4]
    server.stdin.close()
    assert server.wait(timeout=20) == 0
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in server.stdout.read().splitlines())


def test_without_the_extra_the_command_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from causal_dsl.tools import mcp_command
    from causal_dsl.tools.cli import main

    monkeypatch.setattr(mcp_command, "find_spec", lambda name: None)
    assert main(["mcp"]) == 2
    said = capsys.readouterr().err
    assert "error[E889]" in said and "pip install 'causal-dsl[mcp]'" in said
