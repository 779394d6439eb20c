"""The process that checks for the language server: one text after the other, while the server goes on answering.

``python -m causal_dsl.tools.lsp.check_process [--trust] [--allow DIR]…`` reads requests from standard input. It imports what
``check`` imports, and runs no network.
"""

from __future__ import annotations

import argparse
import gc
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from causal_dsl.base.faults import Stop
from causal_dsl.causal.memo import Memo
from causal_dsl.checking.checking import check, planned
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.messages.unexpected import unexpected
from causal_dsl.planning.cost import cost_of
from causal_dsl.program.modules import unsaved_texts
from causal_dsl.tools.lsp.check_messages import CheckAnswer, CheckRequest, StopRequest, next_message, packed
from causal_dsl.tools.lsp.parsed_texts import ParsedText
from causal_dsl.tools.lsp.spec_summary import Summary, summary_of

#: Draws and chance levels of the checks before: an edit seldom changes a causal model.
_MEMO = Memo()


class Unwanted(Stop):
    """The answer to the request in hand is not wanted any more."""


class CheckLoop:
    """Answers requests in their order, but for those that are given up."""

    def __init__(self, options: Options, requests: BinaryIO, answers: BinaryIO):
        self.options, self.requests, self.answers = options, requests, answers
        self.waiting: queue.Queue[CheckRequest | None] = queue.Queue()
        self.unwanted: set[int] = set()
        self.in_hand: int | None = None

    def run(self) -> None:
        """Until the pipe ends."""
        signal.signal(signal.SIGINT, self._interrupted)
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self.waiting.get()) is not None:
            answer = CheckAnswer(request.number, stopped=True)
            try:
                self.in_hand = request.number
                if request.number not in self.unwanted:
                    answer = answer_to(request, self.options)
                self.in_hand = None
            except Unwanted:
                self.in_hand = None
            try:
                self.answers.write(packed(answer))
                self.answers.flush()
            except BrokenPipeError:  # the server has gone
                os._exit(0)
            gc.collect(1)

    def _listen(self) -> None:
        while (message := next_message(self.requests)) is not None:
            if isinstance(message, StopRequest):
                self.unwanted.add(message.number)
                if self.in_hand == message.number:
                    signal.raise_signal(signal.SIGINT)
            else:
                self.waiting.put(message)
        self.waiting.put(None)
        if self.in_hand is not None:
            os._exit(0)  # nobody waits for the answer

    def _interrupted(self, number: int, frame: FrameType | None) -> Any:
        """Give up what is in hand, where it is not wanted; Ctrl-C of a terminal is the server's business."""
        if self.in_hand in self.unwanted:
            self.in_hand = None
            raise Unwanted


def answer_to(request: CheckRequest, options: Options) -> CheckAnswer:
    """Check a text; whatever is wrong with it, or with this package, is a diagnostic."""
    start = time.perf_counter()
    parsed = ParsedText.of(request.name, request.text)
    spec = Spec(parsed.healthy(), parsed.source, request.folder)
    found: list[Diagnostic] = []
    summary: Summary | None = None
    reads: tuple[Path, ...] = ()
    cost = ""
    try:
        with unsaved_texts(request.unsaved):
            if request.cost:
                cost = told_cost(spec, replace(options, tests=(request.cost,)))
            else:
                checked = check(spec, replace(options, tests=request.tests), beside=False, memo=_MEMO)
                found, summary, reads = checked.diagnostics, summary_of(checked), checked.reads.paths
    except SpecError as error:
        found = list(error.diagnostics)
    except Exception as error:
        found = [unexpected(error, Span(Source(request.name, request.text), 0, 0))]
    return CheckAnswer(request.number, tuple(found), summary, reads, time.perf_counter() - start, cost)


def told_cost(spec: Spec, options: Options) -> str:
    """The work of running one test with all that rides beside it, in words; empty where its plan needs the network."""
    checked = check(spec, options, memo=_MEMO)
    if checked.errors or checked.plan is None:
        return ""
    cost = cost_of(planned(checked, options))
    rows = f"{cost.rows:,} row{'s' * (cost.rows != 1)} in {cost.passes:,} pass{'es' * (cost.passes != 1)}"
    return f"{rows}, {cost.flops / 1e9:,.1f} GFLOP, {cost.peak_bytes / 1e6:,.0f} MB beside the weights"


def main(words: Sequence[str] | None = None) -> int:
    """Read requests from standard input until it ends. What the code prints goes to standard error."""
    parser = argparse.ArgumentParser(prog="check_process")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--allow", action="append", default=[], type=Path)
    given = parser.parse_args(words)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    options = Options.of(vars(given))
    gc.freeze()
    CheckLoop(options, sys.stdin.buffer, answers).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
