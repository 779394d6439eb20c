"""The arguments that a declaration gives to a Python function that makes a network: ``torch("mlp.py:build", depth=3)``."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import NOWHERE, Diagnostics, did_you_mean
from causal_dsl.program.read_settings import constant
from causal_dsl.store import reads
from causal_dsl.store.reading import is_file, may_read
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.layout_settings import LAYOUT

_LARGEST = 4_000_000


def for_factory(
    kind: str, arguments: Sequence[tree.Argument], settings: Mapping[str, Mapping[str, Any]], folder: Path
) -> tuple[tuple[tree.Argument, ...], tuple[tree.Argument, ...]]:
    """The arguments of a declaration that are its settings, and those that its factory is called with.

    Of the settings that say where sites are (:mod:`causal_dsl.program.own_networks`) some are called as arguments of a factory
    often are: a number is given to it where a path is meant (``layers=3``), and a size both where it takes one (``heads=4``).
    """
    if kind != "torch":
        return tuple(arguments), ()
    first = next((constant(a.value) for a in arguments if a.name is None or a.name.name == "factory"), None)
    taken: list[str] | None = None
    own, given = [], []
    for argument in arguments:
        name = "" if argument.name is None else argument.name.name
        setting = settings[kind].get(name)
        if name in LAYOUT and setting is not None:
            if taken is None:
                file, _, function = first.rpartition(":") if isinstance(first, str) else ("", "", "")
                taken = _parameters(folder / file, function) or [] if file else []
            number = not isinstance(constant(argument.value), str)
            if name in taken and number:
                given.append(argument)
            if name not in taken or not (number and setting.kind == "string"):
                own.append(argument)
        elif name and setting is None:
            given.append(argument)
        else:
            own.append(argument)
    return tuple(own), tuple(given)


def arguments_of(
    factory: str, given: Sequence[tree.Argument], folder: Path, diagnostics: Diagnostics
) -> tuple[tuple[str, Any], ...] | None:
    """The values of a factory's arguments, by name; None, and E213 or E226, where it does not take them.

    Its signature is read from the file, which is not run.
    """
    file, _, function = factory.rpartition(":")
    taken = _parameters(folder / file, function)
    found: dict[str, Any] = {}
    good = True
    for argument in given:
        assert argument.name is not None
        name = argument.name.name
        value = constant(argument.value)
        if taken is not None and name not in taken:
            diagnostics.report(
                "E226",
                f"`torch` has no setting `{name}`, and `{function}` takes no argument of that name",
                argument.name.span,
                notes=("every other setting is passed to the function",),
                help=did_you_mean(name, taken, f"`{function}` takes no arguments"),
            )
            good = False
        elif value is None:
            diagnostics.report(
                "E213",
                f"`{name}` of `{function}` cannot be `{format_expr(argument.value)[:60]}`",
                argument.value.span,
                help=f"write {name}=…, a number, a text in quotes, true or false",
            )
            good = False
        elif name in found:
            diagnostics.report("E212", f"`{name}` is set twice", argument.name.span, help="keep one of them")
            good = False
        else:
            found[name] = value
    return tuple(sorted(found.items())) if good else None


def _parameters(path: Path, function: str) -> list[str] | None:
    """The names that a function of a file takes by keyword; None where that is not known, or it takes any."""
    try:
        if not is_file(path) or not may_read(path, "", NOWHERE, Diagnostics(), _LARGEST):
            return None
        parsed = ast.parse(reads.read_bytes(path, reads.LARGEST_SETTINGS))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    for node in parsed.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            if node.args.kwarg is not None or node.decorator_list:
                return None
            return [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
    return None


__all__ = ["arguments_of", "for_factory"]
