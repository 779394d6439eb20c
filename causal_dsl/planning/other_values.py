"""Other values at the places of an ablation: what is set to a number, or to its mean, is set to the others, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.planning.composed import Composed
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
from causal_dsl.planning.rest_of_layer import named
from causal_dsl.program.probed import Replaced
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.vocabulary.values.arithmetic import Combine
from causal_dsl.vocabulary.values.current import Current
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.mean import Mean
from causal_dsl.vocabulary.values.project_out import ProjectOut
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


#: In such a network, the rows of each other value in place of an ablation.
_BESIDE = 512
#: What the test writes, made of what another run has in place.
ANEW = "anew"
#: What is held against each kind of ablation: zero is often no value that a site ever has, so it is held against others and
#: nothing against it; what is put in place by a file or by chance (``put``) is held against another run alone.
WAYS = {
    "zero": ("mean", "resample"),
    "mean": ("resample",),
    "written": ("mean", "resample", ANEW),
    "put": ("resample", ANEW),
}


def other_values(plan: Plan, test: Test, number: int, cell: Cell) -> tuple[Test | None, str]:
    """The test that writes other values beside an ablation; or None, and why none can be run, where it is one."""
    own, mine = _ablation(test, cell)
    if not own:
        fitted = any(i.features and not any(i.value.find(FromRun)) for i in mine)
        return None, "it writes through a feature that is fitted" if fitted else ""
    drawn = plan.draw_of(test)
    share = SHARE / 2
    m = int(share * drawn.n)
    if is_small(plan.inputs[test.network.key]):
        m = max(m, _BESIDE // test.unlike)
    m = min(m, MOST)
    _, distinct = np.unique(drawn.ids["base"], return_index=True)
    few = len(distinct) > 1 and len(distinct) ** 2 <= m  # each of them from each other one
    m = min(m, drawn.n)
    spans = spans_of(plan, test, cell)
    if spans is None:
        return None, "a place has more tokens in one prompt than in another, or is missing from one"
    if m < LEAST and not few:
        return None, f"fewer than {LEAST} pairs of inputs can be run for it at a fifth of the cost of the test"
    stream = Stream(SEED, number)
    if few:
        rows, others = np.repeat(distinct, len(distinct)), np.tile(distinct, len(distinct))
    else:
        rows = stream.some(drawn.n, m)
        others = rows[(np.arange(m) + 1 + int(stream.below(m - 1, 1)[0])) % m]
    cells: list[Cell] = []
    names = [name for name in WAYS[own] if name != ANEW or _made_anew(mine)]
    for name in names:
        made = tuple(
            replace(
                i,
                value=_value(name, i),
                add=False,
                text=f"{', '.join(map(str, i.places))} {'<- other' if name == 'resample' else '= ' + name}",
            )
            for i in mine
        )
        cells.append(Cell((("part", len(cells) + 1),), made))
    given = paired(drawn, ("base", rows), ("base", others))
    probe = Replaced(number, own, tuple(names), rows, others)
    return made_test(test, "replaced", number, given, tuple(cells), probe), ""


def _value(name: str, intervention: Intervention) -> Value:
    """The values that are written at the places of an intervention instead."""
    if name == "mean":
        return Mean("base")
    other = FromRun("other", intervention.places)
    if name == "resample":
        return other
    own = intervention.value
    return Composed(Combine("+", Current(), own) if intervention.add else own, other)


def _made_anew(mine: Sequence[Intervention]) -> bool:
    """Whether what is written differs where another run is put in place first, and can be made of that run."""
    changed = any(i.add or i.value.changes for i in mine)
    # A direction that is made of means may be none in some of the pairs alone.
    return changed and not any(any(out.find(Mean)) for i in mine for out in i.value.find(ProjectOut))


def _ablation(test: Test, cell: Cell) -> tuple[str, list[Intervention]]:
    """The way in which an intervention leaves its places, a key of :data:`WAYS`, and its parts but for those that leave all as it is; no key
    where it puts something of another run in place."""
    mine = [i for i in cell.interventions if i.add or not isinstance(i.value, Current)]
    kinds = [_kind(test, i) for i in mine]
    if not kinds or not all(kinds):
        return "", mine
    if len(set(kinds)) == 1:
        return kinds[0], mine
    return "put" if "put" in kinds else "written", mine


def _kind(test: Test, intervention: Intervention) -> str:
    if intervention.features or intervention.circuit is not None or intervention.to:
        return ""
    sites = [named(place, test.network.facts).site for place in intervention.places]
    if any(site.component in ("pattern", "module", "logits", "final_norm") for site in sites):
        return ""
    value = intervention.value
    if any(value.find(FromRun)) or any(mean.of != "base" for mean in value.find(Mean)):
        return ""
    if intervention.add:
        return "put"
    return value.ablates or ("written" if value.removes else "put")
