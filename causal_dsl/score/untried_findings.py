"""Findings `not_tried`: controls that were not run beside a test, or not in full, and why."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import counted
from causal_dsl.score.unmapped import Unclaimed, listed


def untried_finding(why: str) -> Finding:
    """`not_tried`: the control of what no variable claims was not run, and ``why``."""
    return Finding(
        "not_tried", f"What no variable claims was not taken from other inputs beside this test, because {why}."
    )


def early_finding(site: str, placed: Sequence[str]) -> Finding:
    """`not_tried`: the rest of a layer was not judged, for what is placed there is not enough by itself."""
    has = "has" if len(placed) == 1 else "have"
    return Finding(
        "not_tried",
        f"What no variable claims at {site} was not judged: what {listed(placed)} {has} there, written alone, does not give the right answers.",
    )


#: What holds of all tokens that are taken.
_WHOLE = "What is unclaimed of a token was taken all together, not number by number."


def coordinates_finding(found: Unclaimed) -> Finding:
    """`not_tried`: how the rest of the layer was taken beside a feature."""
    told = f"What {found.through} of {listed(found.placed)} leaves at {found.site} was taken from other inputs"
    if found.inside:
        return Finding("not_tried", f"{told} by tokens. {_WHOLE}")
    by = "by tokens, by their numbers" if found.tokens else "by coordinates"
    by += " and by random directions" if found.why == "decided" else ""
    return Finding(
        "not_tried",
        f"{told} {by}: all of them together, and some sets of them. What needs certain other directions to change "
        "by themselves may not show there.",
    )


def inside_finding() -> Finding:
    """`not_tried`: the numbers of a token were taken all together."""
    return Finding("not_tried", _WHOLE)


def untaken_finding(layer: Unclaimed | None, upto: int, of_layers: Sequence[Unclaimed]) -> Finding:
    """`not_tried`: not all sets of the units of a ``layer`` (None: of several, ``of_layers``) were taken, but those of ``upto`` units."""
    of = _units_of(of_layers if layer is None else [layer])
    told = _untaken(of, upto)
    return Finding("not_tried", f"{told} {_WHOLE}" if any(one.inside for one in of_layers) else told)


def _units_of(layers: Sequence[Unclaimed]) -> str:
    """The units of layers in words, with their numbers where it is one layer."""
    one = layers[0] if len(layers) == 1 else None
    if not layers[0].tokens:
        return (
            "the unclaimed numbers" if one is None else f"the {len(one.taken[0].units)} unclaimed numbers of {one.site}"
        )
    cut = any(layer.cut for layer in layers)
    if one is None:
        return "the unclaimed tokens" + (" and the tokens that are claimed in part" if cut else "")
    whole = len(one.taken[0].units) - one.cut
    in_part = f" that {'is' if one.cut == 1 else 'are'} claimed in part" if cut else ""
    if not whole:
        return f"the {counted(one.cut, 'token')} of {one.site}{in_part}"
    more = f" and the {counted(one.cut, 'token')}{in_part}" if cut else ""
    return f"the {whole} unclaimed token{'s' * (whole > 1)} of {one.site}{more}"


def _untaken(of: str, upto: int) -> str:
    if upto > 2:
        many = f"sets of up to {upto} of {of} were all taken from another input while the others stay"
        return f"{many[0].upper()}{many[1:]}, and all of them together; of the sets between these, not all were."
    told = {
        0: "not each was taken from another input by itself",
        1: "each was taken from another input by itself, but not each two together while the others stay",
        2: "each was taken from another input by itself and each two together, but not each three together while the others stay",
    }[upto]
    return f"Of {of}, {told}."


def alike_only_finding(site: str, placed: Sequence[str], output: str) -> Finding:
    """`not_tried`: nothing of a layer was taken from inputs in which the answer needs something else beside the ``placed`` variables."""
    return Finding(
        "not_tried",
        f"What no variable claims at {site} was taken only from inputs that leave `{output}` of the causal model as it is, given "
        f"{listed(placed)}. A part that steps in where copies of another input that `{output}` needs differ does not show there.",
    )


def unheld_finding(why: str) -> Finding:
    """`not_tried`: no other values were written in place of an ablation, and ``why``."""
    return Finding("not_tried", f"No other values were written at the places of this test, because {why}.")


def unwritten_finding(names: Sequence[str], how: str, why: str) -> Finding:
    """`not_tried`: variables that are written together were not written apart, ``how``, and ``why``."""
    return Finding("not_tried", f"{listed(names)} were not taken {how} beside this test, because {why}.")


def not_beyond_finding(why: str) -> Finding:
    """`not_tried`: the claim was not tried in pairs that do not pass the `where`, and ``why``."""
    return Finding("not_tried", f"The interchange was not tried in pairs that do not pass the `where`, because {why}.")


def unparted_finding(name: str, why: str) -> Finding:
    """`not_tried`: the places of a variable were not written in parts, and ``why``."""
    return Finding("not_tried", f"The places of `{name}` were not written alone and left out, because {why}.")


def unplaced_finding(names: Sequence[str]) -> Finding:
    """`not_tried`: controls were not run, for a place of the test is not in their prompts, or not with as many tokens."""
    return Finding(
        "not_tried",
        f"{', '.join(f'`{name}`' for name in names)} {'was' if len(names) == 1 else 'were'} not run beside this test: a place of the "
        "test is missing from a prompt that would be run, or has another number of tokens in the two prompts of a pair.",
    )


__all__ = [
    "alike_only_finding",
    "coordinates_finding",
    "early_finding",
    "inside_finding",
    "not_beyond_finding",
    "unheld_finding",
    "unparted_finding",
    "unplaced_finding",
    "untaken_finding",
    "untried_finding",
    "unwritten_finding",
]
