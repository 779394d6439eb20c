"""The functions of ``check``, ``fmt``, ``plan`` and ``run``, once the command line is read. Each returns the exit code."""

from __future__ import annotations

import gc
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl import api
from causal_dsl.base.faults import NotBegun, foreign
from causal_dsl.base.garbage import importing, rarely_collected
from causal_dsl.diagnostics import (
    Diagnostic,
    Diagnostics,
    Source,
    Span,
    SpecError,
    fail,
    printable,
    render_all,
    shown_path,
)
from causal_dsl.messages.unexpected import unexpected
from causal_dsl.planning.unit_lines import lines as unit_lines
from causal_dsl.planning.unit_lines import summed
from causal_dsl.program.weights_held import is_follower
from causal_dsl.report.which_progress import in_lines
from causal_dsl.tools.annotations import annotate
from causal_dsl.tools.ci_output import write_faults, write_for_ci
from causal_dsl.tools.command_line import CommandLine, named_networks, spec_files
from causal_dsl.tools.ended import FAILED, FAULT, FINE, STOPPED, ended, show
from causal_dsl.tools.given_options import options_of
from causal_dsl.tools.merge_command import run_shards, shard_of
from causal_dsl.tools.output import OutputFault, document_alone, say, say_json, tell
from causal_dsl.tools.report_output import refuse_early, write_reports
from causal_dsl.tools.unlike_options import refuse_unlike_options
from causal_dsl.tools.verbose import files_read, layout_diff

if TYPE_CHECKING:
    from causal_dsl.score.spec_results import Results


def by_file(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """Diagnostics as the document of ``--json``: one entry a file."""
    files: dict[str, list[Any]] = {}
    for diagnostic in diagnostics:
        files.setdefault(diagnostic.span.source.path, []).append(diagnostic.to_json())
    return {"specs": [{"path": path, "diagnostics": found, "tests": []} for path, found in files.items()]}


def inputs(arguments: Namespace, line: CommandLine) -> tuple[list[Path], api.Options]:
    """The spec files and the options of a command; raises SpecError for faults of the command line."""
    found = Diagnostics()
    files = spec_files(arguments.paths, line, found)
    networks = named_networks(arguments.network, line, found)
    found.raise_errors()
    return files, options_of(
        vars(arguments), networks=networks, progress=sys.stderr.isatty(), command=tuple(line.words)
    )


def _each(
    files: list[Path], act: Callable[[Path], dict[str, Any]], shown: Callable[[SpecError], Any]
) -> tuple[list[dict[str, Any]], bool]:
    """``act`` on every file; a fault in one does not keep the others from being told of."""
    documents, faulty = [], False
    for file in files:
        try:
            with foreign:
                documents.append(act(file))
            continue
        except SpecError as error:
            fault = error
        except OutputFault:
            raise
        except Exception as error:
            place = Span(Source(shown_path(file), ""), 0, 0)
            fault = SpecError([unexpected(error, place)])
        faulty = True
        shown(fault)
        documents.append(
            {"path": shown_path(file), "diagnostics": [d.to_json() for d in fault.diagnostics], "tests": []}
        )
    return documents, faulty


def check(arguments: Namespace, line: CommandLine) -> int:
    refuse_unlike_options(arguments, line)
    files, options = inputs(arguments, line)
    errors = 0

    def act(file: Path) -> dict[str, Any]:
        nonlocal errors
        checked = api.check(api.load(file), options, beside=False)
        errors += len(checked.errors)
        annotate(checked.diagnostics, arguments.github)
        if arguments.json:
            return checked.to_json()
        quiet = render_all(checked.diagnostics) if arguments.quiet else ""
        text = quiet if arguments.quiet else checked.text() or f"{checked.path}: no faults, and no tests"
        if text:
            say(printable(text))
        if arguments.verbose:
            tell(files_read(checked))
        return {}

    def shown(error: SpecError) -> None:
        annotate(error.diagnostics, arguments.github)
        if not arguments.json:
            say(str(error))

    with rarely_collected():  # until what was checked is gone, or all of it is looked through once more
        with document_alone(arguments.json):
            documents, faulty = _each(files, act, shown)
        if line.alone:
            gc.freeze()  # the process ends, and what is left goes with it
    if arguments.json:
        say_json({"specs": documents})
    return FAULT if faulty or errors else FINE


def format_files(arguments: Namespace, line: CommandLine) -> int:
    if "-" in arguments.paths:
        if arguments.paths != ["-"]:
            raise fail("E705", "`-` (standard input) is given beside files", line.place("-"), help="give it alone")
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        laid_out = api.parse(text, "<stdin>").source()
        if arguments.diff:
            say(layout_diff(text, laid_out, "<stdin>"), end="")
        if arguments.check or arguments.diff:
            return FINE if laid_out == text else FAILED
        say(laid_out, end="")
        return FINE
    found = Diagnostics()
    files = spec_files(arguments.paths, line, found)
    found.raise_errors()
    changed = 0

    def act(file: Path) -> dict[str, Any]:
        nonlocal changed
        laid_out = api.load(file).source().encode()
        before = file.read_bytes()
        if laid_out != before:
            changed += 1
            if arguments.diff:
                say(layout_diff(before.decode("utf-8", "replace"), laid_out.decode(), shown_path(file)), end="")
                return {}
            if not arguments.check:
                _write(file, laid_out, line)
            if not arguments.quiet:
                say(printable(f"{'would reformat' if arguments.check else 'reformatted'} {shown_path(file)}"))
        return {}

    _, faulty = _each(files, act, lambda error: tell(str(error)))
    if faulty:
        return FAULT
    return FAILED if changed and (arguments.check or arguments.diff) else FINE


def _write(file: Path, text: bytes, line: CommandLine) -> None:
    try:
        file.write_bytes(text)
    except OSError as error:
        why = error.strerror or str(error)
        raise fail("E708", f"cannot write {shown_path(file)}", line.place(str(file)), notes=(why,)) from error


def plan(arguments: Namespace, line: CommandLine) -> int:
    refuse_unlike_options(arguments, line)
    from causal_dsl.cluster.this_machine import automatic, cores, gpus

    workers, each = arguments.workers, ""
    if workers == "auto":
        workers, each = automatic()
    files, options = inputs(arguments, line)

    def act(file: Path) -> dict[str, Any]:
        made = api.plan(api.load(file), options)
        if arguments.mermaid:
            say(printable(made.mermaid()))
            return {}
        units = summed(made, options.memory, workers, gpus() or cores())
        if not arguments.json:
            say(printable("\n".join([made.text(explain=arguments.explain), *unit_lines(units, each)])))
            return {}
        return {"path": shown_path(file), **made.to_json(), "units": units}

    def shown(error: SpecError) -> None:
        if not arguments.json:
            tell(str(error))

    with document_alone(arguments.json):
        documents, faulty = _each(files, act, shown)
    if arguments.json:
        say_json({"specs": documents})
    return FAULT if faulty else FINE


def run(arguments: Namespace, line: CommandLine) -> int:
    if is_follower():
        return _follow(arguments, line)
    try:
        refuse_unlike_options(arguments, line)
        if not arguments.watch:
            return _run_once(arguments, line)
        from causal_dsl.tools.watch_command import watch

        return watch(arguments.paths, line)
    except SpecError as error:
        write_faults(error.diagnostics, arguments, line)
        raise


def _follow(arguments: Namespace, line: CommandLine) -> int:
    """Run as one of several processes, of which the first tells of the results and writes them."""
    files, options = inputs(arguments, line)
    if arguments.shard is not None:
        return FAULT  # the first process says why
    try:
        api.run_files(files, replace(options, progress=False))
    except SpecError as error:
        if error.code in ("E946", "E948"):  # the process that failed, or the first of all, says why
            return FAULT
        raise
    return FINE


#: Seconds between two lines of progress of a run on workers, where nobody asked for more and stderr is no terminal.
_SELDOM = 60.0


def _refuse_forgotten(options: api.Options, line: CommandLine) -> None:
    """Raise E921 for results that would be gone with the process that makes them."""
    out = str(options.out)
    if line.alone and out.startswith("memory://"):
        raise fail(
            "E921",
            f"nothing would be kept under `{out}`",
            line.place(out),
            notes=("it is in the memory of this process, which ends with the run",),
            help="pass a folder to --out, or an address such as s3://bucket/runs",
        )


def _told_stop(finished: Results | None, begun: bool, options: api.Options) -> str:
    """A line on a run that Ctrl-C ended: on what it left, and on what the same command does now."""
    if not begun:
        return f"stopped before the run began; nothing was written to {options.out}" if options.out else "stopped"
    if finished is not None and not any(test.cells for test in finished.tests):
        stored = (
            f"what it stored is in {options.out}, and" if options.out else "with `--out DIR` blocks are stored, and"
        )
        return f"stopped before a cell was measured; {stored} the same command goes on from there"
    if options.out:
        return f"stopped; what was finished is in {options.out}; the same command goes on from there"
    return "stopped; with `--out DIR` what was finished is stored, and the same command goes on from there"


def _run_once(arguments: Namespace, line: CommandLine) -> int:
    files, options = inputs(arguments, line)
    shard = shard_of(arguments, line)
    refuse_early(arguments, line)
    _refuse_forgotten(options, line)
    if not options.progress:
        told, seldom = arguments.verbose, options.distributed and not arguments.quiet
        in_lines(told or seldom, 0 if told else _SELDOM)
        options = replace(options, progress=told or seldom)
    if options.folder is not None:
        try:
            options.folder.mkdir(parents=True, exist_ok=True)  # before the minutes of a run, not after
        except OSError as error:
            why = error.strerror or str(error)
            place = line.place(str(options.folder))
            raise fail("E708", f"cannot write into {options.folder}", place, notes=(why,)) from error
    begun = False
    try:
        with importing():
            if shard is not None:
                import causal_dsl.units.shards
            elif options.distributed:
                import causal_dsl.cluster.over_workers
            else:
                import causal_dsl.running.running  # noqa: F401
        begun = True
        if shard is not None:
            return run_shards(files, options, shard, arguments)
        with document_alone(arguments.json):
            results = api.run_files(files, options)
    except KeyboardInterrupt as stopped:
        finished = getattr(stopped, "results", None)
        if finished is not None:
            show(finished, arguments, line)
            write_reports(finished, arguments, line)
            write_for_ci(finished, arguments, line)
        tell(printable(_told_stop(finished, begun and not isinstance(stopped, NotBegun), options)))
        return STOPPED
    return ended(results, arguments, line)
