"""Fields of the controls of a cell: units that nothing claims, values written apart, inputs beyond those drawn."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from causal_dsl.shapes.numbers_of_fields import Count, Share
from causal_dsl.shapes.score_fields import EstimateJson


class TakenJson(TypedDict):
    """Units that no variable claims, taken from another input."""

    units: list[int]
    "coordinates of a vector network, or tokens of a language network"
    place: str
    "the same in words"
    moved: EstimateJson
    "share of pairs whose answer changes, in [0, 1]"
    mixed: NotRequired[bool]
    "true: each unit is taken from an input of its own"
    varied: NotRequired[list[str]]
    "for `mixed`: the inputs in which these differ from the first of the pair"
    beside: NotRequired[list[str]]
    "for `mixed`: variables whose places are then taken from inputs with the same value; `moved` counts the mixtures that neither moves by itself"
    clear: NotRequired[EstimateJson]
    "of a network with errors of its own: share of pairs in which the answer becomes another one as clearly as usual, in [0, 1]"
    unexplained: NotRequired[EstimateJson]
    "of a network with errors of its own: share of pairs in which the answer changes and the network does not err by itself on inputs with the same values there, in [0, 1]"
    unlike: NotRequired[EstimateJson]
    "for `other`: share of pairs in which the answer then depends on the placed variables as in no input by itself, in [0, 1]"


class UnclaimedJson(TypedDict):
    """The rest of a layer, which no variable claims."""

    site: str
    "the site"
    placed: list[str]
    "the variables that are placed there"
    varied: list[str]
    "the inputs in which the other run differs"
    why: Literal["decided", "idle", "through", "alike", "other"]
    "why it must not move the answer (docs/controls.md)"
    natural: Share
    "share of the inputs that were looked at that the network answers wrong, in [0, 1]"
    taken: list[TakenJson]
    "each set of units; for `other`, those that move the answer"
    carrier: NotRequired[str]
    "for `other`: the place of units that carry what the answer needs beside the placed variables"
    numbers: NotRequired[bool]
    "true: its units are single numbers of tokens, counted over the vectors of all tokens side by side"
    through: NotRequired[str]
    "the features through which the placed variables are written: what they take stays as it is"


class ReplacedJson(TypedDict):
    """An ablation beside other ways of taking its place away."""

    own: str
    "the test's own way"
    moved: dict[str, EstimateJson]
    "share of moved answers of each way, in [0, 1]"
    differences: dict[str, EstimateJson]
    "of each other way from the test's own"
    changed: NotRequired[dict[str, EstimateJson]]
    "`anew` and `resample` in the pairs alone in which they write different values, and their `difference`"
    short: NotRequired[EstimateJson]
    "by how much `anew` moves fewer answers than `resample`, less what the test's own way moves"


class WrittenApartJson(TypedDict):
    """Some of the variables that a test writes together, written apart."""

    variables: dict[str, str]
    "which are written, and from which run"
    place: str
    "where"
    right: EstimateJson
    "share of pairs with the causal model's answer for these alone, in [0, 1]"
    moved: EstimateJson
    "share of pairs whose answer differs from the base's, in [0, 1]"
    asked: Count
    "the number of pairs in which the causal model changes the answer"


class BeyondJson(TypedDict):
    """A test's interchange in pairs that do not pass its `where`."""

    own: EstimateJson
    "share of these pairs whose base the network answers right by itself, in [0, 1]"
    right: EstimateJson
    "share of these pairs with the causal model's answer, in [0, 1], over those whose inputs the network answers right"
    pairs: int
    "distinct pairs among these"
    answered: int
    "distinct pairs among those whose inputs the network answers right"


class WrittenPartJson(TypedDict):
    """One place of a variable that has several, or one of the numbers of its only place."""

    variable: str
    "the variable"
    place: str
    "where"
    alone: EstimateJson
    "iia if it alone is written, in [0, 1]"
    without: EstimateJson
    "iia if all but it are written, in [0, 1]"
    counts: EstimateJson
    "share of pairs whose answer it changes, written beside some of the others or none, in [0, 1]"


class WorstPairJson(TypedDict):
    """A pair in which a score is among the worst."""

    pair: Count
    "its number"
    value: float | None
    "its ratio, or its change"
    base: str
    "the input of its base, in words"
