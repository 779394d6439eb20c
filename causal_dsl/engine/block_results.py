"""The results of one block of a step: numbers for its pairs, cell by cell."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.quantities import Quantity


@dataclass
class BlockResult:
    """Of one test. ``pairs`` are the rows that were run. ``unpatched[role][q]`` [pairs] are the numbers of a run as it
    is; ``patched[q]`` [cells, pairs] those of the interventions of ``cells``, numbers of the test's cells.

    ``fired`` [cells, writes, 3]: for each write at how many places it acted, the sum of its relative changes there, and
    how many places were left out because they cannot reach the read-out. ``noise_floors[cell]``: the noise floor, in logits and as a
    share of their size.
    ``off_manifold[cell]``: how many written vectors lie outside of what their site takes, of how many that were looked at.
    """

    pairs: np.ndarray
    unpatched: dict[str, dict[Quantity, np.ndarray]] = field(default_factory=dict)
    cells: list[int] = field(default_factory=list)
    patched: dict[Quantity, np.ndarray] = field(default_factory=dict)
    fired: dict[int, np.ndarray] = field(default_factory=dict)
    noise_floors: dict[int, tuple[float, float]] = field(default_factory=dict)
    off_manifold: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: of each cell and run, the numbers [pairs] that were read at places
    looked: dict[tuple[int, str], dict[Quantity, np.ndarray]] = field(default_factory=dict)
    seconds: float = 0.0


#: The results of a block, by the names of the tests.
BlockResults = dict[str, BlockResult]
