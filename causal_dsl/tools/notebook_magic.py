"""``%load_ext causal_dsl``: a cell that holds a spec, and the commands of the command line on it.

    %%causal run --trust -o results

checks, plans or runs the spec of the cell. What comes out is the value of the cell, and is bound to the name after ``-o``;
the spec itself is bound to the name after ``-s``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import keyword
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal_dsl import api
from causal_dsl.base.options_shown import TERMINAL, shown_in
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError, fail, nearest, printable
from causal_dsl.messages.unexpected import unexpected
from causal_dsl.report.cell_output import listen, listen_no_more
from causal_dsl.report.which_progress import always_shown
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.unlike_options import refuse_unlike_options

#: Options that a cell heeds: those of the run itself. Others are about what a terminal prints or about files.
_HEEDED = frozenset(
    [
        *("command", "act", "paths", "test", "network", "seed", "allow", "trust", "device", "dtype", "batch_memory"),
        *("out", "rehash", "compile", "reference", "load", "without"),
    ]
)
#: The name that a spec of a cell goes by in messages.
CELL = "<cell>"
COMMANDS = ("check", "plan", "run")
_COMMANDS_HELP = "it has `check`, `plan` and `run`"
#: How the magic of a cell, and that of a line, is written.
PROGRAMS = ("%%causal", "%causal")


def load(shell: Any) -> None:
    """Add ``%%causal`` and ``%causal`` to a shell of IPython; from now on long work shows its progress."""

    def causal(line: str, cell: str | None = None) -> Any:
        return act(shell, line, cell)

    shell.register_magic_function(causal, "line_cell", "causal")
    always_shown(True)
    listen(shell)


def unload(shell: Any) -> None:
    """Take the magics away again."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("causal", None)
    always_shown(False)
    listen_no_more()


def act(shell: Any, words: str, text: str | None) -> Any:
    """Check, plan or run the spec of a cell (``%%causal``), or that of a file (``%causal run FILE``).

    Returns what the command of that name returns in Python, bound to the name of ``-o`` as well; the spec is bound to that of ``-s``.
    Raises SpecError for every fault.
    """
    with shown_in(TERMINAL):  # the words of a cell are those of the command line
        return _acted(shell, words, text)


def _acted(shell: Any, words: str, text: str | None) -> Any:
    given = _read(words, text, PROGRAMS[text is None])
    if given is None:
        return None
    arguments, line = given.arguments, given.line
    spec = api.load(arguments.paths[0]) if text is None else api.parse(text, CELL, folder_of(shell))
    if given.spec:
        shell.user_ns[given.spec] = spec
    try:
        value = _result(spec, arguments, line)
    except KeyboardInterrupt as stopped:
        value = getattr(stopped, "results", None)
        if value is None:
            raise
        kept = f"`{given.outcome}` holds" if given.outcome else "the value of this cell holds"
        print(f"stopped; {kept} what was finished")
    except SpecError:
        raise
    except Exception as error:
        raise SpecError([unexpected(error, line.place(arguments.command))]) from error
    if given.outcome:
        shell.user_ns[given.outcome] = value
    return value


def _result(spec: api.Spec, arguments: argparse.Namespace, line: CommandLine) -> Any:
    from causal_dsl.tools.commands import inputs

    _, options = inputs(arguments, line)
    if arguments.command == "check":
        return api.check(spec, options, beside=False)
    if arguments.command == "plan":
        return api.plan(spec, options)
    return api.run(spec, replace(options, progress=True))


@dataclass(frozen=True)
class _Given:
    """The words typed after ``%%causal``: names to bind the outcome and the spec to ("": none), and all else."""

    outcome: str
    spec: str
    line: CommandLine
    arguments: argparse.Namespace


def _read(words: str, text: str | None, program: str) -> _Given | None:
    """The arguments that were typed; None where ``--help`` has answered."""
    try:
        typed = shlex.split(words)
    except ValueError as error:
        line = CommandLine([words], program=program)
        raise fail(
            "E885", f"the words after `{program}` cannot be read", line.place(words), notes=(str(error),)
        ) from None
    line = CommandLine(typed, program=program)
    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("-o", dest="outcome", default="")
    names.add_argument("-s", dest="spec", default="")
    try:
        known, rest = names.parse_known_args(typed)
    except argparse.ArgumentError as error:
        raise fail("E885", str(error), line.place(typed[-1]), help="write a name: `-o results`") from None
    for name in (known.outcome, known.spec):
        if name and (not name.isidentifier() or keyword.iskeyword(name)):
            raise fail("E885", f"`{name}` is not a name of Python", line.place(name), help="write one: `-o results`")
    if not rest or (rest[0].startswith("-") and rest[0] not in ("-h", "--help")):
        rest = ["check", *rest]
    _refuse_unknown(rest[0], line, program)
    arguments = _parsed([*rest, *([] if text is None else [CELL])], line, program)
    if arguments is None:
        return None
    _refuse_others(arguments, text, line)
    return _Given(known.outcome, known.spec, line, arguments)


def _refuse_unknown(word: str, line: CommandLine, program: str) -> None:
    """E885 for a word in the place of a command that a notebook does not have."""
    if word in COMMANDS or word.startswith("-"):
        return
    from causal_dsl.tools.arguments import command_names

    other = f"; `!causal-dsl {word}` runs it as the terminal does" if word in command_names() else ""
    close = nearest(word, COMMANDS)
    help = f"did you mean `{close}`?" if close is not None and not other else _COMMANDS_HELP + other
    raise fail("E885", f"`{program}` has no `{word}`", line.place(word), help=help)


def _parsed(words: list[str], line: CommandLine, program: str) -> argparse.Namespace | None:
    """The words as the command line reads them; None where they ask for help, which is printed."""
    from causal_dsl.tools.arguments import parser

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            arguments = parser().parse_args(words)
    except SystemExit as end:
        if not end.code:
            print(said.getvalue())
            return None
        told = said.getvalue().strip().splitlines()
        raise fail(
            "E885",
            f"the words after `{program}` cannot be read",
            line.place(next((word for word in words[1:] if told and _names(told[-1], word)), words[0])),
            notes=(printable(told[-1].partition("error: ")[2] or told[-1]),) if told else (),
            help=f"`{program} {words[0]} --help` lists the options" if words[0] in COMMANDS else _COMMANDS_HELP,
        ) from None
    return arguments


def _names(told: str, word: str) -> bool:
    """Whether a message of argparse is about a word: of an option, also where its value stands behind a `=`."""
    return (
        re.search(rf"(?<![\w-]){re.escape(word.partition('=')[0])}(?![\w-])", told.partition("error: ")[2]) is not None
    )


#: Where an option of the command line has no use for the outcome, a way to do the same in a notebook.
_INSTEAD = {
    "quiet": "leave it out; `%%capture` in the first line of a cell, above this one, hides all that it shows",
    "watch": "leave it out, and run the cell again after a change",
}


def _refuse_others(arguments: argparse.Namespace, text: str | None, line: CommandLine) -> None:
    """E885 for options that a cell cannot heed, and for files beside it."""
    from causal_dsl.tools.arguments import parser

    refuse_unlike_options(arguments, line)
    if len(arguments.paths) != 1:
        extra = arguments.paths[0] if text is not None else arguments.paths[1]
        late = next((word for word in arguments.paths if word in COMMANDS), None)
        if late is not None and line.words[0].startswith("-"):
            others = [word for word in line.words if word != late]
            raise fail(
                "E885",
                f"`{late}` stands behind an option",
                line.place(late),
                notes=("the first word is the command; without one the spec is checked",),
                help=f"write it first: `{shlex.join([line.program, late, *others])}`",
            )
        said = "the spec is the cell itself" if text is not None else "a notebook takes one spec at a time"
        raise fail("E885", f"{said}, and `{extra}` is given beside it", line.place(extra), help="leave it out")
    plain = vars(parser().parse_args([arguments.command, CELL]))
    for option, value in vars(arguments).items():
        if option not in _HEEDED and value != plain.get(option):
            written = "--" + option.replace("_", "-")
            typed = next((word for word in line.words if word in (written, f"-{option[0]}")), written)
            raise fail(
                "E885",
                f"a notebook has no `{written}`",
                line.place(typed),
                help=_INSTEAD.get(
                    option, "bind the outcome with `-o name`, and use its `.text()`, `.to_json()` or `.frame()`"
                ),
            )


def folder_of(shell: Any) -> Path:
    """The folder of the notebook, which paths of a cell start from: as its editor says, else the working directory."""
    said = (shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME"))
    for one in said:
        if isinstance(one, str) and os.path.isabs(one) and os.path.isfile(one):
            return Path(one).parent
    return Path.cwd()
