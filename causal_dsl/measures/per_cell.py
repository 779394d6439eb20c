"""Scores: one number a cell, or one over all cells, with the weights of the pairs as an argument.

``evaluate(env)`` takes R rows of weights of the n pairs to ``[R, C]``; with all weights 1 it is the score itself, with
resampling weights it is a bootstrap replicate, so ratios are resampled as ratios. A :class:`CellScore` with ``over_cells``
is one number for the whole sweep, ``[R, 1]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.evaluation import OPERATORS, Evaluation, divide
from causal_dsl.measures.per_pair import AsksAbout, FixedNumber, Informative, MeasuredValue, Need, Pair, Right, is_share
from causal_dsl.measures.units import SHARE
from causal_dsl.measures.weighted_sums import Array

#: What rounding leaves between a ceiling of 1 and 1.
_NO_ROOM = 1e-9


@dataclass(frozen=True)
class CellScore(MeasuredValue):
    """``evaluate(env)`` is ``[R, C]``, or ``[R, 1]`` where ``over_cells``."""

    #: whether resampled pairs say how far it is from its true value
    resampled: ClassVar[bool] = True

    @property
    def over_cells(self) -> bool:
        return False

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return ()

    def evaluate(self, env: Evaluation) -> Array:
        raise NotImplementedError

    def needs(self) -> Iterator[Need]:
        for part in self.parts:
            yield from part.needs()

    def count(self, env: Evaluation, cell: int) -> int:
        """The number of pairs that the score of a cell is over."""
        counts = [env.pairs(part, cell) for part in self.parts if isinstance(part, CellScore)]
        return min(counts, default=env.frames[cell].n)

    def assume(self, known: Mapping[str, float]) -> float:
        """The score of a hypothetical network, from some named scores of it; NaN where they do not tell."""
        return known.get(self.text, np.nan)

    def walk(self) -> Iterator[CellScore]:
        yield self
        for part in self.parts:
            if isinstance(part, CellScore):
                yield from part.walk()


@dataclass(frozen=True)
class PairMean(CellScore):
    """The mean of a pair metric over the pairs (where ``where`` is 1). A NaN pair makes it NaN: nothing is dropped."""

    pair: Pair
    run: str
    where: Pair | None = None

    def evaluate(self, env: Evaluation) -> Array:
        where, pair = self.where, self.pair
        if where is None:
            return divide(env.total(lambda f: pair.of(f, self.run)), env.sums.whole())
        top = env.total(lambda f: np.where(where.of(f, self.run) == 1, pair.of(f, self.run), 0.0))
        return divide(top, env.total(lambda f: where.of(f, self.run)))

    def needs(self) -> Iterator[Need]:
        yield from self.pair.needs(self.run)

    def count(self, env: Evaluation, cell: int) -> int:
        frame = env.frames[cell]
        return frame.n if self.where is None else int(self.where.of(frame, self.run).sum())

    @property
    def measure(self) -> str:
        """The name of what it is, where a metric has given it another: ``iia`` or ``iia_informative``."""
        if isinstance(self.pair, Right) and self.pair.label:
            return (
                "iia" if self.where is None else "iia_informative" if isinstance(self.where, Informative) else self.text
            )
        return self.text

    def assume(self, known: Mapping[str, float]) -> float:
        return known.get(self.measure, np.nan)

    def counted(self, frame: CellData) -> tuple[Array, Array] | None:
        """For a share: which pairs it asks about and which of them hold, as booleans ``[n]``; else None."""
        if not is_share(self.pair):
            return None
        asked = np.ones(frame.n, bool) if self.where is None else self.where.of(frame, self.run) == 1
        return asked, asked & (self.pair.of(frame, self.run) == 1)


@dataclass(frozen=True)
class Isolate(CellScore):
    """The mean, over the attributes that are not interchanged, of the mean of ``pair`` on the inputs that ask about each
    (Huang et al. 2024, RAVEL); undefined where no input asks about another attribute."""

    pair: Pair
    run: str

    def _others(self, env: Evaluation) -> list[int]:
        found: set[int] = set()
        for frame in env.frames:
            if frame.asked is not None:
                found |= set(np.unique(frame.asked[frame.asked >= 0]).tolist())
        return sorted(found)

    def evaluate(self, env: Evaluation) -> Array:
        others = self._others(env)
        if not others:
            return np.full((env.count, len(env.frames)), np.nan)
        means = np.stack([self._on(env, AsksAbout("asked about", SHARE, which)) for which in others])
        # A resample may have no input that asks about one of them: the mean is then of the others.
        there = np.isfinite(means)
        return divide(np.where(there, means, 0.0).sum(axis=0), there.sum(axis=0).astype(np.float64))

    def _on(self, env: Evaluation, about: AsksAbout) -> Array:
        """The mean on the inputs that ask about one attribute."""
        right = env.total(lambda f: np.where(about.of(f, self.run) == 1, self.pair.of(f, self.run), 0.0))
        return divide(right, env.total(lambda f: about.of(f, self.run)))

    def needs(self) -> Iterator[Need]:
        yield from self.pair.needs(self.run)

    def count(self, env: Evaluation, cell: int) -> int:
        asked = env.frames[cell].asked
        return 0 if asked is None else int((asked >= 0).sum())


@dataclass(frozen=True)
class Halfway(CellScore):
    """The mean of two scores: of ``cause`` and ``isolate``, how far attributes are told apart."""

    one: CellScore
    other: CellScore

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.one, self.other)

    def evaluate(self, env: Evaluation) -> Array:
        return (env.of(self.one) + env.of(self.other)) / 2

    def count(self, env: Evaluation, cell: int) -> int:
        return env.pairs(self.one, cell) + env.pairs(self.other, cell)


def asks(score: CellScore) -> bool:
    """Whether a score needs to know what each input asks about."""
    if isinstance(score, OfOutput):
        return any(map(asks, score.score.walk()))
    return isinstance(score, Isolate) or (isinstance(score, PairMean) and isinstance(score.where, AsksAbout))


@dataclass(frozen=True)
class Order(CellScore):
    """``median``, ``min`` or ``max`` of a pair metric over the pairs."""

    which: str
    pair: Pair
    run: str

    def evaluate(self, env: Evaluation) -> Array:
        return env.ordered(lambda f: (self.pair.of(f, self.run), None), self.which)

    def needs(self) -> Iterator[Need]:
        yield from self.pair.needs(self.run)


@dataclass(frozen=True)
class Star(CellScore):
    """``(iia - output_only) / (1 - output_only)``; undefined where the ceiling is 1, or more than 1 in a resample: what is
    missing of a ceiling that is not known is spread over the pairs."""

    iia: PairMean

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.iia,)

    def evaluate(self, env: Evaluation) -> Array:
        iia = env.of(self.iia)
        if env.ceiling is None:
            return np.full_like(iia, np.nan)
        if isinstance(env.ceiling, np.ndarray):
            top = divide(env.sums.of(env.ceiling), env.sums.whole()[:, 0])[:, None]
        else:
            top = np.full((len(iia), 1), env.ceiling)
        room = 1 - top
        return divide(iia - top, np.where(room > _NO_ROOM, room, 0.0))

    def assume(self, known: Mapping[str, float]) -> float:
        return known.get("iia_star", np.nan)


@dataclass(frozen=True)
class OfOutput(CellScore):
    """A score of one output, ``iia(color)``, in a test that reads several: over the same pairs, against its own ceiling."""

    output: str
    score: CellScore

    def evaluate(self, env: Evaluation) -> Array:
        return env.outputs[self.output].of(self.score)

    def needs(self) -> Iterator[Need]:
        for run, quantity in self.score.needs():
            yield run, replace(quantity, at=self.output)

    def count(self, env: Evaluation, cell: int) -> int:
        return self.score.count(env.outputs[self.output], cell)


@dataclass(frozen=True)
class ScoreOp(CellScore):
    """Arithmetic, comparison or logic of scores, cell by cell."""

    op: str
    operands: tuple[CellScore | FixedNumber, ...]

    @property
    def over_cells(self) -> bool:
        return all(isinstance(operand, FixedNumber) or operand.over_cells for operand in self.operands)

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return self.operands

    def evaluate(self, env: Evaluation) -> Array:
        return OPERATORS[self.op](*(env.of(operand) for operand in self.operands))

    def assume(self, known: Mapping[str, float]) -> float:
        return float(OPERATORS[self.op](*(np.float64(operand.assume(known)) for operand in self.operands)))


class AcrossCells(CellScore):
    """A score of all cells together: ``[R, 1]``."""

    @property
    def over_cells(self) -> bool:
        return True


@dataclass(frozen=True)
class OverCells(AcrossCells):
    """``mean``, ``median``, ``min`` or ``max`` of a score over the cells; NaN if it is undefined in any of them."""

    which: str
    score: CellScore

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.score,)

    def evaluate(self, env: Evaluation) -> Array:
        reduce: Any = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}[self.which]
        return np.asarray(reduce(env.of(self.score), axis=1, keepdims=True))

    def assume(self, known: Mapping[str, float]) -> float:
        return self.score.assume(known)


@dataclass(frozen=True)
class Chosen(AcrossCells):
    """``argmax`` or ``argmin``: the index of the cell, the first one of equals; NaN if any cell is undefined."""

    which: str
    score: CellScore

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.score,)

    def evaluate(self, env: Evaluation) -> Array:
        scores = env.of(self.score)
        pick = np.argmax if self.which == "argmax" else np.argmin
        found = pick(scores, axis=1).astype(np.float64)
        return np.where(np.isnan(scores).any(axis=1), np.nan, found)[:, None]


@dataclass(frozen=True)
class ChosenParameter(AcrossCells):
    """A number that names the chosen cell: ``argmax(iia).l``."""

    chosen: Chosen
    name: str

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.chosen,)

    def evaluate(self, env: Evaluation) -> Array:
        values = np.array([float(cell[self.name]) for cell in env.cells])
        return look_up(values, env.of(self.chosen))


@dataclass(frozen=True)
class ChosenParameterIs(ChosenParameter):
    """Whether a word names the chosen cell: ``argmax(iia).p == last``."""

    word: str
    negated: bool

    def evaluate(self, env: Evaluation) -> Array:
        same = np.array([float((str(cell[self.name]) == self.word) != self.negated) for cell in env.cells])
        return look_up(same, env.of(self.chosen))


def look_up(values: Array, chosen: Array) -> Array:
    """``values[chosen]`` where ``chosen`` is defined, else NaN."""
    safe = np.where(np.isnan(chosen), 0, chosen).astype(np.int64)
    return np.where(np.isnan(chosen), np.nan, values[safe])


@dataclass(frozen=True)
class Best(AcrossCells):
    """The score, on one half of the bases, of the cell with the highest score on the other half."""

    score: CellScore

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.score,)

    def chosen(self, env: Evaluation) -> int | None:
        """The cell that the choosing half picks; None where there is no such half or a cell is undefined on it."""
        return env.pick(self.score)

    def evaluate(self, env: Evaluation) -> Array:
        chosen = self.chosen(env)
        if chosen is None or env.choosing is None:
            return np.full((env.count, 1), np.nan)
        judged = env.under(env.sums.among(~env.choosing)).of(self.score)
        return judged[:, chosen : chosen + 1]

    def count(self, env: Evaluation, cell: int) -> int:
        return 0 if env.choosing is None else int((~env.choosing).sum())

    def assume(self, known: Mapping[str, float]) -> float:
        return self.score.assume(known)
