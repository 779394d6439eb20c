"""The output of `--html FILE` and `--figures DIR` of a command, and what is refused before the work begins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import SpecError, fail, shown_path
from causal_dsl.tools.command_line import CommandLine, folder_path
from causal_dsl.tools.output import tell

if TYPE_CHECKING:
    from causal_dsl.report.html import Section
    from causal_dsl.score.spec_results import Results


#: How much of a file says whether it is a page.
_START = 256
#: How many tests without a figure a message names.
_MOST = 6


def add_report_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--html", type=folder_path, metavar="FILE", help="write the results as one HTML file")
    command.add_argument(
        "--figures", type=folder_path, metavar="DIR", help="write each figure as SVG, PDF and PNG, with its data as CSV"
    )


def refuse_early(arguments: argparse.Namespace, line: CommandLine) -> None:
    """Raise SpecError before the minutes of a run where its page or figures could not be made: without the packages that draw
    (E860), or where they cannot be written (E708)."""
    html, figures = arguments.html, getattr(arguments, "figures", None)
    if html is None and figures is None:
        return
    from causal_dsl.report.figures.charts import charting

    try:
        charting()
    except SpecError as error:
        (told,) = error.diagnostics
        option = "--html" if html is not None else "--figures"
        raise fail(told.code, told.title, line.place(option), notes=told.notes, help=told.help) from error
    if html is not None:
        refuse_foreign(html, line)
    for folder in (html.parent if html is not None else None, figures):
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritten(folder, line, error.strerror or str(error)) from error


def refuse_foreign(file: Path, line: CommandLine) -> None:
    """Raise SpecError (E708) where a page would replace a folder, or a file that is no page."""
    if file.is_dir():
        raise _unwritten(file, line, "it is a folder")
    try:
        with file.open("rb") as there:
            start = there.read(_START).lstrip().lower()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritten(file, line, error.strerror or str(error)) from error
    if start and not start.startswith(b"<!doctype html"):
        raise _unwritten(file, line, "the file there is not an HTML page, and it would be lost")


def write_reports(
    results: Results, arguments: argparse.Namespace, line: CommandLine, beside: Sequence[Section] = ()
) -> None:
    """Write what was asked for; the page has the sections ``beside``, too. Raises SpecError (E708) where that is not possible."""
    if arguments.html is not None:
        from causal_dsl.report.html.results_page import results_page

        write_page(arguments.html, results_page(results, beside), line)
    if arguments.figures is not None:
        from causal_dsl.report.figures.figure_files import undrawn, write_figures

        try:
            count = write_figures(results, arguments.figures)
        except OSError as error:
            raise _unwritten(arguments.figures, line, error.strerror or str(error)) from error
        tell(
            f"wrote {count} figures to {shown_path(arguments.figures)}"
            if count != 1
            else f"wrote 1 figure to {shown_path(arguments.figures)}"
        )
        lacking = undrawn(results)
        if lacking:
            more = f" and {len(lacking) - _MOST} more" if len(lacking) > _MOST else ""
            named = ", ".join(f"`{name}`" for name in lacking[:_MOST])
            tell(f"no figure of {named}{more}: no cell has a number, or the sweep has too many parameters")


def write_page(file: Path, text: str, line: CommandLine) -> None:
    """Write a page and say where it is. Raises SpecError (E708) where it cannot be written."""
    from causal_dsl.store.files import write_atomic

    try:
        refuse_foreign(file, line)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, text.encode("utf-8", "replace"))
    except OSError as error:
        raise _unwritten(file, line, error.strerror or str(error)) from error
    tell(f"wrote {shown_path(file)}")


def _unwritten(path: Path, line: CommandLine, why: str) -> SpecError:
    return fail("E708", f"cannot write {shown_path(path)}", line.place(str(path)), notes=(why,))


__all__ = ["add_report_options", "refuse_early", "refuse_foreign", "write_page", "write_reports"]
