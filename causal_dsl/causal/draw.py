"""Drawing the rows of a design, and which of its inputs are the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.domains import Real, Text, Value, show
from causal_dsl.causal.drawn_rows import RowDrawer
from causal_dsl.causal.joint import exhaustive
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import equals
from causal_dsl.causal.ranks import combined, distinct_count
from causal_dsl.causal.sampling import LISTED
from causal_dsl.causal.support import support_of
from causal_dsl.diagnostics import Diagnostics, Span, SpecError

#: Most rows of a test.
MOST = 10**7
#: Most bytes of the columns of a test: beyond this a test is refused before anything is allocated.
_BYTES = 2**29


def draw(design: Design, diagnostics: Diagnostics) -> Drawn | None:
    """Draw the rows of a design, or None where a fault was reported.

    Exogenous variables are drawn in order, uniformly from their sets, under the model's and the statement's `where`
    together. Statements are drawn one after the other, each given the rows of those before. Faults: E330 (a `where`
    that never or hardly ever holds), E331 (exhaustive over too much), E332 (number of rows), E333 (balance), E334 (no
    prompt fits), E346 (a Python function that is not trusted), E710 (nothing is left of the part that `split` names), and
    what evaluation raises.
    """
    try:
        return _draw(design, diagnostics)
    except SpecError as error:
        diagnostics.extend(error.diagnostics)
        return None


def _draw(design: Design, diagnostics: Diagnostics) -> Drawn | None:
    for model in design.models.values():
        for function in model.needs_trust:
            function.load()  # raises E346
    if not _sound(design, diagnostics):
        return None
    if design.exhaustive:
        values = exhaustive(design, diagnostics)
        if values is None:
            return None
        n = len(next(iter(next(iter(values.values())).values())))
        return Drawn(n, values, identify(design, values), True)
    n = next(statement.n for statement in design.statements if statement.n is not None)
    columns = sum(len(model.variables) + 1 for model in design.models.values())
    if n > MOST or n * columns * 8 > _BYTES:
        most = min(MOST, _BYTES // (8 * columns))
        diagnostics.report("E332", f"{n:,} rows are too many", design.statements[0].span, help=f"draw at most {most:,}")
        return None
    values = {}
    for statement in design.statements:
        if not RowDrawer(design, statement, n, values, diagnostics).fill():
            return None
    return Drawn(n, values, identify(design, values), False)


def _sound(design: Design, diagnostics: Diagnostics) -> bool:
    """Check what the statements ask for against each other and against the models."""
    before = len(diagnostics.errors)
    counts = [statement.n for statement in design.statements if statement.n is not None]
    first = next((s.n for s in design.statements if s.n is not None), None)
    if not design.statements:
        raise ValueError("a design draws at least one role")
    for statement in design.statements:
        if statement.exhaustive != design.exhaustive:
            diagnostics.report(
                "E331",
                "`exhaustive` is for all draws of a test or for none",
                statement.span,
                label="this one is drawn at random" if not statement.exhaustive else "this one is not",
                help="draw all roles in one statement",
            )
        elif statement.exhaustive and (statement.n is not None or statement.spread):
            diagnostics.report(
                "E331",
                "`exhaustive` takes every row: it needs no `n` and no `balance`",
                statement.span,
                help=f"write {statement.model.name}(exhaustive=true)",
            )
        elif not statement.exhaustive and not counts:
            diagnostics.report(
                "E332", "how many rows are drawn?", statement.span, help=f"write {statement.model.name}(n=256)"
            )
        elif statement.n is not None and statement.n != first:
            diagnostics.report(
                "E332",
                f"this draws {statement.n:,} rows, and an earlier statement {first:,}",
                statement.span,
                help="draw the same number of each: one row is one pair",
            )
        elif statement.n is not None and statement.n < 1:
            diagnostics.report("E332", "a test needs at least one row", statement.span, help="write n=256")
        for role, name in statement.spread:
            domain = statement.model.variables[name].domain
            if isinstance(domain, (Real, Text)):
                how = "balanced" if statement.balance else "covered" if statement.cover else "strata"
                what = {"balanced": "balance", "covered": "cover", "strata": "take the strata of"}[how]
                title = f"`{role}.{name}` has too many values to be {how}"
                code = "E333" if statement.balance else "E354"
                diagnostics.report(
                    code, title, statement.span, label=f"it is {domain}", help=f"{what} a variable of few values"
                )
        if statement.where is not None and not design.templates:
            for role, name in sorted(statement.where.mentions):
                if name == "template" and name not in design.models[role].variables:
                    diagnostics.report(
                        "E334",
                        "there are no prompts here",
                        statement.where.span,
                        label="`template` is the prompt that a row uses",
                        help="leave it out",
                    )
    return len(diagnostics.errors) == before


def identify(design: Design, values: dict[str, Columns]) -> dict[str, np.ndarray]:
    """A number for each row of each role, equal where the model is and what a network is shown: the text of the prompt
    line and the values in it. Where no network is known, these are the template and all exogenous variables."""
    roles, models = list(values), design.models
    n = len(next(iter(values[roles[0]].values())))
    values = {role: _shown(models[role], columns) for role, columns in values.items()}
    kinds = {id(model.origin): i for i, model in enumerate(models.values())}
    stacked = np.repeat([kinds[id(models[role].origin)] for role in roles], n)
    names = dict.fromkeys(name for role in roles for name in values[role])
    together = []
    for name in names:
        columns = [
            values[role][name] + 0.0 if values[role][name].dtype == np.float64 else values[role][name]
            for role in roles
            if name in values[role]
        ]
        if len(columns) < len(roles):  # not a variable of every model (or there are no prompts)
            columns = [values[role].get(name, np.zeros(n, np.int64)) for role in roles]
        together.append(np.concatenate(columns))
    stacked, _ = combined(together, stacked)
    return {role: stacked[i * n : (i + 1) * n] for i, role in enumerate(roles)}


def count_distinct(ids: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many distinct inputs there are in each role."""
    return {role: distinct_count(column) for role, column in ids.items()}


def _shown(model: CausalModel, columns: Columns) -> Columns:
    if not model.lines:
        return {name: columns[name] for name in (*model.exogenous, "template") if name in columns}
    n = len(next(iter(columns.values())))
    line = columns.get("template", np.zeros(n, np.int64))
    if len(model.lines) == 1:
        ((_, names),) = model.lines
        return {"template": line, **{name: columns[name] for name in names}}
    texts = [text for text, _ in model.lines]
    found = {"template": np.array([texts.index(text) for text in texts])[line]}
    for name in dict.fromkeys(name for _, names in model.lines for name in names):
        inside = np.array([name in names for _, names in model.lines])[line]
        found[name] = np.where(inside, columns[name], columns[name].dtype.type(0))
    return found


def implicit_source(
    model: CausalModel,
    variable: str,
    value: Value,
    base: DrawStatement,
    role: str,
    span: Span,
    diagnostics: Diagnostics,
) -> DrawStatement | None:
    """The source of ``do(left = true)``: drawn like the base, among the inputs where ``variable`` is ``value``.

    ``role`` is the name that the source goes by; it is drawn from the base's part of the inputs. A value that no input gives is reported (E330).
    """
    code = model.encode(variable, value)
    statement = DrawStatement(
        (role,),
        model,
        None if base.exhaustive else base.n,
        base.seed,
        (),
        base.exhaustive,
        equals(model, role, variable, code, span),
        span,
        base.split,
    )
    if model.needs_trust:
        return statement
    support = support_of(model, LISTED)
    if support is not None and not (support.values[variable] == code).any():
        title = f"no input gives `{variable}` the value {show(value)}"
        diagnostics.report(
            "E330",
            title,
            span,
            label="it never has this value, whatever is drawn",
            help=f"its source is drawn from the inputs in which it has this value: choose another value of `{variable}`",
        )
        return None
    return statement
