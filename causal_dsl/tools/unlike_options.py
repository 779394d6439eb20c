"""Options that say nothing beside others: they are refused, and not ignored."""

from __future__ import annotations

from argparse import Namespace

from causal_dsl.diagnostics import fail
from causal_dsl.tools.command_line import CommandLine

#: Two options, and why the second says nothing beside the first.
_APART = (
    ("--watch", "--shard", "a shard is one part of a run, and the other parts would not follow an edit"),
    ("--reference", "--compile", "whole forward passes with hooks are not compiled"),
    ("--json", "--quiet", "with `--json` the document is all that is printed"),
    ("--mermaid", "--workers", "a diagram shows no estimate"),
)
#: An option, those of which it needs one, and why.
_NEEDS = (("--silence", ("--workers", "--cluster"), "it says when a worker is given up, and no worker is started"),)


def refuse_unlike_options(arguments: Namespace, line: CommandLine) -> None:
    """Raise E875 for the first option that would be ignored beside the others."""
    for first, second, why in _APART:
        if _given(arguments, first) and _given(arguments, second):
            place = line.place(second)
            raise fail(
                "E875", f"`{second}` does not go with `{first}`", place, notes=(why,), help="leave one of them out"
            )
    for option, needed, why in _NEEDS:
        if _given(arguments, option) and not any(_given(arguments, one) for one in needed):
            told = " or ".join(f"`{one}`" for one in needed)
            raise fail(
                "E875", f"`{option}` needs {told}", line.place(option), notes=(why,), help="leave it out, or add one"
            )


def _given(arguments: Namespace, option: str) -> bool:
    """Whether an option was typed: those of this module have no other default than nothing."""
    return getattr(arguments, option.removeprefix("--").replace("-", "_"), None) not in (None, False)


__all__ = ["refuse_unlike_options"]
