"""The costs of decoders, and of encoders like them: attention and MLP in each layer, as transformers computes them."""

from __future__ import annotations

from collections.abc import Iterator

from causal_dsl.planning.alive import inner_at_once
from causal_dsl.planning.liveness import Schedule
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.facts import layout_of
from causal_dsl.vocabulary.network_facts import Facts

#: Multiplications of a run of a prompt that costs next to nothing, and tokens of a prompt that is not drawn yet.
_SHORT, _PROMPT = 2**17, 16


class DecoderCosts:
    """See :class:`causal_dsl.planning.layer_costs.Costs`."""

    def layer_flops(self, facts: Facts) -> float:
        wide, head = facts.width or 0, facts.head_dim or 0
        heads, shared = facts.heads or 0, facts.kv_heads or 0
        record = layout_of(facts)
        maps = 2 if record is not None and not record.gated else 3
        return 2.0 * wide * (2 * heads * head + 2 * shared * head + maps * (facts.inner or facts.mlp_width or 0))

    def other_flops(self, schedule: Schedule, facts: Facts, columns: int | None) -> float:
        levels = schedule.levels
        heads = (facts.heads or 0) * (facts.head_dim or 0)
        seen = [schedule.lengths[f.rows] if facts.both_ways else f.positions + 1 for f in levels[:-1]]
        looked = sum(int(tokens.sum()) for tokens in seen)
        return 4.0 * heads * looked + 2.0 * levels[-1].tokens * (facts.width or 0) * (columns or facts.outputs or 0)

    def weight_bytes(self, facts: Facts) -> int:
        """Of the layers, and of both embeddings."""
        layers = layers_of(facts) * self.layer_flops(facts) / 2
        return int(4 * (layers + (facts.width or 0) * (facts.outputs or 0)))

    def stages(
        self, tokens: int, keys: int, following: int, facts: Facts, budget: Budget, share: float
    ) -> Iterator[list[float]]:
        wide, inner = facts.width or 1, facts.mlp_width or 4 * (facts.width or 1)
        at_once = inner_at_once(facts)
        size = facts.head_dim or 1
        heads, shared = (facts.heads or 1) * size, (facts.kv_heads or facts.heads or 1) * size
        record = layout_of(facts)
        fused = record is not None and record.split != "apart"
        entry, normed = (tokens + keys) * wide, tokens * wide
        # Of tokens that give keys alone: their queries, keys and values, which are views of one tensor where one map makes
        # all three, and stay then; else the keys and values.
        made = keys * (heads + 2 * shared)
        alone = [made] if fused else [keys * shared, keys * shared]
        if keys:
            yield [entry, keys * wide, keys * wide]
            yield [entry, keys * wide, made, *([] if fused else [keys * heads] * 3)]
        yield [entry, normed, normed, *alone]
        own = [tokens * (heads + 2 * shared)] if fused else [tokens * heads, tokens * shared, tokens * shared]
        # Rotary angles: the queries' products with cosines and sines, their turned copy and the sum of both.
        yield [entry, normed, *own, *[tokens * heads] * 3, 2 * tokens * size, *alone]
        # Keys and values are gathered for some rows at a time, and repeated for the query heads that share them.
        gathered = min(budget.most_keys, tokens * 16 * shared * share) / share
        joined = [(tokens + keys) * shared] * 2 if keys else []
        yield [entry, normed, *own, *joined, tokens * heads, *[gathered] * (2 * (1 + heads // shared)), *alone]
        # The stream between attention and MLP, its norm, in slices all that comes out; inside, what an activation takes.
        slice_ = min(tokens, budget.slice / share)
        out = [] if tokens <= slice_ else [tokens * wide]
        yield [entry, normed, normed, *out, *[slice_ * inner] * at_once, *alone]
        yield [entry, normed, normed, *out, slice_ * inner, slice_ * wide, *alone]
        yield [entry, tokens * wide, following * wide]

    def embedded(self, tokens: int, facts: Facts) -> list[float]:
        return [tokens * (facts.width or 1)]

    def most_tokens(self, facts: Facts, budget: Budget) -> int:
        return budget.most_tokens

    def most_apart(self, budget: Budget) -> int:
        return budget.most_tokens // 4

    def rows_back(self, tokens: int, facts: Facts, budget: Budget, gradients: bool) -> int:
        width, layers, heads = facts.width or 1, facts.layers or 1, facts.heads or 1
        inner = max(facts.mlp_width or 0, facts.inner or 0, 4 * width)
        layer = 14 * width + 5 * inner + 3 * heads * tokens
        # what all layers give, twice, and the gradients of what they read; beside them the vectors of one layer and its reads
        kept = layers * (8 * width) + layer
        alone = (heads + 3 * heads + 1) * width * 4
        whole = tokens * (kept + alone + (layers * layer if gradients else 0)) + 8 * (facts.outputs or 1)
        return max(1, min(int(budget.tensors // max(1, budget.size * whole)), budget.most_tokens // max(1, tokens)))

    def row_tokens(self, facts: Facts) -> int:
        return max(1, min(facts.context or _PROMPT, _PROMPT))

    def is_small(self, facts: Facts) -> bool:
        return False

    def is_short(self, facts: Facts, tokens: int) -> bool:
        if facts.layers is None or facts.width is None:
            return False
        return 12 * facts.layers * facts.width**2 * tokens <= _SHORT


__all__ = ["DecoderCosts"]
