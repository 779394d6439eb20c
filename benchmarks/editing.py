"""How long an editor waits: from an edit to the faults of syntax, and to what `check` says.

    python -m benchmarks.editing [--edits 200]

A client speaks with `causal-dsl lsp` over its standard streams, as an editor does. The text has 500 lines: tests on the equality model. Each edit
puts a sign where none belongs, or takes it away, in a line that is drawn; the clock stops as the diagnostics of that version have come.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINES = 500


class Client:
    """A client of the protocol: what it sends, and the diagnostics that come."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "causal_dsl.tools.cli", "lsp"]
        self.server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.come: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        self.number = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        stream = self.server.stdout
        assert stream is not None
        while True:
            size = 0
            while (line := stream.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    size = int(line.partition(b":")[2])
            if not size:
                return
            document = json.loads(stream.read(size))
            if document.get("method") == "textDocument/publishDiagnostics" or "result" in document:
                self.come.put((time.perf_counter(), document))

    def send(self, method: str, given: Any, answer: bool = False) -> None:
        document: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": given}
        if answer:
            self.number += 1
            document["id"] = self.number
        data = json.dumps(document).encode()
        assert self.server.stdin is not None
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self.server.stdin.flush()

    def diagnostics(self, version: int) -> tuple[float, list[Any]]:
        """When the next diagnostics of a version came, and what they are."""
        while True:
            when, document = self.come.get(timeout=60)
            if document.get("params", {}).get("version") == version:
                return when, document["params"]["diagnostics"]


def text() -> str:
    """A spec of 500 lines: the equality model, and its sweep again and again under other names."""
    spec = (ROOT / "specs" / "equality.causal").read_text(encoding="utf-8")
    head = spec[: spec.index("# Before any intervention")]
    test = "test sweep_{n} on halves {{\n  base, source ~ equality(n=256, seed={n})\n  do(left <- source)\n  report iia\n}}\n\n"
    number = 0
    while head.count("\n") < LINES - 6:
        head += test.format(n=number)
        number += 1
    return head + "\n" * (LINES - head.count("\n"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.editing")
    parser.add_argument("--edits", type=int, default=200)
    edits = parser.parse_args().edits
    client = Client()
    uri = (ROOT / "specs" / "edited.causal").as_uri()
    client.send("initialize", {"processId": None, "rootUri": ROOT.as_uri(), "capabilities": {}}, answer=True)
    client.send("initialized", {})
    spec = text()
    document = {"uri": uri, "languageId": "causal", "version": 0, "text": spec}
    client.send("textDocument/didOpen", {"textDocument": document})
    client.diagnostics(0)
    time.sleep(5)  # the process that checks has started
    drawn = random.Random(0)
    lines = spec.split("\n")
    took, version = [], 0
    for _ in range(edits // 2):
        line = drawn.choice([n for n, one in enumerate(lines) if one.startswith("  do(")])
        place = {"line": line, "character": 5}
        for change in (
            {"range": {"start": place, "end": place}, "text": "&"},
            {"range": {"start": place, "end": {"line": line, "character": 6}}, "text": ""},
        ):
            version += 1
            start = time.perf_counter()
            told = {"textDocument": {"uri": uri, "version": version}, "contentChanges": [change]}
            client.send("textDocument/didChange", told)
            when, found = client.diagnostics(version)
            assert bool(found) == (change["text"] == "&"), found
            took.append(when - start)
            time.sleep(0.02)
    checked = []
    for _ in range(10):
        time.sleep(1.0)
        line = drawn.choice([n for n, one in enumerate(lines) if one == "  report iia"])
        for change in ("ia", "iia"):
            version += 1
            there = {"line": line, "character": 9}
            end = {"line": line, "character": 12 if change == "ia" else 11}
            start = time.perf_counter()
            edit = {"range": {"start": there, "end": end}, "text": change}
            client.send(
                "textDocument/didChange", {"textDocument": {"uri": uri, "version": version}, "contentChanges": [edit]}
            )
            while True:
                when, found = client.diagnostics(version)
                if bool(found) == (change == "ia"):
                    break
            checked.append(when - start)
            time.sleep(1.0)
    client.server.kill()
    for name, times in (("to the faults of syntax", took), ("to what check says", checked)):
        ordered = sorted(1000 * one for one in times)
        print(
            f"{name}: median {statistics.median(ordered):.0f} ms, least {ordered[0]:.0f}, "
            f"9 of 10 within {ordered[int(0.9 * len(ordered))]:.0f}, most {ordered[-1]:.0f} ({len(ordered)} edits)"
        )


if __name__ == "__main__":
    main()
