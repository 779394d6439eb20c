"""From an expression of the tree to a typed term.

Names are looked up in a table of the caller's, never given to Python as text, so a variable may be called
``S``, ``lambda`` or ``E``. Conditions under which a row is at fault (a division by zero in a branch that is taken) are
collected as guards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from causal_dsl.causal import lookups
from causal_dsl.causal.domain_of import compile_domain, constant, too_deep
from causal_dsl.causal.domains import LIMIT, WORDS, Finite, Text
from causal_dsl.causal.named_files import folder_of
from causal_dsl.causal.scope import Scope, Strings
from causal_dsl.causal.terms import TRUE, Float, Integer, every, negation, piecewise, relation, some
from causal_dsl.causal.typed import Guard, Typed, arithmetic, as_condition, as_number, literal
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.syntax import tree

#: Two values of a type that is no number.
_SEVERAL = {"string": "texts", "bool": "truth values", "set": "sets"}


class Compiler:
    """Compiles the expressions of one model (or one condition), which share their texts and helpers.

    ``names`` are the variables that may be named, as ``x`` or, for conditions over several runs, as ``base.x``.
    ``what`` says in messages where the names are looked for. ``helpers`` grows by the functions that compiled code calls.
    """

    def __init__(
        self, names: dict[str, Typed | None], scope: Scope, strings: Strings, diagnostics: Diagnostics, what: str
    ):
        self.names = names
        self.scope = scope
        self.strings = strings
        self.diagnostics = diagnostics
        self.what = what
        self.helpers: dict[str, Callable[..., Any]] = {}
        self.guards: list[Guard] = []
        self._path: list[Any] = []

    # ── entry points ────────────────────────────────────────────────────────────────────────────

    def value(self, expr: tree.Expr) -> Typed | None:
        """Compile an expression; None if a fault was reported. Its guards are added to ``guards``."""
        deep = too_deep(expr)
        if deep is not None:
            self._fault(
                "E307",
                "this expression nests too deeply",
                deep,
                help="give its parts names of their own, as `part := …`",
            )
            return None
        return self.part(expr)

    def condition(self, expr: tree.Expr, what: str = "`where`") -> Typed | None:
        """Compile an expression that must be true or false."""
        found = self.value(expr)
        if found is not None and found.type != "bool":
            self._fault(
                "E303",
                f"{what} needs true or false",
                expr.span,
                label=f"this is {found.told}",
                help="compare it, as in `x == 1`",
            )
            return None
        return found

    def _fault(self, code: str, title: str, span: Span, **more: Any) -> None:
        self.diagnostics.report(code, title, span, **more)

    def guard(self, condition: Any, kind: Any, span: Span, subject: str = "") -> None:
        """Note a condition under which a row is at fault, on the branch being compiled."""
        self.guards.append(Guard(every([*self._path, condition]), kind, span, subject))

    @property
    def reached(self) -> Any:
        """The condition on which the part being compiled is needed."""
        return every(self._path)

    # ── the kinds of expression ─────────────────────────────────────────────────────────────────

    def part(self, expr: tree.Node) -> Typed | None:
        match expr:
            case tree.Number():
                return self._number(expr)
            case tree.String(value=value) | tree.Bool(value=value):
                return literal(value, self.strings)
            case tree.Name(name=name):
                return self._name(name, expr.span)
            case tree.Attribute(value=tree.Subscript(value=tree.Name()) as cell):
                return lookups.table_cell(self, cell, expr)
            case tree.Attribute():
                return self._attribute(expr)
            case tree.Unary(op="-"):
                return self._negative(expr)
            case tree.Unary(op="not"):
                found = self._truth(expr.operand, "not")
                return None if found is None else Typed("bool", negation(found.expr))
            case tree.Binary(op="and" | "or"):
                return self._logic(expr)
            case tree.Binary():
                return self._arithmetic(expr)
            case tree.Compare():
                return self._compare(expr)
            case tree.Member():
                return self._member(expr)
            case tree.IfElse():
                return self._conditional(expr)
            case tree.Call():
                return lookups.function_call(self, expr)
            case tree.Subscript(value=tree.Name(name=name)) if name in self.scope.tables:
                return lookups.table_cell(self, expr, None)
            case _:
                what = (
                    "a list"
                    if isinstance(expr, tree.List)
                    else "a subscript"
                    if isinstance(expr, tree.Subscript)
                    else "this"
                )
                self._fault(
                    "E306",
                    f"{what} is not a value of a causal model",
                    expr.span,
                    help="declare a table outside the model: `table T = {…}`; then T[x] is a value"
                    if isinstance(expr, tree.Subscript)
                    else "a variable is a number, a text, true or false",
                )
        return None

    def _number(self, expr: tree.Number) -> Typed | None:
        if expr.unit is not None:
            help = f"write {expr.value / 100!r}" if expr.unit == "%" else "leave the unit out"
            self._fault("E306", f"a causal model has no `{expr.unit}`", expr.span, help=help)
            return None
        if abs(expr.value) >= (LIMIT if isinstance(expr.value, int) else 1e300):
            self._fault("E308", "this number is too large", expr.span, label="whole numbers go up to 4.6e18")
            return None
        return literal(expr.value, self.strings)

    def _name(self, name: str, span: Span) -> Typed | None:
        if name in self.names:
            return self.names[name]
        if name in self.scope.domains or name in self.scope.tables or name in self.scope.functions:
            kind = "domain" if name in self.scope.domains else "table" if name in self.scope.tables else "function"
            help = {
                "domain": f"write `x in {name}`",
                "table": f"write {name}[x]" + ".column" * (not getattr(self.scope.tables.get(name), "only", "")),
                "function": f"write {name}(x)",
            }[kind]
            self._fault("E305", f"`{name}` is a {kind}, not a variable", span, help=help)
        else:
            runs = [known for known in self.names if known.endswith("." + name)]
            if runs:
                self._fault("E305", f"whose `{name}`?", span, help="write it as " + " or ".join(runs[:4]))
                return None
            roots = {known.split(".")[0] for known in self.names} - set(self.names)
            if name in roots:
                some = next(known for known in self.names if known.startswith(name + "."))
                self._fault("E305", f"which variable of `{name}`?", span, help=f"write it as {some}")
            else:
                help = did_you_mean(name, self.names) or f'write "{name}" if it is a text'
                self._fault("E305", f"no variable `{name}` in {self.what}", span, help=help)
        return None

    def _attribute(self, expr: tree.Attribute) -> Typed | None:
        if isinstance(expr.value, tree.Name):
            name = f"{expr.value.name}.{expr.name.name}"
            if name in self.names:
                return self.names[name]
            root = expr.value.name
            inside = [known.split(".", 1)[1] for known in self.names if known.startswith(root + ".")]
            if inside:
                self._fault(
                    "E305",
                    f"no variable `{expr.name.name}` in {self.what}",
                    expr.name.span,
                    help=did_you_mean(expr.name.name, inside),
                )
            elif any("." in known for known in self.names):
                runs = {known.split(".")[0] for known in self.names if "." in known}
                self._fault("E305", f"no run `{root}` is drawn here", expr.value.span, help=did_you_mean(root, runs))
            elif root in self.names:
                self._fault("E306", f"`{root}` has no parts", expr.name.span, help=f"write `{root}` alone")
            else:
                self._fault(
                    "E305", f"no variable `{root}` in {self.what}", expr.value.span, help=did_you_mean(root, self.names)
                )
            return None
        self._fault(
            "E306", "this is not a value of a causal model", expr.span, help="write a variable, or Table[x].column"
        )
        return None

    def _truth(self, expr: tree.Node, op: str) -> Typed | None:
        found = self.part(expr)
        if found is None or found.type == "bool":
            return found
        help = "compare it, as in `x == 1`" if found.numeric else 'compare it, as in `x == "a"`'
        self._fault("E301", f"`{op}` needs true or false", expr.span, label=f"this is {found.told}", help=help)
        return None

    def _numeric(self, expr: tree.Node, op: str) -> Typed | None:
        found = self.part(expr)
        if found is None or found.numeric:
            return found
        help = (
            "write `if x then 1 else 0`"
            if found.type == "bool"
            else f"{_SEVERAL[found.type]} can be compared with == and !=, or looked up in a table: `table T = {{…}}`, then T[x]"
        )
        if isinstance(found.domain, Finite) and found.domain.gap:
            help = "fill the gap in the file"
        self._fault("E301", f"`{op}` needs numbers", expr.span, label=f"this is {found.told}", help=help)
        return None

    def _negative(self, expr: tree.Unary) -> Typed | None:
        found = self._numeric(expr.operand, "-")
        return None if found is None else self._combine("*", literal(-1, self.strings), found, expr.span)

    def _logic(self, expr: tree.Binary) -> Typed | None:
        op = expr.op
        parts = _spine(expr, (op,))
        found: list[Typed | None] = []
        depth = len(self._path)
        for _, part in parts:
            one = self._truth(part, op)
            found.append(one)
            # What comes later is computed only where it still matters.
            if one is not None:
                self._path.append(one.expr if op == "and" else negation(one.expr))
        del self._path[depth:]
        known = [one.expr for one in found if one is not None]
        if len(known) < len(found):
            return None
        return Typed("bool", (every if op == "and" else some)(known))

    def _arithmetic(self, expr: tree.Binary) -> Typed | None:
        ops = ("+", "-") if expr.op in ("+", "-") else ("*", "/", "div", "mod")
        parts = _spine(expr, ops)
        total = self._numeric(parts[0][1], parts[1][0])
        good = total is not None
        for op, part in parts[1:]:
            value = self._numeric(part, op)
            if value is None or total is None:
                good = False
                continue
            if op == "-":
                op, value = "+", self._combine("*", literal(-1, self.strings), value, part.span)
            total = (
                None if value is None else self._combine(op, total, value, expr.span if len(parts) == 2 else part.span)
            )
        return total if good else None

    def _combine(self, op: str, a: Typed, b: Typed, span: Span) -> Typed | None:
        result, zero, large = arithmetic(op, a, b)
        if zero is not None:
            self.guard(zero, "zero", span, op)
        if large is not None:
            self.guard(large, "large", span)
        if isinstance(result.expr, Integer) and abs(result.expr.held) >= LIMIT:
            self._fault("E308", "this gives numbers that are too large", span, label="whole numbers go up to 4.6e18")
            return None
        return result

    def _compare(self, expr: tree.Compare) -> Typed | None:
        a, b = self.part(expr.left), self.part(expr.right)
        if a is None or b is None:
            return None
        op = expr.op
        if not (a.type == b.type or (a.numeric and b.numeric)):
            help = ""
            if "bool" in (a.type, b.type):
                help = "a variable that is true or false is written alone: `x`, or `not x`"
            elif isinstance(expr.right, tree.String) or isinstance(expr.left, tree.String):
                help = "leave the quotes out for a number"
            self._fault(
                "E300",
                f"{WORDS[a.type]} is compared with {WORDS[b.type]}",
                expr.span,
                others=((expr.left.span, a.told), (expr.right.span, b.told)),
                help=help,
            )
            return None
        if op not in ("==", "!=") and not a.numeric:
            self._fault(
                "E301",
                f"`{op}` needs numbers",
                expr.span,
                label=f"these are {_SEVERAL[a.type]}",
                help="write == or !=",
            )
            return None
        self._never(expr, a, b)
        if a.type == "bool":
            both = [as_number(x.expr) for x in (a, b)]
            return Typed("bool", relation(op, *both))
        left, right = (a.real, b.real) if a.type != b.type else (a.expr, b.expr)
        return Typed("bool", relation(op, left, right))

    def _never(self, expr: tree.Compare, a: Typed, b: Typed) -> None:
        """Warn of an equality of things that have no value in common."""
        if expr.op not in ("==", "!="):
            return
        if a.texts is not None and b.texts is not None and not a.texts & b.texts:
            few, many = sorted((a.texts, b.texts), key=lambda codes: len(codes))
            texts, pool = ([self.strings.text(code) for code in sorted(codes)] for codes in (few, many))
            close = did_you_mean(texts[0], pool).replace("`", '"') if len(texts) == 1 else ""
        elif a.numeric and b.numeric and (a.high < b.low or b.high < a.low):
            close = ""
        else:
            return
        always = "never" if expr.op == "==" else "always"
        self._fault(
            "W300", f"this {always} holds", expr.span, label="the two sides have no value in common", help=close
        )

    def _member(self, expr: tree.Member) -> Typed | None:
        element = self.part(expr.element)
        if isinstance(expr.domain, tree.Set) and any(constant(item) is None for item in expr.domain.items):
            parts = [
                self._compare(tree.Compare("==", expr.element, item, span=item.span)) for item in expr.domain.items
            ]
            known = [part.expr for part in parts if part is not None]
            if element is None or len(known) < len(parts):
                return None
            return Typed("bool", some(known))
        domain = compile_domain(expr.domain, self.scope, folder_of(expr.span), self.diagnostics)
        if element is None or domain is None:
            return None
        if element.type != domain.type and not (element.numeric and domain.type in ("int", "real")):
            self._fault(
                "E300",
                f"{WORDS[element.type]} is never in this domain",
                expr.span,
                others=((expr.element.span, element.told), (expr.domain.span, str(domain))),
            )
            return None
        return Typed("bool", inside(self, element, domain))

    def _conditional(self, expr: tree.IfElse) -> Typed | None:
        cases: list[tuple[Typed | None, Typed | None, Span]] = []
        depth = len(self._path)
        rest: tree.Node = expr
        while isinstance(rest, tree.IfElse):
            condition = self.part(rest.condition)
            if condition is not None and condition.type != "bool":
                self._fault(
                    "E303",
                    "`if` needs true or false",
                    rest.condition.span,
                    label=f"this is {condition.told}",
                    help="compare it, as in `x == 1`",
                )
                condition = None
            self._path.append(TRUE if condition is None else condition.expr)
            cases.append((condition, self.part(rest.then), rest.then.span))
            self._path[-1] = negation(self._path[-1])
            rest = rest.otherwise
        last = self.part(rest)
        del self._path[depth:]
        values = [*((value, span) for _, value, span in cases), (last, rest.span)]
        known = [(value, span) for value, span in values if value is not None]
        for value, span in known:
            first, place = known[0]
            if value.type != first.type and not (value.numeric and first.numeric):
                self._fault(
                    "E302",
                    "the branches of `if` are of different types",
                    span,
                    label=f"this is {value.told}",
                    others=((place, f"this is {first.told}"),),
                    help="make all of them numbers, or all texts",
                )
                return None
        conditions = [condition.expr for condition, _, _ in cases if condition is not None]
        if len(known) < len(values) or len(conditions) < len(cases):
            return None
        return choose(conditions, [value for value, _ in known])


def choose(conditions: Sequence[Any], values: Sequence[Typed]) -> Typed:
    """The value at the first condition that holds; the last value has none."""
    kind = values[0].type if len({value.type for value in values}) == 1 else "real"
    parts = [value.real if kind == "real" else value.number for value in values]
    expr = piecewise(parts[:-1], conditions, parts[-1])
    if kind == "bool":
        return Typed("bool", as_condition(expr))
    texts = None
    if all(value.texts is not None for value in values):
        texts = frozenset().union(*(value.texts for value in values if value.texts is not None))
    return Typed(kind, expr, min(v.low for v in values), max(v.high for v in values), texts)


def inside(compiler: Compiler, element: Typed, domain: Any) -> Any:
    """The condition that a value lies in a domain of its own type."""
    if isinstance(domain, Text):
        return TRUE
    if isinstance(domain, Finite) and domain.type == "bool":
        codes = sorted({int(bool(value)) for value in domain.values})
        return TRUE if len(codes) == 2 else relation("==", element.number, codes[0])
    if not isinstance(domain, Finite) or domain.contiguous:
        low, high = domain.low, domain.high
        make = Integer if isinstance(domain, Finite) else Float
        value = element.expr if isinstance(domain, Finite) else element.real
        parts = [relation(">=", value, make(low))] if low > -math.inf else []
        parts += [relation("<=", value, make(high))] if high < math.inf else []
        return every(parts)
    known = [literal(value, compiler.strings) for value in domain.values] if domain.size <= 8 else []
    if known:
        left = element.real if domain.type == "real" else element.expr
        return some([relation("==", left, value.expr) for value in known])
    return as_condition(lookups.membership(compiler, element, domain))


def _spine(expr: tree.Binary, ops: tuple[str, ...]) -> list[tuple[str, tree.Node]]:
    """The operands of a chain such as a + b - c, each with the operator before it (that of the first is empty)."""
    parts: list[tuple[str, tree.Node]] = []
    node: tree.Node = expr
    while isinstance(node, tree.Binary) and node.op in ops:
        parts.append((node.op, node.right))
        node = node.left
    return [("", node), *reversed(parts)]
