"""Where a feature that a spec takes from a file was fitted, against where it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostics, shown_path
from causal_dsl.program.components import width
from causal_dsl.program.identity import Origin
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.program.read_features import FeatureRef, Fitting, Via
from causal_dsl.store.tensor_headers import header_of
from causal_dsl.vocabulary.locations import Place

#: The coordinates at the end of a place, as it is written.
_DIMS = re.compile(r", [\d:, ]+\]$")


def judge_origins(tests: Iterable[Test], found: Diagnostics) -> None:
    """Judge each feature of a file by the place at which its file says that it was fitted: E760 for another site or layer, unless the
    spec says `elsewhere=true`, and W669 for another token of it."""
    seen = set()
    for test in tests:
        for cell in test.cells:
            for ref in (ref for intervention in cell.interventions for ref in intervention.features):
                if ref.elsewhere or not ref.fitting.file or (ref.place, ref.fitting.file) in seen:
                    continue
                seen.add((ref.place, ref.fitting.file))
                _judge(ref, test, found)


def _judge(ref: FeatureRef, test: Test, found: Diagnostics) -> None:
    path = Path(ref.fitting.file)
    places = _places(path)
    if not places or str(ref.place) in places:
        return
    notes = (f"`{shown_path(path)}` was fitted at {', '.join(places)}", f"it is used at {ref.place}")
    span = ref.span or test.span
    if any(_another_token(place, ref.place) for place in places):
        found.report(
            "W669",
            "a feature from a file is used at another token than the one where it was fitted",
            span,
            notes=notes,
            help="use it where it was fitted, or leave `file` out to fit one here; write elsewhere=true if the transfer is what "
            "you study",
        )
        return
    found.report(
        "E760",
        "a feature from a file is used at another place than the one where it was fitted",
        span,
        notes=notes,
        help="use it where it was fitted, leave `file` out to fit one here, or write elsewhere=true if the transfer is what you study",
    )


def _another_token(told: str, place: Place) -> bool:
    """Whether a place, as text, is another token of the same vector."""
    if place.position is None or not told.startswith(f"{place.site}["):
        return False
    own, other = _DIMS.search(str(place)), _DIMS.search(told)
    return (own and own[0]) == (other and other[0])


def fitted_refs(
    via: Via, places: Sequence[Place], network: NetworkRef, found: Diagnostics
) -> tuple[FeatureRef, ...] | None:
    """The feature of a file at each of some places without tokens, by the number of its map in the file; None where a fault was reported:
    E760 of another site, E729 of another width or kind."""
    path, span = Path(via.fitting.file), via.span
    about = _about(path)
    maps, widths = about.get("maps", []), about.get("widths", [])
    name = via.chain[0].name
    made = []
    for place in places:
        here = [number for number, told in enumerate(maps) if _site(str(told[1])) == str(place.site)]
        if not here and not via.elsewhere:
            found.report(
                "E760",
                "a feature from a file is used at another place than the one where it was fitted",
                span,
                notes=(
                    f"`{shown_path(path)}` was fitted at {', '.join(str(told[1]) for told in maps) or 'no known place'}",
                    f"it is used at {place}",
                ),
                help="use it where it was fitted, or write elsewhere=true if the transfer is what you study",
            )
            return None
        number = here[0] if here else 0
        known = width(place.site, network.facts)
        kind = [str(feature[0]) for feature in maps[number][2]] if maps else []
        why = ""
        if kind != [name]:
            why = f"holds {'.'.join(kind) or 'no feature'}, and the spec says {name}"
        elif known is not None and widths[number : number + 1] != [known]:
            why = f"is for vectors of {', '.join(map(str, widths[number : number + 1]))} numbers, and `{place}` has {known}"
        if why:
            found.report("E729", f"`{shown_path(path)}` {why}", span, help="name a file that was fitted at this site")
            return None
        fitting = Fitting(file=via.fitting.file)
        owner = Origin("", 0, "")
        ref = FeatureRef(owner, network.key, (), place, via.chain, fitting, number=number, span=span)
        made.append(replace(ref, elsewhere=via.elsewhere))
    return tuple(made)


def _site(place: str) -> str:
    """The site of a place as text, without its tokens."""
    head, bracket, _ = place.rpartition("[")
    return head if bracket and place.endswith("]") else place


def _about(path: Path) -> dict[str, Any]:
    """The record of features in a file of fitted features; nothing where it is none."""
    try:
        header = header_of(path)
        found = json.loads(header.metadata["causal_dsl"]) if header is not None else None
        return found if isinstance(found, dict) else {}
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}


def _places(path: Path) -> list[str]:
    """The places that the maps in a file were fitted at; none where the file does not say."""
    try:
        header = header_of(path)
        maps = json.loads(header.metadata["causal_dsl"])["maps"] if header is not None else ()
        return list(dict.fromkeys(str(told[1]) for told in maps))
    except (KeyError, ValueError, TypeError, IndexError, RecursionError):
        return []  # `run` refuses what is not a fitted feature


__all__ = ["fitted_refs", "judge_origins"]
