"""The extension for VS Code: it is packed, and it works in the web build of VS Code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"


def packed(folder: Path) -> Path:
    """The extension, packed in a folder of its own."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is needed"
    shutil.copytree(
        ROOT / "editors" / "vscode", folder, ignore=shutil.ignore_patterns("node_modules", "dist", "*.vsix")
    )
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=600)
    subprocess.run([npm, "run", "--silent", "package"], cwd=folder, check=True, timeout=600)
    (made,) = folder.glob("*.vsix")
    return made


@pytest.mark.tools
def test_it_is_packed_with_all_that_it_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(packed(tmp_path / "vscode")) as pack:
        names = {name.removeprefix("extension/") for name in pack.namelist()}
        package = json.loads(pack.read("extension/package.json"))
    contributes = package["contributes"]
    named = [package["main"], contributes["languages"][0]["configuration"]]
    named += [one["path"] for kind in ("grammars", "snippets") for one in contributes[kind]]
    assert {path.removeprefix("./") for path in named} <= names
    assert "LICENSE.txt" in names
    assert not [name for name in names if "node_modules" in name]


@pytest.mark.tools
def test_settings_start_the_server_again_whatever_it_is_doing() -> None:
    """Settings that change while it starts, a command that is not there and then is, and the run of a lens, which saves first."""
    done = subprocess.run(
        [
            "node",
            str(Path(__file__).with_name("extension.js")),
            str(ROOT / "editors" / "vscode" / "src" / "extension.js"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    again = ["stopped", "started causal-dsl lsp --trust --allow /data"]
    fault = ["stopped", "told of the fault", "started there lsp --trust --allow /data"]
    assert done.stdout.split("\n")[:-1] == ["started causal-dsl lsp", *again, *again, *fault, "saved", "ran", "stopped"]


@contextmanager
def web_build(folder: Path, extension: Path) -> Iterator[str]:
    """The address of the web build of VS Code (code-server) with the extension; `CAUSAL_DSL_CODE_SERVER` is its command."""
    command = shlex.split(os.environ.get("CAUSAL_DSL_CODE_SERVER", "code-server"))
    assert shutil.which(command[0]) is not None, "code-server is needed: npm install -g code-server"
    (folder / "User").mkdir(parents=True)
    start = folder / "causal-dsl"
    start.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m causal_dsl.tools.cli "$@"\n', encoding="utf-8"
    )
    start.chmod(0o755)
    settings = {"causal.command": str(start), "workbench.startupEditor": "none", "editor.minimap.enabled": False}
    (folder / "User" / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    own = [f"--user-data-dir={folder}", f"--extensions-dir={folder / 'extensions'}", f"--config={folder / 'c.yaml'}"]
    subprocess.run([*command, *own, "--install-extension", str(extension)], check=True, timeout=120)
    words = ["--auth=none", f"--bind-addr={address}", "--disable-telemetry", "--disable-workspace-trust"]
    process = subprocess.Popen([*command, *own, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{address}/healthz", timeout=1)
                break
            except OSError:
                time.sleep(0.3)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.nightly
def test_it_works_in_the_web_build_of_vs_code(tmp_path: Path) -> None:
    """Colours, lenses, a fault with its help, a hover, and a run with its verdict, in Chromium."""
    from playwright.sync_api import expect, sync_playwright

    specs = tmp_path / "specs"
    specs.mkdir()
    text = (ROOT / "specs" / "equality.causal").read_text(encoding="utf-8")
    text = "\n".join(line for line in text.split("\n") if not line.startswith("#")).strip() + "\n"
    (specs / "equality.causal").write_text(text, encoding="utf-8")
    chromium = shutil.which("chromium")
    assert chromium is not None, "Chromium is needed"
    with web_build(tmp_path / "user", packed(tmp_path / "vscode")) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM.split())
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(f"{address}/?folder={specs}")
        page.get_by_text("equality.causal").first.dblclick(timeout=60_000)
        lens = page.locator(".codelens-decoration a", has_text="run").first
        expect(lens).to_be_visible(timeout=60_000)
        keyword = page.locator(".view-line span", has_text="domain").last
        name = page.locator(".view-line span", has_text="resid_post").last
        colours = {one.evaluate("node => getComputedStyle(node).color") for one in (keyword, name)}
        assert len(colours) == 2
        name.hover()
        told = page.locator(".monaco-hover", has_text="the residual stream as it leaves the layer")
        expect(told.first).to_be_visible(timeout=20_000)
        expect(told.first).to_contain_text("[tokens, 64]")
        page.screenshot(path=tmp_path / "hover.png")
        page.keyboard.press("Escape")
        lens.click()
        verdict = page.locator(".codelens-decoration a", has_text="just now").first
        expect(verdict).to_be_visible(timeout=120_000)
        page.screenshot(path=tmp_path / "verdict.png")
        page.locator(".view-line", has_text="expect accuracy").first.click()
        page.keyboard.press("End")
        page.keyboard.type(" + ia")
        fault = page.locator(".squiggly-error").first
        expect(fault).to_be_visible(timeout=30_000)
        page.screenshot(path=tmp_path / "fault.png")
        browser.close()
