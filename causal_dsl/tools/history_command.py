"""``causal-dsl history DIR…``: the scores of a spec over many runs."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path

from causal_dsl.diagnostics import fail, shown_path
from causal_dsl.tools.command_line import CommandLine, folder_path
from causal_dsl.tools.output import say, say_json, tell
from causal_dsl.tools.terminal import for_terminal


def add_history(command: argparse.ArgumentParser) -> None:
    """The words of the command."""
    command.add_argument("results", nargs="+", metavar="DIR", help="folders of `run --out`, or results.json files")
    command.add_argument(
        "--figures", type=folder_path, metavar="DIR", help="write each curve as SVG, PDF and PNG, with its data as CSV"
    )
    command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def history(arguments: Namespace, line: CommandLine) -> int:
    from causal_dsl.compare.history import histories_of, history_document
    from causal_dsl.compare.history_text import history_text, print_histories
    from causal_dsl.compare.recorded import read_runs

    runs = [run for path in arguments.results for run in read_runs(Path(path), line.place(path))]
    found = histories_of(runs)
    if arguments.figures is not None:
        from causal_dsl.report.figures.figure_files import write_pictures

        pictures = {
            name if len(found) == 1 else f"{place + 1}-{name}": picture
            for place, one in enumerate(found)
            for name, picture in one.pictures().items()
        }
        try:
            count = write_pictures(pictures, arguments.figures)
        except OSError as error:
            why, where = error.strerror or str(error), line.place(str(arguments.figures))
            raise fail("E708", f"cannot write {shown_path(arguments.figures)}", where, notes=(why,)) from error
        tell(f"wrote {count} figures to {shown_path(arguments.figures)}")
    if arguments.json:
        say_json(history_document(found))
    else:
        shown = for_terminal(sys.stdout, lambda console: print_histories(found, console))
        say(history_text(found) if shown is None else shown, end="")
    return 0


__all__ = ["add_history", "history"]
