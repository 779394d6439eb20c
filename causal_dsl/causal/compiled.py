"""From expressions to one vectorised function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType, MappingProxyType
from typing import Any

import numpy as np

from causal_dsl.causal.operations import HELPERS, printed_whole
from causal_dsl.causal.terms import Float, Integer, Symbol

#: Rows that are computed at once: the columns of a model then stay in the cache of a core.
CHUNK = 1 << 15
#: Expressions deeper than this get a name in the middle, so that the printed code nests little.
_DEEP = 12


def compile_lines(
    arguments: Sequence[Symbol],
    lines: Sequence[tuple[Symbol, Any]],
    results: Sequence[Symbol],
    helpers: Mapping[str, Any],
) -> Callable[..., list[Any]]:
    """A function of the arguments that carries out ``symbol = expression`` line by line and returns the results.

    Expressions may use the symbols of arguments and of earlier lines. What occurs in several of them is computed once.
    The function takes numpy columns of one length; a result may be a scalar where it depends on no argument.
    """
    if helpers:
        return _compiled(arguments, lines, results, helpers)
    return _compiled_before(tuple(arguments), tuple(lines), tuple(results))


@lru_cache(1024)
def _compiled_before(
    arguments: tuple[Symbol, ...], lines: tuple[tuple[Symbol, Any], ...], results: tuple[Symbol, ...]
) -> Callable[..., list[Any]]:
    """The same for conditions and mechanisms that say alike, which are many."""
    return _compiled(arguments, lines, results, {})


def _compiled(
    arguments: Sequence[Symbol],
    lines: Sequence[tuple[Symbol, Any]],
    results: Sequence[Symbol],
    helpers: Mapping[str, Any],
) -> Callable[..., list[Any]]:
    # Numbers have names, too: conditions that differ in them alone are one text, which is compiled once.
    numbers = {f"n{i}": number for i, number in enumerate(_numbers_of(lines))}
    names = {number: name for name, number in numbers.items()}
    held = {name: number.held for name, number in numbers.items()}
    return compile_text(printed_lines(arguments, lines, results, names), {**helpers, **held})


def _numbers_of(lines: Sequence[tuple[Symbol, Any]]) -> list[Any]:
    """The numbers that occur in some lines, each once, in the order in which they are come by."""
    found: dict[Any, None] = {}
    seen, stack = set[Any](), [expr for _, expr in lines]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        stack.extend(node.args)
        if isinstance(node, Integer | Float):
            found[node] = None
    return list(found)


def printed_lines(
    arguments: Sequence[Symbol],
    lines: Sequence[tuple[Symbol, Any]],
    results: Sequence[Symbol],
    numbers: Mapping[Any, str] = MappingProxyType({}),
) -> str:
    """The text of a function as :func:`compile_lines` makes them: equal for mechanisms that do alike. ``numbers`` are called as it says."""
    # Arguments are named by their places, so that mechanisms that do alike are one text, which is compiled once.
    given = {argument: f"a{i}" for i, argument in enumerate(arguments)}
    names: dict[Any, str] = {**numbers, **given}
    body = [f"{names.get(symbol, symbol.name)} = {printed_whole(line, names)}" for symbol, line in _share(lines, names)]
    body.append(f"return [{', '.join(names.get(result, result.name) for result in results)}]")
    return "\n    ".join([f"def computed({', '.join(given.values())}):", *body])


def compile_text(text: str, helpers: Mapping[str, Any]) -> Callable[..., list[Any]]:
    """The function of a text that :func:`printed_lines` made; ``helpers`` are all that it names beside its arguments."""
    namespace: dict[str, Any] = {**HELPERS, **helpers}
    # All names are those of symbols that the compiler made; texts of a spec never get here, they are numbers.
    exec(_code(text), namespace)
    made: Callable[..., list[Any]] = namespace["computed"]
    return made


@lru_cache(1024)
def _code(text: str) -> CodeType:
    return compile(text, "<causal model>", "exec")


def _share(lines: Sequence[tuple[Symbol, Any]], names: dict[Any, str]) -> list[tuple[Symbol, Any]]:
    """Give a name to every part that occurs twice or lies deep, in front of the line that first needs it."""
    counts: dict[Any, int] = {}
    for _, expr in lines:
        stack = [expr]
        while stack:
            node = stack.pop()
            counts[node] = counts.get(node, 0) + 1
            if counts[node] == 1:
                stack.extend(node.args)
    shared: list[tuple[Symbol, Any]] = []
    depths: dict[Any, int] = {}
    for symbol, expr in lines:
        stack = [(expr, False)]
        while stack:
            node, ready = stack.pop()
            if node in depths:
                continue
            if not ready:
                stack.append((node, True))
                stack.extend((child, False) for child in node.args)
                continue
            depths[node] = 1 + max((depths[child] for child in node.args), default=-1)
            worth = counts[node] > 1 or depths[node] >= _DEEP
            if worth and node is not expr and node.args:
                temporary = Symbol(f"t{len(shared)}")
                shared.append((temporary, node))
                names[node] = temporary.name
                depths[node] = 0
        shared.append((symbol, expr))
    return shared


def run(
    function: Callable[..., list[Any]], columns: Sequence[np.ndarray], dtypes: Sequence[Any], n: int
) -> list[np.ndarray]:
    """Call a compiled function on columns of ``n`` rows, chunk by chunk; gives arrays of length ``n``."""
    results = [np.empty(n, dtype) for dtype in dtypes]
    with np.errstate(all="ignore"):
        for start in range(0, n, CHUNK):
            stop = min(n, start + CHUNK)
            for result, part in zip(results, function(*(column[start:stop] for column in columns)), strict=True):
                result[start:stop] = part
    return results
