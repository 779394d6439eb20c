"""The vectors that a value writes in place of given ones, where they depend on no run."""

from __future__ import annotations

from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.values import Edit, edit_of
from causal_dsl.vocabulary.written import Value


@dataclass(frozen=True)
class _Anywhere:
    """Where no run is at hand."""

    def edit(self, value: Value) -> Edit:
        return edit_of(value, self)  # the functions of these values ask for nothing but other functions


def written_there(value: Value, current: Tensor) -> Tensor | None:
    """The vectors that a value writes in place of others [m, width], as [m, width]; None where it is made of runs, or of chance. Raises what
    writing it in a run raises (E460, E688, E791)."""
    if not all(part.runless for part in value.walk()):
        return None
    new = _Anywhere().edit(value)(current)
    return (new if isinstance(new, Tensor) else current.new_full((1, 1), new)).to(current).expand_as(current)


__all__ = ["written_there"]
