"""Fields of interventions, of learned features and of what they were fitted on."""

from __future__ import annotations

from typing import TypedDict

from causal_dsl.shapes.numbers_of_fields import Count, Share
from causal_dsl.shapes.score_fields import EstimateJson


class InterventionJson(TypedDict):
    """One write of a cell."""

    text: str
    "the write, as it is written"
    rows: Count
    "at how many places (pairs and tokens) it fired"
    change: float | None
    "mean of |new - old| / |old| over them, without a unit"
    unreachable: Count
    "at how many it was left out because nothing there reaches what is read of the run"


class IntervalJson(TypedDict):
    """An interval."""

    low: float | None
    "lower end"
    high: float | None
    "upper end"


class FittedOnJson(TypedDict):
    """How much a feature was fitted on."""

    pairs: Count
    "pairs of the fit"
    inputs: Count
    "distinct inputs of the fit"
    steps: Count
    "steps of the optimiser"
    restarts: Count
    "the number of starts; the best one is used"
    unanswered: Count
    "pairs that were drawn for the fit and left out because the causal model does not say what is right in them"


class ValidationJson(TypedDict):
    """The kept map on the inputs that ended the fit."""

    loss: float | None
    "mean cross-entropy, in nats"
    iia: Share | None
    "share of right answers, in [0, 1]"


class GatesJson(TypedDict):
    """The gates of a feature whose size is learned."""

    total: Count
    "all gates"
    open: Count
    "those that are open"
    undecided: Count
    "those that the fit left undecided"


class FeatureJson(TypedDict):
    """A feature that a cell writes through."""

    feature: str
    "as it is declared"
    place: str
    "where it sits"
    variables: list[str]
    "the variables that sit in it"
    size: Count
    "its dimensions"
    width: Count
    "dimensions of the vector"
    fitted_on: FittedOnJson
    "how much it was fitted on"
    validation: ValidationJson | None
    "on the inputs that ended the fit; null where there were none"
    losses: list[float | None]
    "mean cross-entropy of each epoch, in nats"
    gates: GatesJson | None
    "null where it has none"
    nonlinear: bool
    "whether it bends"
    file: str
    "the file that it is kept in, from the folder of the spec's results; without one, from the cache; empty where there is none"
    moved: bool
    "false if the gradient of its loss was zero in every step of the fit"


class ControlJson(TypedDict):
    """A control of a learned feature, on the same pairs."""

    iia: EstimateJson
    "its share of counterfactual answers, in [0, 1]"
    margin: float | None
    "by how many logits it moves the counterfactual answer over the base's"
    draws: list[Share | None]
    "iia of each random draw, in [0, 1]"
    difference: EstimateJson
    "the feature's iia less the control's"


class LearnedJson(TypedDict):
    """The learned features of a cell beside their controls."""

    features: list[FeatureJson]
    "each as it was fitted"
    margin: float | None
    "by how many logits the cell moves the counterfactual answer over the base's"
    controls: dict[str, ControlJson]
    "by name"
    outside: Share | None
    "share of written vectors with a number that the site never comes near, in [0, 1]"
