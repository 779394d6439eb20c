"""Chromium for the tests of pages: it asks nothing of anywhere, and whatever it complains of fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browser() -> Iterator[Any]:
    """The Chromium of the system, or that of Playwright where there is none."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    with sync_playwright() as made:
        opened = made.chromium.launch(executable_path=found, args=QUIET)
        yield opened
        opened.close()


@contextmanager
def shown(opened: Any, file: Path, **options: Any) -> Iterator[Page]:
    """A page; leaving it fails for messages of the console, errors of its script, and requests for anything but the file."""
    context = opened.new_context(**options)
    page = context.new_page()
    said: list[str] = []
    address = file.resolve().as_uri()

    def let(route: Any) -> None:
        if route.request.url.split("#")[0] == address:
            route.continue_()
        else:
            said.append(f"asked for {route.request.url}")
            route.abort()

    context.route("**/*", let)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert not said
