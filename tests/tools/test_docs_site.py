"""The site of the documentation: built strictly, complete, every link with its anchor right, and nothing asked for from elsewhere."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

import causal_dsl as cd

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Proxies that lead nowhere stand in for a machine without a network."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        **{"http_proxy": nowhere, "https_proxy": nowhere, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
    }
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(DOCS / "site" / "mkdocs.yml"),
        "-d",
        str(folder),
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Links(HTMLParser):
    """The ids of a page, where its links lead, and what a browser fetches for it."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        named = dict(attrs)
        self.ids |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        if tag == "link" and named.get("href") and named.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(named["href"])
        if tag in ("script", "img", "iframe", "source", "video", "audio") and named.get("src"):
            self.fetched.append(named["src"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_of_the_docs_is_there(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file(), page
    assert {"index.html", "reference.html", "notebook.html", "contributing.html", "llms.txt", "skill.md"} <= {
        path.name for path in site.iterdir()
    }
    assert not list(site.rglob("*.py")) and not (site / "site").exists()


def test_every_link_and_anchor_leads_somewhere(site: Path, pages: dict[Path, Links]) -> None:
    wrong = []
    checked = 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links are from the root of the site, wherever it is
            continue
        for link in [*page.links, *page.fetched]:
            target, anchor = urldefrag(link)
            if target.startswith(("http:", "https:", "mailto:", "data:", "javascript:")):
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            checked += 1
            if not there.is_file() or (anchor and there in pages and unquote(anchor) not in pages[there].ids):
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert checked > 5000 and not wrong, "\n".join(wrong[:20])


def test_specs_have_the_colours_of_the_language(site: Path) -> None:
    page = (site / "gallery" / "studies" / "equality.html").read_text(encoding="utf-8")
    (block,) = re.findall(r'<div class="language-causal highlight">(.*?)</div>', page, re.DOTALL)
    assert '<span class="kd">causal</span>' in block and '<span class="s2">"arrow"</span>' in block


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Links]) -> None:
    outside = [f"{path}: {link}" for path, page in pages.items() for link in page.fetched if "//" in link]
    assert not outside
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8") and "@import" not in style.read_text(
            encoding="utf-8"
        )


def test_the_reference_has_the_names_of_the_package(pages: dict[Path, Links], site: Path) -> None:
    ids = pages[site / "reference.html"].ids
    ends = {one.rpartition(".")[2] for one in ids}
    functions = {
        name
        for name in cd.__all__
        if getattr(getattr(cd, name), "__module__", "").startswith("causal_dsl.") and callable(getattr(cd, name))
    }
    assert {"load", "check", "plan", "run", "Results", "SpecError", "Options"} <= ends
    missing = {name for name in functions if name not in ends and hasattr(getattr(cd, name), "__qualname__")}
    assert not missing


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_shows_it_without_a_request_to_elsewhere(address: str) -> None:
    """Home, language, reference, gallery and notebook, narrow and wide, light and dark: no error, nothing cut off at the side; the search finds."""
    from playwright.sync_api import sync_playwright

    faults: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
            + ["--disable-background-networking", "--disable-component-update"],
        )
        for width, colours in ((400, "dark"), (1400, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)  # type: ignore[arg-type]
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: faults.append(str(error)))
            for name in (
                "index",
                "language",
                "reference",
                "gallery/index",
                "gallery/studies/equality",
                "notebook",
                "skill",
            ):
                page.goto(f"{address}/{name}.html")
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, (name, width, wide)
                scheme = page.evaluate("document.body.getAttribute('data-md-color-scheme')")
                assert scheme == {"dark": "slate", "light": "default"}[colours]
            page.close()
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{address}/index.html")
        page.locator("input.md-search__input").fill("never_moved")
        # The index is built in the browser when the search is first used: half a minute where other tests run beside it.
        page.wait_for_selector(".md-search-result__item", timeout=90_000)
        assert "never_moved" in page.locator(".md-search-result__list").inner_text()
        browser.close()
    assert not faults
    assert asked and not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
