"""The server's end of the process that checks: it is started once, stopped in its work, and started again where it ends."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from causal_dsl.tools.lsp.check_messages import LENGTH, CheckAnswer, CheckRequest, StopRequest, packed

#: Seconds that a check may go on after it was given up: code that does not come back is ended with its process.
PATIENCE = 5.0


class CheckerGone(Exception):
    """The process ended in the middle of its work (say, for want of memory); the next request starts another."""


class Checker:
    """Hands texts to a process that checks them, one after the other."""

    def __init__(self, words: Sequence[str] = ()):
        self.command = [sys.executable, "-m", "causal_dsl.tools.lsp.check_process", *words]
        self.numbers = itertools.count(1)
        self.waiting: dict[int, asyncio.Future[CheckAnswer]] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.reader: asyncio.Task[None] | None = None
        self.starting = asyncio.Lock()
        #: how often a process was started
        self.started = 0

    async def start(self) -> asyncio.subprocess.Process:
        """The process, started where there is none."""
        async with self.starting:
            if self.process is None or self.process.returncode is not None:
                pipe = asyncio.subprocess.PIPE
                self.process = await asyncio.create_subprocess_exec(*self.command, stdin=pipe, stdout=pipe)
                self.started += 1
                self.reader = asyncio.create_task(self._read(self.process))
            return self.process

    async def ask(
        self,
        name: str,
        text: str,
        folder: Path,
        unsaved: Mapping[Path, str],
        tests: Sequence[str] = (),
        cost: str = "",
    ) -> CheckAnswer:
        """Check a text. Cancelling this gives up the check; raises CheckerGone where the process ended."""
        number = next(self.numbers)
        process = await self.start()
        future: asyncio.Future[CheckAnswer] = asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        try:
            await self._send(process, CheckRequest(number, name, text, folder, dict(unsaved), tuple(tests), cost))
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            asyncio.ensure_future(self._give_up(process, number, future))  # noqa: RUF006 - it keeps the future itself
            raise
        finally:
            if future.done():
                self.waiting.pop(number, None)

    async def _send(self, process: asyncio.subprocess.Process, message: object) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(packed(message))
            await process.stdin.drain()
        except (ConnectionError, OSError, RuntimeError) as error:
            raise CheckerGone from error

    async def _give_up(
        self, process: asyncio.subprocess.Process, number: int, future: asyncio.Future[CheckAnswer]
    ) -> None:
        """Say that an answer is not wanted; end a process that goes on nevertheless."""
        with suppress(CheckerGone):
            await self._send(process, StopRequest(number))
        done, _ = await asyncio.wait([future], timeout=PATIENCE)
        self.waiting.pop(number, None)
        if not done:
            with suppress(ProcessLookupError):
                process.kill()
        elif not future.cancelled():
            future.exception()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while True:
                (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                answer: CheckAnswer = pickle.loads(await process.stdout.readexactly(size))
                future = self.waiting.pop(answer.number, None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            await process.wait()
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(CheckerGone())
                    future.exception()  # where nobody waits for it any more, there is nothing to tell
            self.waiting.clear()
        except asyncio.CancelledError:  # the server ends
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise

    async def stop(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 1.0)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()


__all__ = ["Checker", "CheckerGone"]
