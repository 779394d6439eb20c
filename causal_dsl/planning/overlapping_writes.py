"""Whether two writes of one `do` meet at a token of some prompt, once it is known where their positions are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs import Inputs
from causal_dsl.program.overlap import overlap
from causal_dsl.program.program import Intervention
from causal_dsl.program.written_together import edges_of, may_overlap
from causal_dsl.vocabulary.locations import Place, Position


def refuse_overlapping_writes(
    interventions: Sequence[Intervention], inputs: Inputs, rows: np.ndarray, span: Span
) -> None:
    """Raise E461 where two of the written places are one token of a prompt of ``rows``, whatever they are called."""
    written = [(one, number) for one in interventions for number in range(len(one.places))]
    prompts: list[int] | None = None
    for (one, first), (other, second) in combinations(written, 2):
        a, b = one.places[first], other.places[second]
        if (a.position, a.key) == (b.position, b.key) or (one is not other and may_overlap(one, other)):
            continue  # the same positions were looked at when the spec was read
        if one.apart(first, other, second):
            continue  # other nodes of one dictionary
        if not overlap(Place(a.site), Place(b.site), inputs.facts):
            continue
        if one.to and other.to and not set(edges_of(one, first)) & set(edges_of(other, second)):
            continue  # along other edges
        prompts = sorted(set(rows.tolist())) if prompts is None else prompts
        for index in prompts:
            if _meet(a.position, b.position, inputs, index, span) and (
                a.key is None or b.key is None or _meet(a.key, b.key, inputs, index, span)
            ):
                raise _shared(one, other, a, b, inputs.text(index), span)


def _meet(one: Position | None, other: Position | None, inputs: Inputs, index: int, span: Span) -> bool:
    return bool(set(inputs.where(one, index, span)) & set(inputs.where(other, index, span)))


def _shared(one: Intervention, other: Intervention, a: Place, b: Place, text: str, span: Span) -> Exception:
    again = () if one is other or one.span is None else ((one.span, "already written here"),)
    return fail(
        "E461",
        f"`{_names(a)}` and `{_names(b)}` are one token of a prompt, and both are written",
        other.span or span,
        others=again,
        notes=(f"{a} and {b}", f"the prompt is {text!r}"),
        help="name tokens that no prompt has in common, or draw other values",
    )


def _names(place: Place) -> str:
    return str(place.position) if place.key is None else f"{place.position}, {place.key}"


__all__ = ["refuse_overlapping_writes"]
