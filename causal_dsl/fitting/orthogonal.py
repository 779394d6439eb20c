"""Two subspaces of files that are written at one place: they must be orthogonal, or the order of the writes would decide."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import torch

from causal_dsl.diagnostics import Span, fail, shown_path
from causal_dsl.features.given_directions import directions_shape, read_directions
from causal_dsl.program.components import width
from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.program.written_together import subspaces
from causal_dsl.vocabulary.network_facts import Facts

#: Axes are orthogonal up to this cosine: numbers of half precision are not more exact.
CLOSE = 1e-3


def refuse_slanted(tests: Iterable[Test]) -> None:
    """Raise E774 where two subspaces that one `do` writes at one place are not orthogonal."""
    seen = set()
    for test in tests:
        for cell in test.cells:
            for one, other in combinations(cell.interventions, 2):
                for a, b in subspaces(one, other):
                    key = (a.chain, b.chain, a.place.site)
                    if key not in seen:
                        seen.add(key)
                        _refuse(a, b, test.network.facts, other.span or test.span)


def _refuse(one: FeatureRef, other: FeatureRef, facts: Facts, span: Span) -> None:
    known = width(one.place.site, facts)
    if known is None:  # of a module that only the network itself knows: both files say it
        known = max(max(directions_shape(*_file(ref), span)) for ref in (one, other))
    axes = [read_directions(*_file(ref), known, span) for ref in (one, other)]
    cosine = float(torch.linalg.matrix_norm(axes[0].T @ axes[1], ord=2))
    if cosine <= CLOSE:
        return
    raise fail(
        "E774",
        "two subspaces are written at one place, and they are not orthogonal",
        span,
        notes=(
            f"{_shown(one)} and {_shown(other)} hold directions whose cosine is {cosine:.3g}, at {one.place}",
            "what is written in one of them would change what stands in the other",
        ),
        help="make the directions of one file orthogonal to those of the other, or write them in two tests",
    )


def _file(ref: FeatureRef) -> tuple[Path, str]:
    settings = dict(ref.chain[0].settings)
    return Path(str(settings["path"])), str(settings["key"])


def _shown(ref: FeatureRef) -> str:
    path, key = _file(ref)
    return f"`{shown_path(path)}`{f', key {key}' if key else ''}"


__all__ = ["refuse_slanted"]
