"""Starts the language server on the standard streams."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from causal_dsl.tools.ended import STOPPED
from causal_dsl.tools.lsp import navigation, offered_words, quick_fixes, run_lenses, whole_texts, word_hovers
from causal_dsl.tools.lsp.language_server import SpecServer
from causal_dsl.tools.lsp.message_protocol import ClientPipe, SpecProtocol, without_traceback


def serve(trust: bool, allow: Iterable[Path]) -> int:
    """Serve until the client ends the session. Standard output belongs to the protocol: what code prints goes to standard
    error."""
    words = ["--trust"] * trust + [word for folder in allow for word in ("--allow", str(folder.resolve()))]
    answers = ClientPipe(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, _interrupted)
    gc.freeze()
    for logger in ("pygls.protocol.json_rpc", "pygls.io_", "pygls.server"):
        logging.getLogger(logger).addFilter(without_traceback)
    server = SpecServer(_version(), words)
    for feature in (whole_texts, navigation, word_hovers, offered_words, quick_fixes, run_lenses):
        feature.register(server)
    server.start_io(sys.stdin.buffer, answers)  # type: ignore[arg-type]  # it is written to, flushed and closed
    assert isinstance(server.protocol, SpecProtocol)
    return server.protocol.exit_code


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End at once: a thread waits for standard input, which nobody closes. The process that checks ends as its own input does."""
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


def _version() -> str:
    try:
        return version("causal-dsl")
    except PackageNotFoundError:
        return "not installed"


__all__ = ["serve"]
