"""Other values at the places of an ablation: what is set to a number, or to its mean, is set to the others, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.counter import Stream
from causal_dsl.planning.probe_rows import (
    LEAST,
    MOST,
    SEED,
    SHARE,
    is_small,
    made_test,
    paired,
    spans_of,
)
from causal_dsl.program.probed import Replaced
from causal_dsl.program.program import Cell, Test
from causal_dsl.vocabulary.values.arithmetic import Combine
from causal_dsl.vocabulary.values.clamp import Clamp
from causal_dsl.vocabulary.values.current import Current
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.mean import Mean
from causal_dsl.vocabulary.values.noise import Noise
from causal_dsl.vocabulary.values.number import Constant
from causal_dsl.vocabulary.values.project_out import ProjectOut
from causal_dsl.vocabulary.values.scale import Scale
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


#: In such a network, the rows of each other value in place of an ablation.
_BESIDE = 512


def other_values(plan: Plan, test: Test, number: int, cell: Cell) -> Test | None:
    own = _ablation(cell)
    if own is None or any(one.circuit is not None for one in cell.interventions):
        return None
    drawn = plan.draw_of(test)
    share = SHARE / 2
    m = int(share * drawn.n)
    if is_small(plan.inputs[test.network.key]):
        m = max(m, _BESIDE // len(test.cells))
    m = min(m, MOST)
    _, distinct = np.unique(drawn.ids["base"], return_index=True)
    few = len(distinct) > 1 and len(distinct) ** 2 <= m  # each of them from each other one
    m = min(m, drawn.n)
    spans = spans_of(plan, test, cell)
    if (m < LEAST and not few) or spans is None:
        return None
    stream = Stream(SEED, number)
    if few:
        rows, others = np.repeat(distinct, len(distinct)), np.tile(distinct, len(distinct))
    else:
        rows = stream.some(drawn.n, m)
        others = rows[(np.arange(m) + 1 + int(stream.below(m - 1, 1)[0])) % m]
    cells: list[Cell] = []
    wanted: list[tuple[str, Value | None]] = [("mean", Mean("base")), ("resample", None)]
    if own == "mean":  # zero is often no value that a site ever has: it is held against others, and nothing against it
        wanted = wanted[1:]
    names = [name for name, _ in wanted]
    for name, value in wanted:
        made = tuple(
            replace(
                i,
                value=FromRun("other", i.places) if value is None else value,
                text=f"{', '.join(map(str, i.places))} {'<- other' if value is None else '= ' + name}",
            )
            for i in cell.interventions
        )
        cells.append(Cell((("part", len(cells) + 1),), made))
    given = paired(drawn, ("base", rows), ("base", others))
    return made_test(test, "replaced", number, given, tuple(cells), Replaced(number, own, tuple(names), rows, others))


def _ablation(cell: Cell) -> str | None:
    """What an ablation writes, ``zero`` or ``mean``, or ``written`` for another way of taking away what is there; None for any other
    intervention."""
    found = set()
    for intervention in cell.interventions:
        if intervention.add or intervention.features or intervention.inside:
            return None
        found.add(intervention.value.ablates or ("written" if _removes(intervention.value) else ""))
        if any(place.site.component in ("pattern", "module", "logits", "final_norm") for place in intervention.places):
            return None
    return (found.pop() or None) if len(found) == 1 else None


def _removes(value: Value) -> bool:
    """Whether a value takes away what is there, all of it or a part, and puts nothing of another run, or of a file, in its place."""
    kinds = (FromRun, Noise)
    if any(isinstance(part, kinds) or part.files for part in value.walk()):
        return False
    if any(mean.of != "base" for mean in value.find(Mean)):
        return False
    if not value.changes:
        return True
    if isinstance(value, Scale):
        return 0 <= value.by < 1
    if not isinstance(value, Combine):
        return isinstance(value, Clamp | ProjectOut)
    left, right = value.left, value.right
    if left.changes and right.changes:
        return value.op == "-" and left == right
    own, other = (left, right) if left.changes else (right, left)
    if value.op in "+-":
        return _removes(own)
    if not isinstance(other, Constant) or (value.op == "/" and (own is right or not other.value)):
        return False
    by = 1 / other.value if value.op == "/" else other.value
    return 0 <= by < 1 if isinstance(own, Current) else abs(by) <= 1 and _removes(own)
