"""What was measured of a variable's places, each written alone, left out, and beside some of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.engine.execute import CellRun, TestRun
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning.rest_of_layer import named, same_layer
from causal_dsl.program.probed import InParts
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.parts import WrittenPart, nearest, part_findings
from causal_dsl.score.results import CellResult
from causal_dsl.score.truth import labels_of
from causal_dsl.score.unmapped import of_pairs
from causal_dsl.vocabulary.locations import Place, Site

_ANSWER = Quantity("answer")
#: From the place of a part to its vectors [n, width] on some inputs, and the values of its variable there [n]; None where they cannot be read.
Vectors = Callable[[Place, str], tuple[np.ndarray, np.ndarray] | None]


@dataclass(frozen=True)
class InPartsRun:
    """``answers``: of each set of parts that was written, what the network said [m]; ``right``: whether that is the label."""

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
    """What was said of each set of parts, on the pairs of the ``test`` whose cell is ``own``."""
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
    return InPartsRun(probe, answers, {some: accepted.right(said, label[rows]) for some, said in answers.items()})


def with_parts(cell: CellResult, found: InPartsRun, vectors: Vectors, pairs: int) -> CellResult:
    """The cell, told of each part whether it counts (`idle_place`), beside a full verdict; ``pairs``: how many the test has."""
    probe, count = found.probe, len(found.probe.parts)
    parts = []
    for number, place in enumerate(probe.parts):
        counts = np.zeros(len(probe.rows), bool)
        for some, said in found.answers.items():
            if number not in some and (more := some | {number}) in found.answers:
                counts |= said != found.answers[more]
        alone, without = frozenset({number}), frozenset(range(count)) - {number}
        read = None if counts.any() else vectors(place, probe.variable)
        parts.append(
            WrittenPart(
                probe.variable,
                str(place),
                of_pairs(found.right[alone], False),
                of_pairs(found.right[without], False),
                of_pairs(counts, False),
                None if read is None else nearest(*read),
            )
        )
    every = len(probe.rows) == pairs
    width = sum(len(place.site.dims or ()) for place in probe.parts) if probe.one else None
    told = part_findings(parts, width, every) if cell.verdict is not None and cell.verdict.code in FULL else []
    return replace(cell, parts=(*cell.parts, *parts), findings=(*cell.findings, *told))


__all__ = ["InPartsRun", "Vectors", "read_parts", "with_parts"]
