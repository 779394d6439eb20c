"""Scores and their bootstrap replicates over so many pairs that the weights of the resamples are not held.

What scores ask of the weights are sums and medians of numbers of the pairs. So each score is evaluated twice: first it asks
(:class:`SumsAsked`), and gets no real number; then the numbers of each cell are made, once, and put down; one pass over the
pairs adds them up under all resamples, a tile of pairs after another (:class:`~causal_dsl.score.poisson.PoissonWeights`); and then
the score is evaluated on the sums.

A tile begins at a multiple of :data:`TILE` pairs, however the columns are cut that the numbers come from. Sums of zeros and ones are exact.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import field, replace
from typing import IO

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.quantities import Quantity
from causal_dsl.measures.weighted_sums import Array, Numbers, SomeNumbers, plain_order, weighted_order
from causal_dsl.score.ordered import Ranked, replicated_order
from causal_dsl.score.poisson import PoissonWeights
from causal_dsl.store.scratch import no_room

#: Pairs whose weights are made at once.
TILE = 4096
#: Bytes of numbers of pairs that are held; more are put in a file of their own until the sums are taken.
HELD = 256 * 2**20
#: Weights of zeros and ones whose sum is below this are added up exactly in float32.
_EXACT = 2**24


@dataclass
class Request:
    """The request of a score: sums of ``numbers`` over the pairs of each of the ``frames``, or of one ``column`` that is the same in all cells, or
    the order ``which`` of ``some`` numbers. ``factor`` [n] multiplies the weights."""

    frames: Sequence[CellData] = ()
    numbers: Numbers | None = None
    column: Array | None = None
    some: SomeNumbers | None = None
    which: str = ""
    factor: Array | None = None
    #: the columns that were put down; of an order, for each cell what stands before its band, and what counts
    put: list[int] = field(default_factory=list)
    #: what it is without resampling, cell by cell
    own: list[float] = field(default_factory=list)


@dataclass
class SumsAsked:
    """Sums under ``count`` rows of weights that are not taken yet (all are 1), or, where ``told`` has them in the order in which
    they were asked for, those that were taken."""

    count: int
    n: int
    requests: list[Request]
    factor: Array | None = None
    told: Iterator[Array] | None = None

    def _ask(self, request: Request, cells: int) -> Array:
        if self.told is not None:
            return next(self.told)
        self.requests.append(request)
        return np.ones((self.count, cells))

    def totals(self, frames: Sequence[CellData], numbers: Numbers) -> Array:
        return self._ask(Request(frames, numbers, factor=self.factor), len(frames))

    def whole(self) -> Array:
        return self._ask(Request(column=np.ones(self.n, bool), factor=self.factor), 1)

    def of(self, column: Array) -> Array:
        return self._ask(Request(column=column, factor=self.factor), 1)[:, 0]

    def ordered(self, frames: Sequence[CellData], numbers: SomeNumbers, which: str) -> Array:
        return self._ask(Request(frames, some=numbers, which=which, factor=self.factor), len(frames))

    def among(self, pairs: Array) -> SumsAsked:
        factor = pairs.astype(np.float64) if self.factor is None else self.factor * pairs
        return replace(self, factor=factor)


class PutDown:
    """Numbers of pairs, a column after another: in memory, and in a file from :data:`HELD` bytes on."""

    def __init__(self, n: int, held: ExitStack):
        self.n, self._held = n, held
        self._columns: list[Array | tuple[int, np.dtype[np.generic]]] = []
        self._bytes = self._end = 0
        self._file: IO[bytes] | None = None
        self.whole: list[bool] = []

    def __len__(self) -> int:
        return len(self._columns)

    def add(self, numbers: Array) -> int:
        """Put a column down; its number."""
        small = numbers.astype(np.uint8) if _zeros_and_ones(numbers) else np.asarray(numbers, np.float64)
        self.whole.append(small.dtype == np.uint8)
        if self._bytes + small.nbytes <= HELD:
            self._bytes += small.nbytes
            self._columns.append(small)
        else:
            self._columns.append((self._end, small.dtype))
            self._write(np.ascontiguousarray(small))
        return len(self._columns) - 1

    def _write(self, column: Array) -> None:
        try:
            if self._file is None:
                self._file = self._held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            self._file.seek(self._end)
            self._file.write(column.data)
            self._end += column.nbytes
        except OSError as error:
            raise no_room(error) from error

    def tile(self, which: Sequence[int], start: int, stop: int, dtype: type[np.floating]) -> Array:
        """Some columns between two pairs, ``[columns, pairs]``."""
        out = np.empty((len(which), stop - start), dtype)
        for place, number in enumerate(which):
            column = self._columns[number]
            if isinstance(column, tuple):
                begin, kind = column
                assert self._file is not None
                self._file.seek(begin + start * kind.itemsize)
                out[place] = np.frombuffer(self._file.read((stop - start) * kind.itemsize), kind)
            else:
                out[place] = column[start:stop]
        return out


def _zeros_and_ones(numbers: Array) -> bool:
    return numbers.dtype == np.bool_ or bool(((numbers == 0) | (numbers == 1)).all())


def answer(requests: Sequence[Request], n: int, weights: PoissonWeights | None) -> tuple[list[Array], list[Array]]:
    """The sums that were asked for: of the pairs as they are, ``[1, C]`` each, and in the resamples, ``[R, C]``."""
    with ExitStack() as held:
        put = PutDown(n, held)
        _put_down(requests, weights is not None, put)
        points = [np.asarray(request.own, np.float64)[None] for request in requests]
        if weights is None:
            return points, []
        sums = _add_up(put, weights)
        return points, [_orders(r, sums, weights) if r.which else sums[r.put].T for r in requests]


def _put_down(requests: Sequence[Request], resampled: bool, put: PutDown) -> None:
    """Make the numbers of each request, cell after cell, and add them up as they are."""

    def note(request: Request, numbers: Array) -> None:
        numbers = numbers if request.factor is None else numbers * request.factor
        request.own.append(float(numbers.sum()))
        if resampled:
            request.put.append(put.add(numbers))

    alike = {id(r): same_in_all(r.frames, r.numbers) for r in requests if r.numbers is not None}
    for request in requests:
        if request.column is not None:
            note(request, np.asarray(request.column))
    for cell in range(max((len(request.frames) for request in requests), default=0)):
        for request in (one for one in requests if cell < len(one.frames)):
            if request.which:
                _stand(request, cell, resampled, put)
            elif cell and alike[id(request)]:
                request.put += request.put[:1]
                request.own += request.own[:1]
            else:
                assert request.numbers is not None
                note(request, np.asarray(request.numbers(request.frames[cell])))


def _stand(request: Request, cell: int, resampled: bool, put: PutDown) -> None:
    """The order of a cell as it is; and, for the resamples, which pairs stand before the band in which it lies."""
    assert request.some is not None
    numbers, some = request.some(request.frames[cell])
    factor, picked = request.factor, slice(None) if some is None else some
    if factor is None:
        request.own.append(plain_order(numbers[picked], request.which))
    else:
        request.own.append(float(weighted_order(numbers[picked], factor[None][:, picked], request.which)[0]))
    if resampled:
        for column in Ranked(numbers, some, request.which).standing():
            request.put.append(put.add(column if factor is None else column * factor))


def _orders(request: Request, sums: Array, weights: PoissonWeights) -> Array:
    assert request.some is not None
    found = []
    for cell, frame in enumerate(request.frames):
        ranked = Ranked(*request.some(frame), request.which)
        before, total = (sums[request.put[2 * cell + side]] for side in (0, 1))
        found.append(replicated_order(ranked, request.factor, weights, before, total))
    return np.stack(found, axis=1)


def _add_up(put: PutDown, weights: PoissonWeights) -> Array:
    """The weighted sums of all columns that were put down, ``[columns, R]``."""
    out = np.zeros((len(put), weights.replicates))
    exact = TILE * weights.most < _EXACT
    kinds: list[tuple[list[int], type[np.floating]]] = [
        ([i for i, whole in enumerate(put.whole) if whole and exact], np.float32),
        ([i for i, whole in enumerate(put.whole) if not (whole and exact)], np.float64),
    ]
    for start in range(0, weights.n, TILE):
        stop = min(start + TILE, weights.n)
        drawn = weights.of(slice(start, stop))
        for which, dtype in kinds:
            if which:
                out[which] += put.tile(which, start, stop, dtype) @ drawn.astype(dtype)
    return out


def same_in_all(frames: Sequence[CellData], numbers: Callable[[CellData], object]) -> bool:
    """Whether what is made of each frame is the same in all: of columns that the cells share."""
    if len(frames) < 2:
        return False
    first, *rest = frames
    read: set[tuple[str, str, Quantity]] = set()
    own = {"": first, **first.outputs}

    def hears(output: str) -> Callable[[str, Quantity], None]:
        return lambda run, quantity: read.add((output, run, quantity))

    for output, frame in own.items():
        frame.heard = hears(output)
    try:
        numbers(first)
    finally:
        for frame in own.values():
            frame.heard = None
    if any(frame.columns.beside for frame in own.values()):
        return False
    for other in rest:
        theirs = {"": other, **other.outputs}
        if any(theirs[output].held(run, q) is not own[output].held(run, q) for output, run, q in read):
            return False
    return True


__all__ = ["HELD", "TILE", "Request", "SumsAsked", "answer", "same_in_all"]
