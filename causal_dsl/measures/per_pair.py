"""Pair metrics: one number a pair, ``[n]``, for one run of one cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.computed import computed
from causal_dsl.measures.evaluation import OPERATORS, Evaluation
from causal_dsl.measures.quantities import NO_ANSWER, SAID, Asked, Quantity, ValueRef
from causal_dsl.measures.units import TRUTH, Unit
from causal_dsl.measures.weighted_sums import Array
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS

Need = tuple[str, Quantity]
ANSWER = Quantity("answer")


@dataclass(frozen=True)
class MeasuredValue:
    """Something measured, under the words of the spec."""

    text: str
    unit: Unit


@dataclass(frozen=True)
class FixedNumber(MeasuredValue):
    value: float

    @property
    def ends(self) -> tuple[float, float]:
        return self.value, self.value

    def assume(self, known: Mapping[str, float]) -> float:
        return self.value

    def evaluate(self, env: Evaluation) -> Array:
        return np.full((env.count, 1), self.value)

    def of(self, frame: CellData, run: str) -> Array:
        return np.full(frame.n, self.value)

    def needs(self, run: str = "") -> Iterator[Need]:
        return iter(())


@dataclass(frozen=True)
class Pair(MeasuredValue):
    """A number a pair. ``of(frame, run)`` is ``[n]``; ``two_runs``: it compares the patched run with the base's."""

    @property
    def two_runs(self) -> bool:
        return False

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest number that it can be, and so its mean: as far as a measure's record says."""
        return -math.inf, math.inf

    def of(self, frame: CellData, run: str) -> Array:
        raise NotImplementedError

    def needs(self, run: str) -> Iterator[Need]:
        raise NotImplementedError


@dataclass(frozen=True)
class OfToken(Pair):
    """A measure of one token, ``logit(answer)``, from float64 logits and logsumexp; at a ``place``, where one is named."""

    measure: str
    ref: ValueRef
    place: Asked | None = None

    @property
    def ends(self) -> tuple[float, float]:
        return MEASURES[self.measure].ends

    def of(self, frame: CellData, run: str) -> Array:
        own = frame.column(run, self._own).astype(np.float64)
        whole = frame.column(run, self._normalizer).astype(np.float64) if self._whole else None
        return np.asarray(computed(MEASURES[self.measure], own, whole))

    @property
    def _own(self) -> Quantity:
        return Quantity("order" if "order" in MEASURES[self.measure].needs else "logit", self.ref, place=self.place)

    @property
    def _normalizer(self) -> Quantity:
        return Quantity("log_normalizer", place=self.place)

    @property
    def _whole(self) -> bool:
        return "distribution" in MEASURES[self.measure].needs

    def needs(self, run: str) -> Iterator[Need]:
        yield run, self._own
        if self._whole:
            yield run, self._normalizer


@dataclass(frozen=True)
class OfDistribution(Pair):
    """A measure of all that a run says: ``entropy``; or of the patched run against the base run: ``kl``."""

    measure: str
    place: Asked | None = None

    @property
    def two_runs(self) -> bool:
        return MEASURES[self.measure].against_base

    @property
    def ends(self) -> tuple[float, float]:
        return MEASURES[self.measure].ends

    def of(self, frame: CellData, run: str) -> Array:
        return frame.column("patched" if self.two_runs else run, Quantity(self.measure, place=self.place)).astype(
            np.float64
        )

    def needs(self, run: str) -> Iterator[Need]:
        yield "patched" if self.two_runs else run, Quantity(self.measure, place=self.place)


@dataclass(frozen=True)
class Read(Pair):
    """The number that a reading computes from what is at a place: ``norm @ layer[3].resid_post[last]``."""

    reading: str
    place: Asked

    @property
    def ends(self) -> tuple[float, float]:
        return READINGS[self.reading].ends

    def of(self, frame: CellData, run: str) -> Array:
        return frame.column(run, Quantity(self.reading, place=self.place)).astype(np.float64)

    def needs(self, run: str) -> Iterator[Need]:
        yield run, Quantity(self.reading, place=self.place)


@dataclass(frozen=True)
class ZeroOrOne(Pair):
    """1 where something holds, else 0: its mean is a share of the pairs."""

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0


@dataclass(frozen=True)
class Moved(ZeroOrOne):
    """1 where the read-out of the patched run differs from the base run's.

    Where both say none of the answers, the tokens that they say are compared, if both are known.
    """

    @property
    def two_runs(self) -> bool:
        return True

    def of(self, frame: CellData, run: str) -> Array:
        base, patched = frame.column("base", ANSWER), frame.column("patched", ANSWER)
        moved = patched != base
        if SAID in frame.columns.base and SAID in frame.columns.patched:
            was, now = frame.column("base", SAID), frame.column("patched", SAID)
            other = (base == NO_ANSWER) & (patched == NO_ANSWER)
            moved = moved | (other & (was >= 0) & (now >= 0) & (was != now))  # NaN and negative: not known
        return moved.astype(np.float64)

    def needs(self, run: str) -> Iterator[Need]:
        yield "patched", ANSWER
        yield "base", ANSWER


@dataclass(frozen=True)
class AnyMoved(Moved):
    """1 where any read-out of the patched run differs from the base run's."""

    def of(self, frame: CellData, run: str) -> Array:
        return np.max([super(AnyMoved, self).of(one, run) for one in frame.outputs.values()], axis=0)


@dataclass(frozen=True)
class Right(ZeroOrOne):
    """1 where the read-out is what the causal model says; an answer that is none is never right."""

    label: bool

    def of(self, frame: CellData, run: str) -> Array:
        answer = frame.column(run, ANSWER)
        wanted = frame.labels if self.label else frame.base_answers
        assert wanted is not None
        right = frame.accepted.right(answer, wanted).astype(np.float64)
        missing = frame.unknown.get(ValueRef("label" if self.label else "base"))
        return right if missing is None else np.where(missing, np.nan, right)

    def needs(self, run: str) -> Iterator[Need]:
        yield run, ANSWER


@dataclass(frozen=True)
class Informative(ZeroOrOne):
    """1 where no answer that is right for the base is right under the label: where these are values, where they differ."""

    def of(self, frame: CellData, run: str) -> Array:
        assert frame.labels is not None
        return frame.accepted.apart(frame.labels, frame.base_answers).astype(np.float64)

    def needs(self, run: str) -> Iterator[Need]:
        return iter(())


@dataclass(frozen=True)
class AsksAbout(ZeroOrOne):
    """1 where the input asks about one attribute: its number, or that of what is interchanged."""

    which: int

    def of(self, frame: CellData, run: str) -> Array:
        assert frame.asked is not None
        return (frame.asked == self.which).astype(np.float64)

    def needs(self, run: str) -> Iterator[Need]:
        return iter(())


@dataclass(frozen=True)
class Change(Pair):
    """``m`` of the patched run less ``m`` of the base run."""

    metric: Pair

    @property
    def two_runs(self) -> bool:
        return True

    @property
    def ends(self) -> tuple[float, float]:
        return ends_of("-", (self.metric.ends, self.metric.ends))

    def of(self, frame: CellData, run: str) -> Array:
        return self.metric.of(frame, "patched") - self.metric.of(frame, "base")

    def needs(self, run: str) -> Iterator[Need]:
        yield from self.metric.needs("patched")
        yield from self.metric.needs("base")


@dataclass(frozen=True)
class AtOutput(Pair):
    """A metric at the read-out of one output, in a test that reads several."""

    output: str
    metric: Pair

    @property
    def two_runs(self) -> bool:
        return self.metric.two_runs

    @property
    def ends(self) -> tuple[float, float]:
        return self.metric.ends

    def of(self, frame: CellData, run: str) -> Array:
        return self.metric.of(frame.outputs[self.output], run)

    def needs(self, run: str) -> Iterator[Need]:
        for asked, quantity in self.metric.needs(run):
            yield asked, replace(quantity, at=self.output)


def of_one_output(metric: Pair) -> tuple[str, Pair] | None:
    """The output whose read-out a metric is computed from, in a test that reads several, and the metric as it is in a test of that output
    alone; None where it is of several, or of all together."""
    outputs = {one.output for one in at_outputs(metric)}
    if len(outputs) != 1:
        return None
    return outputs.pop(), _alone(metric)


def _alone(metric: Any) -> Any:
    if isinstance(metric, AtOutput):
        return metric.metric
    if isinstance(metric, PairOp):
        return replace(metric, operands=tuple(map(_alone, metric.operands)))
    return metric


@dataclass(frozen=True)
class PairOp(Pair):
    """Arithmetic, comparison or logic pair by pair."""

    op: str
    operands: tuple[Pair | FixedNumber, ...]

    @property
    def two_runs(self) -> bool:
        return any(isinstance(operand, Pair) and operand.two_runs for operand in self.operands)

    @property
    def ends(self) -> tuple[float, float]:
        return ends_of(self.op, [operand.ends for operand in self.operands])

    def of(self, frame: CellData, run: str) -> Array:
        return OPERATORS[self.op](*(operand.of(frame, run) for operand in self.operands))

    def needs(self, run: str) -> Iterator[Need]:
        for operand in self.operands:
            yield from operand.needs(run)


def at_outputs(value: object) -> Iterator[AtOutput]:
    """The metrics of single outputs that a score or a metric is made of."""
    if isinstance(value, AtOutput):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            for one in part if isinstance(part, tuple) else (part,):
                if isinstance(one, Pair):
                    yield from at_outputs(one)


def sums_logits(value: object) -> bool:
    """Whether a metric is a sum of logits, each times a number: what is added to the stream then adds to it."""
    match value:
        case OfToken():
            return value.measure == "logit"
        case PairOp(op="negative" | "+" | "-"):
            return all(map(sums_logits, value.operands))
        case PairOp(op="*"):
            return sum(isinstance(one, FixedNumber) for one in value.operands) == 1 and any(
                map(sums_logits, value.operands)
            )
        case PairOp(op="/"):
            return sums_logits(value.operands[0]) and isinstance(value.operands[1], FixedNumber)
    return False


def is_share(pair: Pair) -> bool:
    """Whether a pair metric is 0 or 1 (or NaN), so that its mean is a share of counts."""
    if isinstance(pair, AtOutput):
        return is_share(pair.metric)
    if isinstance(pair, Read):
        return READINGS[pair.reading].binary
    return isinstance(pair, ZeroOrOne) or (isinstance(pair, PairOp) and pair.unit == TRUTH)


def ends_of(op: str, operands: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The ends of an operation on numbers that lie between these ends, each whatever the others are (interval arithmetic)."""
    (low, high), (least, most) = operands[0], operands[-1]
    match op:
        case "negative":
            return -high, -low
        case "+":
            return low + least, high + most
        case "-":
            return low - most, high - least
        case "*":
            return _hull(one * other for one in (low, high) for other in (least, most))
        case "/" if least > 0 or most < 0:
            return _hull(one / other for one in (low, high) for other in (least, most))
        case "/":
            return -math.inf, math.inf
    return 0.0, 1.0  # a comparison, or logic


def _hull(corners: Iterable[float]) -> tuple[float, float]:
    """The least and the greatest of the products or quotients of ends: of 0 and an end that is none it is 0, of two of these any number."""
    known = list(corners)
    if any(math.isnan(one) for one in known):
        known = [one for one in known if not math.isnan(one)] + [0.0]
    return min(known), max(known)
