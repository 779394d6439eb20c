"""``causal-dsl lsp``: a language server on standard input and output."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from causal_dsl.diagnostics import fail
from causal_dsl.tools.command_line import CommandLine, add_trust

ABOUT = "serve an editor: faults while typing, hovers, completion, renaming, formatting"


def lsp_options(command: ArgumentParser) -> None:
    """The words of the command."""
    add_trust(command)
    command.add_argument("--stdio", action="store_true", help="speak on standard input and output, the default")


def lsp(arguments: Namespace, line: CommandLine) -> int:
    """Serve until the editor ends the session. Raises E881 without the packages that it needs."""
    try:
        from causal_dsl.tools.lsp.serve import serve
    except ImportError as error:
        raise fail(
            "E881",
            "the language server needs packages that are not installed",
            line.place("lsp"),
            notes=(str(error),),
            help="pip install 'causal-dsl[lsp]'",
        ) from error
    return serve(arguments.trust, arguments.allow)
