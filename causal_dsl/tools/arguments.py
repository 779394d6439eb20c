"""The words of the command line: commands, their options, and which function each of them calls."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from causal_dsl.planning.switches import SWITCHES
from causal_dsl.tools import commands
from causal_dsl.tools.ci_output import add_ci_options, add_github
from causal_dsl.tools.command_line import (
    CommandLine,
    add_trust,
    folder_path,
    memory_size,
    place_of_results,
    seed_number,
    switch_name,
)
from causal_dsl.tools.completion_command import add_completion, completion
from causal_dsl.tools.diff_command import add_diff, diff
from causal_dsl.tools.explain import explain
from causal_dsl.tools.history_command import add_history, history
from causal_dsl.tools.init_command import add_init, init
from causal_dsl.tools.lsp_command import ABOUT as LSP
from causal_dsl.tools.lsp_command import lsp, lsp_options
from causal_dsl.tools.mcp_command import mcp, mcp_options
from causal_dsl.tools.merge_command import add_shard, merge, merge_options
from causal_dsl.tools.output import say
from causal_dsl.tools.report_command import add_report, report
from causal_dsl.tools.report_output import add_report_options
from causal_dsl.tools.skill_command import skill
from causal_dsl.tools.verbose import add_voice
from causal_dsl.tools.worker_options import add_workers, worker_count
from causal_dsl.tools.zoo_command import zoo

_ABOUT = """\
A spec (a .causal file) states a hypothesis about what a network computes: a causal model, the site where each
of its variables lives, and the answers to expect under interventions. This tool checks specs and runs them."""

_EPILOG = """\
a first session:
  causal-dsl check specs/equality.causal    find faults and chance levels; takes a second
  causal-dsl run specs/equality.causal      run the tests on the network
  causal-dsl explain E201                   explain a message

exit codes: 0 success, 1 an expectation failed, 2 the spec or its environment is at fault, 130 interrupted by Ctrl-C, 143 by SIGTERM (`run`)"""


def parser() -> argparse.ArgumentParser:
    top = _CommandParser(
        prog="causal-dsl", description=_ABOUT, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action=_ShowVersions, nargs=0, help="show the versions of what computes, and exit")
    command: argparse._SubParsersAction[Any] = top.add_subparsers(dest="command", required=True, metavar="command")

    check = _command(command, "check", "find faults in specs without running a network", commands.check)
    _options(check)
    check.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    add_github(check)
    add_voice(check, "print faults and warnings alone", "name the files that are read, too")

    form = _command(command, "fmt", "reformat specs to the canonical layout", commands.format_files)
    form.add_argument(
        "paths", nargs="+", metavar="PATH", help="files or folders to rewrite in place; - is standard input"
    )
    form.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file would change")
    form.add_argument("--diff", action="store_true", help="change nothing; print what would change; exit 1 if anything")
    add_voice(form, "do not name the files")

    plan = _command(command, "plan", "show the work and the cost of running a spec", commands.plan)
    _options(plan)
    shape = plan.add_mutually_exclusive_group()
    shape.add_argument("--mermaid", action="store_true", help="print the graph as a Mermaid diagram")
    shape.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    shape.add_argument(
        "--explain", action="store_true", help="show how much each switch saves, and how the work is run"
    )
    plan.add_argument(
        "--without",
        action="append",
        default=[],
        type=switch_name,
        choices=[switch.name for switch in SWITCHES],
        metavar="SWITCH",
        help="turn off a switch of the plan and show what it is worth: " + ", ".join(s.name for s in SWITCHES),
    )
    plan.add_argument(
        "--workers",
        type=worker_count,
        metavar="N",
        help="estimate the time that N workers or shards take; auto: as many as run starts",
    )
    plan.add_argument("--load", action="store_true", help="load and prove the networks, and say how each will be run")
    _memory(plan)

    run = _command(command, "run", "run the tests of specs on their networks", commands.run)
    _options(run)
    run.add_argument("--device", metavar="NAME", help="cpu, cuda, mps …; default: a GPU if there is one")
    run.add_argument("--dtype", metavar="NAME", help="float32, bfloat16, float16 …; default: float32 on the CPU")
    _memory(run)
    run.add_argument(
        "--out",
        type=place_of_results,
        metavar="DIR",
        help="keep results.json, pairs.parquet and the spec in this folder, or under an address such as s3://bucket/runs; "
        "an interrupted run resumes from there",
    )
    run.add_argument(
        "--rehash",
        action="store_true",
        help="hash all weights again, even files that look unchanged",
    )
    run.add_argument("--compile", action="store_true", help="run feed-forward blocks through torch.compile")
    run.add_argument(
        "--reference",
        action="store_true",
        help="run every intervention by whole forward passes, cell by cell: slow; the reference for the one pass",
    )
    run.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document and nothing else; with --watch one in a line for each run",
    )
    add_shard(run)
    add_workers(run)
    add_report_options(run)

    run.add_argument("--watch", action="store_true", help="run again when the spec, or a file that it reads, changes")
    add_ci_options(run)
    add_voice(run, "print failed expectations and the last line alone", "say what is done, and what identifies the run")

    explained = _command(
        command,
        "explain",
        "explain a diagnostic, or a word of the language",
        lambda given, line: explain(given.code, line),
    )
    explained.add_argument(
        "code", nargs="*", metavar="WORD", help="such as E201, iia, clamp or balance; without a word, list all"
    )

    add_init(_command(command, "init", "write a spec for a table of facts, a network and a prompt", init))

    merge_options(_command(command, "merge", "unite the shards of a run, and score them", merge))
    add_report(_command(command, "report", "write kept results as a page, as figures, or as text", report))
    add_completion(_command(command, "completion", "print a script of completions for a shell", completion), top)

    _command(command, "skill", "print a page that teaches the language to a coding agent", skill)

    mcp_options(_command(command, "mcp", "serve check, plan and run to an agent, by the Model Context Protocol", mcp))
    add_diff(_command(command, "diff", "compare two runs, cell by cell", diff))
    add_history(_command(command, "history", "show the scores of a spec over many runs", history))

    zoos = _command(command, "zoo", "list, train or fetch the networks of zoo(…)", zoo)
    zoos.set_defaults(action="list")
    action = zoos.add_subparsers(dest="action", metavar="train|fetch")
    train = action.add_parser(
        "train", help="train a shipped network again", description="Train a shipped network again."
    )
    train.add_argument("name", metavar="NAME", help="the network's name in the list")
    train.add_argument("--out", type=folder_path, required=True, metavar="DIR", help="the folder to write it to")
    train.add_argument("--steps", type=int, metavar="N", help="default: as many as for the shipped network")
    train.add_argument("--seed", type=seed_number, default=0, metavar="N", help="default 0")
    fetch = action.add_parser("fetch", help="fetch a network now", description="Fetch a network before a run needs it.")
    fetch.add_argument("name", metavar="NAME", help="the network's name in the list")

    lsp_options(_command(command, "lsp", LSP, lsp))
    return top


def command_names() -> tuple[str, ...]:
    """The commands of the command line."""
    among = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return tuple(among.choices)


def _command(
    among: argparse._SubParsersAction[Any],
    name: str,
    about: str,
    act: Callable[[argparse.Namespace, CommandLine], int],
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = among.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    made.set_defaults(act=act)
    return made


def _options(command: argparse.ArgumentParser) -> None:
    command.add_argument("paths", nargs="+", metavar="PATH", help="spec files, or folders to search for *.causal")
    command.add_argument("--test", action="append", default=[], metavar="NAME", help="only this test (may be repeated)")
    command.add_argument(
        "--network", action="append", default=[], metavar="NAME=PATH", help="load this network from another folder"
    )
    command.add_argument("--seed", type=seed_number, default=0, metavar="N", help="draw other pairs; default 0")
    add_trust(command)


def _memory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--batch-memory",
        type=memory_size,
        metavar="SIZE",
        help="memory of a pass beside the weights, such as 8GB; default: half of the free memory",
    )


class _CommandParser(argparse.ArgumentParser):
    """A parser to which a word is a value where it begins as a number below 0 does (`-1/2`, `-8GB`): the option says what is wrong."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def print_help(self, file: Any = None) -> None:
        """``--help``. argparse itself loses the text in silence where standard output cannot be written."""
        if file is None:
            say(self.format_help(), end="")
        else:
            super().print_help(file)


class _ShowVersions(argparse.Action):
    """``--version``: read when it is asked for, and without importing what it names."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from platform import python_version

        from causal_dsl.store.keys import own_version, version_of

        computing = ("torch", "transformers", "tokenizers", "numpy")
        known = [f"{name} {version_of(name)}" for name in computing]
        say(f"causal-dsl {own_version()} (Python {python_version()}; {', '.join(known)})")
        parser.exit()
