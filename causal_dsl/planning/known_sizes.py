"""What blocks of a plan take, remembered: they are asked about as the plan is cut, for its cost, and for its units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from causal_dsl.planning.alike_blocks import PairsAsked
from causal_dsl.planning.alive import PeakHeld
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.steps import EDGES, Block, Step, early_means
from causal_dsl.quick_dataclasses import dataclass

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


@dataclass(frozen=True)
class Figures:
    """Of a pass as it was laid out, for ``share`` of its block: ``rows``, tokens x layers (``layer_tokens``), those of which keys
    and values alone are computed (``key_tokens``), the tokens of its largest layer (``most_tokens``), multiplications and additions."""

    rows: int
    layer_tokens: int
    key_tokens: int
    most_tokens: int
    flops: float
    share: float


class KnownSizes:
    """The figures of blocks, by all that decides them. A plan that is made of another by ``replace`` shares it; what was found
    holds for the same runs, rows, inputs, scores and tests alone, and is forgotten when it is asked about others."""

    def __init__(self) -> None:
        self._of: list[Any] = []
        self._tuples: dict[int, Any] = {}
        self._means: dict[int, bool] = {}
        self._found: dict[Any, tuple[Figures, PeakHeld]] = {}

    def __reduce__(self) -> tuple[type[KnownSizes], tuple[()]]:
        return KnownSizes, ()  # a copy in another process knows nothing: its objects have other numbers

    def begin(self, plan: Plan) -> KnownSizes:
        """Forget everything unless it was found of these very values: they are compared as objects, and held while they count."""
        parts: list[Any] = [*plan.tests, *plan.drawn, *plan.drawn.values(), *plan.rows, *plan.rows.values()]
        parts += [*plan.inputs, *plan.inputs.values(), *(len(inputs.lengths) for inputs in plan.inputs.values())]
        parts += [part for name, scores in plan.scores.items() for part in (name, *scores)]
        same = len(parts) == len(self._of) and all(
            one is other or (isinstance(one, int) and one == other) for one, other in zip(parts, self._of, strict=True)
        )
        if not same:
            self._of, self._tuples, self._means, self._found = parts, {}, {}, {}
        return self

    def get(self, step: Step, block: Block, pairs: PairsAsked, budget: Budget) -> tuple[Figures, PeakHeld] | None:
        """What a block takes, if that was found before of it, or of one with the same interventions on ``pairs`` that are laid out alike."""
        return self._found.get(self._key(step, block, pairs, budget))

    def put(self, step: Step, block: Block, pairs: PairsAsked, budget: Budget, found: tuple[Figures, PeakHeld]) -> None:
        """Remember what a block takes."""
        self._found[self._key(step, block, pairs, budget)] = found

    def _key(self, step: Step, block: Block, pairs: PairsAsked, budget: Budget) -> tuple[Any, ...]:
        runs = id(step.resumes)
        if runs not in self._means:
            self._means[runs] = bool(early_means(replace(step, blocks=())))
        for part in (step.resumes, step.forwards):  # held, so that no other tuple comes to have their numbers
            self._tuples[id(part)] = part
        whole = self._means[runs] and step.blocks == (Block(),)  # means are taken within a pass that is not cut
        # How large a budget is decides what is alive only where edges are computed.
        given = budget if step.why == EDGES else replace(budget, bytes=0)
        own = (step.network, step.shared, step.kept_once, step.rules, step.pruned, step.why)
        return (runs, id(step.forwards), own, whole, pairs, block.first, block.last, given)


__all__ = ["Figures", "KnownSizes"]
