"""Features one inside the other: the f of the first is the vector of the second."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from causal_dsl.features.base import Feature, Gates, Rest


class Chain(Feature):
    """``members``, outermost first. f is the last one's, and ``block`` counts its coordinates.

    Gates belong into the last member: in the f of an outer one with gates, the coordinates whose gate is shut are 0,
    and what is written into them is dropped.
    """

    def __init__(self, members: Sequence[Feature]):
        for outer, inner in pairwise(members):
            if inner.width != outer.size:
                raise ValueError(
                    f"{inner.describe()} reads {inner.width} numbers, and {outer.describe()} gives {outer.size}"
                )
        super().__init__("chain", members[0].width, members[-1].size, members[0].dtype)
        self.members = nn.ModuleList(members)
        self.nonlinear = any(member.nonlinear for member in members)

    @property
    def chained(self) -> list[Feature]:
        return list(self.members)

    def prepare(self) -> None:
        for member in self.chained:
            member.prepare()

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        return self._swap_from(0, base, source, block)

    def _swap_from(self, depth: int, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        outer = self.chained[depth]
        if depth == len(self.members) - 1:
            return outer._swap(base, source, block)
        f, rest = outer._encode(base)
        new = self._swap_from(depth + 1, f, outer._encode(source)[0], block)
        return outer._write(base, f, new, rest)

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        rests: list[Rest] = []
        for member in self.chained:
            x, rest = member._encode(x)
            rests.append(rest)
        return x, tuple(rests)

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        for member, one in zip(reversed(self.chained), reversed(rest), strict=True):
            f = member._decode(f, one)
        return f

    def anneal(self, progress: float) -> None:
        for member in self.chained:
            member.anneal(progress)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        return [group for member in self.chained for group in member.parameter_groups()]

    def penalty(self) -> Tensor:
        total = self._zero.clone()
        for member in self.chained:
            total = total + member.penalty()
        return total

    def gates(self) -> Gates | None:
        total: Gates | None = None
        for member in self.chained:
            gates = member.gates()
            total = gates if total is None else total if gates is None else total + gates
        return total

    def effective_size(self) -> int:
        return min(member.effective_size() for member in self.chained)

    def tensors(self) -> dict[str, Tensor]:
        return {f"{i}.{name}": t for i, member in enumerate(self.chained) for name, t in member.tensors().items()}

    def _slots(self) -> dict[str, Tensor]:
        return {f"{i}.{name}": t for i, member in enumerate(self.chained) for name, t in member._slots().items()}

    def _loaded(self) -> None:
        for member in self.chained:
            member._loaded()

    def describe(self) -> str:
        return " then ".join(member.describe() for member in self.chained)
