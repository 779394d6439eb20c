"""Findings of the rest of a layer, taken from other inputs beside what features take there."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate
from causal_dsl.score.unmapped import Unclaimed, exceeds, listed, share_of


@dataclass(frozen=True)
class Exchanged:
    """In which ``share`` of mixtures, ``where`` of the rest is taken from other inputs, the answers to two inputs are exchanged that differ in what
    is needed beside the placed variables, or an answer moves that no such need changes. ``carried``: in which share of mixtures a part of the layer
    that stays as it is gives by itself what is needed. ``erring``: the network has errors of its own, which may explain some."""

    share: Estimate
    where: str
    carried: Estimate
    erring: bool


def through_findings(found: Unclaimed, given: bool) -> list[Finding]:
    """`unmapped_moves` and `unjudged_moves` of the rest of a layer beside what features take there. A feature that is not ``given`` was
    fitted, and may miss a part of its variable: then it is no alarm. What differs in that reaches the answer through the placed variables alone
    is not told of coordinates where it was not decided: a feature lies along many of these. It is told of whole tokens."""
    pairs = [
        (one, must)
        for i, (one, must) in enumerate(zip(found.taken, found.judged, strict=True))
        if exceeds(one.moved, found.allowed, len(found.taken) if i else 1)
        and (must or found.why != "through" or one.each == "token")
    ]
    if not pairs:
        return []
    erring = bool(found.natural)  # a network with errors of its own may err more often in mixtures
    most, must = min(
        pairs,
        key=lambda pair: (not pair[1], pair[0].mixed and erring, len(pair[0].units), -(pair[0].moved.value or 0.0)),
    )
    names = listed(found.placed)
    because = f"The inputs differ only in {listed(found.varied)}, and that changes no answer of the causal model as long as {names} stay{'s' * (len(found.placed) == 1)} as before"
    if found.why == "decided":
        because = f"In the causal model {names} alone determine{'s' * (len(found.placed) == 1)} `{found.output}`"
    told = (
        f"The answer moves in {share_of(most)} if {most.how}, while what {found.through} of {names} takes at {found.site} stays as it is. "
        f"{because}."
    )
    code = "unmapped_moves" if must else "unjudged_moves"
    if not must:
        told += (
            f" It was not decided whether {most.told} and the rest of the layer hold together what `{found.output}` needs beside {names}; if not, the "
            "network uses that place for what the alignment says is elsewhere."
        )
    elif found.why != "decided" and most is not found.taken[0]:
        told += f" Other coordinates, taken alone from inputs that need another answer, give it: what `{found.output}` needs beside {names} is there."
    if must and not given:
        told += f" The feature was fitted: it may miss a part of {names}, which then stands in the rest."
    return [
        Finding(code, told) if must and given and not (most.mixed and erring) else Finding(code, told, "info", False)
    ]


def ignored_finding(found: Unclaimed, share: Estimate, where: str) -> Finding:
    """`unjudged_moves`, where directions beside a feature switch off the variable that it takes."""
    names = listed(found.placed)
    return Finding(
        "unjudged_moves",
        f"No other value of {names} changes the answer in {show_estimate(share)} of {counted(share.n, 'mixture')} if {where} is taken from another input, "
        f"while what {found.through} of {names} takes at {found.site} stays as it is. In the causal model another value of {names} changes the answer of each of "
        f"these inputs, and in the network it does without the mixture, or if the mixture is kept to the directions in which the layer varies by itself: "
        f"copies in other directions may count where they differ.",
    )


def exchanged_finding(found: Unclaimed, one: Exchanged) -> Finding:
    """`unmapped_moves`, where directions beside a feature change answers as no value of what else is needed does."""
    names, output = listed(found.placed), found.output
    told = (
        f"In {show_estimate(one.share)} of {counted(one.share.n, 'mixture')}, two inputs that differ in what `{output}` needs beside {names} exchange their "
        f"answers, or one that no such need changes moves, if {one.where} is taken from another input, while what {found.through} of {names} takes at "
        f"{found.site} stays as it is. So does the direction in which the layer tells what `{output}` needs beside {names}: taken alone from another input, it "
        f"gives the answer that is then needed in {show(one.carried.value)} of {counted(one.carried.n)}. No value of that gives such answers: "
        f"`{output}` depends on more that is there."
    )
    return Finding("unmapped_moves", told, *(("info", False) if one.erring else ()))


__all__ = ["Exchanged", "exchanged_finding", "ignored_finding", "through_findings"]
