"""Findings of the interventions beside a test: whether units that no variable claims move the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate
from causal_dsl.score.intervals import share_interval

if TYPE_CHECKING:
    from causal_dsl import shapes

#: What moves the answer in no more than this share of pairs is no alarm: trained networks are hardly ever exact.
RARE = 0.005
_NAMED = 4
_LUCK = 0.05
#: Sets of more units than this are listed only if they move an answer: there may be thousands of them.
_LISTED = 3


@dataclass(frozen=True)
class Unlike:
    """How the answer depends on the placed variables when units are taken from another input: in which ``share`` of pairs as in no input by
    itself. ``still``: no value of them then changes it. ``sure``: it is then given as clearly as usual, by the
    gap of its logits, and the units hold a copy of all that the answer needs beside them."""

    share: Estimate
    still: bool = False
    sure: bool = False


@dataclass(frozen=True)
class Taken:
    """The share of the pairs in which the answer is another one when ``units`` were taken from another input.
    ``unwritten``: variables that the alignment puts there and the test does not write. ``mixed``: each unit is taken from an input of
    its own, which may differ from the pair's first input in ``varied``; empty where ``varied`` of the layer holds. ``unlike``: how the
    answer then depends on the placed variables; None where that was not looked at. ``beside``: variables whose places are then taken from
    inputs with the same value of them, each from one of its own; ``moved`` is then of the mixtures that neither of the two alone moves.
    ``each``: what a unit of ``mixed`` is. ``clear``: in what share of pairs the answer becomes another one as clearly as usual, where the
    network's own errors leave that to be asked. ``unexplained``: in what share of pairs it moves and the network does not err by itself on inputs
    with the same values, where that was looked at."""

    units: tuple[int, ...]
    told: str
    moved: Estimate
    unwritten: tuple[str, ...] = ()
    mixed: bool = False
    varied: tuple[str, ...] = ()
    unlike: Unlike | None = None
    beside: tuple[str, ...] = ()
    each: Literal["number", "token", ""] = "number"
    clear: Estimate | None = None
    unexplained: Estimate | None = None

    @property
    def how(self) -> str:
        """The change of the units, as part of a sentence."""
        several = self.told.startswith("the other numbers") or "] and " in self.told
        told = f"{self.told} {'are' if several else 'is'} taken from another input"
        if self.mixed and self.each:
            told = f"each {self.each} of {self.told} is taken from an input of its own"
        if self.beside:
            whose = f"what is at the place of {listed(self.beside)}"
            if len(self.beside) > 1:
                whose = f"what is at the places of each of {listed(self.beside)}"
            return f"{told}, and {whose} from an input with the same value of it"
        return told

    def to_json(self) -> shapes.TakenJson:
        found: shapes.TakenJson = {"units": list(self.units), "place": self.told, "moved": self.moved.to_json()}
        if self.mixed:
            found["mixed"] = True
        if self.beside:
            found["beside"] = list(self.beside)
        if self.varied:
            found["varied"] = list(self.varied)
        if self.clear is not None:
            found["clear"] = self.clear.to_json()
        if self.unexplained is not None:
            found["unexplained"] = self.unexplained.to_json()
        if self.unlike is not None:
            found["unlike"] = self.unlike.share.to_json()
        return found


@dataclass(frozen=True)
class Unclaimed:
    """The unclaimed rest of a layer. ``natural``: the share of inputs that the network answers wrong. ``judged``: for
    each of ``taken``, whether it must not move the answer if the hypothesis is true. ``allowed``: the share of answers that may move
    without being said. ``carrier``: the place of other units, which carry what the answer needs beside the placed variables, in the share
    ``followed`` of pairs (:mod:`causal_dsl.controls.in_others`). ``cut``: of how many tokens some numbers are claimed, so that the others are a unit;
    ``inside``: whether a unit is a token of several numbers, which are taken all together. ``needless``: all units together leave the
    answer as it is where it needs something else. ``through``: the features through which the placed variables are written; what these take there
    stays as it is. ``numbers``: of tokens the units are single numbers of their vectors."""

    site: str
    placed: tuple[str, ...]
    varied: tuple[str, ...]
    why: Literal["decided", "idle", "through", "alike", "other"]
    tokens: bool
    output: str
    taken: tuple[Taken, ...]
    natural: float
    judged: tuple[bool, ...]
    allowed: float
    carrier: str = ""
    followed: float = 0.0
    cut: int = 0
    inside: bool = False
    needless: bool = False
    through: str = ""
    numbers: bool = False

    def to_json(self) -> shapes.UnclaimedJson:
        found: shapes.UnclaimedJson = {
            "site": self.site,
            "placed": list(self.placed),
            "varied": list(self.varied),
            "why": self.why,
            "natural": self.natural,
            "taken": [
                one.to_json()
                for one in self.taken
                if len(one.units) <= _LISTED or one in self.taken[:1] or one.moved.value
            ],
        }
        if self.numbers:
            found["numbers"] = True
        if self.through:
            found["through"] = self.through
        return {**found, "carrier": self.carrier} if self.carrier else found


# ── what it says ────────────────────────────────────────────────────────────────────────────────


def of_pairs(hits: np.ndarray, every: bool) -> Estimate:
    """The share of ``hits`` [n], with the interval of as many independent pairs; ``every``: these are all pairs there are.

    What a network does in one pair is no matter of luck. So the interval is about the pairs, not about inputs not seen.
    """
    n, count = len(hits), int(hits.sum())
    if not n:
        return Estimate(None)
    if every:
        return Estimate(count / n, n=n, method="exact")
    found = share_interval(count, n, True, n)
    assert found is not None
    return Estimate(count / n, *found, n, "rule of three" if count in (0, n) else "binomial", "draws")


def moves(one: Taken, natural: float, sets: int = 1, alone: float | None = None) -> bool:
    """Whether it moves the answer more often than errors of the network explain: in more than ``RARE`` of the pairs, and in more pairs
    than luck explains in any one of so many ``sets`` (Bonferroni) if errors of both inputs are passed on, twice ``natural``.

    A network that is right everywhere explains none by its errors; then one pair of all is enough, or two of a sample. Errors leave an
    answer close to another one. So those that become others clearly are held against what the network does ``alone``, once.
    """
    clearly = one.clear is not None and exceeds(one.clear, natural if alone is None else alone, sets, once=True)
    return clearly or exceeds(one.moved if one.unexplained is None else one.unexplained, natural, sets)


def exceeds(share: Estimate, natural: float, sets: int, once: bool = False) -> bool:
    """Whether a share of pairs is more than twice ``natural``, and not by luck if errors of both inputs are passed on (``once``: of one)."""
    n, value = share.n, share.value or 0.0
    hits = round(value * n)
    least = 1 if share.method == "exact" else 2
    if hits < least or value <= max(RARE, 2 * natural):
        return False
    from scipy.special import bdtrc

    return bool(bdtrc(hits - 1, n, natural if once else min(1.0, 2 * natural)) * sets <= _LUCK)


def unmapped_findings(found: Unclaimed) -> list[Finding]:
    """`unmapped_moves`, where what no variable claims moves the answer that the hypothesis says it cannot: an alarm where the
    network's own errors do not explain it, else information."""
    judged = [one for one, must_stay in zip(found.taken, found.judged, strict=True) if must_stay and one.moved.value]
    moving = [
        one
        for one in judged
        if moves(one, found.allowed, 1 if one is found.taken[0] else len(found.taken), found.natural)
    ]
    told_of = moving or judged
    if not told_of:
        return _unjudged(found)
    if found.natural and any(not one.mixed for one in told_of):
        told_of = [one for one in told_of if not one.mixed]
    single = sorted((o for o in told_of if len(o.units) == 1 and not o.mixed), key=lambda o: -(o.moved.value or 0))
    plain = [one for one in told_of if not one.beside] or told_of
    most = single[0] if single else max(plain, key=lambda one: (one.moved.value or 0, -len(one.units)))
    told = f"The answer moves in {share_of(most)} if {most.how}"
    more = [f"{one.told} in {show(one.moved.value)}" for one in single[1:_NAMED]]
    if more:
        told += f" ({', '.join(more)}{', …' if len(single) > _NAMED else ''})"
    told += f". {_placed(most)}, and {_because(found, most, True)}."
    if most.clear is not None and most.clear.value:
        told += (
            f" In {show_estimate(most.clear)} of {counted(most.clear.n)} the answer becomes another one clearly: the two largest logits are then at "
            "least half as far apart as usual."
        )
    if any(not (one.mixed and found.natural) for one in moving):
        return [Finding("unmapped_moves", told)]
    if moving:
        told += (
            f" The network answers {show(found.natural)} of the inputs that were looked at wrong: it may do so more often where numbers stand "
            "together that no input gives."
        )
        return [Finding("unmapped_moves", told, "info", False)]
    if most.unexplained is not None:
        told += (
            f" In all but {show(most.unexplained.value)} of {counted(most.unexplained.n)} in which it moves, the network errs by itself on half or more of the inputs that have the same "
            f"values there: what is at {most.told} brings an error of the network's own with it."
        )
        return [Finding("unmapped_moves", told, "info", False)]
    if not found.allowed:
        told += f" For an alarm it has to be more than one of a sample of pairs, and more than {RARE:.1%} of them."
        return [Finding("unmapped_moves", told, "info", False)]
    wrong = f" (it answers {show(found.natural)} of these inputs wrong)" if found.natural else ""
    if found.allowed > found.natural:
        wrong = f" (iia is {show(1 - found.allowed)})"
    told += f" A network that is not exact may move that few answers by itself{wrong}."
    return [Finding("unmapped_moves", told, "info", False)]


def places_finding(moved: Estimate, names: Sequence[str], site: str) -> Finding:
    """`holds_more`, where places together hold something else that counts: each was taken from an input with the same value."""
    told = listed(names)
    return Finding(
        "holds_more",
        f"The answer moves in {show_estimate(moved)} of {counted(moved.n, 'mixture')} of inputs that the network answers right if what is at the "
        f"place of each of {told} at {site} is taken from an input with the same value of it, another one for each. Beside {told}, something "
        "else that is there counts.",
        "info",
    )


def levelled_finding(moved: Estimate, name: str, places: str) -> Finding:
    """`holds_more`, where what differs at a place between inputs with one value of its variable counts."""
    return Finding(
        "holds_more",
        f"The answer moves in {show_estimate(moved)} of {counted(moved.n, 'input')} that the network answers right if what is at {places} is replaced by "
        f"its mean over the inputs with the same value of `{name}`. What differs there between inputs with one value of `{name}` counts: the network "
        f"may read something else from that place.",
        "info",
    )


def one_of(told: Sequence[Finding], more: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings of a cell and those of one more control of this kind: an alarm stands alone, and of others the first of a code."""
    kinds = ("unmapped_moves", "unjudged_moves")
    if any(one.code in kinds and one.severity == "alarm" for one in told):
        return tuple(told)
    if any(one.severity == "alarm" for one in more):
        told = [one for one in told if one.code not in kinds]
    known = {one.code for one in told}
    return (*told, *(one for one in more if one.code not in known))


def _unjudged(found: Unclaimed) -> list[Finding]:
    """`unjudged_moves`, where a part moves the answer of which it is not known whether it may."""
    moving = [
        one
        for one, must_stay in zip(found.taken, found.judged, strict=True)
        if not must_stay and moves(one, found.allowed, len(found.taken))
    ]
    if not moving:
        return []
    most = max(moving, key=lambda one: (one.moved.value or 0, -len(one.units)))
    names = listed(found.placed)
    open_ = (
        f"It was not decided whether {most.told} and the other unclaimed parts hold together what `{found.output}` needs beside {names}; if "
        "not, the network uses that place for what the alignment says is elsewhere."
    )
    if most.unlike is not None:
        open_ = f"{_unlike(found, most.unlike)} {open_}" if most.unlike.share.value else _as_in_some(found, most)
    return [
        Finding(
            "unjudged_moves",
            f"The answer moves in {share_of(most)} if {most.how}. {_placed(most)}, and {_because(found, most, False)}. {open_}",
        )
    ]


def unlike_findings(found: Unclaimed) -> list[Finding]:
    """`unmapped_moves`, where parts of which it is not known whether they may move the answer change how it depends on the placed
    variables."""
    most = max(found.taken, key=lambda one: (one.unlike.share.value or 0.0 if one.unlike else 0.0, -len(one.units)))
    assert most.unlike is not None
    return [
        Finding(
            "unmapped_moves",
            f"The answer moves in {share_of(most)} if {most.how}. {_placed(most)}, and {_because(found, most, False)}. {_unlike(found, most.unlike)} "
            f"{most.told} holds all that `{found.output}` needs beside {listed(found.placed)}, and so do other unclaimed parts: where "
            f"these differ, `{found.output}` depends on {listed(found.placed)} in another way.",
        )
    ]


def _unlike(found: Unclaimed, unlike: Unlike) -> str:
    """The sentence on how a part changes the way in which the answer depends on the placed variables."""
    names, n = listed(found.placed), counted(unlike.share.n)
    if unlike.still:
        return f"In {show(unlike.share.value)} of {n}, no value of {names} then changes the answer, though in each of these inputs by itself some do."
    return (
        f"In {show(unlike.share.value)} of {n}, the values of {names} that then give one answer are others than in any of these inputs "
        "by itself."
    )


def _as_in_some(found: Unclaimed, one: Taken) -> str:
    """That a part leaves the answer depending on the placed variables as it does in some input."""
    assert one.unlike is not None
    names = listed(found.placed)
    return (
        f"In {counted(one.unlike.share.n)}, the values of {names} that then give one answer are in each the same as in some input by itself: "
        f"{one.told} may hold a part of what `{found.output}` needs beside {names}."
    )


def share_of(one: Taken) -> str:
    """In how many of which inputs it moves the answer."""
    of = counted(one.moved.n, "mixture" if one.mixed else "pair")
    return f"{show_estimate(one.moved)} of {of} of inputs that the network answers right"


def _placed(one: Taken) -> str:
    if not one.unwritten:
        return f"No variable is placed at {one.told}" if one.beside else "No variable is placed there"
    return f"{listed(one.unwritten)} {'is' if len(one.unwritten) == 1 else 'are'} placed there and not written"


def _because(found: Unclaimed, one: Taken, must_stay: bool) -> str:
    """Why ``one`` matters. The inputs of a mixed set are no pairs of the layer: what is said of these is not said of it."""
    names = listed(found.placed)
    if one.beside:
        them = "the place holds" if len(one.beside) == 1 else "the places hold"
        return (
            f"the value{'s' * (len(one.beside) > 1)} of {listed(one.beside)} stay{'s' * (len(one.beside) == 1)} as before. Neither of the two alone moves the answer in these "
            f"mixtures: beside {one.told}, something else that {them} counts"
        )
    if found.needless:
        return f"what `{found.output}` needs beside {names} is not there: all that is unclaimed in the layer, taken together from inputs in which it needs something else, moved no answer"
    if one.varied and found.why != "decided":
        carried = f", but the other unclaimed parts carry what `{found.output}` needs beside {names}"
        return f"these inputs differ in {listed(one.varied)}{carried if must_stay else ''}"
    match found.why:
        case "decided":
            return f"in the causal model {names} alone determine{'s' * (len(found.placed) == 1)} `{found.output}`"
        case "idle":
            return f"the inputs differ only in {listed(found.varied)}, on which `{found.output}` of the causal model does not depend"
        case "through":
            return f"the inputs differ only in {listed(found.varied)}, which in the causal model reach{'es' * (len(found.varied) == 1)} `{found.output}` only through {names}"
        case "alike":
            return f"the causal model answers both inputs alike, with the value{'s' * (len(found.placed) > 1)} of {names} in the first"
        case "other" if found.carrier:
            return f"{found.carrier}, taken alone from the other input, gives the answer that the causal model then has in {show(found.followed)} of such pairs: what `{found.output}` needs beside {names} is there"
        case "other":
            return f"the inputs differ in what `{found.output}` needs beside {names}"
    raise AssertionError(found.why)


def listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


__all__ = [
    "Taken",
    "Unclaimed",
    "Unlike",
    "exceeds",
    "levelled_finding",
    "listed",
    "moves",
    "of_pairs",
    "one_of",
    "places_finding",
    "share_of",
    "unlike_findings",
    "unmapped_findings",
]
