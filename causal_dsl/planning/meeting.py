"""Whether two writes of one `do` meet at a token of some prompt, once it is known where their positions are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs import Inputs
from causal_dsl.program.actions import may_meet
from causal_dsl.program.locations import Place
from causal_dsl.program.overlap import overlap
from causal_dsl.program.program import Intervention


def refuse_meeting(interventions: Sequence[Intervention], inputs: Inputs, rows: np.ndarray, span: Span) -> None:
    """Raise E461 where two of the written places are one token of a prompt of ``rows``, whatever they are called."""
    if not inputs.has_tokens:
        return
    written = [(one, place) for one in interventions for place in one.places]
    prompts: np.ndarray | None = None
    for (one, a), (other, b) in combinations(written, 2):
        if a.position == b.position or (one is not other and may_meet(one, other)):
            continue  # the same position was looked at when the spec was read
        if not overlap(replace(a, position=None), replace(b, position=None), inputs.facts):
            continue
        prompts = np.unique(rows) if prompts is None else prompts
        for index in prompts.tolist():
            shared = set(inputs.where(a.position, index, span)) & set(inputs.where(b.position, index, span))
            if shared:
                raise _shared(one, other, a, b, inputs.text(index), span)


def _shared(one: Intervention, other: Intervention, a: Place, b: Place, text: str, span: Span) -> Exception:
    again = () if one is other or one.span is None else ((one.span, "already written here"),)
    return fail(
        "E461",
        f"`{a.position}` and `{b.position}` are one token of a prompt, and both are written",
        other.span or span,
        others=again,
        notes=(f"{a} and {b}", f"the prompt is {text!r}"),
        help="name tokens that no prompt has in common, or draw other values",
    )


__all__ = ["refuse_meeting"]
