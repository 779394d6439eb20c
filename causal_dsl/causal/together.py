"""Several outputs as one: a run is right if all of them are.

What several outputs are in a row has a code of its own, so that rules, ceilings and scores of one output are those of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from itertools import product

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.causal.groups import first_rows, groups_of

#: An output, or several that are read together.
Outputs = str | tuple[str, ...]


def names_of(outputs: Outputs) -> tuple[str, ...]:
    return (outputs,) if isinstance(outputs, str) else outputs


@dataclass(eq=False)
class Together(Accepted):
    """Several outputs; ``parts`` say what each accepts. ``kinds[code]`` are the codes of the outputs, in their order."""

    parts: tuple[Accepted, ...]
    kinds: list[tuple[int, ...]] = field(default_factory=list)
    numbers: dict[tuple[int, ...], int] = field(default_factory=dict)

    @property
    def of_values(self) -> Accepted:
        return SINGLE if all(part is SINGLE for part in self.parts) else self

    def codes(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """One code for what the outputs are in each row, ``[n]``; ``columns`` are the codes of each, ``[n]``."""
        group = groups_of(columns)
        first = first_rows(group)
        rows = zip(*(np.asarray(column)[first].tolist() for column in columns), strict=True)
        found = np.array([self.number(tuple(map(int, row))) for row in rows], np.int64)
        return found[group]

    def number(self, kind: tuple[int, ...]) -> int:
        if kind not in self.numbers:
            self.numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
        return self.numbers[kind]

    def columns(self, codes: np.ndarray) -> list[np.ndarray]:
        """The codes of each output, ``[n]``."""
        kinds, back = np.unique(codes, return_inverse=True)
        table = np.array([self.kinds[int(code)] for code in kinds], np.int64).reshape(len(kinds), len(self.parts))
        return list(table[back.reshape(-1)].T)

    def right(self, said: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        one = zip(self.parts, self.columns(said), self.columns(wanted), strict=True)
        return np.logical_and.reduce([part.right(own, right) for part, own, right in one])

    def apart(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        both = zip(self.parts, self.columns(one), self.columns(other), strict=True)
        return np.logical_or.reduce([part.apart(a, b) for part, a, b in both])

    def _accepted(self, code: int) -> list[np.ndarray]:
        """The values that each output accepts where together they are ``code``."""
        kind = self.kinds[int(code)]
        return [part.expand(np.array([own]))[1] for part, own in zip(self.parts, kind, strict=True)]

    def expand(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kinds, back = np.unique(wanted, return_inverse=True)
        answers = [
            [self.number(tuple(map(int, answer))) for answer in product(*self._accepted(code))]
            for code in kinds.tolist()
        ]
        rows = np.repeat(np.arange(len(wanted)), [len(answers[kind]) for kind in back.reshape(-1).tolist()])
        said = [answer for kind in back.reshape(-1).tolist() for answer in answers[kind]]
        return rows, np.array(said, np.int64)

    def more(self, wanted: np.ndarray, most: int) -> bool:
        kinds, counts = np.unique(wanted, return_counts=True)
        sizes = (int(np.prod([len(own) for own in self._accepted(code)], dtype=np.int64)) for code in kinds.tolist())
        return sum(size * count for size, count in zip(sizes, counts.tolist(), strict=True)) > most


__all__ = ["Outputs", "Together", "names_of"]
