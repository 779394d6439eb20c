"""Where a feature that a spec takes from a file was fitted, against where it is used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from causal_dsl.diagnostics import Diagnostic, shown_path
from causal_dsl.program.program import Test


def elsewhere(tests: Iterable[Test]) -> tuple[Diagnostic, ...]:
    """W669 for each feature of a file that is used at another place than it was fitted at: a site, a layer or a token."""
    found = {}
    for test in tests:
        for cell in test.cells:
            for intervention in cell.interventions:
                for ref in intervention.features:
                    if ref.variant or not ref.fitting.file or (ref.place, ref.fitting.file) in found:
                        continue
                    path = Path(ref.fitting.file)
                    places = _places(path)
                    told = None
                    if places and str(ref.place) not in places:
                        told = Diagnostic(
                            "W669",
                            "a feature from a file is used at another place than the one where it was fitted",
                            ref.span or test.span,
                            notes=(
                                f"`{shown_path(path)}` was fitted at {', '.join(places)}",
                                f"it is used at {ref.place}",
                            ),
                            help="use it where it was fitted, or leave `file` out to fit one here; go on if the transfer is "
                            "what you study",
                        )
                    found[ref.place, ref.fitting.file] = told
    return tuple(dict.fromkeys(told for told in found.values() if told is not None))


def _places(path: Path) -> list[str]:
    """The places that the maps in a file were fitted at; none where the file does not say."""
    try:
        with safe_open(path, framework="numpy") as file:
            maps = json.loads((file.metadata() or {})["causal_dsl"])["maps"]
        return list(dict.fromkeys(str(told[1]) for told in maps))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError):
        return []  # `from_file` refuses what is not a fitted feature


__all__ = ["elsewhere"]
