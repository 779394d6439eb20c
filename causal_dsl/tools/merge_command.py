"""``run --shard i/N`` and ``causal-dsl merge DIR… --out DIR``: a spec run in parts that share nothing, and put together."""

from __future__ import annotations

import argparse
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl import api
from causal_dsl.base.faults import foreign
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError, fail, printable, render_all, shown_path
from causal_dsl.messages.unexpected import of_one_spec
from causal_dsl.program.weights_held import refuse_in_group
from causal_dsl.store.addresses import is_address
from causal_dsl.tools.ci_output import add_ci_options
from causal_dsl.tools.command_line import CommandLine, add_trust, folder_path
from causal_dsl.tools.ended import FAULT, FINE, ended
from causal_dsl.tools.output import say, say_json, tell
from causal_dsl.tools.report_output import add_report_options, refuse_early
from causal_dsl.tools.unlike_options import refuse_unlike_options
from causal_dsl.tools.verbose import add_voice

if TYPE_CHECKING:
    from causal_dsl.units.shards import RanShard, Shard


def add_shard(command: argparse.ArgumentParser) -> None:
    """The option of ``run``."""
    command.add_argument(
        "--shard",
        metavar="i/N",
        help="run the i-th of N parts of the work into --out; `causal-dsl merge` unites them",
    )


def shard_of(arguments: Namespace, line: CommandLine) -> Shard | None:
    """The shard that was asked for. Raises E900 for one that there is not, and E901 for what does not go with it."""
    written = arguments.shard
    if written is None:
        return None
    from causal_dsl.units.shards import MOST_SHARDS, Shard

    refuse_in_group("--shard", line.place("--shard"))
    number, slash, count = written.partition("/")
    well = slash and number.isascii() and count.isascii() and number.isdigit() and count.isdigit()
    if not well or not 1 <= int(number) <= int(count) <= MOST_SHARDS:
        raise fail(
            "E900",
            f"`{written}` is not a shard",
            line.place(written),
            notes=(f"a shard is i/N: the i-th of N parts of the work, counted from 1; N is at most {MOST_SHARDS:,}",),
            help="write --shard 1/4 for the first of four",
        )
    for option in ("--workers", "--cluster"):
        if getattr(arguments, option.strip("-")) is not None:
            raise fail(
                "E901",
                f"`{option}` does not go with `--shard`",
                line.place(option),
                notes=("both say who runs which part of the work",),
                help="leave one of them out",
            )
    unused = {"--html": arguments.html, "--figures": arguments.figures, "--junit": arguments.junit}
    named = [option for option, value in unused.items() if value is not None]
    if named:
        raise fail(
            "E901",
            f"`{named[0]}` does not go with `--shard`",
            line.place(named[0]),
            notes=("a shard has no results by itself",),
            help=f"pass {named[0]} to `causal-dsl merge`",
        )
    if arguments.out is None or is_address(arguments.out):
        raise fail(
            "E901",
            "`--shard` needs a folder of this machine, or one that all machines share, as `--out`",
            line.place("--shard"),
            notes=("a shard stores what it computes, and `causal-dsl merge` reads it from there",),
            help="write --out DIR",
        )
    return Shard(int(number), int(count))


def run_shards(files: list[Path], options: api.Options, shard: Shard, arguments: Namespace) -> int:
    """Run one shard of every spec. A fault in one of them does not keep the others from being run."""
    from causal_dsl.units.shards import run_shard

    documents: list[dict[str, Any]] = []
    faults: list[Diagnostic] = []
    for file in files:
        try:
            with foreign:
                ran = run_shard(api.load(file), options, shard)
        except Exception as error:
            if len(files) == 1 and not isinstance(error, SpecError):
                raise
            faults += of_one_spec(error, Span(Source(shown_path(file), ""), 0, 0)).diagnostics
            continue
        warnings = [warning.to_json() for warning in ran.warnings]
        documents.append({"path": ran.path, "diagnostics": warnings, "tests": [], "shard": ran.to_json()})
        if ran.warnings:
            tell(render_all(list(ran.warnings)) + "\n")
        if not arguments.json and not arguments.quiet:
            say(printable(_told(ran, options)))
    if arguments.json:
        say_json({"specs": documents})
    if faults:
        tell(render_all(list(dict.fromkeys(faults))))
    return FAULT if faults else FINE


def _told(ran: RanShard, options: api.Options) -> str:
    mine, found = len(ran.units), f", {ran.found} of them by a run before or by others" if ran.found else ""
    return (
        f"{ran.path}: shard {ran.shard} has {mine} of {ran.every} unit{'s' * (ran.every != 1)}, all stored{found}, "
        f"in {ran.seconds:,.1f} s\nonce all shards are done: causal-dsl merge {options.out} --out DIR"
    )


def merge_options(command: argparse.ArgumentParser) -> None:
    """The words of the command."""
    command.add_argument(
        "paths",
        nargs="+",
        type=folder_path,
        metavar="DIR",
        help="an --out folder of shards: one for each shard, or one that they share",
    )
    command.add_argument(
        "--out",
        type=folder_path,
        required=True,
        metavar="DIR",
        help="the folder for the united results; it may be one of the DIRs",
    )
    command.add_argument(
        "--replace",
        action="store_true",
        help="replace the results of another run in --out by those of the shards",
    )
    command.add_argument("--spec", type=folder_path, metavar="PATH", help="where the spec is now, if it was moved")
    command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    add_trust(command)
    add_report_options(command)
    add_ci_options(command)
    add_voice(
        command, "print failed expectations and the last line alone", "say what is done, and what identifies the run"
    )


def merge(arguments: Namespace, line: CommandLine) -> int:
    """Unite shards and score them; nothing is computed again."""
    from causal_dsl.checking.checking import check
    from causal_dsl.running.ran import with_faults
    from causal_dsl.running.running import run_specs
    from causal_dsl.running.unrun import not_run
    from causal_dsl.score.format_numbers import counted
    from causal_dsl.score.spec_results import Results, SpecResult
    from causal_dsl.store.keys import versions
    from causal_dsl.store.ran_on import comparing
    from causal_dsl.store.stored_only import stored_only
    from causal_dsl.units.merging import merged, not_stored

    refuse_unlike_options(arguments, line)
    refuse_early(arguments, line)
    specs, faults = merged(
        arguments.paths,
        arguments.out,
        arguments.trust,
        arguments.allow,
        arguments.spec,
        line.place,
        arguments.replace,
    )
    found: list[SpecResult] = []
    for one in specs:
        tell(printable(f"{one.spec.name}: {counted(one.units, 'unit')} of {counted(one.shards, 'shard')}, all there"))
        fault = not_stored(line.place(str(arguments.paths[0])))
        options = replace(one.options, command=tuple(line.words))
        try:
            with comparing(one.ran_on), stored_only((fault,)):
                found += run_specs([one.spec], options).specs
        except Exception as error:  # the others are scored all the same
            if len(specs) == 1 and not faults:
                raise
            own = of_one_spec(error, Span(one.spec.source_text, 0, 0))
            found.append(with_faults(not_run(one.spec, check(one.spec, options), own.code), own.diagnostics))
    ununited = [
        SpecResult(name, "", (), versions(), cost={"seconds": 0.0}, warnings=tuple(fault.diagnostics))
        for name, fault in faults.items()
    ]
    results = Results((*found, *ununited))
    if all(test.fault for test in results.tests):
        raise SpecError(list(dict.fromkeys(results.faults)))
    return ended(results, arguments, line)


__all__ = ["add_shard", "merge", "merge_options", "run_shards", "shard_of"]
