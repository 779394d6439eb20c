"""Random models: the compiled function against plain Python, row by row, under random interventions."""

from __future__ import annotations

import itertools
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.causal.domains import Finite
from causal_dsl.causal.members import compile_model
from causal_dsl.causal.model import CausalModel, Scope
from causal_dsl.diagnostics import Diagnostics, SpecError, render_all
from causal_dsl.syntax import tree
from tests.causal import causal_models as plain

TEXTS = ("Mary", "John", "Tom")
DOMAINS: dict[str, tree.DomainExpr] = {
    "int": tree.Range(tree.Number(-2), tree.Number(3)),
    "bool": tree.Name("bool"),
    "string": tree.Set(tuple(tree.String(text) for text in TEXTS)),
}
# Words of sympy and Python: a name must mean the variable and nothing else.
NAMES = ("S", "E", "I", "lambda", "N", "Q", "zoo", "oo", "π", "beta", "None", "where", "v0", "t0", "g0")

#: Models are grown from a seed, which hypothesis draws: a strategy for every node would take a hundred times longer.
seeds = st.integers(0, 2**32 - 1)


def expression(random: Random, kind: str, variables: dict[str, str], depth: int) -> tree.Expr:
    """A random expression of a type, over these variables."""

    def part(wanted: str) -> Any:
        return expression(random, wanted, variables, depth - 1)

    named = [tree.Name(name) for name, k in variables.items() if k == kind]
    if depth == 0 or random.random() < 0.2:
        if named and random.random() < 0.7:
            return random.choice(named)
        if kind == "int":
            n = random.randint(-3, 4)
            return tree.Number(n) if n >= 0 else tree.Unary("-", tree.Number(-n))
        return tree.Bool(random.random() < 0.5) if kind == "bool" else tree.String(random.choice(TEXTS))
    if kind == "string" or random.random() < 0.2:
        return tree.IfElse(part("bool"), part(kind), part(kind))
    if kind == "int":
        if random.random() < 0.1:
            return tree.Unary("-", part("int"))
        return tree.Binary(random.choice(("+", "-", "*", "div", "mod")), part("int"), part("int"))
    order = random.choice(("==", "!=", "<", "<=", ">", ">="))
    match random.randrange(8):
        case 0 | 1:
            return tree.Binary(random.choice(("and", "or")), part("bool"), part("bool"))
        case 2:
            return tree.Unary("not", part("bool"))
        case 3:
            return tree.Compare(order, part("int"), part("int"))
        case 4:
            alike = random.choice(("string", "bool"))
            return tree.Compare(random.choice(("==", "!=")), part(alike), part(alike))
        case 5:
            return tree.Compare(order, tree.Binary("/", part("int"), part("int")), part("int"))
        case 6:
            items = {repr(item): item for item in (part("string"), part("string"))}
            return tree.Member(part("string"), tree.Set(tuple(items.values())))
    return tree.Member(part("int"), tree.Range(tree.Number(0), tree.Number(2)))


def declaration(random: Random) -> tree.CausalDecl:
    """A random model: one to three drawn variables, up to four mechanisms."""
    names = random.sample(NAMES, len(NAMES))
    kinds: dict[str, str] = {}
    members: list[Any] = []
    for name in names[: random.randint(1, 3)]:
        kinds[name] = random.choice(sorted(DOMAINS))
        members.append(tree.Draw((tree.Ident(name),), DOMAINS[kinds[name]]))
    mechanisms = names[3 : 3 + random.randint(1, 4)]
    for i, name in enumerate(mechanisms):
        kind = random.choice(sorted(DOMAINS))
        value = expression(random, kind, kinds, 3)
        members.append(tree.Mechanism(tree.Ident(name), value, output=i == len(mechanisms) - 1))
        kinds[name] = kind
    return tree.CausalDecl(tree.Ident("m"), tuple(members))


def compiled_or_none(decl: tree.CausalDecl) -> CausalModel | None:
    """The model; None if it divides by zero on some input, which plain Python must then do, too."""
    diagnostics = Diagnostics()
    model = compile_model(decl, Scope(), diagnostics)
    if model is None:
        codes = {diagnostic.code for diagnostic in diagnostics.errors}
        assert codes <= {"E325", "E312", "E311"}, render_all(diagnostics)
        if codes == {"E325"}:
            failures = 0
            for row, _ in plain.inputs(decl):
                try:
                    plain.run(decl, row, {})
                except ZeroDivisionError:
                    failures += 1
            assert failures
    return model


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(seeds)
def test_compiled_function_against_plain_python(seed: int) -> None:
    random = Random(seed)
    decl = declaration(random)
    model = compiled_or_none(decl)
    if model is None:
        return
    everything = [row for row, _ in plain.inputs(decl)]
    columns = {name: np.array([model.encode(name, row[name]) for row in everything]) for name in model.exogenous}
    found = model.evaluate(columns)
    expected = [plain.run(decl, row, {}) for row in everything]
    for name in model.variables:
        assert model.decode(name, found[name]) == [row[name] for row in expected]
        assert all(row[name] in model.variables[name].domain for row in expected), "the inferred domain holds it all"

    # Interventions: each variable of a random set takes its value from a random row of its own.
    chosen = random.sample(sorted(model.variables), random.randint(1, len(model.variables)))
    picks = {name: random.randrange(len(everything)) for name in chosen}
    do_rows = [
        {name: expected[(i + pick) % len(everything)][name] for name, pick in picks.items()}
        for i in range(len(everything))
    ]
    do = {name: np.array([model.encode(name, row[name]) for row in do_rows]) for name in chosen}
    try:
        wanted = [plain.run(decl, row, forced) for row, forced in zip(everything, do_rows, strict=True)]
    except ZeroDivisionError:
        with pytest.raises(SpecError) as error:
            model.evaluate(columns, do)
        assert {diagnostic.code for diagnostic in error.value.diagnostics} == {"E325"}
        return
    got = model.evaluate(columns, do)
    for name in model.variables:
        assert model.decode(name, got[name]) == [row[name] for row in wanted]
    some = random.sample(sorted(model.variables), random.randint(1, len(model.variables)))
    part = model.evaluate(columns, do, wanted=some)
    assert all((part[name] == got[name]).all() for name in some) and set(part) == set(some)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seeds)
def test_ceilings_against_plain_python(seed: int) -> None:
    random = Random(seed)
    decl = declaration(random)
    from causal_dsl.causal.ceilings import ceilings

    model = compiled_or_none(decl)
    if model is None or len(list(plain.inputs(decl))) > 40:
        return
    output = model.outputs[0]
    name = random.choice(sorted(model.variables))
    try:
        expected = plain.ceilings(decl, ("base", "source"), [(name, "source")], output)
    except ZeroDivisionError:
        return
    found = ceilings(plain.design(model), [(name, "source")], output, None)
    assert {key: ceiling.value for key, ceiling in found.items()} == {key: float(v) for key, v in expected.items()}
    assert all(ceiling.exact and ceiling.n == len(list(plain.inputs(decl))) ** 2 for ceiling in found.values())


def test_every_declared_kind_is_reached() -> None:
    for kind, domain in DOMAINS.items():
        decl = tree.CausalDecl(
            tree.Ident("m"),
            (tree.Draw((tree.Ident("x"),), domain), tree.Mechanism(tree.Ident("y"), tree.Name("x"), output=True)),
        )
        model = compiled_or_none(decl)
        assert model is not None and isinstance(model.variables["y"].domain, Finite)
        assert model.variables["y"].type == kind
        assert list(itertools.islice(model.variables["y"].domain, 2)) == list(
            itertools.islice(model.variables["x"].domain, 2)
        )


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seeds)
def test_sympy_expressions_say_the_same(seed: int) -> None:
    decl = declaration(Random(seed))
    model = compiled_or_none(decl)
    if model is None:
        return
    rows = [row for row, _ in plain.inputs(decl)]
    columns = {name: np.array([model.encode(name, row[name]) for row in rows]) for name in model.exogenous}
    values = model.evaluate(columns)
    for name, expr in model.expressions.items():
        assert {str(symbol) for symbol in expr.free_symbols} <= set(model.variables[name].parents)
        for i in range(0, len(rows), 1 + len(rows) // 5):
            at = {symbol: int(values[str(symbol)][i]) for symbol in expr.free_symbols}
            assert int(_at(expr, at)) == values[name][i], (name, expr, at)


def _at(expr: Any, values: dict[Any, int]) -> Any:
    """``expr.subs(values)``, without the branches that are not taken: sympy cannot compare what divides by zero there."""
    if isinstance(expr, sympy.Piecewise):
        return next(_at(value, values) for value, condition in expr.args if _at(condition, values))
    if isinstance(expr, sympy.ITE):
        condition, then, otherwise = expr.args
        return _at(then if _at(condition, values) else otherwise, values)
    if isinstance(
        expr, sympy.And | sympy.Or
    ):  # one part settles it; those behind it may be undefined, and sympy keeps no order
        settles = isinstance(expr, sympy.Or)
        for part in expr.args:
            with suppress(ZeroDivisionError, TypeError):
                if bool(_at(part, values)) is settles:
                    return sympy.true if settles else sympy.false
        return sympy.false if settles else sympy.true
    return expr.func(*(_at(part, values) for part in expr.args)) if expr.args else expr.subs(values)


@pytest.mark.parametrize("op", ["/", "div", "mod"])
@pytest.mark.parametrize("zero", ["0", "0.0", "(1.5 - 1.5)"])
def test_a_branch_that_divides_by_zero_and_is_never_taken(op: str, zero: str) -> None:
    for number in ("a", "1.5", "3"):
        model = plain.model(f"causal m {{ a ~ 0..3  output o := if a < 0 then {number} {op} {zero} == 1 else a == 1 }}")
        (symbol,) = model.expressions["o"].free_symbols
        assert [bool(model.expressions["o"].subs({symbol: a})) for a in range(4)] == [False, True, False, False]


def test_a_remainder_of_multiples_is_that_of_numbers() -> None:
    model = plain.model("causal m { a ~ -2..2  output o := if a == 0 then 0 else a mod (-3 * a) }")
    (symbol,) = model.expressions["o"].free_symbols
    assert [int(model.expressions["o"].subs({symbol: a})) for a in (-2, -1, 1, 2)] == [
        a % (-3 * a) for a in (-2, -1, 1, 2)
    ]


def test_an_expression_can_be_simplified_with_sympy() -> None:
    model = plain.model("causal m { a, b ~ 0..9  output o := (a + b) * (a - b) + b * b }")
    a, b = (sympy.Symbol(name, real=True) for name in "ab")
    assert sympy.expand(model.expressions["o"]) == a**2 and b in model.expressions["o"].free_symbols
