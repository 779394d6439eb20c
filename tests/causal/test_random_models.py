"""Random models: the compiled function against plain Python, row by row, under random interventions."""

from __future__ import annotations

import itertools
from typing import Any

import causal_models as plain
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel, Scope, compile_model
from causal_dsl.diagnostics import Diagnostics, SpecError, render_all
from causal_dsl.syntax import tree

TEXTS = ("Mary", "John", "Tom")
DOMAINS: dict[str, tree.DomainExpr] = {
    "int": tree.Range(tree.Number(-2), tree.Number(3)),
    "bool": tree.Name("bool"),
    "string": tree.Set(tuple(tree.String(text) for text in TEXTS)),
}
# Words of sympy and Python: a name must mean the variable and nothing else.
NAMES = ("S", "E", "I", "lambda", "N", "Q", "zoo", "oo", "π", "beta", "None", "where", "v0", "t0", "g0")

#: Shrinking a whole model takes minutes, and a failing model is short enough to read.
QUICK: Any = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],
}


def expressions(kind: str, variables: dict[str, str], depth: int) -> st.SearchStrategy[Any]:
    named = [tree.Name(name) for name, k in variables.items() if k == kind]
    leaves = [st.sampled_from(named)] if named else []
    if kind == "int":
        leaves.append(st.integers(-3, 4).map(lambda n: tree.Number(n) if n >= 0 else tree.Unary("-", tree.Number(-n))))
    elif kind == "bool":
        leaves.append(st.booleans().map(tree.Bool))
    else:
        leaves.append(st.sampled_from(TEXTS).map(tree.String))
    if depth == 0:
        return st.one_of(leaves)
    ints, bools, texts = (expressions(k, variables, depth - 1) for k in ("int", "bool", "string"))
    same = {"int": ints, "bool": bools, "string": texts}[kind]
    made: list[Any] = [*leaves, st.builds(tree.IfElse, bools, same, same)]
    if kind == "int":
        made.append(st.builds(tree.Binary, st.sampled_from(("+", "-", "*", "div", "mod")), ints, ints))
        made.append(st.builds(tree.Unary, st.just("-"), ints))
    if kind == "bool":
        made.append(st.builds(tree.Binary, st.sampled_from(("and", "or")), bools, bools))
        made.append(st.builds(tree.Unary, st.just("not"), bools))
        made.append(st.builds(tree.Compare, st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), ints, ints))
        made.append(st.builds(tree.Compare, st.sampled_from(("==", "!=")), texts, texts))
        made.append(st.builds(tree.Compare, st.sampled_from(("==", "!=")), bools, bools))
        quotients = st.builds(tree.Binary, st.just("/"), ints, ints)
        made.append(st.builds(tree.Compare, st.sampled_from(("<", "==")), quotients, ints))
        sets = st.builds(tree.Set, st.lists(texts, min_size=1, max_size=2).map(tuple))
        made.append(st.builds(tree.Member, texts, sets).filter(lambda m: len(set(map(repr, m.domain.items))) == len(m.domain.items)))
        made.append(st.builds(tree.Member, ints, st.just(tree.Range(tree.Number(0), tree.Number(2)))))
    return st.one_of(made)


@st.composite
def declarations(draw: Any) -> tree.CausalDecl:
    names = draw(st.permutations(NAMES))
    kinds: dict[str, str] = {}
    members: list[Any] = []
    for name in names[: draw(st.integers(1, 3))]:
        kinds[name] = draw(st.sampled_from(("int", "bool", "string")))
        members.append(tree.Draw((tree.Ident(name),), DOMAINS[kinds[name]]))
    mechanisms = names[3 : 3 + draw(st.integers(1, 4))]
    for i, name in enumerate(mechanisms):
        kind = draw(st.sampled_from(("int", "bool", "string")))
        expr = draw(expressions(kind, dict(kinds), 3))
        members.append(tree.Mechanism(tree.Ident(name), expr, output=i == len(mechanisms) - 1))
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


@settings(max_examples=60, **QUICK)
@given(declarations(), st.data())
def test_compiled_function_against_plain_python(decl: tree.CausalDecl, data: Any) -> None:
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
    chosen = data.draw(st.lists(st.sampled_from(sorted(model.variables)), unique=True, min_size=1))
    picks = {name: data.draw(st.integers(0, len(everything) - 1)) for name in chosen}
    do_rows = [{name: expected[(i + pick) % len(everything)][name] for name, pick in picks.items()} for i in range(len(everything))]
    do = {name: np.array([model.encode(name, row[name]) for row in do_rows]) for name in chosen}
    try:
        wanted = [plain.run(decl, row, forced) for row, forced in zip(everything, do_rows, strict=True)]
    except ZeroDivisionError:
        try:
            model.evaluate(columns, do)
        except SpecError as error:
            assert {diagnostic.code for diagnostic in error.diagnostics} == {"E325"}
            return
        raise AssertionError("the division by zero was not noticed") from None
    got = model.evaluate(columns, do)
    for name in model.variables:
        assert model.decode(name, got[name]) == [row[name] for row in wanted]
    some = data.draw(st.lists(st.sampled_from(sorted(model.variables)), unique=True, min_size=1))
    part = model.evaluate(columns, do, wanted=some)
    assert all((part[name] == got[name]).all() for name in some) and set(part) == set(some)


@settings(max_examples=40, **QUICK)
@given(declarations(), st.data())
def test_ceilings_against_plain_python(decl: tree.CausalDecl, data: Any) -> None:
    from causal_dsl.causal.ceilings import ceilings

    model = compiled_or_none(decl)
    if model is None or len(list(plain.inputs(decl))) > 40:
        return
    output = model.outputs[0]
    name = data.draw(st.sampled_from(sorted(model.variables)))
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
        assert list(itertools.islice(model.variables["y"].domain, 2)) == list(itertools.islice(model.variables["x"].domain, 2))
