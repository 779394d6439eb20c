"""Random programs: trees of every kind of node, as the parser makes them.

``trees()`` gives whole specs, ``expressions()`` expressions, ``commented(text)`` the same text with comments put in.
The trees say nothing sensible; they are what the grammar allows, with small parts.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.syntax import tree
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.lex import scan

_LETTERS = "abcdefgxyzé_"
_WORDS = ("tau", "base", "source", "layer", "resid_post", "iia", "last", "Shape", "x1", "notx", "inside", "trueish")


@cache
def names() -> st.SearchStrategy[str]:
    """Identifiers, keywords left out, some of them looking like keywords."""
    made = st.builds(str.__add__, st.sampled_from(_LETTERS), st.text(_LETTERS + "0123456789", max_size=12))
    return st.one_of(st.sampled_from(_WORDS), made).filter(lambda name: name not in load_grammar().keywords)


@cache
def idents() -> st.SearchStrategy[tree.Ident]:
    return st.builds(tree.Ident, names())


@cache
def strings() -> st.SearchStrategy[tree.String]:
    """Any text but lone surrogates, which no file can hold, and NUL, which no text does."""
    anything = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\ufffd"), max_size=12)
    usual = st.sampled_from(("", "Mary", 'a "b"', "\\", "\n", "# no comment", "it's {a}", "to the {place}, " * 12))
    return st.builds(tree.String, st.one_of(usual, anything.filter(_is_text)))


def _is_text(value: str) -> bool:
    return not any(ord(c) < 32 and c not in "\t\n\r" for c in value) and "\x7f" not in value


@cache
def numbers() -> st.SearchStrategy[tree.Number]:
    whole = st.integers(0, 10**17)
    broken = st.floats(0, 1e300, allow_nan=False, allow_infinity=False)
    return st.builds(
        tree.Number, st.one_of(whole, broken.map(abs)), st.sampled_from((None, None, None, "%", "nats", "bits"))
    )


def leaves() -> st.SearchStrategy[tree.Expr]:
    return st.one_of(numbers(), strings(), st.builds(tree.Bool, st.booleans()), st.builds(tree.Name, names()))


# Strategies are made once: making them anew for every draw takes most of the time of a test.
_LEAVES = leaves()
_NAMES = names()
_IDENTS = idents()
_NO_OR_YES = st.booleans()
_KINDS = st.integers(0, 9)
_SIZES = [st.integers(0, most) for most in range(6)]
_OPERATORS = st.sampled_from(("+", "-", "*", "/", "div", "mod", "and", "or"))
_COMPARISONS = st.sampled_from(("==", "!=", "<", "<=", ">", ">="))
_SIGNS = st.sampled_from(("-", "not"))
_STEPS = st.lists(st.sampled_from(("attribute", "attribute", "subscript", "call")), max_size=3)


def _several(draw: st.DrawFn, strategy: st.SearchStrategy, least: int = 0, most: int = 3) -> tuple:
    return tuple(draw(strategy) for _ in range(least + draw(_SIZES[most - least])))


@cache
@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tree.Expr:
    """Expressions of every kind, nested up to ``depth``."""
    kind = draw(_KINDS) if depth > 0 else 9
    inner = expressions(depth - 1)
    match kind:
        case 0:
            return draw(paths(depth - 1))
        case 1:
            return tree.List(_several(draw, inner))
        case 2:
            return tree.Unary(draw(_SIGNS), draw(inner))
        case 3 | 4:
            return tree.Binary(draw(_OPERATORS), draw(inner), draw(inner))
        case 5:
            return tree.Compare(draw(_COMPARISONS), draw(inner), draw(inner))
        case 6:
            return tree.Member(draw(inner), draw(domains(depth - 1)))
        case 7:
            return tree.IfElse(draw(inner), draw(inner), draw(inner))
        case 8:
            return tree.Located(draw(inner), draw(paths(depth - 1)))
    return draw(_LEAVES)


def _arguments(draw: st.DrawFn, depth: int) -> tuple[tree.Argument, ...]:
    named = [draw(_NO_OR_YES) for _ in range(draw(_SIZES[2]))]
    return tuple(tree.Argument(draw(_IDENTS) if name else None, _value(draw, depth, name)) for name in named)


def _value(draw: st.DrawFn, depth: int, named: bool) -> tree.Expr:
    """The value of an argument: an expression; a setting may have a domain, or the one keyword, as in ``split=test``."""
    kind = draw(_KINDS) if named else 8
    return tree.Name("test") if kind == 0 else draw(domains(depth)) if kind == 1 else draw(expressions(depth))


def _index(draw: st.DrawFn, depth: int) -> tree.Expr | tree.Slice:
    return draw(slices(depth)) if draw(_NO_OR_YES) else draw(expressions(depth))


@cache
@st.composite
def slices(draw: st.DrawFn, depth: int = 1) -> tree.Slice:
    ends = [draw(expressions(depth)) if draw(_NO_OR_YES) else None for _ in range(2)]
    return tree.Slice(*ends)


@cache
@st.composite
def calls(draw: st.DrawFn, depth: int = 1) -> tree.Call:
    return tree.Call(draw(paths(depth)), _arguments(draw, depth))


@cache
@st.composite
def paths(draw: st.DrawFn, depth: int = 1) -> tree.Expr:
    """Names with attributes, subscripts and calls behind them."""
    made: tree.Expr = tree.Name(draw(_NAMES))
    depth = max(depth, 0)
    for step in draw(_STEPS):
        if step == "attribute":
            made = tree.Attribute(made, draw(_IDENTS))
        elif step == "subscript":
            made = tree.Subscript(made, tuple(_index(draw, depth) for _ in range(1 + draw(_SIZES[1]))))
        else:
            made = tree.Call(made, _arguments(draw, depth))
    return made


@cache
@st.composite
def domains(draw: st.DrawFn, depth: int = 1) -> tree.DomainExpr:
    depth = max(depth, 0)
    match draw(_SIZES[3]):
        case 0:
            return tree.Range(draw(expressions(depth)), draw(expressions(depth)))
        case 1:
            return tree.Set(_several(draw, expressions(depth), 0, 5))
        case 2:
            return draw(calls(depth))
    return draw(paths(depth))


def _tuples(items: st.SearchStrategy, least: int = 0, most: int = 3) -> st.SearchStrategy[tuple]:
    return st.lists(items, min_size=least, max_size=most).map(tuple)


_values = expressions(2)


@cache
def docs() -> st.SearchStrategy[str]:
    """Documentation as the parser reads it: lines without space at their ends, of which the only one is not empty."""
    line = st.text("abc #\"{}'", max_size=10).map(str.rstrip)
    return st.one_of(st.just(""), st.just(""), st.lists(line, min_size=1, max_size=3).map("\n".join))


def _idents(least: int = 1) -> st.SearchStrategy[tuple[tree.Ident, ...]]:
    return _tuples(idents(), least)


@cache
def draws() -> st.SearchStrategy[tree.Draw]:
    return st.builds(tree.Draw, _idents(), domains(), st.none() | _values, doc=docs())


@cache
def causal_models() -> st.SearchStrategy[tree.CausalDecl]:
    sets = st.builds(tree.Set, _tuples(_values)) | st.builds(tree.ChosenSet, _values, _values)
    mechanisms = st.builds(tree.Mechanism, idents(), _values | sets, st.none() | domains(), st.booleans(), doc=docs())
    unstated = st.builds(tree.Mechanism, idents(), st.none(), st.none(), st.just(True), doc=docs())
    return st.builds(tree.CausalDecl, idents(), _tuples(draws() | mechanisms | unstated), doc=docs())


@cache
def parameters() -> st.SearchStrategy[tuple[tree.Parameter, ...]]:
    values = st.one_of(slices(), st.builds(tree.List, _tuples(_values)))
    return _tuples(st.builds(tree.Parameter, idents(), values))


@cache
def alignments() -> st.SearchStrategy[tree.AlignDecl]:
    prompts = st.builds(tree.Prompt, strings() | calls(), st.none() | _values, doc=docs())
    via = st.none() | calls()
    placements = st.builds(tree.Placement, idents(), _tuples(paths(), 1), via, st.none() | idents(), doc=docs())
    members = _tuples(prompts | placements)
    fixed = st.composite(_arguments)(1)
    inherited = st.builds(tree.AlignDecl, idents(), parameters(), idents(), st.none(), members, fixed, doc=docs())
    whole = st.builds(tree.AlignDecl, idents(), parameters(), idents(), idents(), members, fixed, fixed, doc=docs())
    return inherited | whole


@cache
def circuits() -> st.SearchStrategy[tree.CircuitDecl | tree.CircuitAs]:
    members = paths() | st.builds(tree.Through, paths(), calls())
    groups = st.builds(tree.Group, idents(), _tuples(members, 1), doc=docs())
    ends = st.builds(tree.EdgeEnd, _tuples(paths(), 1))
    edges = st.builds(tree.Edge, _tuples(ends, 2), doc=docs())
    whole = st.builds(tree.CircuitDecl, idents(), idents(), _tuples(groups | edges), parameters(), doc=docs())
    sums = paths() | st.builds(tree.Binary, st.sampled_from("+-"), paths(), paths())
    return whole | st.builds(tree.CircuitAs, idents(), sums, st.none() | idents(), parameters(), doc=docs())


@cache
def actions() -> st.SearchStrategy[tree.Interchange | tree.PatchPath | tree.SetTo | tree.AddTo]:
    via = st.none() | calls()
    return st.one_of(
        st.builds(tree.Interchange, paths(), paths() | unders(), via),
        st.builds(
            tree.PatchPath, paths(), paths(), paths() | unders(), through=st.lists(paths(), max_size=2).map(tuple)
        ),
        st.builds(
            tree.PatchPath,
            paths(),
            paths(),
            _values | unders(),
            through=st.lists(paths(), max_size=2).map(tuple),
            sets=st.just(True),
        ),
        st.builds(tree.SetTo, paths(), _values | unders(), via),
        st.builds(tree.AddTo, paths(), _values, via),
    )


@cache
@st.composite
def unders(draw: st.DrawFn, depth: int = 1) -> tree.Expr:
    """Runs in which something is written, and sites of them."""
    via = st.none() | calls()
    parts = st.builds(tree.Attribute, paths(), idents()) | st.builds(tree.Subscript, paths(), _tuples(_values, 1, 2))
    source = paths() | unders(depth - 1) if depth > 0 else paths()
    named = st.builds(tree.Interchange, st.builds(tree.Name, _NAMES), source)
    writes = st.one_of(
        named,
        st.builds(tree.Interchange, parts, source, via),
        st.builds(tree.SetTo, parts, _values, via),
        st.builds(tree.AddTo, parts, _values, via),
    )
    given = (*_arguments(draw, 1), draw(writes), *_arguments(draw, 1))
    made: tree.Expr = tree.Under(draw(paths()), given)
    return tree.Attribute(made, draw(_IDENTS)) if draw(_NO_OR_YES) else made


@cache
def tests() -> st.SearchStrategy[tree.TestDecl]:
    members = st.one_of(
        draws(),
        st.builds(tree.Do, _tuples(actions(), 1), doc=docs()),
        st.builds(tree.Expect, _values, doc=docs()),
        st.builds(tree.Report, _tuples(_values, 1), doc=docs()),
    )
    return st.builds(tree.TestDecl, idents(), paths(), _tuples(members), parameters(), doc=docs())


@cache
def fits() -> st.SearchStrategy[tree.FitDecl]:
    members = st.one_of(draws(), st.builds(tree.Do, _tuples(actions(), 1), doc=docs()))
    return st.builds(tree.FitDecl, idents(), paths(), _tuples(members), doc=docs())


tests.__test__ = False  # type: ignore[attr-defined]


@cache
def mappings() -> st.SearchStrategy[tree.Mapping]:
    return st.builds(tree.Mapping, _tuples(st.builds(tree.MapEntry, _values, _values)))


@cache
def declarations() -> st.SearchStrategy[tree.AnyDeclaration]:
    call = calls()
    return st.one_of(
        st.builds(tree.Import, strings(), _idents(), doc=docs()),
        st.builds(tree.DomainDecl, idents(), domains(), doc=docs()),
        st.builds(tree.TableDecl, idents(), call | mappings(), doc=docs()),
        st.builds(tree.NetworkDecl, idents(), call, parameters(), doc=docs()),
        st.builds(tree.MetricDecl, idents(), _values, doc=docs()),
        causal_models(),
        alignments(),
        circuits(),
        fits(),
        tests(),
    )


def trees(most: int = 4) -> st.SearchStrategy[tree.Tree]:
    """Whole specs of at least one declaration."""
    return st.builds(tree.Tree, _tuples(declarations(), 1, most))


@st.composite
def commented(draw: st.DrawFn, text: str) -> str:
    """The text with up to six comments between its tokens: behind them, or on lines of their own."""
    source = Source("commented.causal", text)
    ends = [0, *(token.span.end for token in scan(source, Diagnostics()).tokens)]
    places = sorted(draw(st.lists(st.sampled_from(ends), max_size=6, unique=True)), reverse=True)
    for number, place in enumerate(places):
        before = draw(st.sampled_from((" ", "\n", "\n\n", "\n  ")))
        after = draw(st.sampled_from(("\n", "\n\n", "\n# more\n")))
        text = f"{text[:place]}{before}# {number}{after}{text[place:]}"
    return text
