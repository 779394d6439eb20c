"""``causal-dsl report DIR``: the results of a run that was kept, as text, as a page, and as figures."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.diff_command import refuse_unlike
from causal_dsl.tools.output import say
from causal_dsl.tools.report_output import add_report_options, refuse_early, write_reports
from causal_dsl.tools.terminal import for_terminal

if TYPE_CHECKING:
    from causal_dsl.compare.recorded import RecordedRun
    from causal_dsl.report.html import Section


def add_report(command: argparse.ArgumentParser) -> None:
    """The words of the command."""
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="a folder of `run --out`, a results.json, or what `run --json` printed"
    )
    command.add_argument(
        "--against",
        metavar="PATH",
        help="compare the results with those of another run, as `diff` does, in the same report",
    )
    add_report_options(command)


def report(arguments: Namespace, line: CommandLine) -> int:
    """Write what was asked for; without `--html` and `--figures` the results are printed."""
    from causal_dsl.compare.comparison import compare_runs
    from causal_dsl.compare.comparison_text import comparison_text, print_comparison
    from causal_dsl.compare.recorded import results_of

    refuse_early(arguments, line)
    runs = kept_runs(arguments.paths, line)
    results = results_of(runs)
    other = None
    if arguments.against is not None:
        before = kept_runs([arguments.against], line)
        other = compare_runs(before, runs)
        refuse_unlike(other, (before, runs), line, arguments.against)
    if arguments.html is None and arguments.figures is None:
        from causal_dsl.report.text import print_results, text

        shown = for_terminal(sys.stdout, lambda console: print_results(results, console))
        say(text(results) if shown is None else shown, end="")
        if other is not None:
            shown = for_terminal(sys.stdout, partial(print_comparison, other))
            say("\n" + (comparison_text(other) if shown is None else shown), end="")
    beside: list[Section] = []
    if other is not None and arguments.html is not None:
        from causal_dsl.compare.comparison_page import comparison_sections

        beside = comparison_sections(other, "against", "Against another run: ")
    write_reports(results, arguments, line, beside)
    return 0


def kept_runs(paths: list[str], line: CommandLine) -> list[RecordedRun]:
    """Kept runs. Raises SpecError for what cannot be read (E870), and for what is damaged (E861)."""
    from causal_dsl.compare.recorded import read_runs

    return [run for path in paths for run in read_runs(Path(path), line.place(path))]


__all__ = ["add_report", "kept_runs", "report"]
