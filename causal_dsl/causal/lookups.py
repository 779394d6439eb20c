"""Table cells, Python functions and large sets in expressions: calls of helpers that hold the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from causal_dsl.causal.domain_of import has_column
from causal_dsl.causal.domains import WORDS, Domain, Finite, Value
from causal_dsl.causal.scope import Scope, Strings
from causal_dsl.causal.terms import Symbol, every, negation, relation
from causal_dsl.causal.typed import Guard, Typed, as_condition, as_number, call, variable
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.syntax import tree

if TYPE_CHECKING:
    from causal_dsl.causal.functions import PythonFunction

_SMALL = 100_000


class Compiling(Protocol):
    """A compiler of expressions, as far as tables and functions need it."""

    scope: Scope
    strings: Strings
    diagnostics: Diagnostics
    helpers: dict[str, Callable[..., Any]]
    guards: list[Guard]

    @property
    def reached(self) -> Any:
        """The condition on which the part being compiled is needed."""

    def part(self, expr: tree.Node) -> Typed | None:
        """A part of the expression, compiled; None where a fault was reported."""

    def guard(self, condition: Any, kind: Any, span: Span, subject: str = "") -> None:
        """Note a condition under which a row is at fault."""


def code_of(value: Value, strings: Strings) -> Any:
    """The number that stands for a value."""
    return strings.code(value) if isinstance(value, str) else int(value) if isinstance(value, (bool, int)) else value


def codes_of(values: Sequence[Value], kind: str, strings: Strings) -> np.ndarray:
    """The numbers that stand for values of one type, ``[n]``."""
    if kind == "string":
        return strings.codes(cast("Sequence[str]", values))
    return np.array(values, np.float64 if kind == "real" else np.int64)


def value_of(code: Any, kind: str, strings: Strings) -> Value:
    """The value that a number stands for."""
    if kind in ("string", "set"):
        return strings.text(int(code))
    return bool(code) if kind == "bool" else int(code) if kind == "int" else float(code)


def _add(compiler: Compiling, stem: str, helper: Callable[..., Any]) -> str:
    name = f"{stem}{len(compiler.helpers)}"
    compiler.helpers[name] = helper
    return name


def _within(element: Typed, domain: Finite, strings: Strings) -> bool:
    """Whether a value is known to lie in a domain before anything is computed."""
    if element.texts is not None:
        return domain.size <= _SMALL and element.texts <= set(codes_of(domain.values, domain.type, strings).tolist())
    if isinstance(element.domain, Finite) and element.domain.size <= _SMALL:
        return all(value in domain for value in element.domain.values)
    return domain.contiguous and domain.low <= element.low and element.high <= domain.high


def _searcher(domain: Finite, strings: Strings) -> tuple[np.ndarray, np.ndarray]:
    codes = codes_of(domain.values, domain.type, strings)
    order = np.argsort(codes, kind="stable")
    return codes[order], order


def membership(compiler: Compiling, element: Typed, domain: Finite) -> Any:
    """1 where the value lies in the domain, 0 elsewhere."""
    codes, _ = _searcher(domain, compiler.strings)

    def member(value: Any) -> Any:
        at = np.minimum(np.searchsorted(codes, value), len(codes) - 1)
        return (codes[at] == value).astype(np.int64)

    return call(_add(compiler, "member", member), element.number)


def table_cell(compiler: Compiling, cell: tree.Subscript, expr: tree.Attribute | None) -> Typed | None:
    """``Table[key].column``, and ``Table[key]`` of a table that is written out."""
    assert isinstance(cell.value, tree.Name)
    name = cell.value.name
    if name not in compiler.scope.tables:
        help = did_you_mean(name, compiler.scope.tables, 'declare it: table Cities = csv("cities.csv", key=city)')
        compiler.diagnostics.report("E305", f"no table `{name}`", cell.value.span, help=help)
        return None
    table = compiler.scope.tables[name]
    if table is None:
        return None
    if bool(table.only) != (expr is None):
        title = f"which column of `{name}`?" if expr is None else f"`{name}` has no columns"
        help = f"write {name}[…]" + ".column" * (expr is None)
        compiler.diagnostics.report("E306", title, cell.span if expr is None else expr.name.span, help=help)
        return None
    column = table.only if expr is None else expr.name.name
    if expr is not None and not has_column(table, column, expr.name.span, compiler.diagnostics):
        return None
    if len(cell.indices) != 1 or isinstance(cell.indices[0], tree.Slice):
        compiler.diagnostics.report(
            "E306",
            f"`{name}` is asked for one row",
            cell.span,
            help=f"write {name}[x]" + f".{column}" * (not table.only),
        )
        return None
    key = compiler.part(cell.indices[0])
    if key is None:
        return None
    if key.type != table.keys.type:
        what = f"`{table.key}`, which is {WORDS[table.keys.type]}" if not table.only else WORDS[table.keys.type]
        title = f"`{name}` is keyed by {what}"
        compiler.diagnostics.report("E300", title, cell.indices[0].span, label=f"this is {key.told}")
        return None
    strings = compiler.strings
    domain = table.domain(column)
    keys, order = _searcher(table.keys, strings)
    cells = codes_of(table.columns[column], domain.type, strings)[order]

    def look(code: Any) -> Any:
        return cells[np.minimum(np.searchsorted(keys, code), len(keys) - 1)]

    if not _within(key, table.keys, strings):
        known = membership(compiler, key, table.keys)
        compiler.guard(relation("==", known, 0), "key", cell.indices[0].span, name)
    result = call(_add(compiler, "look", look), key.number)
    return _typed(result, domain, strings)


def _typed(result: Any, domain: Domain, strings: Strings) -> Typed:
    shape = variable(Symbol("_"), domain, strings)
    expr = as_condition(result) if domain.type == "bool" else result
    return Typed(shape.type, expr, shape.low, shape.high, shape.texts, domain)


def function_call(compiler: Compiling, expr: tree.Call) -> Typed | None:
    """``plural(noun)``: a Python function over the values of its arguments."""
    functions = compiler.scope.functions
    if not isinstance(expr.function, tree.Name) or expr.function.name not in functions:
        name = expr.function.name if isinstance(expr.function, tree.Name) else expr.function.span.text or "this"
        help = did_you_mean(name, functions, f'import it: from "tasks.py" import {name}')
        compiler.diagnostics.report("E304", f"no function `{name}`", expr.function.span, help=help)
        return None
    function = functions[expr.function.name]
    before = len(compiler.guards)
    arguments = [(compiler.part(argument.value), argument) for argument in expr.arguments]
    if function is None:
        return None
    named = next((argument for argument in expr.arguments if argument.name is not None), None)
    if named is not None:
        compiler.diagnostics.report(
            "E304", f"`{function.name}` takes its arguments in order", named.span, help="leave the name out"
        )
        return None
    if len(arguments) != len(function.parameters):
        wants = ", ".join(name for name, _ in function.parameters)
        title = f"`{function.name}` takes {len(function.parameters)} argument{'s' * (len(function.parameters) != 1)}, not {len(arguments)}"
        compiler.diagnostics.report("E304", title, expr.span, help=f"write {function.name}({wants})")
        return None
    given: list[Typed] = []
    for (value, argument), (name, domain) in zip(arguments, function.parameters, strict=True):
        if value is None:
            return None
        widened = value.type == "int" and domain.type == "real"
        if value.type != domain.type and not widened:
            title = f"`{name}` of `{function.name}` is {WORDS[domain.type]}"
            compiler.diagnostics.report("E304", title, argument.span, label=f"this is {value.told}")
            return None
        if isinstance(domain, Finite) and domain.type == "string" and value.texts is not None:
            allowed = {compiler.strings.code(str(text)) for text in domain.values}
            if value.texts - allowed:
                odd = compiler.strings.text(min(value.texts - allowed))
                title = f'`{name}` of `{function.name}` is never "{odd}"'
                compiler.diagnostics.report("E304", title, argument.span, label=f"its annotation says {domain}")
                return None
        given.append(value)
    kinds: list[str] = [domain.type for _, domain in function.parameters]
    numbers = [value.real if kind == "real" else value.number for value, kind in zip(given, kinds, strict=True)]
    helper = _caller(function, kinds, compiler.strings)
    # A row whose arguments are themselves at fault is reported for that; the function is not called with them.
    sound = [negation(guard.condition) for guard in compiler.guards[before:]]
    needed = as_number(every([compiler.reached, *sound]))
    result = call(_add(compiler, "call", helper), needed, *numbers)
    found = _typed(result, function.result, compiler.strings)
    listed = isinstance(function.result, Finite) and not isinstance(function.result.values, range)
    # `int`, `float` and `str` say little of what comes out: with trust, the function itself tells.
    return found if listed else replace(found, domain=None)


def _caller(function: PythonFunction, kinds: list[str], strings: Strings) -> Callable[..., Any]:
    """Calls a function on the rows that need it, once for each distinct tuple of arguments."""
    dtype = np.float64 if function.result.type == "real" else np.int64

    def apply(needed: Any, *codes: Any) -> Any:
        mask, *columns = np.broadcast_arrays(np.atleast_1d(needed).astype(bool), *codes)
        result = np.zeros(mask.shape, dtype)
        rows = np.flatnonzero(mask)
        if not len(rows):
            return result
        group = np.zeros(len(rows), np.int64)
        for column in columns:
            _, inverse = np.unique(column[rows], return_inverse=True)
            _, group = np.unique(group * (int(inverse.max()) + 1) + inverse.reshape(-1), return_inverse=True)
        group = group.reshape(-1)
        _, first = np.unique(group, return_index=True)
        table = np.zeros(len(first), dtype)
        for i, at in enumerate(rows[first]):
            values = [value_of(column[at], kind, strings) for column, kind in zip(columns, kinds, strict=True)]
            table[i] = code_of(function(*values), strings)
        result[rows] = table[group]
        return result

    return apply
