"""The chance level of an interchange that is to change a number: R^2 of rules that know nothing of the inside of the network.

``constant`` says one number, the best there is, and has R^2 0 by definition; ``base_value`` says the base's own number, as a
network does that ignores the intervention; ``source_value`` says the source's own, of the best single source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.combinations import combinations, cut_of
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.exact import answers_beside

#: The normal quantile of an interval of 99%.
_QUANTILE = 2.576


def number_ceilings(
    design: Design, interventions: Sequence[tuple[str, str]], output: str, drawn: Drawn | None
) -> dict[str, Ceiling]:
    """R^2 of the rules in ``NUMBER_RULES``: exact where what matters of the inputs can be tabulated, else estimates from the rows
    of ``drawn`` with an interval of 99%. A rule is left out where the label is the same in all pairs.

    Raises SpecError where the causal model cannot be evaluated.
    """
    model, do = design.models["base"], dict(interventions)
    sources = list(dict.fromkeys(do.values()))
    table = combinations(design, interventions, output)
    if table is not None:
        labels = table.labels(model, do, cut_of(model, frozenset(do), output), output)
        beside = {role: answers_beside(table, labels, role) for role in ("base", *sources)}
        if all(found is not None for found in beside.values()):
            rows = {role: found for role, found in beside.items() if found is not None}
            return _told({role: Ceiling(_explained(*found), True, table.n) for role, found in rows.items()}, sources)
    if drawn is None:
        return {}
    forced = {name: drawn.values[role][name] for name, role in interventions}
    label = model.evaluate(drawn.values["base"], forced, wanted=(output,))[output]
    return _told(
        {role: _sampled(drawn.values[role][output], label, drawn.exhaustive) for role in ("base", *sources)}, sources
    )


def _told(found: Mapping[str, Ceiling], sources: Sequence[str]) -> dict[str, Ceiling]:
    if any(np.isnan(ceiling.value) for ceiling in found.values()):
        return {}
    base = found["base"]
    rules = {"constant": Ceiling(0.0, base.exact, base.n), "base_value": base}
    if sources:
        rules["source_value"] = max((found[role] for role in sources), key=lambda ceiling: ceiling.value)
    return rules


def _explained(said: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> float:
    """R^2 of ``said`` as ``wanted``, [n] each; NaN where the latter never varies."""
    weights = weights / weights.sum()
    spread = float(weights @ np.square(wanted - weights @ wanted))
    return 1 - float(weights @ np.square(said - wanted)) / spread if spread > 0 else float("nan")


def _sampled(said: np.ndarray, wanted: np.ndarray, exhaustive: bool) -> Ceiling:
    n = len(wanted)
    if not n:
        return Ceiling(float("nan"), False, 0)
    value = _explained(said, wanted, np.ones(n))
    if exhaustive or np.isnan(value):
        return Ceiling(value, exhaustive, n)
    squares, spread = np.square(said - wanted), np.square(wanted - wanted.mean())
    # the delta method, of one less a ratio of two means
    half = _QUANTILE * float(np.std((squares - (1 - value) * spread) / spread.mean())) / n**0.5
    return Ceiling(value, False, n, value - half, min(1.0, value + half))


__all__ = ["number_ceilings"]
