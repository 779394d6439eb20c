"""The command line. Exit code 0: fine; 1: an expectation failed; 2: the spec, its environment or the command is at
fault; 130: stopped by Ctrl-C; 143: a run that was stopped by SIGTERM.

Only ``run``, ``plan --load``, ``zoo train`` and ``zoo fetch`` import torch. What takes time to import is imported where
Ctrl-C is caught.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from causal_dsl.base.faults import note_stop

#: The exit code of what was stopped by Ctrl-C.
_STOPPED = 130


class _Stops:
    """Ctrl-C, and SIGTERM of a run, noted as they come: a library may make another exception of them while it is imported."""

    def __init__(self) -> None:
        self.stopped = False
        self._number = int(signal.SIGINT)
        self._before: dict[int, Any] = {}

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        if self.stopped and number == signal.SIGTERM == self._number:
            return  # `timeout` sends it twice, to the process and to its group
        self.stopped, self._number = True, number
        note_stop()
        raise KeyboardInterrupt

    def heed(self, number: int) -> None:
        """Stop at this signal from now on, as at Ctrl-C."""
        with suppress(ValueError):  # not the main thread: nothing is sent to it
            self._before[number] = signal.signal(number, self)

    def let_go(self) -> None:
        """Leave the signals to what heeded them before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        note_stop(False)

    @property
    def code(self) -> int:
        """The exit code of what was stopped."""
        return 128 + self._number


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (argparse's own faults exit with 2)."""
    stops = _Stops()
    try:
        stops.heed(signal.SIGINT)
        return _main(list(sys.argv[1:] if words is None else words), stops, words is None)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return stops.code
    finally:
        stops.let_go()


def _main(typed: list[str], stops: _Stops, alone: bool) -> int:
    from causal_dsl.base.options_shown import TERMINAL, shown_in

    with shown_in(TERMINAL):
        return _acted(typed, stops, alone)


def _acted(typed: list[str], stops: _Stops, alone: bool) -> int:
    from causal_dsl.base.garbage import importing, one_command
    from causal_dsl.diagnostics import SpecError
    from causal_dsl.tools.output import OutputFault, mute, open_streams, tell, unwritten

    open_streams()
    try:
        if alone:
            one_command()
        with importing():
            from causal_dsl.tools.arguments import parser
            from causal_dsl.tools.command_line import CommandLine
        line = CommandLine(typed, alone)
        line.main = main
        place = line.place(" ".join(typed))
        arguments = parser().parse_args(typed)
        if arguments.command == "run":  # a batch system and `timeout` send it, and what is finished is kept
            stops.heed(signal.SIGTERM)
        place = line.place(arguments.command)
    except (KeyboardInterrupt, SystemExit):
        raise
    except OutputFault as full:  # of what is printed while words are read: `--version`, `--help`
        tell(unwritten(full, place).render())
        return 2
    except Exception:
        if stops.stopped:
            raise KeyboardInterrupt from None
        raise
    as_json = getattr(arguments, "json", False)
    try:
        code: int = arguments.act(arguments, line)
        sys.stdout.flush()
        return stops.code if stops.stopped and code == _STOPPED else code
    except SpecError as error:
        fault = error
    except OutputFault as full:
        tell(unwritten(full, place).render())
        return 2
    except BrokenPipeError:  # the reader (`| head`) has gone
        mute(sys.stdout)
        return 0
    except Exception as error:
        if stops.stopped:
            raise KeyboardInterrupt from None
        from causal_dsl.messages.unexpected import unexpected

        fault = SpecError([unexpected(error, place)])
    return _fault(fault, as_json)


def _fault(error: Any, as_json: bool) -> int:
    from causal_dsl.tools.commands import by_file
    from causal_dsl.tools.ended import FAULT
    from causal_dsl.tools.output import OutputFault, say_json, tell

    try:
        if as_json:
            say_json(by_file(error.diagnostics))
        else:
            tell(str(error))
    except OutputFault:
        tell(str(error))
    return FAULT


if __name__ == "__main__":
    sys.exit(main())
