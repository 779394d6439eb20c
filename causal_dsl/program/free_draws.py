"""Pairs of a test as they are without the conditions under which it draws them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.draw import draw
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Test


def free_draw(test: Test, n: int) -> Drawn | None:
    """``n`` pairs of the test's models, with nothing that it asks of them; None where the models give none."""
    bare = (
        replace(_bare(s, n), where=None, written=None, alike=None, like="", vary=(), split="")
        for s in test.design.statements
    )
    return draw(Design(tuple(bare)), Diagnostics())


def beyond_where(test: Test, n: int) -> tuple[Drawn, np.ndarray] | None:
    """``n`` pairs that are drawn as those of the test, but without the `where` that it states; and which of them [n] do not pass it. None
    where it states none, or where the models give no such pairs.

    A source that is drawn where a variable has a value (`do(m = true)`) still is: that is what is written.
    """
    statements, stated = [], []
    for statement in test.design.statements:
        one = _bare(statement, n)
        if statement.said is not None and all(role.isidentifier() for role in statement.roles):
            stated.append(statement.said)
            one = replace(one, where=statement.alike, written=None)
        statements.append(one)
    drawn = draw(replace(test.design, statements=tuple(statements)), Diagnostics()) if stated else None
    if drawn is None:
        return None
    passed = np.ones(drawn.n, bool)
    for where in stated:
        passed &= where(drawn.values, drawn.n)
    return drawn, ~passed


def _bare(statement: DrawStatement, n: int) -> DrawStatement:
    return replace(statement, n=n, exhaustive=False, balance=(), strata=(), cover=())


__all__ = ["beyond_where", "free_draw"]
