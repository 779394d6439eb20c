"""``causal-dsl report DIR``: the results of a run that was kept, as text, as a page, and as figures."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import fail
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say
from causal_dsl.tools.report_output import add_report_options, refuse_early, write_reports
from causal_dsl.tools.terminal import for_terminal

if TYPE_CHECKING:
    from causal_dsl.score.results import Results, SpecResult


def add_report(command: argparse.ArgumentParser) -> None:
    """The words of the command."""
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="a folder of `run --out`, a results.json, or what `run --json` printed"
    )
    add_report_options(command)


def report(arguments: Namespace, line: CommandLine) -> int:
    """Write what was asked for; without `--html` and `--figures` the results are printed."""
    refuse_early(arguments, line)
    results = read_results(arguments.paths, line)
    if arguments.html is None and arguments.figures is None:
        from causal_dsl.report.text import print_results, text

        shown = for_terminal(sys.stdout, lambda console: print_results(results, console))
        say(text(results) if shown is None else shown, end="")
    write_reports(results, arguments, line)
    return 0


def read_results(paths: list[str], line: CommandLine) -> Results:
    """Kept results. Raises SpecError for what cannot be read (E870), and for what is damaged (E861)."""
    from causal_dsl.compare.recorded import read_runs
    from causal_dsl.score.results import Results

    specs: list[SpecResult] = []
    every = [(run, line.place(path)) for path in paths for run in read_runs(Path(path), line.place(path))]
    count = Counter(str(run.document["path"]) for run, _ in every)
    from causal_dsl.score.document_shape import misfit
    from causal_dsl.score.read_results import spec_result

    for run, place in every:
        why, found = misfit(run.document), None
        try:
            found = None if why else spec_result(run.document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
        if found is None:
            raise fail(
                "E861",
                f"the results in `{run.name}` are damaged, or of another version of causal_dsl",
                place,
                notes=(why,),
                help="run the spec again",
            )
        # two runs of one spec are told apart by where they lie
        specs.append(found if count[found.path] < 2 else replace(found, path=f"{found.path} ({run.name})"))
    return Results(tuple(specs))


__all__ = ["add_report", "read_results", "report"]
