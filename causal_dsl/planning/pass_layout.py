"""One pass as rows: which prompts, which interventions on which pairs, what is kept of whom. :mod:`causal_dsl.planning.rows` makes it."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import PassRows, Schedule, schedule
from causal_dsl.planning.pass_runs import PassRuns
from causal_dsl.planning.steps import Step
from causal_dsl.program.identity import NetworkKey
from causal_dsl.vocabulary.locations import Place, Site


@dataclass(frozen=True, eq=False)
class Spot:
    """The tokens [m] that one write of a family touches: ``which`` of its rows, as rows of the pass, and where; ``live``
    are those that can reach what is read of the run."""

    which: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    live: np.ndarray


@dataclass(frozen=True, eq=False)
class Family:
    """One intervention on the pairs of a block: ``pairs`` [k] are run, ``back`` [n] which of them stands for each pair
    of the block; ``rows`` [k] of the pass. ``taken``: vectors of it are written elsewhere; ``inner``: nothing else is read of it."""

    resume: g.Resume
    pairs: np.ndarray
    back: np.ndarray
    rows: np.ndarray
    spots: tuple[Spot, ...]
    taken: bool = False
    inner: bool = False


@dataclass(frozen=True, eq=False)
class AlikeRows:
    """Of interventions that are alike, what they have in a block: the ``pairs`` [k] that are run, ``back`` [n], their prompts' rows ``home`` [k],
    and of each write (which of their rows, token, whether it reaches what is read) [m]."""

    pairs: np.ndarray
    back: np.ndarray
    home: np.ndarray
    touched: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]


@dataclass(frozen=True, eq=False)
class Watch:
    """A place that is read in a run of a pass, for what a test measures there: (``rows``, ``positions``) [k] of the pass, unique;
    ``at`` [m] which of them each token is, of pair ``which`` [m] of ``pairs``. ``within``: the rows are intervened on, so
    that what is read is what is there after the writes."""

    pairs: np.ndarray
    which: np.ndarray
    at: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    within: bool


@dataclass(eq=False)
class Layout:
    """``inputs`` [prompts]: the input of each prompt row. ``prompt[forward]`` [n]: the prompt row of each pair of the block.
    ``runs`` are the interventions; those ``there`` [m] have pairs in the block, from the row ``first`` [runs] on; ``alike`` has the rows of each
    kind of them. ``key_parts``: of each part that is kept (``runs.parts``) the numbers of its vectors, unique, None where it has no pair here."""

    network: NetworkKey
    inputs: np.ndarray
    pairs: dict[g.DrawNode, np.ndarray]
    prompt: dict[tuple[object, g.Forward], np.ndarray]
    runs: PassRuns
    rows: PassRows
    width: int
    read_forwards: tuple[g.Forward, ...] = ()
    alike: tuple[AlikeRows | None, ...] = ()
    there: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    first: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    watches: dict[tuple[g.Forward | g.Resume, Place], Watch] = field(default_factory=dict)
    key_parts: tuple[np.ndarray | None, ...] = ()
    #: how many rows the pass has: prompts, then those that are intervened on
    most_rows: int = 1

    @property
    def shared(self) -> bool:
        return self.runs.shared

    @property
    def sizes(self) -> np.ndarray:
        """How many rows each of the interventions ``there`` has [m]."""
        each = np.array([0 if rows is None else len(rows.pairs) for rows in self.alike], np.int64)
        found: np.ndarray = each[self.runs.kind[self.there]]
        return found

    def has(self, resume: g.Resume) -> bool:
        """Whether an intervention has a pair in the block."""
        number = self.runs.number.get(resume)
        return number is not None and self.alike[self.runs.kind[number]] is not None

    @cached_property
    def families(self) -> list[Family]:
        """The interventions on the pairs of the block, in the order of their rows."""
        every, found = np.arange(self.most_rows), []
        for number, first in zip(self.there.tolist(), self.first[self.there].tolist(), strict=True):
            rows = self._alike(number)
            own = every[first : first + len(rows.pairs)]
            spots = tuple(Spot(which, own[which], tokens, live) for which, tokens, live in rows.touched)
            taken, inner = bool(self.runs.taken[number]), bool(self.runs.inner[number])
            found.append(Family(self.runs.runs[number], rows.pairs, rows.back, own, spots, taken, inner))
        return found

    @cached_property
    def family(self) -> dict[g.Resume, Family]:
        """The families by their interventions."""
        found: dict[g.Resume, Family] = {}
        for family in self.families:
            found.setdefault(family.resume, family)
        return found

    @cached_property
    def live_writes(self) -> np.ndarray:
        """Which writes of ``rows`` can reach what is read of their run."""
        each = [self._alike(number).touched for number in self.there.tolist()]
        live = [own for touched in each for _, _, own in touched]
        return np.concatenate(live) if live else np.zeros(0, bool)

    def _alike(self, number: int) -> AlikeRows:
        rows = self.alike[self.runs.kind[number]]
        assert rows is not None
        return rows

    def prompt_rows(self, forward: g.Forward, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        """The prompt rows of some pairs of a run; ``of`` is the intervention that they run for, where none is shared."""
        rows = self.prompt[None if self.shared else of, forward]
        return rows[pairs - self.pairs[forward.draw][0]]

    def rows_of(self, run: g.Forward | g.Resume, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        """The rows of some pairs of a run, plain or intervened on; ``of``: the intervention that takes vectors of it."""
        if isinstance(run, g.Forward):
            return self.prompt_rows(run, of, pairs)
        family = self.family[run]
        return family.rows[family.back[pairs - self.pairs[run.base.draw][0]]]

    # ── what is kept ────────────────────────────────────────────────────────────────────────────

    @cached_property
    def keys(self) -> dict[Site, np.ndarray]:
        """The numbers of the vectors that are kept of each site."""
        found = ((site, self.key_parts[number]) for site, number in self.runs.kept.items())
        return {site: keys for site, keys in found if keys is not None}

    @cached_property
    def kept(self) -> dict[Site, tuple[np.ndarray, np.ndarray]]:
        """(rows, positions) of the vectors of each site that are kept, unique."""
        places = [None if keys is None else self.places_of(keys) for keys in self.key_parts]
        found = ((site, places[number]) for site, number in self.runs.kept.items())
        return {site: where for site, where in found if where is not None}

    def places_of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, positions) of vectors that are kept."""
        return keys // self.width % self.most_rows, keys % self.width

    def slots(self, site: Site, rows: np.ndarray, positions: np.ndarray, of: object) -> np.ndarray:
        """Where vectors that are kept for ``of`` lie among those of their site [m]."""
        return np.searchsorted(self.keys[site], self.key(rows, positions, self.runs.copies.get(of, 0)))

    def key(self, rows: np.ndarray, positions: np.ndarray, copy: int) -> np.ndarray:
        """The numbers of vectors [m]; ``copy``: whose they are, where they are not kept once."""
        return (copy * self.most_rows + rows) * self.width + positions

    def schedule(self, step: Step, layers: int, whole: bool) -> Schedule:
        """Which tokens are live at each level of the pass."""
        return schedule(self.rows, layers, step.rules, whole)


__all__ = ["AlikeRows", "Family", "Layout", "Spot", "Watch"]
