"""``causal-dsl mcp``: a server by which an agent checks, plans and runs specs within limits that whoever starts it sets."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from causal_dsl.base.options_shown import MCP, shown_in
from causal_dsl.diagnostics import fail, real_path
from causal_dsl.planning.memory import default_bytes
from causal_dsl.tools.budget import RunBudget
from causal_dsl.tools.command_line import CommandLine, add_trust, folder_path, memory_size


def mcp_options(command: argparse.ArgumentParser) -> None:
    """The options of the command. None of them can be changed by a request."""
    command.add_argument(
        "--root",
        type=folder_path,
        default=None,
        metavar="DIR",
        help="the folder whose specs are served; default: this one",
    )
    add_trust(command)
    command.add_argument(
        "--max-seconds", type=positive, default=300.0, metavar="S", help="the most that a run may take; default 300"
    )
    command.add_argument(
        "--max-flops", type=positive, default=1e15, metavar="N", help="the most that a run may compute; default 1e15"
    )
    command.add_argument(
        "--max-memory",
        type=memory_size,
        metavar="SIZE",
        help="the most that a run's process may hold; default: as for run",
    )


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def mcp(arguments: argparse.Namespace, line: CommandLine) -> int:
    """Serve on standard input and output until the client closes them."""
    if find_spec("mcp") is None or find_spec("mcp.server.lowlevel") is None or find_spec("mcp_types") is None:
        raise fail(
            "E889",
            "`causal-dsl mcp` needs the package `mcp`, version 2.3 or later",
            line.place("mcp"),
            help="pip install 'causal-dsl[mcp]'",
        )
    from causal_dsl.tools.mcp_server import serve

    root = real_path(arguments.root or ".")
    if not root.is_dir():
        raise fail(
            "E705", f"there is no folder `{arguments.root}`", line.place(str(arguments.root)), help="check the path"
        )
    most = RunBudget(
        arguments.max_seconds, arguments.max_flops, arguments.max_memory or max(1_000_000_000, default_bytes())
    )
    with shown_in(MCP):
        serve(root, tuple(real_path(folder) for folder in arguments.allow), arguments.trust, most)
    return 0
