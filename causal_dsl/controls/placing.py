"""The measurements of a variable's places, each written alone, left out, and beside some of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Drawn
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning.rest_of_layer import named, same_layer
from causal_dsl.program.probed import InParts
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.parts import WrittenPart, nearest, part_findings, varies_with
from causal_dsl.score.results import CellResult
from causal_dsl.score.truth import has_answer, labels_of
from causal_dsl.score.unmapped import of_pairs
from causal_dsl.vocabulary.locations import Place, Site

_ANSWER = Quantity("answer")
#: From the place of a part to its vectors [n, width] on some inputs, and the values of its variable there [n]; None where they cannot be read.
Vectors = Callable[[Place, str], tuple[np.ndarray, np.ndarray] | None]


@dataclass(frozen=True)
class InPartsRun:
    """``answers``: of each set of parts that was written, what the network said [m]; ``right``: whether that is the label, of the pairs
    that have one."""

    probe: InParts
    answers: dict[frozenset[int], np.ndarray]
    right: dict[frozenset[int], np.ndarray]

    def enough(self, site: Site, test: Test) -> bool:
        """Whether what is written at one layer alone is right in every pair in which all of it is."""
        facts = test.network.facts
        there = frozenset(n for n, part in enumerate(self.probe.parts) if same_layer(named(part, facts).site, site))
        if there not in self.right:
            return False
        whole = self.right[frozenset(range(len(self.probe.parts)))]
        return bool((self.right[there] | ~whole).all())


def read_parts(probe: InParts, test: Test, drawn: Drawn, own: CellRun, run: TestRun) -> InPartsRun:
    """The outcome with each set of parts, on the pairs of the ``test`` whose cell is ``own``."""
    rows, every = probe.rows, frozenset(range(len(probe.parts)))
    answers = {
        frozenset(some): one.columns.patched[_ANSWER] for some, one in zip(probe.sets, run.cells, strict=True) if some
    }
    alone = next((one.columns.patched for some, one in zip(probe.sets, run.cells, strict=True) if not some), None)
    answers[frozenset()] = own.columns.base[_ANSWER][rows] if alone is None else alone[_ANSWER]
    answers[every] = own.columns.patched[_ANSWER][rows]
    label = labels_of(test, drawn)
    assert label is not None
    accepted = test.model.accepted(test.readout.variable)
    known = has_answer(test, label[rows])
    right = {some: accepted.right(said, label[rows])[known] for some, said in answers.items()}
    return InPartsRun(probe, answers, right)


def with_parts(cell: CellResult, found: InPartsRun, vectors: Vectors, pairs: int) -> CellResult:
    """The cell, told of each part whether it counts (`idle_place`), beside a full verdict; ``pairs``: how many the test has."""
    probe, count = found.probe, len(found.probe.parts)
    parts = []
    counts = [_counts(found, number) for number in range(count)]
    kept = [number for number in range(count) if counts[number].any()]
    read = [vectors(place, probe.variable) for place in probe.parts] if 0 < len(kept) < count else [None] * count
    for number, place in enumerate(probe.parts):
        alone, without = frozenset({number}), frozenset(range(count)) - {number}
        own = None if number in kept else read[number]
        parts.append(
            WrittenPart(
                probe.variable,
                str(place),
                of_pairs(found.right[alone], False),
                of_pairs(found.right[without], False),
                of_pairs(counts[number], False),
                None if own is None else nearest(*own),
                None if own is None else _beside([read[n] for n in kept], own),
                own is not None and varies_with(*own),
            )
        )
    every = len(probe.rows) == pairs
    width = sum(len(place.site.dims or ()) for place in probe.parts) if probe.one else None
    told = part_findings(parts, width, every) if cell.verdict is not None and cell.verdict.code in FULL else []
    return replace(cell, parts=(*cell.parts, *parts), findings=(*cell.findings, *told))


def _counts(found: InPartsRun, number: int) -> np.ndarray:
    """In which pairs [m] a part changes the answer, written beside some of the others or none."""
    counts = np.zeros(len(found.probe.rows), bool)
    for some, said in found.answers.items():
        if number not in some and (more := some | {number}) in found.answers:
            counts |= said != found.answers[more]
    return counts


def _beside(
    kept: Sequence[tuple[np.ndarray, np.ndarray] | None], own: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float] | None:
    """How far the places that count tell a variable, and how far these and one more do."""
    those = [one[0] for one in kept if one is not None]
    if len(those) < len(kept):
        return None
    less, more = (
        nearest(np.concatenate(those, axis=1), own[1]),
        nearest(np.concatenate([*those, own[0]], axis=1), own[1]),
    )
    return None if less is None or more is None else (less[0], more[0])


__all__ = ["InPartsRun", "Vectors", "read_parts", "with_parts"]
