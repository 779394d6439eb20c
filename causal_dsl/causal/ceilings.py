"""The chance level of an intervention: what rules score that know nothing of the inside of the network.

``noop`` is P(label = base answer), ``source`` is P(label = source answer); the others are the best accuracy of any
deterministic rule of (base answer, source answers), ``output_only``, of the whole base input, ``base_only``, or of the whole
source inputs, ``source_only``. The label is the answer of the causal model run on the base with the intervened variables set
to their values in the sources. Of several outputs, a rule is right if it gives all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from causal_dsl.base.counter import bits, key
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import SINGLE, UNKNOWN, Accepted
from causal_dsl.causal.combinations import Combinations, combinations, cut_of
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.exact import exact_scores, whole
from causal_dsl.causal.groups import groups_of
from causal_dsl.causal.model import CausalModel, column_of
from causal_dsl.causal.rules import best_in_sample, cross_fitted, share_bounds
from causal_dsl.causal.together import Outputs, names_of
from causal_dsl.vocabulary.ceiling_rules import ANSWER_RULES

if TYPE_CHECKING:
    from causal_dsl import shapes


@dataclass(frozen=True)
class Ceiling:
    """The score of a rule.

    ``exact``: over all combinations of inputs, of which there are ``n``; then ``low`` and ``high`` are ``value``. Else it
    is an estimate from ``n`` drawn rows, and lies between ``low`` and ``high``. Of a best rule ``value`` is ``high``:
    what scores more than that is no such rule.
    """

    value: float
    exact: bool
    n: int
    low: float = math.nan
    high: float = math.nan

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if math.isnan(getattr(self, name)):
                object.__setattr__(self, name, self.value)

    def to_json(self) -> shapes.CeilingJson:
        """``value``, ``exact``, ``n``, ``low`` and ``high``; null for what is undefined."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        known = {name: None if math.isnan(number) else number for name, number in numbers.items()}
        return {"value": known["value"], "exact": self.exact, "n": self.n, "low": known["low"], "high": known["high"]}


def ceilings(
    design: Design,
    interventions: Sequence[tuple[str, str]],
    output: Outputs,
    drawn: Drawn | None,
    gaps: bool = False,
) -> dict[str, Ceiling]:
    """The ceilings of a test, by the names in ``ANSWER_RULES``, and ``informative``, P(label != base answer).

    ``interventions`` are (variable, source role). Exact where what matters of the inputs can be tabulated, else bounds
    from the rows of ``drawn``; empty where it cannot be tabulated and nothing was drawn. Without sources there is
    neither ``source`` nor ``source_only``. ``gaps``: rows whose label is not known count nothing. Raises SpecError where the causal model cannot be evaluated.
    """
    model = design.models["base"]
    sources = list(dict.fromkeys(role for _, role in interventions))
    kept = _KEPT.setdefault(model, {})
    asked = (_decisive(design), tuple(interventions), output, gaps)
    if asked not in kept:
        kept[asked] = _exact(design, interventions, output, gaps)
    found = kept[asked]
    if drawn is not None and "output_only" not in found:
        forced = {name: drawn.values[role][name] for name, role in interventions}
        label = column_of(model, model.evaluate(drawn.values["base"], forced, wanted=names_of(output)), output)
        answers = {role: column_of(model, drawn.values[role], output) for role in ("base", *sources)}
        ids = drawn.ids
        if gaps and (known := known_in(model, output, label)) is not None:
            label, answers = label[known], {role: codes[known] for role, codes in answers.items()}
            ids = {role: column[known] for role, column in ids.items()}
        found = of_rows(label, answers, ids, drawn.exhaustive, model.accepted(output).of_values) | found
    return {name: found[name] for name in (*ANSWER_RULES, "informative") if name in found}


#: Exact ceilings by model: tests of one experiment on other numbers of pairs and other seeds have the same.
_KEPT: WeakKeyDictionary[CausalModel, dict[Any, dict[str, Ceiling]]] = WeakKeyDictionary()


def _decisive(design: Design) -> tuple[Any, ...]:
    """All of a design that exact ceilings hang on: everything but the numbers of pairs and the seeds."""
    found: list[Any] = list(design.templates)
    for one in design.statements:
        where = None if one.where is None else (one.where.said, one.where.mentions)
        found.append((one.roles, ref(one.model), one.model.lines, one.even, one.t, one.exhaustive, one.split, where))
    return tuple(found)


def known_in(model: CausalModel, output: Outputs, codes: np.ndarray) -> np.ndarray | None:
    """The rows in which an output is not the empty text; None if it never is."""
    domain = model.variables[output].domain if isinstance(output, str) else None
    if domain is None or domain.type != "string" or not isinstance(domain, Finite) or UNKNOWN not in domain:
        return None
    return np.flatnonzero(codes != model.encode(str(output), UNKNOWN))


def _exact(design: Design, interventions: Sequence[tuple[str, str]], output: Outputs, gaps: bool) -> dict[str, Ceiling]:
    model, do = design.models["base"], dict(interventions)
    table = combinations(design, interventions, output)
    if table is None:
        return {}
    labels = table.labels(model, do, cut_of(model, frozenset(do), output), output)
    sources = list(dict.fromkeys(do.values()))
    known = known_in(model, output, labels) if gaps else None
    if known is not None and len(known) < len(labels):
        table, labels = table.among(known), labels[known]
        scores = exact_scores(table, labels, sources, model.accepted(output).of_values, whole(table))
    else:
        scores = _scores(model, table, labels, sources, model.accepted(output).of_values)
    return {name: Ceiling(value, True, table.n) for name, value in scores.items()}


#: Scores of small tables by model: many conditions let through the same combinations.
_SCORES: WeakKeyDictionary[CausalModel, dict[Any, dict[str, float]]] = WeakKeyDictionary()
_SMALL, _MOST_SCORES = 2**12, 256


def _scores(
    model: CausalModel, table: Combinations, labels: np.ndarray, sources: Sequence[str], accepted: Accepted
) -> dict[str, float]:
    """:func:`~causal_dsl.causal.exact.exact_scores`, of equal tables found once."""
    if len(table) > _SMALL or accepted is not SINGLE:
        return exact_scores(table, labels, sources, accepted)
    columns = (*table.indices.values(), table.tops, table.bottoms, labels)
    sides = tuple((role, *side.told) for role, side in table.sides.items())
    asked = (tuple(sources), sides, tuple(table.indices), *((one.dtype.str, one.tobytes()) for one in columns))
    kept = _SCORES.setdefault(model, {})
    if asked not in kept:
        if len(kept) >= _MOST_SCORES:
            kept.clear()
        kept[asked] = exact_scores(table, labels, sources, accepted)
    return kept[asked]


def of_rows(
    label: np.ndarray,
    answers: Mapping[str, np.ndarray],
    ids: Mapping[str, np.ndarray],
    exhaustive: bool,
    accepted: Accepted = SINGLE,
    weights: np.ndarray | None = None,
) -> dict[str, Ceiling]:
    """The ceilings over rows: exact where these are all there are, else bounds. Empty without rows.

    ``answers`` and ``ids`` are the answers and the inputs of each role, ``[n]``, the base first. ``weights`` [n]: the rows are all there
    are, and count so much each, equal rows once. Of drawn rows a rule that
    needs no fit has its share and Wilson's interval of 99% around it. The best rule lies between the lower end of the
    interval of a cross-fitted rule and the upper end of that of a rule that is fitted to the rows it is judged on. Where
    answers are sets, a copy is the best choice of one value of the set, so it is fitted as well.
    """
    n = len(label) if weights is None else int(np.count_nonzero(weights))
    exhaustive = exhaustive or weights is not None
    if not n:
        return {}

    def share(right: np.ndarray) -> Ceiling:
        value = float(np.average(right, weights=weights))
        return Ceiling(value, exhaustive, n, *((value, value) if exhaustive else share_bounds(value, n)))

    half = (bits(key("halves"), ids[next(iter(answers))]) & np.uint64(1)).astype(bool)

    def best(seen: Sequence[np.ndarray], own: np.ndarray | None, known: Sequence[np.ndarray]) -> Ceiling:
        group = groups_of(seen)
        best = share(best_in_sample(group, label, accepted, own, weights))
        if exhaustive:
            return best
        low = max(share(right).low for right in (cross_fitted(group, label, half, known, accepted, own), *known))
        return Ceiling(best.high, False, n, low, best.high)

    base, *sources = answers
    single = accepted is SINGLE
    copies = {role: share(label == a) if single else best([a], a, ()) for role, a in answers.items()}
    found = {"noop": copies[base], "informative": share(accepted.apart(label, answers[base]))}
    if sources:
        found["source"] = max((copies[role] for role in sources), key=lambda ceiling: ceiling.value)
    known = [
        label == a if single else cross_fitted(groups_of([a]), label, half, (), accepted, a) for a in answers.values()
    ]
    found["output_only"] = best(list(answers.values()), None, known)
    found["base_only"] = best([ids[base]], None, ())
    if sources:
        found["source_only"] = best([ids[role] for role in sources], None, ())
    return {name: found[name] for name in (*ANSWER_RULES, "informative") if name in found}
