"""``causal-dsl report DIR``: the results of a run that was kept, as text, as a page, and as figures."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say
from causal_dsl.tools.report_output import add_report_options, refuse_early, write_reports
from causal_dsl.tools.terminal import for_terminal

if TYPE_CHECKING:
    from causal_dsl.score.results import Results


def add_report(command: argparse.ArgumentParser) -> None:
    """The words of the command."""
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="a folder of `run --out`, a results.json, or what `run --json` printed"
    )
    add_report_options(command)


def report(arguments: Namespace, line: CommandLine) -> int:
    """Write what was asked for; without `--html` and `--figures` the results are printed."""
    refuse_early(arguments, line)
    results = kept_results(arguments.paths, line)
    if arguments.html is None and arguments.figures is None:
        from causal_dsl.report.text import print_results, text

        shown = for_terminal(sys.stdout, lambda console: print_results(results, console))
        say(text(results) if shown is None else shown, end="")
    write_reports(results, arguments, line)
    return 0


def kept_results(paths: list[str], line: CommandLine) -> Results:
    """Kept results. Raises SpecError for what cannot be read (E870), and for what is damaged (E861)."""
    from causal_dsl.compare.recorded import read_runs, results_of

    return results_of(run for path in paths for run in read_runs(Path(path), line.place(path)))


__all__ = ["add_report", "kept_results", "report"]
