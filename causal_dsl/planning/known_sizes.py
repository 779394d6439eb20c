"""The sizes of a plan's blocks, remembered: they are asked about as the plan is cut, for its cost, and for its units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning.alike_blocks import PairsAsked
from causal_dsl.planning.alive import PeakHeld
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.steps import EDGES, Block, Step, early_means

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
    """The figures of the blocks of a plan, by all that decides them. A plan that is made of another by ``replace`` shares them; they
    hold for the same runs, rows, inputs, scores and tests alone, and are forgotten when another plan asks."""

    def __init__(self, plan: Plan):
        """Of this plan. Forgets everything unless it was found of these very values: they are compared as objects, and held while they count."""
        self._known = known = plan.sizes
        parts: list[Any] = [*plan.tests, *plan.drawn, *plan.drawn.values(), *plan.rows, *plan.rows.values()]
        parts += [*plan.inputs, *plan.inputs.values(), *(len(inputs.lengths) for inputs in plan.inputs.values())]
        parts += [part for name, scores in plan.scores.items() for part in (name, *scores)]
        same = len(parts) == len(known.of) and all(
            one is other or (isinstance(one, int) and one == other) for one, other in zip(parts, known.of, strict=True)
        )
        if not same:
            known.of, known.tuples, known.means, known.found = parts, {}, {}, {}

    def get(self, step: Step, block: Block, pairs: PairsAsked, budget: Budget) -> tuple[Figures, PeakHeld] | None:
        """The size of a block, if it was found before of it, or of one with the same interventions on ``pairs`` that are laid out alike."""
        found: tuple[Figures, PeakHeld] | None = self._known.found.get(self._key(step, block, pairs, budget))
        return found

    def put(self, step: Step, block: Block, pairs: PairsAsked, budget: Budget, found: tuple[Figures, PeakHeld]) -> None:
        """Remember what a block takes."""
        self._known.found[self._key(step, block, pairs, budget)] = found

    def _key(self, step: Step, block: Block, pairs: PairsAsked, budget: Budget) -> tuple[Any, ...]:
        runs = id(step.resumes)
        if runs not in self._known.means:
            self._known.means[runs] = bool(early_means(replace(step, blocks=())))
        for part in (step.resumes, step.forwards):  # held, so that no other tuple comes to have their numbers
            self._known.tuples[id(part)] = part
        whole = self._known.means[runs] and step.blocks == (Block(),)  # means are taken within a pass that is not cut
        # How large a budget is decides what is alive only where edges are computed.
        given = budget if step.why == EDGES else replace(budget, bytes=0)
        own = (step.network, step.shared, step.kept_once, step.rules, step.pruned, step.why)
        return (runs, id(step.forwards), own, whole, pairs, block.first, block.last, given)


__all__ = ["Figures", "KnownSizes"]
