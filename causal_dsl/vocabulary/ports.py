"""Where an edge of a circuit ends: what a component reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class Port:
    """What a head reads for its query, key or value (of keys and values: a head that query heads share), what an MLP reads, or
    what the read-out does."""

    kind: Literal["q", "k", "v", "mlp", "logits"]
    layer: int = -1
    head: int = -1

    def __str__(self) -> str:
        if self.kind == "logits":
            return "logits"
        return (
            f"layer[{self.layer}].mlp" if self.kind == "mlp" else f"layer[{self.layer}].head[{self.head}].{self.kind}"
        )


__all__ = ["Port"]
