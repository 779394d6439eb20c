"""``causal-dsl completion SHELL``: a script that completes commands, options and paths."""

from __future__ import annotations

import argparse
from argparse import Namespace

from causal_dsl.diagnostics import fail
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say

SHELLS = ("bash", "zsh", "tcsh", "fish")
#: What stands for a path in a line of help, and whether it is a folder.
_PATHS = {"PATH": False, "FILE": False, "A": False, "B": False, "DIR": True}


def add_completion(command: argparse.ArgumentParser, whole: argparse.ArgumentParser) -> None:
    """The words of the command; ``whole`` is the parser of all that is completed."""
    command.set_defaults(whole=whole)
    command.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def completion(arguments: Namespace, line: CommandLine) -> int:
    try:
        import shtab
    except ImportError as error:
        raise fail(
            "E872",
            "`completion` needs the package `shtab`",
            line.place("completion"),
            help="pip install 'causal-dsl[completion]'",
        ) from error
    if arguments.shell not in shtab.SUPPORTED_SHELLS:
        raise fail(
            "E872",
            f"the installed `shtab` writes no completion for {arguments.shell}",
            line.place(arguments.shell),
            help="pip install -U 'causal-dsl[completion]'",
        )
    _paths(arguments.whole, {False: shtab.FILE, True: shtab.DIRECTORY})
    say(shtab.complete(arguments.whole, arguments.shell))
    return 0


def _paths(parser: argparse.ArgumentParser, kinds: dict[bool, object]) -> None:
    """Let arguments that are paths complete as such."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _paths(inner, kinds)
        elif isinstance(action.metavar, str) and action.metavar in _PATHS:
            action.complete = kinds[_PATHS[action.metavar]]  # type: ignore[attr-defined]
