"""The output of the results of a command, and its exit code."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import render_all
from causal_dsl.tools.ci_output import write_for_ci
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import OutputFault, rescue, say, say_json, tell, unwritten
from causal_dsl.tools.report_output import write_reports
from causal_dsl.tools.terminal import for_terminal
from causal_dsl.tools.verbose import what_ran

if TYPE_CHECKING:
    from causal_dsl.score.spec_results import Results

FINE, FAILED, FAULT, STOPPED = 0, 1, 2, 130


def ended(results: Results, arguments: Namespace, line: CommandLine) -> int:
    """Show results and write what was asked for; gives the exit code."""
    shown = show(results, arguments, line)
    write_reports(results, arguments, line)
    write_for_ci(results, arguments, line)
    if arguments.verbose:
        tell(what_ran(results))
    if not shown or results.faults:
        return FAULT
    return FINE if results.passed else FAILED


def show(results: Results, arguments: Namespace, line: CommandLine) -> bool:
    """Tell of results; False where that failed. They are not lost then: they are in ``--out``, else in a file."""
    try:
        if arguments.json:
            say_json(results.to_json())
        else:
            _show_text(results, arguments.quiet)
    except OutputFault as fault:
        kept = str(arguments.out) if arguments.out is not None else rescue(results)
        told = f"the results are in {kept}" if kept else "the results could not be stored either"
        tell(unwritten(fault, line.place("run"), told).render())
        return False
    if results.faults:
        tell("\n" + render_all(results.faults))
    return True


def _show_text(results: Results, quiet: bool) -> None:
    from causal_dsl.report.report_lines import summary
    from causal_dsl.report.text import print_results, text

    warnings = [d for spec in results.specs for d in spec.warnings if not d.is_error]
    if warnings:
        tell(render_all(warnings) + "\n")
    if not quiet:
        shown = for_terminal(sys.stdout, lambda console: print_results(results, console))
        say(text(results) if shown is None else shown, end="")
    if results.diagnostics:
        say(("" if quiet else "\n") + render_all(results.diagnostics))
    if quiet:
        say(("\n" if results.diagnostics else "") + summary(results)[0])
