"""The output of a run for CI systems: ``--junit FILE`` and ``--github``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import Diagnostic, fail, shown_path
from causal_dsl.tools.annotations import annotate
from causal_dsl.tools.command_line import CommandLine, folder_path

if TYPE_CHECKING:
    from causal_dsl.score.spec_results import Results


def add_github(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--github", action="store_true", help="annotate the lines of a pull request; prints nothing elsewhere"
    )


def add_ci_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--junit", type=folder_path, metavar="FILE", help="write the results as JUnit XML, too")
    add_github(command)


def write_for_ci(results: Results, arguments: argparse.Namespace, line: CommandLine) -> None:
    """Write what was asked for. Raises SpecError (E708) where that is not possible."""
    warnings = [diagnostic for spec in results.specs for diagnostic in spec.warnings]
    annotate([*warnings, *results.diagnostics], arguments.github)
    if arguments.junit is not None:
        from causal_dsl.tools.junit import junit_of

        _write(arguments, junit_of(results), line)


def write_faults(diagnostics: Iterable[Diagnostic], arguments: argparse.Namespace, line: CommandLine) -> None:
    """The same of a run that could not begin."""
    found = list(diagnostics)
    annotate(found, arguments.github)
    if arguments.junit is not None and all(diagnostic.code != "E708" for diagnostic in found):
        from causal_dsl.tools.junit import junit_of_faults

        _write(arguments, junit_of_faults(found), line)


def _write(arguments: argparse.Namespace, document: bytes, line: CommandLine) -> None:
    from causal_dsl.store.files import write_atomic

    file = arguments.junit
    try:
        if file.is_file() and not file.read_bytes()[:256].lstrip().startswith((b"<?xml", b"<testsuite")):
            raise OSError("the file there is not JUnit XML, and it would be lost")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, document)
    except OSError as error:
        why = error.strerror or str(error)
        raise fail("E708", f"cannot write {shown_path(file)}", line.place(str(file)), notes=(why,)) from error


__all__ = ["add_ci_options", "add_github", "write_faults", "write_for_ci"]
