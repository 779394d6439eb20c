"""Random numbers that are the same on every machine: a counter-based generator.

Every number is a function of (seed, role, variable) and of (row, attempt) alone, by the finaliser of splitmix64
(Steele, Lea and Flood, 2014). numpy's generators are not used: their streams may change between versions.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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


def bits(stream: np.uint64, rows: np.ndarray, attempts: np.ndarray | int = 0) -> np.ndarray:
    """64 random bits for each (row, attempt): splitmix64, seeded by the key and the row, at the attempt-th step."""
    with np.errstate(over="ignore"):
        state = _mix(rows.astype(np.uint64) * _GOLDEN + stream)
        return _mix(state + (np.asarray(attempts).astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def below(random: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to n - 1 (int64). The bias of the remainder is n / 2**64 at most."""
    return (random % np.asarray(n, dtype=np.uint64)).astype(np.int64)


def unit(random: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), multiples of 2**-53."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(seed: int, shape: tuple[int, ...], name: str = "normal") -> np.ndarray:
    """Independent standard normal numbers (Box and Muller, 1958), rounded to 12 digits so that libm's last bit is no matter."""
    rows = np.arange(math.prod(shape))
    first, second = (unit(bits(key(seed, name, side), rows)) for side in ("radius", "angle"))
    return np.round(np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second), 12).reshape(shape)
