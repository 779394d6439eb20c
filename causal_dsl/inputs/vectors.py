"""Vectors: rows of numbers, [rows, width], into which values are encoded."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from causal_dsl.base.counter import normals
from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.ranks import different
from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs.conditions import NONE, Choices
from causal_dsl.inputs.protocol import InputRows, Inputs, Receiver, spread
from causal_dsl.program.program import Alignment, InputPlacement
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts

if TYPE_CHECKING:
    from torch import Tensor

    from causal_dsl.inputs.batches import Batch

#: How many vectors a network is tried on.
_TRIED = 32


class VectorInputs(Inputs):
    """``vectors`` [width] in the order of their indices, in double precision."""

    kind, filled, orders = "vector", 1024, (1.0, 1.0, 1.0, 0.7, 0.3, 0.1)
    alone = "let each row depend on itself alone: no mean, norm or attention over the rows of a batch"

    def __init__(self, facts: Facts, tokens: Tokens | None = None):
        super().__init__(facts, tokens)
        self.vectors: list[np.ndarray] = []
        self._index: dict[bytes, int] = {}
        self._stacked: Any = None

    @staticmethod
    def batch(network: Receiver, rows: InputRows, padding: Literal["left", "right"]) -> Batch:
        import torch

        from causal_dsl.inputs.batches import unpadded

        return unpadded(torch.as_tensor(rows), network.device, network.dtype)

    @staticmethod
    def standard(facts: Facts) -> list[InputRows]:
        """Numbers that are drawn, and such as a network may be made for."""
        import torch

        width = (facts.widths or (1,))[0]
        numbers = torch.from_numpy(normals(0, (8, width), "inputs")).float()
        return [numbers, (numbers > 0).float(), torch.zeros(8, width)]

    @staticmethod
    def lengths_of(rows: InputRows) -> np.ndarray:
        return np.ones(len(rows), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, indices: np.ndarray) -> Tensor:
        import torch

        if self._stacked is None or len(self._stacked) != len(self):
            self._stacked = torch.from_numpy(np.stack(self.vectors))
        found: Tensor = self._stacked[torch.from_numpy(indices)]
        return found

    def content(self, index: int) -> bytes:
        return self.vectors[index].tobytes()

    def contents(self, position: Position | None, indices: np.ndarray) -> np.ndarray:
        """The whole input."""
        return self.runs[indices]

    def as_numbers(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(self.rows(indices))

    def some(self, most: int | None = None) -> np.ndarray:
        return spread(len(self), most or _TRIED)

    def add(self, alignment: Alignment, drawn: Drawn, role: str, span: Span, choices: Choices = NONE) -> np.ndarray:
        settings = drawn.values[role]
        if not alignment.inputs:
            raise fail(
                "E531",
                f"`{alignment.name}` does not say what the network reads",
                alignment.span,
                help="write `a @ input[0:4] via onehot()` for every variable that enters",
            )
        width = self.facts.widths[0] if self.facts.widths else max(p.stop for p in alignment.inputs)
        first, back = different([settings[placement.variable] for placement in alignment.inputs])
        matrix = np.zeros((len(first), width))
        for placement in alignment.inputs:
            matrix[:, placement.start : placement.stop] = encode(
                placement, alignment.model, settings[placement.variable][first]
            )
        found = np.empty(len(first), dtype=np.int64)
        for at, row in enumerate(matrix):
            key = row.tobytes()
            index = self._index.get(key)
            if index is None:
                index = self._index[key] = len(self.vectors)
                self.vectors.append(row.copy())
            found[at] = index
        return found[back]


def encode(placement: InputPlacement, model: CausalModel, codes: np.ndarray) -> np.ndarray:
    """The numbers [n, stop - start] by which the values of a variable enter a vector network."""
    variable = model.variables[placement.variable]
    if placement.encoding == "scalar":
        assert variable.type in ("bool", "int", "real")
        return codes.astype(np.float64)[:, None]  # a code is the number itself
    assert isinstance(variable.domain, Finite)
    every = model.codes(placement.variable)
    order = np.argsort(every, kind="stable")
    places = order[np.searchsorted(every, codes, sorter=order)]
    if placement.encoding == "onehot":
        return (places[:, None] == np.arange(len(every))).astype(np.float64)
    settings = dict(placement.settings)
    return _embeddings(settings["seed"], len(every), settings["dim"])[places]


@lru_cache(64)
def _embeddings(seed: int, n: int, dim: int) -> np.ndarray:
    """A vector for each value, the same in all tests."""
    return normals(seed, (n, dim))
