"""``site <- source``: the vectors of another run."""

from __future__ import annotations

from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.written import Example, Value, Written


@dataclass(frozen=True)
class FromRun(Value):
    """The values of ``places`` in the run of ``role``, row by row; ``under``: the interventions in that run
    (:class:`~causal_dsl.program.program.Intervention`)."""

    runless = False
    given = False
    one_by_one = True
    role: str
    places: tuple[Place, ...]
    under: tuple[Any, ...] = ()


FAMILY = (
    Written(
        "<-",
        FromRun,
        "`site <- source`, `site <- source.layer[5].resid_post[last]`",
        "the value of the site, or of another one, in another run",
        (Example("<- source", lambda hand: hand.of("source")),),
        word=False,
    ),
)
