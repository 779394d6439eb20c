"""From expressions to one vectorised function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from causal_dsl.causal.operations import HELPERS, printed_whole
from causal_dsl.causal.terms import Symbol

#: Rows that are computed at once: the columns of a model then stay in the cache of a core.
CHUNK = 1 << 15
#: Expressions deeper than this get a name in the middle, so that the printed code nests little.
_DEEP = 12


def compile_lines(
    arguments: Sequence[Symbol],
    lines: Sequence[tuple[Symbol, Any]],
    results: Sequence[Symbol],
    helpers: Mapping[str, Callable[..., Any]],
) -> Callable[..., list[Any]]:
    """A function of the arguments that carries out ``symbol = expression`` line by line and returns the results.

    Expressions may use the symbols of arguments and of earlier lines. What occurs in several of them is computed once.
    The function takes numpy columns of one length; a result may be a scalar where it depends on no argument.
    """
    return compile_text(printed_lines(arguments, lines, results), helpers)


def printed_lines(arguments: Sequence[Symbol], lines: Sequence[tuple[Symbol, Any]], results: Sequence[Symbol]) -> str:
    """The text of the function that :func:`compile_lines` makes: equal for mechanisms that do alike."""
    # Arguments are named by their places, so that mechanisms that do alike are one text, which is compiled once.
    names: dict[Any, str] = {argument: f"a{i}" for i, argument in enumerate(arguments)}
    given = ", ".join(names.values())
    body = [f"{names.get(symbol, symbol.name)} = {printed_whole(line, names)}" for symbol, line in _share(lines, names)]
    body.append(f"return [{', '.join(names.get(result, result.name) for result in results)}]")
    return "\n    ".join([f"def computed({given}):", *body])


def compile_text(text: str, helpers: Mapping[str, Callable[..., Any]]) -> Callable[..., list[Any]]:
    """The function of a text that :func:`printed_lines` made."""
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
