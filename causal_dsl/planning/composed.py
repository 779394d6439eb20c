"""A written value made of another vector than the one that is there: what a test writes, as it would write it in another run."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.written import Value


@dataclass(frozen=True)
class Composed(Value):
    """``outer``, where ``inner`` is what is there: ``scale(0.5)`` of what another run has."""

    function = "causal_dsl.engine.values:composed"
    given = False
    outer: Value
    inner: Value

    @property
    def text(self) -> str:
        return f"{self.outer.text} of {self.inner.text}"


__all__ = ["Composed"]
