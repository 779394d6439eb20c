"""``causal-dsl completion SHELL``: a script that completes commands, options and paths."""

from __future__ import annotations

import argparse
from argparse import Namespace

from causal_dsl.diagnostics import fail
from causal_dsl.program.networks import NETWORKS
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.tools.command_line import SUFFIX, CommandLine
from causal_dsl.tools.explain import codes
from causal_dsl.tools.output import say

SHELLS = ("bash", "zsh", "tcsh", "fish")
#: The commands whose paths are specs, or folders of them.
_OF_SPECS = ("check", "fmt", "plan", "run")
#: The types of numbers that a network may be run in.
DTYPES = NETWORKS["hf"]["dtype"].choices
#: What stands for a path in a line of help, and whether it is a folder.
_PATHS = {"PATH": False, "FILE": False, "A": False, "B": False, "DIR": True}


def add_completion(command: argparse.ArgumentParser, whole: argparse.ArgumentParser) -> None:
    """The words of the command; ``whole`` is the parser of all that is completed."""
    command.set_defaults(whole=whole)
    command.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def completion(arguments: Namespace, line: CommandLine) -> int:
    try:
        import shtab
    except ImportError as error:
        raise fail(
            "E872",
            "`completion` needs the package `shtab`",
            line.place("completion"),
            help="pip install 'causal-dsl[completion]'",
        ) from error
    if arguments.shell not in shtab.SUPPORTED_SHELLS:
        raise fail(
            "E872",
            f"the installed `shtab` writes no completion for {arguments.shell}",
            line.place(arguments.shell),
            help="pip install -U 'causal-dsl[completion]'",
        )
    _paths(arguments.whole, {False: shtab.FILE, True: shtab.DIRECTORY})
    for name in _OF_SPECS:
        for action in _commands(arguments.whole)[name]._actions:
            if action.dest == "paths":
                # the pattern that shtab writes for zsh, in parentheses, ends all completion of the command there
                specs = {**shtab.glob(f"*{SUFFIX}"), "zsh": f"_files -g '*{SUFFIX}'"}
                action.complete = specs  # type: ignore[attr-defined]
    _values(arguments.whole)
    say(_mended(shtab.complete(arguments.whole, arguments.shell), arguments.shell))
    return 0


#: bash breaks words at `=`: what is written `--dtype=bf` is completed as `--dtype bf`.
_BASH = """\
_causal_dsl_words() {
  local words=() word=$COMP_CWORD i
  for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
    if [[ $i -gt 0 && ${COMP_WORDS[i]} == = && ${COMP_WORDS[i - 1]} == --* ]]; then
      if ((i == COMP_CWORD)); then words+=(""); elif ((i < COMP_CWORD)); then ((word -= 1)); fi
    else
      words+=("${COMP_WORDS[i]}")
    fi
  done
  local COMP_WORDS=("${words[@]}") COMP_CWORD=$word
  _shtab_causal_dsl
}

"""


def _mended(script: str, shell: str) -> str:
    """A script of shtab that also completes `--option=value` in bash, and that zsh can source as well as eval."""
    if shell == "zsh":
        return script.replace("[[ $zsh_eval_context[-1] == eval ]]", "[[ $zsh_eval_context[-1] == (eval|file) ]]")
    if shell == "bash":
        head, complete, tail = script.rpartition("complete -o")
        return head + _BASH + complete + tail.replace("-F _shtab_causal_dsl ", "-F _causal_dsl_words ")
    return script


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return dict(next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction)).choices)


def _values(parser: argparse.ArgumentParser, command: str = "") -> None:
    """Let arguments complete to the values that are known, though others may be typed. The parser is used for nothing else then."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                _values(inner, f"{command} {name}".strip())
        elif action.choices is None and (known := _known(command, action.dest)):
            action.choices = known


def _known(command: str, argument: str) -> tuple[str, ...]:
    """The values that an argument of a command may have, as far as they are known without a spec."""
    match command, argument:
        case _, "dtype":
            return DTYPES
        case _, "device":
            return ("auto", "cpu", "cuda", "mps")
        case _, ("workers" | "cluster"):
            return ("auto",)
        case "explain", "code":
            from causal_dsl.tools.explained_words import words_by_kind

            every = (word for words in words_by_kind().values() for word in words)
            return (*sorted(codes()), *dict.fromkeys(every))
        case (("zoo train" | "zoo fetch"), "name"):
            return tuple(catalogue())
        case "init", "network":
            return tuple(catalogue())
    return ()


def _paths(parser: argparse.ArgumentParser, kinds: dict[bool, object]) -> None:
    """Let arguments that are paths complete as such."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _paths(inner, kinds)
        elif isinstance(action.metavar, str) and action.metavar in _PATHS:
            action.complete = kinds[_PATHS[action.metavar]]  # type: ignore[attr-defined]
