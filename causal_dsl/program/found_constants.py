"""`do(outside(c) = optimal)`: which tests write constants that are found, and what they may write beside them."""

from __future__ import annotations

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Test
from causal_dsl.vocabulary.values.optimal import Optimal


def optimal_of(test: Test) -> tuple[Optimal, ...]:
    """The constants that a test asks for, each once."""
    every = (i.value for cell in test.cells for i in cell.interventions)
    return tuple(dict.fromkeys(part for value in every for part in value.find(Optimal)))


_ALONE = "`optimal` is all that the interventions of a run write"


def check_optimal(test: Test, found: Diagnostics) -> bool:
    """Refuse constants that are found where something else is written with them (E893)."""
    for cell in test.cells:
        if not any(part for i in cell.interventions for part in i.value.find(Optimal)):
            continue
        for one in cell.interventions:
            why, title = "", "`optimal` takes the place of whole vectors"
            if not isinstance(one.value, Optimal):
                why, title = "it is a part of what is written here, or stands beside other values", _ALONE
            elif one.add:
                why = "it is added to what is there"
            elif one.features or one.inside:
                why = "it is written through a feature"
            elif any(one.nodes):
                why = "it is written at nodes of a dictionary"
            elif any(place.key is not None or place.site.component in ("pattern", "logits") for place in one.places):
                why = "it is written at attention weights or logits"
            elif one.value != cell.interventions[0].value:
                why, title = "its settings differ from those of another one in the same run", _ALONE
            if why:
                found.report(
                    "E893",
                    title,
                    one.span or test.span,
                    notes=(
                        why,
                        "the constants of a run are found together, and each takes the place of a whole vector",
                    ),
                    help="write do(outside(c) = optimal), and other interventions in tests of their own",
                )
                return False
    return True


__all__ = ["check_optimal", "optimal_of"]
