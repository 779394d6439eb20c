"""From a domain as it is written to a :class:`~causal_dsl.causal.domains.Domain`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.causal.domains import BOOL, LIMIT, WORDS, Domain, Finite, Real, Value, show, type_of
from causal_dsl.causal.named_files import read_text
from causal_dsl.causal.scope import Scope
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.syntax import tree

if TYPE_CHECKING:
    from causal_dsl.causal.lookup_table import LookupTable

FORMS = 'write {"a", "b"}, 0..9, bool, real(-1, 1) or lines("file.txt")'


#: How deep an expression may nest. Chains of one operator and of `else if` count once.
DEEPEST = 100


def too_deep(expr: tree.Node, chains: bool = True) -> Span | None:
    """Where an expression nests beyond :data:`DEEPEST`, or None. ``chains``: a chain of operators counts once."""
    stack: list[tuple[tree.Node, int]] = [(expr, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > DEEPEST:
            return node.span if node.span.end else expr.span
        for child in node.children():
            chain = isinstance(node, tree.Binary) and child is node.left and isinstance(child, tree.Binary)
            chain = chain or (isinstance(node, tree.IfElse) and child is node.otherwise)
            stack.append((child, depth if chain and chains else depth + 1))
    return None


def constant(expr: tree.Node) -> Value | None:
    """The value of an expression that mentions no names, else None. Sums and products of numbers count."""
    return None if too_deep(expr, chains=False) is not None else _constant(expr)


def _constant(expr: tree.Node) -> Value | None:
    match expr:
        case tree.Number(value=value, unit=None) | tree.String(value=value) | tree.Bool(value=value):
            return value
        case tree.Unary(op="-", operand=operand):
            number = _constant(operand)
            return None if number is None or isinstance(number, (bool, str)) else -number
        case tree.Binary(op="+" | "-" | "*" as op, left=left, right=right):
            a, b = _constant(left), _constant(right)
            if a is None or b is None or isinstance(a, (bool, str)) or isinstance(b, (bool, str)):
                return None
            if max(abs(a), abs(b)) > 2 * LIMIT:  # products of products would grow without end
                return None
            return a + b if op == "+" else a - b if op == "-" else a * b
    return None


def compile_domain(expr: tree.DomainExpr, scope: Scope, folder: Path, diagnostics: Diagnostics) -> Domain | None:
    """The domain that ``expr`` says, or None with a diagnostic.

    ``folder`` is where ``lines("file.txt")`` is looked for. Faults: E308 (a number too large), E310 (empty), E311 (a
    value twice), E312 (values of several types), E313 (unknown name), E314 (wrongly written), E315 (file of lines).
    """
    match expr:
        case tree.Range():
            return _range(expr, diagnostics)
        case tree.Set():
            return _set(expr, diagnostics)
        case tree.Name():
            return _named(expr, scope, diagnostics)
        case tree.Attribute(value=tree.Name()):
            return _column(expr, scope, diagnostics)
        case tree.Call(function=tree.Name(name="real")):
            return _real(expr, diagnostics)
        case tree.Call(function=tree.Name(name="lines")):
            return _lines(expr, folder, diagnostics)
        case tree.Call(function=tree.Name(name=name)):
            diagnostics.report(
                "E313", f"no domain `{name}(…)`", expr.span, help=did_you_mean(name, ("real", "lines"), FORMS)
            )
        case _:
            diagnostics.report("E314", "this is not a domain", expr.span, help=FORMS)
    return None


def _named(expr: tree.Name, scope: Scope, diagnostics: Diagnostics) -> Domain | None:
    name = expr.name
    if name in scope.domains:  # what a spec declares is meant, also where it is called as a word of the language
        return scope.domains[name]
    if name in scope.tables:
        table = scope.tables[name]
        return None if table is None else table.keys
    if name == "bool":
        return BOOL
    if name == "real":
        return Real()
    known = [*scope.domains, *scope.tables, "bool", "real"]
    diagnostics.report("E313", f"no domain `{name}`", expr.span, help=did_you_mean(name, known, FORMS))
    return None


def _column(expr: tree.Attribute, scope: Scope, diagnostics: Diagnostics) -> Domain | None:
    """The values of a column of a table, each once (E313, E349)."""
    assert isinstance(expr.value, tree.Name)
    table, column = expr.value.name, expr.name.name
    if table not in scope.tables:
        if table in scope.domains and scope.domains[table] is None:
            return None  # reported where it is declared
        title = f"no table `{table}`" if table not in scope.domains else f"`{table}` is a domain, which has no columns"
        diagnostics.report("E313", title, expr.value.span, help=did_you_mean(table, scope.tables, FORMS))
        return None
    found = scope.tables[table]
    if found is None or not has_column(found, column, expr.name.span, diagnostics):
        return None
    return found.domain(column)


def has_column(table: LookupTable, column: str, span: Span, diagnostics: Diagnostics) -> bool:
    """Whether a table has a column that can be used; else E349."""
    if column in table.columns:
        return True
    if column in table.unusable:
        title, label = f"the column `{column}` of `{table.name}` cannot be used", table.unusable[column]
        diagnostics.report("E349", title, span, label=label, help="a value is a number, a text, true or false")
    else:
        help = did_you_mean(column, table.columns)
        diagnostics.report("E349", f"`{table.name}` has no column `{column}`", span, help=help)
    return False


def _range(expr: tree.Range, diagnostics: Diagnostics) -> Domain | None:
    bounds: list[int] = []
    for side in (expr.low, expr.high):
        value = constant(side)
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) >= LIMIT:
                diagnostics.report("E308", "this number is too large", side.span, label="whole numbers go up to 4.6e18")
                return None
            bounds.append(value)
            continue
        if isinstance(value, float):
            help = f"write real({_plain(expr.low)}, {_plain(expr.high)}) for all numbers between"
            diagnostics.report("E314", "a range counts whole numbers", side.span, help=help)
        else:
            diagnostics.report("E314", "the bounds of a range are whole numbers", side.span, help="write it as 0..9")
        return None
    low, high = bounds
    if low > high:
        diagnostics.report(
            "E310", "this range is empty", expr.span, label=f"{low} is more than {high}", help=f"write {high}..{low}"
        )
        return None
    return Finite(range(low, high + 1))


def _plain(expr: tree.Node) -> str:
    value = constant(expr)
    return "…" if value is None else show(value)


def _set(expr: tree.Set, diagnostics: Diagnostics) -> Domain | None:
    if not expr.items:
        diagnostics.report("E310", "this set is empty", expr.span, help="list at least one value")
        return None
    values: list[Value] = []
    spans: list[Span] = []
    good = True
    for item in expr.items:
        value = constant(item)
        if value is None:
            said = (
                f'write "{item.name}" if it is a text'
                if isinstance(item, tree.Name)
                else 'write numbers, "texts", true or false'
            )
            diagnostics.report("E314", "a domain lists plain values", item.span, help=said)
            good = False
            continue
        if not isinstance(value, (bool, str)) and not (
            abs(value) < LIMIT if isinstance(value, int) else math.isfinite(value)
        ):
            diagnostics.report("E308", "this number is too large", item.span, label="whole numbers go up to 4.6e18")
            good = False
            continue
        values.append(value)
        spans.append(item.span)
    return finite(values, spans, diagnostics) if good else None


def one_type(values: list[Value], spans: list[Span], diagnostics: Diagnostics, what: str) -> list[Value] | None:
    """These values of ``what``; whole numbers beside fractions become fractions (E312)."""
    kinds = {type_of(value) for value in values}
    if kinds == {"int", "real"}:
        return [float(value) for value in values]
    if len(kinds) > 1:
        other = next(i for i, value in enumerate(values) if type_of(value) != type_of(values[0]))
        diagnostics.report(
            "E312",
            f"the values of {what} are of one type",
            spans[other],
            label=f"this is {WORDS[type_of(values[other])]}",
            others=((spans[0], f"this is {WORDS[type_of(values[0])]}"),),
            help="write all as numbers, or all as texts in quotes",
        )
        return None
    return values


def finite(values: list[Value], spans: list[Span], diagnostics: Diagnostics, table: str = "") -> Finite | None:
    """A domain of these values (E311, E312); ``table``: they are the keys of this one."""
    found = one_type(values, spans, diagnostics, "a table" if table else "a domain")
    if found is None:
        return None
    values = found
    seen: dict[Value, Span] = {}
    for value, span in zip(values, spans, strict=True):
        if value in seen:
            diagnostics.report(
                "E311",
                f"{show(value)} is listed twice",
                span,
                others=((seen[value], "first here"),),
                help=f"leave one out: {table} maps each to one value"
                if table
                else "leave one out: each value of a domain is listed once, and all are equally likely",
            )
            return None
        seen[value] = span
    return Finite(tuple(values))


def _real(expr: tree.Call, diagnostics: Diagnostics) -> Domain | None:
    bounds = [constant(argument.value) for argument in expr.arguments if argument.name is None]
    numbers = [float(b) for b in bounds if isinstance(b, (int, float)) and not isinstance(b, bool) and abs(b) <= 1e300]
    if len(numbers) != 2 or len(expr.arguments) != 2:
        diagnostics.report(
            "E314", "`real` takes its lowest and its highest number", expr.span, help="write it as real(-1, 1)"
        )
        return None
    low, high = numbers
    if low > high:
        diagnostics.report(
            "E310",
            "this interval is empty",
            expr.span,
            label=f"{low!r} is more than {high!r}",
            help=f"write real({high!r}, {low!r})",
        )
        return None
    return Real(low, high) if low < high else Finite((low,))  # one number: its inputs can be listed


def _lines(expr: tree.Call, folder: Path, diagnostics: Diagnostics) -> Domain | None:
    match expr.arguments:
        case (tree.Argument(name=None, value=tree.String(value=name, span=span)),):
            pass
        case _:
            diagnostics.report(
                "E314", "`lines` takes the name of a text file", expr.span, help='write it as lines("names.txt")'
            )
            return None
    text = read_text(name, folder, span, diagnostics, "E315")
    if text is None:
        return None
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        value = line.strip()
        if value in found:
            diagnostics.report(
                "E311",
                f"{show(value)} occurs twice in `{name}`",
                span,
                label=f"in lines {found[value]} and {number}",
                help="leave one out: each value of a domain is listed once, and all are equally likely",
            )
            return None
        if value:
            found[value] = number
    if not found:
        diagnostics.report("E310", f"`{name}` has no lines", span, help="write one value a line")
        return None
    return Finite(tuple(found))
