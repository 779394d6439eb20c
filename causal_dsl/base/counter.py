"""Random numbers that are the same on every machine: a counter-based generator.

Every number is a function of a key (a seed and names) and of (row, attempt) alone, by splitmix64 (Steele, Lea and Flood,
2014). The generators of numpy and torch are not used: their streams may change between versions, and between devices.
Normal numbers are computed with sums, products, quotients and roots only, which IEEE 754 rounds in one way: the logarithm
and the cosine of a system's library differ in the last bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
#: Rows whose numbers are made at once: all that comes between stays in the processor's cache.
_PIECE = 2**13


def key(*parts: object) -> np.uint64:
    """A 64-bit key of a seed and names."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def _mix(x: np.ndarray) -> np.ndarray:
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def step(state: np.ndarray) -> np.ndarray:
    """The next number of splitmix64 in each state (uint64, of any shape)."""
    with np.errstate(over="ignore"):
        return _mix(state + _GOLDEN)


def bits(stream: np.uint64, rows: np.ndarray, attempts: np.ndarray | int = 0) -> np.ndarray:
    """64 random bits for each (row, attempt): splitmix64, seeded by the key and the row, at the attempt-th step."""
    if rows.ndim != 1 or len(rows) <= _PIECE or np.shape(attempts) not in ((), rows.shape):
        return _bits(stream, rows, attempts)
    found = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), _PIECE):
        piece = slice(start, start + _PIECE)
        found[piece] = _bits(stream, rows[piece], attempts[piece] if isinstance(attempts, np.ndarray) else attempts)
    return found


def _bits(stream: np.uint64, rows: np.ndarray, attempts: np.ndarray | int) -> np.ndarray:
    if not rows.ndim:  # numpy warns of what goes beyond 64 bits in single numbers, and in no others
        return _bits(stream, rows.reshape(1), attempts)[0]
    state = rows.astype(np.uint64)
    state *= _GOLDEN
    state += stream
    _mix(state)
    if isinstance(attempts, np.ndarray) and attempts.ndim:
        steps = attempts.astype(np.uint64)
        steps += _ONE
        steps *= _GOLDEN
        return _mix(state + steps)
    state += np.uint64((int(attempts) + 1) * int(_GOLDEN) % 2**64)
    return _mix(state)


def below(random: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to n - 1 (int64). The bias of the remainder is n / 2**64 at most."""
    size = np.asarray(n, dtype=np.uint64)
    if size.ndim or not size or not random.ndim:
        return (random % size).astype(np.int64)
    # numpy divides by one number far faster than it takes remainders
    found = random // size
    found *= size
    return np.subtract(random, found, out=found).view(np.int64)


def unit(random: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), multiples of 2**-53."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(stream: np.uint64, n: int) -> np.ndarray:
    """The numbers from 0 to n - 1 (int64) in a random order, each order as likely as any other."""
    return np.argsort(bits(stream, np.arange(n)), kind="stable").astype(np.int64)


#: How many numbers are very many: of those few are drawn without an order of all.
_VERY_MANY = 2**17


class Stream:
    """Random numbers one after another: each call takes the next numbers of its key."""

    def __init__(self, *parts: object):
        self._parts, self._calls = parts, 0

    def _next(self, shape: int | tuple[int, ...]) -> np.ndarray:
        self._calls += 1
        return bits(key(*self._parts, self._calls), np.arange(math.prod(np.atleast_1d(shape).tolist())).reshape(shape))

    def below(self, n: int, shape: int | tuple[int, ...]) -> np.ndarray:
        """Whole numbers (int64) from 0 to n - 1."""
        return below(self._next(shape), n)

    def unit(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Numbers (float64) in [0, 1)."""
        return unit(self._next(shape))

    def shuffled(self, some: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same numbers in a random order."""
        return np.asarray(some)[np.argsort(self._next(len(some)), kind="stable")]

    def some(self, n: int, m: int) -> np.ndarray:
        """``m`` different numbers from 0 to n - 1 (int64), sorted: the first of a random order, or, few of very many, the first that
        come up."""
        if n > _VERY_MANY and m <= n // 8:
            drawn = self.below(n, 2 * m + 64)  # three quarters or more of them are different
            _, first = np.unique(drawn, return_index=True)
            if len(first) >= m:
                return np.sort(drawn[np.sort(first)[:m]])
        random = self._next(n)
        if m >= n:
            return np.arange(n)
        last = np.partition(random, m)[m]
        found = np.flatnonzero(random < last)
        equal = np.flatnonzero(random == last)[: m - len(found)]  # of equal ones those that come first
        return np.sort(np.concatenate([found, equal]))


def normals(seed: int, shape: tuple[int, ...], name: str = "normal") -> np.ndarray:
    """Independent standard normal numbers (float64) of a shape."""
    return normals_at(seed, name, np.arange(math.prod(shape)).reshape(shape))


def normals_at(seed: int, name: str, rows: np.ndarray, attempts: np.ndarray | int = 0) -> np.ndarray:
    """A standard normal number (float64) for each (row, attempt), which broadcast: by Box and Muller (1958), to 12 digits."""
    first, second = (unit(bits(key(seed, name, side), rows, attempts)) for side in ("radius", "angle"))
    return np.round(np.sqrt(-2.0 * _log(1.0 - first)) * _cos_of_turns(second), 12)


_LOG_2 = 0.6931471805599453
_ATANH = 1.0 / np.arange(1, 25, 2)
_SIN = np.array([(-1.0) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(10)])
_COS = np.array([(-1.0) ** k * math.pi ** (2 * k) / math.factorial(2 * k) for k in range(10)])


def _log(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of positive numbers, to the last bits: log(m 2**e) = e log 2 + 2 artanh((m - 1) / (m + 1))."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(small, 2.0 * mantissa, mantissa), exponent - small
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    return exponent * _LOG_2 + 2.0 * ratio * np.polynomial.polynomial.polyval(ratio * ratio, _ATANH)


def _cos_of_turns(turns: np.ndarray) -> np.ndarray:
    """cos(2 pi x) for x in [0, 1): the nearest quarter is taken off exactly, and the rest is a series."""
    quarter = np.rint(4.0 * turns)
    half_turns = 2.0 * turns - 0.5 * quarter
    square, which = half_turns * half_turns, quarter.astype(np.int64) % 4
    cosine = np.polynomial.polynomial.polyval(square, _COS)
    sine = half_turns * np.polynomial.polynomial.polyval(square, _SIN)
    return np.choose(which, [cosine, -sine, -cosine, sine])
