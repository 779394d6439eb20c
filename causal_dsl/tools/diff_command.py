"""``causal-dsl diff A B``: two runs side by side; exit code 1 where a verdict changed."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import fail
from causal_dsl.score.format_numbers import counted
from causal_dsl.tools.command_line import CommandLine, folder_path
from causal_dsl.tools.output import say, say_json
from causal_dsl.tools.report_output import refuse_early, write_page
from causal_dsl.tools.terminal import for_terminal

#: How many specs of a side, and tests of a spec, a message names.
_MOST, _NAMES = 6, 12
_ALIKE = "compare two runs of one spec, or of specs whose tests have the same names"

if TYPE_CHECKING:
    from causal_dsl.compare.comparison import RunComparison
    from causal_dsl.compare.recorded import RecordedRun


def add_diff(command: argparse.ArgumentParser) -> None:
    """The words of the command."""
    command.add_argument("a", metavar="A", help="a folder of `run --out`, a results.json, or what `run --json` printed")
    command.add_argument("b", metavar="B", help="the run to compare with A, in one of the same forms")
    command.add_argument("--html", type=folder_path, metavar="FILE", help="write the comparison as one HTML file, too")
    command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def diff(arguments: Namespace, line: CommandLine) -> int:
    from causal_dsl.compare.comparison import compare_runs
    from causal_dsl.compare.comparison_text import comparison_text, print_comparison
    from causal_dsl.compare.recorded import read_runs

    refuse_early(arguments, line)
    a, b = (read_runs(Path(path), line.place(path)) for path in (arguments.a, arguments.b))
    found = compare_runs(a, b)
    refuse_unlike(found, (a, b), line, arguments.b)
    if arguments.json:
        say_json(found.to_json())
    else:
        shown = for_terminal(sys.stdout, lambda console: print_comparison(found, console))
        say(comparison_text(found) if shown is None else shown, end="")
    if arguments.html is not None:
        from causal_dsl.compare.comparison_page import comparison_page

        write_page(arguments.html, comparison_page(found), line)
    return 1 if found.changed else 0


def refuse_unlike(
    found: RunComparison, both: tuple[Sequence[RecordedRun], Sequence[RecordedRun]], line: CommandLine, word: str
) -> None:
    """E871 where two runs have no test in common, or where no spec can be told to be that of the other."""
    if any(spec.tests for spec in found.specs):
        return
    from causal_dsl.compare.comparison import sharing

    several = [len(runs) > 1 for runs in both]
    notes = [
        f"{which} has {_named(run.tests)}" + (f" in {run.spec} ({run.name})" if many else "")
        for which, runs, many in zip("AB", both, several, strict=True)
        for run in runs[:_MOST]
    ]
    notes += [
        f"{which} has {counted(len(runs) - _MOST, 'more spec')}"
        for which, runs in zip("AB", both, strict=True)
        if len(runs) > _MOST
    ]
    shared = sharing(*both)
    title, help = "these results have no test in common", _ALIKE
    if shared:
        title = "the specs of these results cannot be matched by their names or their tests"
        one, another = shared[0]
        folders = one.folder is not None and another.folder is not None
        help = f"name the folders of two specs, as `{one.name}` and `{another.name}`" if folders else _ALIKE
    raise fail("E871", title, line.place(word), notes=tuple(notes), help=help)


def _named(tests: Iterable[str]) -> str:
    """The names of tests; of very many, the first ones and how many there are besides."""
    names = sorted(tests)
    more = f" and {counted(len(names) - _NAMES, 'more test')}" if len(names) > _NAMES else ""
    return (", ".join(f"`{name}`" for name in names[:_NAMES]) or "no test") + more
