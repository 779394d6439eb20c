"""The names that the expressions of a causal model may use besides its variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import key
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import Domain

if TYPE_CHECKING:
    from causal_dsl.causal.functions import PythonFunction
    from causal_dsl.causal.lookup_table import LookupTable


@dataclass
class Scope:
    """Domains, tables and Python functions by name. None stands for one whose fault was already reported."""

    domains: dict[str, Domain | None] = field(default_factory=dict)
    tables: dict[str, LookupTable | None] = field(default_factory=dict)
    functions: dict[str, PythonFunction | None] = field(default_factory=dict)


class Strings:
    """The texts of one model as whole numbers, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []
        self._hashes = np.zeros(0, np.uint64)
        #: the codes of lists of texts that were asked for, by identity
        self._listed: dict[int, tuple[Sequence[str], np.ndarray]] = {}
        self._sets: dict[int, tuple[Sequence[object], frozenset[int]]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def every(self) -> tuple[str, ...]:
        """The texts, each at its code."""
        return tuple(self._texts)

    def code(self, text: str) -> int:
        """The code of a text, which is given one if it has none."""
        found = self._codes.get(text)
        if found is None:
            found = self._codes[text] = len(self._texts)
            self._texts.append(text)
        return found

    def codes(self, texts: Sequence[str]) -> np.ndarray:
        """The codes of many texts ``[n]``, those that have none given one."""
        listed = self._listed.get(id(texts))
        if listed is not None and listed[0] is texts:
            return listed[1]
        known, count = self._codes, len(self._texts)
        fresh = {} if known else dict(zip(texts, range(len(texts)), strict=True))
        if not known and len(fresh) == len(texts):
            self._codes, self._texts = fresh, list(texts)
            found = np.arange(len(texts))
        else:
            new = [text for text in dict.fromkeys(texts) if text not in known]
            known.update(zip(new, range(count, count + len(new)), strict=True))
            self._texts += new
            found = np.array(list(map(known.__getitem__, texts)), np.int64)
        if isinstance(texts, tuple):
            self._listed[id(texts)] = texts, found
        return found

    def set_of(self, texts: Sequence[object]) -> frozenset[int]:
        """The codes of the values of a domain of texts, made once for each domain: its values are held, and by identity."""
        found = self._sets.get(id(texts))
        if found is None:
            found = self._sets[id(texts)] = texts, frozenset(self.code(str(text)) for text in texts)
        return found[1]

    def known(self, text: str) -> int | None:
        """The code of a text, or None if it has none."""
        return self._codes.get(text)

    def text(self, code: int) -> str:
        return self._texts[code]

    def texts(self) -> Mapping[str, int]:
        return self._codes

    def hashes(self) -> np.ndarray:
        """64 bits of each text, by its code: the same for a text in every model."""
        new = [key("text", text) for text in self._texts[len(self._hashes) :]]
        if new:
            self._hashes = np.concatenate([self._hashes, np.array(new, np.uint64)])
        return self._hashes
