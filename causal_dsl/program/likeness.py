"""The settings of a draw beside its number of rows: runs that are like another, and parts by the values of a variable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Predicate
from causal_dsl.causal.designs import DrawStatement
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.derived_tests import learned
from causal_dsl.program.program import Test
from causal_dsl.syntax import tree


@dataclass(frozen=True)
class Likeness:
    """``like=run, vary=[variables]``: the run, what varies, and the condition that says so."""

    run: str
    vary: tuple[str, ...]
    condition: tree.Expr


def read_likeness(
    settings: Mapping[str, Any],
    member: tree.Draw,
    models: Mapping[str, CausalModel],
    model: CausalModel,
    lines: int,
    diagnostics: Diagnostics,
) -> Likeness | Literal[False] | None:
    """The likeness that ``like`` and ``vary`` of a draw say; None where there are none, False where a fault was reported. ``models`` are
    those of the runs that are drawn up to here, ``lines`` the number of prompts."""
    place = member.domain.span
    run, vary = settings["like"], settings["vary"]
    if run is None and vary is None:
        return None
    names = [name.name for name in member.names]
    if run is None or vary is None:
        missing, there = ("like", "vary") if run is None else ("vary", "like")
        diagnostics.report(
            "E351",
            f"`{there}` needs `{missing}`",
            place,
            label="which run gives the other inputs?" if run is None else "which inputs vary?",
            help=f"write {model.name}(like=base, vary=[{next(iter(model.exogenous), 'x')}])",
        )
        return False
    place = next((a.span for a in _arguments(member) if a.name is not None and a.name.name == "like"), place)
    if run not in models or names == [run]:
        known = [name for name in models if names != [name]]
        title = f"no run `{run}` that `{names[0]}` could be like" if run not in models else f"`{run}` is like itself"
        diagnostics.report("E351", title, place, help=did_you_mean(run, known, f"draw `{run}` before, or beside it"))
        return False
    varied = varied_of(vary, model, lines, diagnostics)
    if varied is None:
        return False
    return Likeness(run, varied, _condition(run, [n for n in names if n != run], varied, model, lines, member.span))


def _arguments(member: tree.Draw) -> tuple[tree.Argument, ...]:
    return member.domain.arguments if isinstance(member.domain, tree.Call) else ()


def varied_of(
    vary: Sequence[tree.Expr], model: CausalModel, lines: int, diagnostics: Diagnostics
) -> tuple[str, ...] | None:
    """The drawn variables that `vary` names (E201, E351); `template` is the prompt line, where there are several."""
    found: dict[str, None] = {}
    for expr in vary:
        name = expr.name if isinstance(expr, tree.Name) else ""
        variable = model.variables.get(name)
        if name == "template" and variable is None and lines > 1:
            found[name] = None
            continue
        if variable is None:
            title = f"no variable `{name}` in `{model.name}`" if name else f"this names no variable of `{model.name}`"
            help = did_you_mean(name, model.exogenous, f"write variables that `{model.name}` draws")
            diagnostics.report("E201", title, expr.span, help=help)
            return None
        title = ""
        if variable.kind != "exogenous":
            title, help = (
                f"`{name}` is computed, not drawn",
                f"vary the variables from which it is computed: {_among(model, name)}",
            )
        elif isinstance(variable.domain, Finite) and variable.domain.size < 2:
            title, help = f"`{name}` has one value, and cannot vary", "vary another variable"
        if title:
            others = ((variable.span, "declared here"),)
            diagnostics.report("E351", title, expr.span, others=others, help=help)
            return None
        found[name] = None
    return tuple(found)


def _among(model: CausalModel, name: str) -> str:
    from causal_dsl.causal.support import needs

    drawn = needs(model, (name,))
    return ", ".join(f"`{other}`" for other in model.exogenous if other in drawn) or "nothing is drawn for it"


def _condition(
    run: str, roles: Sequence[str], vary: Sequence[str], model: CausalModel, lines: int, span: Span
) -> tree.Expr:
    """Every input of the roles is that of the run, but for the varied, each of which is another."""
    names = [*model.exogenous, *(["template"] if lines > 1 else [])]
    parts: list[tree.Expr] = [
        tree.Compare("!=" if name in vary else "==", _of(role, name, span), _of(run, name, span), span=span)
        for role in roles
        for name in names
    ]
    return conjunction(parts) if parts else tree.Bool(True, span=span)


def _of(role: str, name: str, span: Span) -> tree.Expr:
    return tree.Attribute(tree.Name(role, span=span), tree.Ident(name, span=span), span=span)


def conjunction(parts: Iterable[tree.Expr]) -> tree.Expr:
    return reduce(lambda a, b: tree.Binary("and", a, b, span=a.span.to(b.span)), parts)


def alike(
    statement: DrawStatement, likeness: Likeness, models: Mapping[str, CausalModel], written: tree.Expr | None
) -> DrawStatement:
    """The statement with the condition that its runs are alike; ``written`` is what its `where` says of the model."""

    def compiled(expr: tree.Expr) -> Predicate:
        found = compile_predicate(replace(expr, span=statement.span), models, Diagnostics())
        assert found is not None  # variables of one model, and what was compiled already
        return found

    own = compiled(likeness.condition)
    where = own if written is None else compiled(conjunction((likeness.condition, written)))
    return replace(statement, where=where, like=likeness.run, vary=likeness.vary, alike=own, written=statement.where)


# ── weights ─────────────────────────────────────────────────────────────────────────────────────


def weighted(
    settings: Mapping[str, Any], member: tree.Draw, model: CausalModel, exhaustive: bool, diagnostics: Diagnostics
) -> CausalModel | None:
    """The model whose inputs are drawn in proportion to ``weight`` (E201, E353)."""
    name = settings["weight"]
    if name is None:
        return model
    place = next(a.value.span for a in _arguments(member) if a.name is not None and a.name.name == "weight")
    variable = model.variables.get(name)
    if variable is None:
        help = did_you_mean(name, model.variables)
        diagnostics.report("E201", f"no variable `{name}` in `{model.name}`", place, help=help)
        return None
    title = help = ""
    if variable.type not in ("int", "real"):
        title, help = f"`{name}` is not a number", "name a variable that says how often an input is drawn"
    elif variable.domain.low < 0:
        title, help = f"`{name}` can be negative", "give it a domain of numbers from 0 on, as in `w : 0..1000 := …`"
    elif exhaustive:
        title, help = "`exhaustive` takes every row once: it needs no `weight`", "draw some: write n=1024"
    if title:
        others = ((variable.span, "declared here"),)
        diagnostics.report("E353", title, place, label=f"its domain is {variable.domain}", others=others, help=help)
        return None
    return model.weighted(name)


# ── parts ───────────────────────────────────────────────────────────────────────────────────────


def parted(
    statements: Sequence[DrawStatement], by: Sequence[tuple[tree.Expr, ...]], fault: Callable[..., None]
) -> tuple[list[DrawStatement], tuple[str, ...]]:
    """The statements, their inputs in parts by what ``by`` says, which is one thing for a whole test; and what it says.

    Where nothing says so, and runs are alike, what they share decides: both are then in one part.
    """
    if not statements:
        return list(statements), ()
    model = statements[0].model
    asked: tuple[str, ...] = ()
    for names in by:
        found: dict[str, None] = {}
        for expr in names:
            name = expr.name if isinstance(expr, tree.Name) else ""
            if name not in model.variables:
                help = did_you_mean(name, model.variables, f"write variables of `{model.name}`")
                title = (
                    f"no variable `{name}` in `{model.name}`" if name else f"this names no variable of `{model.name}`"
                )
                fault("E201", title, expr.span, help=help)
                return list(statements), ()
            found[name] = None
        if asked and asked != tuple(found):
            fault(
                "E352",
                "all draws of a test are split by the same variables",
                names[0].span,
                label=f"an earlier draw is split by {_listed(asked)}",
                help="write the same `by` in both, or in the first alone",
            )
            return list(statements), ()
        asked = tuple(found)
    liked = [statement for statement in statements if statement.like]
    telling = asked
    if not asked and liked:
        varied = {name for statement in liked for name in statement.vary}
        telling = _shared(model, varied)
    return [replace(statement, model=statement.model.parted(telling)) for statement in statements], asked


def _shared(model: CausalModel, varied: set[str]) -> tuple[str, ...]:
    """The variables that say in which part an input is and are the same in runs that differ in ``varied``: in the place of a computed variable that
    depends on these, the drawn ones that it is computed from."""
    found: dict[str, None] = {}
    for name in model.telling:
        above = model.ancestors(name)
        if name in model.exogenous or above.isdisjoint(varied):
            found[name] = None
        else:
            found |= dict.fromkeys(one for one in model.exogenous if one in above)
    return tuple(name for name in found if name not in varied)


def check_split(test: Test, place: Span | None, diagnostics: Diagnostics) -> bool:
    """Whether what ``by`` of a test says splits anything; else E352."""
    design = test.design
    if place is None or not design.by or any(statement.split for statement in design.statements) or learned(test):
        return True
    diagnostics.report(
        "E352",
        f"`by` says how inputs are split, and `{test.name}` does not split any",
        place,
        notes=("inputs are split where a draw says `split=…`, and for learned features",),
        help="write split=test, or leave `by` out",
    )
    return False


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


__all__ = [
    "Likeness",
    "alike",
    "check_split",
    "conjunction",
    "parted",
    "read_likeness",
    "varied_of",
    "weighted",
]
