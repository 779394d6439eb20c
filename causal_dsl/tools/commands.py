"""What ``check``, ``fmt``, ``plan`` and ``run`` do, once the command line is read. Each returns the exit code."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from causal_dsl import pipeline
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Source, Span, SpecError, fail, render_all, shown_path
from causal_dsl.tools.command_line import CommandLine, named_networks, spec_files
from causal_dsl.tools.unexpected import unexpected

FINE, FAILED, FAULT = 0, 1, 2


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def by_file(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """Diagnostics as the document of ``--json``: one entry a file."""
    files: dict[str, list[dict[str, Any]]] = {}
    for diagnostic in diagnostics:
        files.setdefault(diagnostic.span.source.path, []).append(diagnostic.to_json())
    return {"specs": [{"path": path, "diagnostics": found, "tests": []} for path, found in files.items()]}


def inputs(arguments: Namespace, line: CommandLine) -> tuple[list[Path], pipeline.Options]:
    """The spec files and the options of a command; raises SpecError for faults of the command line."""
    found = Diagnostics()
    files = spec_files(arguments.paths, line, found)
    networks = named_networks(arguments.network, line, found)
    found.raise_errors()
    return files, pipeline.Options(
        trust=arguments.trust,
        networks=networks,
        seed=arguments.seed,
        tests=tuple(arguments.test),
        device=getattr(arguments, "device", None),
        dtype=getattr(arguments, "dtype", None),
        memory=getattr(arguments, "batch_memory", None),
        out=getattr(arguments, "out", None),
        progress=sys.stderr.isatty(),
        compiled=getattr(arguments, "compile", False),
        load=getattr(arguments, "load", False),
    )


def _each(
    files: list[Path], act: Callable[[Path], dict[str, Any]], shown: Callable[[SpecError], Any]
) -> tuple[list, bool]:
    """``act`` on every file; a fault in one does not keep the others from being told of."""
    documents, faulty = [], False
    for file in files:
        try:
            documents.append(act(file))
            continue
        except SpecError as error:
            fault = error
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
    files, options = inputs(arguments, line)
    errors = 0

    def act(file: Path) -> dict[str, Any]:
        nonlocal errors
        checked = pipeline.check(pipeline.load(file), options, beside=False)
        errors += len(checked.errors)
        if not arguments.json:
            print(checked.text() or f"{checked.path}: no faults, and no tests")
        return checked.to_json()

    def shown(error: SpecError) -> None:
        if not arguments.json:
            print(error)

    documents, faulty = _each(files, act, shown)
    if arguments.json:
        print_json({"specs": documents})
    return FAULT if faulty or errors else FINE


def format_files(arguments: Namespace, line: CommandLine) -> int:
    if "-" in arguments.paths:
        if arguments.paths != ["-"]:
            raise fail("E705", "`-` (standard input) is given beside files", line.place("-"), help="give it alone")
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        laid_out = pipeline.parse(text, "<stdin>").source()
        if arguments.check:
            return FINE if laid_out == text else FAILED
        sys.stdout.write(laid_out)
        return FINE
    found = Diagnostics()
    files = spec_files(arguments.paths, line, found)
    found.raise_errors()
    changed = 0

    def act(file: Path) -> dict[str, Any]:
        nonlocal changed
        laid_out = pipeline.load(file).source().encode()
        if laid_out != file.read_bytes():
            changed += 1
            if not arguments.check:
                _write(file, laid_out, line)
            print(f"{'would lay out' if arguments.check else 'laid out'} {shown_path(file)}")
        return {}

    _, faulty = _each(files, act, lambda error: print(error, file=sys.stderr))
    if faulty:
        return FAULT
    return FAILED if changed and arguments.check else FINE


def _write(file: Path, text: bytes, line: CommandLine) -> None:
    try:
        file.write_bytes(text)
    except OSError as error:
        why = error.strerror or str(error)
        raise fail("E708", f"cannot write {shown_path(file)}", line.place(str(file)), notes=(why,)) from error


def plan(arguments: Namespace, line: CommandLine) -> int:
    files, options = inputs(arguments, line)

    def act(file: Path) -> dict[str, Any]:
        made = pipeline.plan(pipeline.load(file), options)
        if arguments.mermaid:
            print(made.mermaid())
        elif not arguments.json:
            print(made.text(explain=arguments.explain))
        return {"path": shown_path(file), **made.to_json()} if arguments.json else {}

    def shown(error: SpecError) -> None:
        if not arguments.json:
            print(error, file=sys.stderr)

    documents, faulty = _each(files, act, shown)
    if arguments.json:
        print_json({"specs": documents})
    return FAULT if faulty else FINE


def run(arguments: Namespace, line: CommandLine) -> int:
    files, options = inputs(arguments, line)
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)  # before the minutes of a run, not after
        except OSError as error:
            why = error.strerror or str(error)
            place = line.place(str(options.out))
            raise fail("E708", f"cannot write into {options.out}", place, notes=(why,)) from error
    try:
        results = pipeline.run_files(files, options)
    except KeyboardInterrupt as stopped:
        finished = getattr(stopped, "results", None)
        if finished is not None:
            _show(finished, arguments.json)
        kept = (
            f"what was finished is in {options.out}; the same command goes on from there"
            if options.out
            else "with `--out DIR` what is finished is kept, and the same command goes on from there"
        )
        print(f"stopped; {kept}", file=sys.stderr)
        return 130
    _show(results, arguments.json)
    return FINE if results.passed else FAILED


def _show(results: Any, as_json: bool) -> None:
    if as_json:
        print_json(results.to_json())
        return
    from causal_dsl.report.text import print_results, text

    warnings = [diagnostic for spec in results.specs for diagnostic in spec.warnings]
    if warnings:
        print(render_all(warnings) + "\n", file=sys.stderr)
    if sys.stdout.isatty():
        print_results(results)
    else:
        print(text(results), end="")
    if results.diagnostics:
        print("\n" + render_all(results.diagnostics))
