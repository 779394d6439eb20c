"""How many tokens a mean has, token by token: as many as each row that it is over, and each that it is written into."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs.protocol import Inputs
from causal_dsl.program.program import Intervention
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.values.mean import Mean


@dataclass(frozen=True)
class Rows:
    """The inputs [n] of a run, by their numbers, and of which template each is."""

    role: str
    rows: np.ndarray
    templates: np.ndarray


def as_many_in_rows(
    inputs: Inputs, value: Mean, position: Position | None, intervention: Intervention, runs: Sequence[Rows], span: Span
) -> None:
    """Refuse a mean, token by token, over inputs that have not as many tokens each at a position, and one that is written where there are
    more or fewer (E538). ``runs``: what is averaged, and what it is written into."""
    if position is None:
        return
    where = value.span or intervention.span or span
    counts = np.concatenate([inputs.sizes(position, run.rows, where) for run in runs])
    templates = np.concatenate([run.templates for run in runs]) if value.by is not None else np.zeros_like(counts)
    _, firsts, which = np.unique(templates, return_index=True, return_inverse=True)
    known = firsts[which.reshape(-1)]
    for odd in np.flatnonzero(counts != counts[known])[:1].tolist():
        (first, place), (run, row) = (_row(runs, int(number)) for number in (known[odd], odd))
        one, other = (f"{n} token{'' if n == 1 else 's'}" for n in (counts[known[odd]], counts[odd]))
        told = f"has {one} in one row of `{first.role}` and {other} in another"
        if run.role != first.role:
            told = f"has {one} in the rows of `{first.role}` and {other} in one of `{run.role}`"
        settings = ["pooled=true"] if value.of == "base" else [value.of, "pooled=true"]
        settings += [f"by={value.by}"] if value.by else []
        raise fail(
            "E538",
            f"`{position}` {told}, and the mean is taken token by token",
            where,
            notes=tuple(
                f"row {i} of `{own.role}`: {inputs.text(int(own.rows[i]))!r}" for own, i in ((first, place), (run, row))
            ),
            help=f"write mean({', '.join(settings)}), the mean over rows and tokens, or {one_token(position, intervention)}",
        )


def _row(runs: Sequence[Rows], number: int) -> tuple[Rows, int]:
    """The run of a row, and its number there, of runs one after the other."""
    for run in runs:
        if number < len(run.rows):
            return run, number
        number -= len(run.rows)
    raise IndexError(number)


def one_token(position: Position | None, intervention: Intervention) -> str:
    """How less than all tokens of a position is written, in a message."""
    circuit = intervention.circuit
    if circuit is not None and circuit.outside:
        return f"write at single tokens: outside({circuit.name}, at=[last])"
    if circuit is not None:
        return "name single tokens of its members, as layer[0].mlp_out[last]"
    if position is not None and position.kind == "all":
        return "name one token, as `last`"
    return "name one token of it, `name.last` or `name.first`"


__all__ = ["Rows", "as_many_in_rows", "one_token"]
