"""Which answers are right: one value, or any value of a set.

A variable may be a set of values, as ``{y in Year where y > start}``. Its code is that of the text that writes the set, so
that equal sets have equal codes; what a network says is coded as the text of the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import Finite, Value, show
from causal_dsl.causal.groups import first_rows, groups_of
from causal_dsl.causal.scope import Strings

#: A text that is no answer, as an empty cell of a column is: what is right is not known.
UNKNOWN = ""
#: Codes from here down are no answers (:mod:`causal_dsl.measures.quantities`).
_NONE = np.iinfo(np.int64).min + 2


class Accepted:
    """A variable that is one value: an answer is right if it is that value."""

    @property
    def of_values(self) -> Accepted:
        """The same, for what the causal model answers."""
        return self

    def right(self, said: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Whether what is said ``[n]`` (codes of answers) is accepted by ``wanted`` ``[n]`` (codes of the variable)."""
        return np.asarray((said == wanted) & (said > _NONE))

    def apart(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether no answer is accepted by both, ``[n]``."""
        return np.asarray(one != other)

    def expand(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every accepted answer of every row of ``wanted``: the rows ``[m]``, in order, and the answers ``[m]``."""
        return np.arange(len(wanted)), wanted

    def more(self, wanted: np.ndarray, most: int) -> bool:
        """Whether :meth:`expand` adds rows, and makes more than ``most``."""
        return False


#: What holds for every variable that is no set.
SINGLE = Accepted()


@dataclass(eq=False)
class AcceptedSets(Accepted):
    """A variable that is a set of values of ``universe``; ``members[code]`` marks which of them are in the set."""

    universe: Finite
    strings: Strings
    answers: np.ndarray = field(init=False)
    members: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.answers = np.array([self.strings.code(written(value)) for value in self.universe.values], np.int64)

    def answer(self, value: Value) -> int:
        """The code of one value as an answer. Raises ValueError for a value that is in no set."""
        if value not in self.universe:
            raise ValueError(f"{show(value)} is in none of the sets of {self.universe}")
        return self.strings.code(written(value))

    def codes(self, held: np.ndarray) -> np.ndarray:
        """The codes of sets ``[n]``, by which values each of them holds ``[n, values]``."""
        packed = np.packbits(held, axis=1)
        _, first, back = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        found = np.empty(len(first), np.int64)
        for kind, row in enumerate(first):
            found[kind] = code = self.strings.code(self.text(held[row]))
            self.members.setdefault(int(code), held[row].copy())
        return found[back.reshape(-1)]

    def text(self, held: np.ndarray, most: int = 0) -> str:
        """A set as it is written: ``{"a", "b"}``, ``3..9``; of more values than ``most`` the first, where it is given."""
        values = [self.universe.values[int(i)] for i in np.flatnonzero(held)]
        if len(values) > 2 and Finite(tuple(values)).contiguous:
            return f"{values[0]}..{values[-1]}"
        shown = list(map(show, values[:most] if most else values))
        return "{" + ", ".join([*shown, "…"] if len(shown) < len(values) else shown) + "}"

    def short(self, code: int) -> str:
        """A set as messages show it."""
        return self.text(self.members[code], 8)

    def values(self, code: int) -> tuple[Value, ...]:
        """The values of a set, in the order of the domain."""
        return tuple(self.universe.values[int(i)] for i in np.flatnonzero(self.members[int(code)]))

    def _held(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sets that occur, ``[kinds, values]``, and which of them each row is, ``[n]``."""
        kinds, back = np.unique(wanted, return_inverse=True)
        held = np.array([self.members[int(code)] for code in kinds.tolist()], bool).reshape(
            len(kinds), self.universe.size
        )
        return held, back.reshape(-1)

    def right(self, said: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        held, kind = self._held(wanted)
        order = np.argsort(self.answers)
        place = np.minimum(np.searchsorted(self.answers[order], said), len(order) - 1)
        known = self.answers[order][place] == said
        return known & held[kind, order[place]] if len(held) else known

    def apart(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        (a, mine), (b, theirs) = self._held(one), self._held(other)
        return np.asarray(~(a.astype(np.int64) @ b.T.astype(np.int64) > 0)[mine, theirs])

    def more(self, wanted: np.ndarray, most: int) -> bool:
        held, kind = self._held(wanted)
        return int(held.sum(axis=1)[kind].sum()) > most

    def expand(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        held, kind = self._held(wanted)
        sizes = held.sum(axis=1)
        starts = np.cumsum(sizes) - sizes
        answers = self.answers[np.nonzero(held)[1]]
        counts = sizes[kind]
        rows = np.repeat(np.arange(len(kind)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, answers[starts[kind][rows] + within]


def written(value: Value) -> str:
    """A value as an answer is written."""
    return show(value) if not isinstance(value, str) else value


def of_items(items: AcceptedSets, codes: np.ndarray) -> Callable[..., np.ndarray]:
    """A function from the columns of listed items to codes of sets; ``codes`` are those of the universe's values."""

    def sets(*columns: np.ndarray) -> np.ndarray:
        rows = np.broadcast_arrays(*map(np.atleast_1d, columns))
        held = np.zeros((len(rows[0]), len(codes)), bool)
        for column in rows:
            held |= column[:, None] == codes[None, :]
        return items.codes(held)

    return sets


def of_condition(
    sets: AcceptedSets,
    codes: np.ndarray,
    holds: Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray],
    possible: np.ndarray,
) -> Callable[..., np.ndarray]:
    """A function from columns of parents to codes of the sets of those values for which ``holds(columns, values)``; only
    ``possible`` values are asked about."""

    def chosen(*columns: np.ndarray) -> np.ndarray:
        given = np.broadcast_arrays(*map(np.atleast_1d, columns)) if columns else [np.zeros(1, np.int64)]
        group = groups_of(given)
        first = first_rows(group)
        few = [column[first] for column in given]
        held = np.zeros((len(first), len(codes)), bool)
        for i in np.flatnonzero(possible):
            held[:, i] = holds(few[: len(columns)], np.full(len(first), codes[i]))
        return sets.codes(held)[group]

    return chosen
