"""Rows of a pass as a ragged batch, one long row of tokens, none of them padding, and the attention that keeps them apart.

What a layer does to each token by itself does not care whose token it is. What it does between tokens goes through the
attention function that transformers lets one register: there the queries are sorted by row again, and each row is
given the keys and values of its own tokens and, for those that it does not carry, its prompt's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.attention_weights import Look
from causal_dsl.network.sending import sent
from causal_dsl.planning.liveness import Schedule


class KeysOnly(Exception):
    """Keys and values are computed, and nothing else of the layer is wanted."""

    def __init__(self, k: Tensor, v: Tensor):
        self.k, self.v = k, v
        super().__init__()


@dataclass(frozen=True, eq=False)
class RaggedGroup:
    """Rows that attend in one call, all with as many queries: where these lie [rows, queries], where their keys lie
    [rows, keys], the prompts [rows] and the positions [rows, queries] that say what is seen."""

    queries: Tensor
    keys: Tensor
    home: Tensor
    positions: Tensor


@dataclass(frozen=True, eq=False)
class Attention:
    """The groups of one layer; ``order`` [tokens] is where each token's output lies among all that the groups give.
    ``straight``: there is one group, and its queries are the tokens as they lie."""

    groups: tuple[RaggedGroup, ...]
    order: Tensor
    straight: bool = False


def shapes(plan: Schedule, level: int, most: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int, int]]:
    """The groups of a layer: rows, where their tokens start among the live ones, how many they are, and for all of them
    the number of queries and of keys. ``most`` bounds rows x keys of a group."""
    live = plan.levels[level]
    if not live.tokens:
        return
    rows, starts, counts = np.unique(live.rows, return_index=True, return_counts=True)
    reach = live.positions[starts + counts - 1] + 1
    order = np.lexsort((reach, counts))
    begin = 0
    while begin < len(order):
        # Alike in size, so that what fills a group up stays small: at most an eighth of a group's queries and keys.
        smallest = counts[order[begin]]
        end = begin + 1
        widest = reach[order[begin]]
        while end < len(order) and counts[order[end]] * 8 <= smallest * 9:
            wider = max(widest, reach[order[end]])
            if (end + 1 - begin) * wider > most or reach[order[end]] * 8 < wider * 7 or wider * 7 > widest * 8:
                break
            widest, end = wider, end + 1
        picked = order[begin:end]
        yield rows[picked], starts[picked], counts[picked], int(counts[picked].max()), int(widest)
        begin = end


def attention_of(plan: Schedule, level: int, most: int, put: Callable[[np.ndarray], Tensor]) -> Attention:
    """The groups of a layer, their indices where the layer computes. A row with fewer queries than its group asks its
    last one again, and nobody looks at the answer."""
    live = plan.levels[level]
    groups, order, done, straight = [], np.zeros(live.tokens, np.int64), 0, False
    for rows, starts, counts, queries, keys in shapes(plan, level, most):
        steps = np.arange(queries)[None, :]
        inside = steps < counts[:, None]
        tokens = starts[:, None] + np.minimum(steps, counts[:, None] - 1)
        order[tokens[inside]] = done + np.nonzero(inside.reshape(-1))[0]
        groups.append(
            RaggedGroup(
                put(tokens),
                put(plan.keys(level, rows, keys)),
                put(plan.home[rows]),
                put(live.positions[tokens]),
            )
        )
        done += tokens.size
        straight = tokens.size == live.tokens and bool((tokens.reshape(-1) == np.arange(live.tokens)).all())
    return Attention(tuple(groups), put(order), len(groups) == 1 and straight)


def attend(
    own: Callable[..., Any],
    module: nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    here: Attention,
    more: dict[str, Any],
) -> Tensor:
    """The attention [1, tokens, heads, size] of the queries of a ragged batch [1, heads, tokens, size] over its keys and values."""
    outs: list[Tensor] = []
    room = (
        None
        if here.straight or torch.is_grad_enabled()
        else q.new_empty(q.shape[2], q.shape[1], v.shape[-1])  # values may be of another size than queries
    )
    queries, keys, values = q[0].transpose(0, 1), k[0].transpose(0, 1), v[0].transpose(0, 1)
    for group in here.groups:
        found, _ = own(
            module,
            queries.view(*group.queries.shape, *queries.shape[1:]).transpose(1, 2)
            if here.straight
            else _heads(queries, group.queries),
            _heads(keys, group.keys),
            _heads(values, group.keys),
            visible(mask, group.home, group.positions, group.keys.shape[1], q)[:, None],
            **more,
        )
        found = found.reshape(-1, *found.shape[2:])
        if here.straight:
            return found[None]
        if room is None:
            outs.append(found)
        else:
            room.index_copy_(0, group.queries.reshape(-1), found)
    if room is not None:
        return room[None]
    every = outs[0] if len(outs) == 1 else torch.cat(outs)
    return every.index_select(0, here.order)[None]


def _heads(ragged: Tensor, index: Tensor) -> Tensor:
    """Of [tokens, heads, size] those that ``index`` [rows, n] names: [rows, heads, n, size]."""
    picked = ragged.index_select(0, index.reshape(-1))
    return picked.view(*index.shape, *ragged.shape[1:]).transpose(1, 2)


def visible(mask: Tensor | None, home: Tensor, positions: Tensor, keys: int, like: Tensor) -> Tensor:
    """The tokens that queries at ``positions`` [rows, queries] of prompts ``home`` [rows] see among the first ``keys``: by the
    mask that the model itself made for the prompts, else all up to themselves."""
    if mask is None:  # as numbers that are added, which every attention function takes
        seen = torch.arange(keys, device=like.device) <= positions[..., None]
        return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, float("-inf"))
    rows = home[:, None] if mask.shape[0] > 1 else torch.zeros_like(home)[:, None]
    return mask[:, 0, :, :keys][rows, positions]


def look(
    plan: Schedule,
    level: int,
    rows: np.ndarray,
    positions: np.ndarray,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
) -> Look:
    """The tokens that some live tokens look at, prompt by prompt."""

    def put(array: np.ndarray) -> Tensor:
        return sent(array, q.device)

    lengths = plan.lengths[rows]
    width = int(lengths.max())
    place, keys = put(plan.levels[level].at(rows, positions)), put(plan.keys(level, rows, width))
    seen = visible(mask, put(plan.home[rows]), put(positions)[:, None], width, q)[:, 0]
    there = put(np.arange(width)[None, :] < lengths[:, None])
    seen = seen & there if seen.dtype == torch.bool else seen.masked_fill(~there, float("-inf"))
    return Look(
        q[0].transpose(0, 1)[place], _heads(k[0].transpose(0, 1), keys), _heads(v[0].transpose(0, 1), keys), seen, place
    )


def per_token(value: Any, prompts: int, width: int, rows: Tensor, positions: Tensor, name: str = "") -> Any:
    """The arguments of a layer for the padded prompts, for the tokens of a ragged batch: angles and numbers of positions, one a token.

    Masks stay as they are: attention reads them by prompt.
    """
    if isinstance(value, tuple | list):
        return type(value)(per_token(part, prompts, width, rows, positions, name) for part in value)
    if isinstance(value, dict):
        return {key: per_token(part, prompts, width, rows, positions, str(key)) for key, part in value.items()}
    if not isinstance(value, Tensor) or "mask" in name or value.ndim not in (2, 3) or value.shape[1] != width:
        return value
    if value.shape[0] == 1:
        return value[0].index_select(0, positions)[None]
    return value[rows, positions][None] if value.shape[0] == prompts else value


def per_row(value: Any, prompts: int, rows: Tensor) -> Any:
    """The arguments of a layer for the prompts of a batch, for the rows of its live tokens."""
    if isinstance(value, tuple | list):
        return type(value)(per_row(part, prompts, rows) for part in value)
    if isinstance(value, dict):
        return {key: per_row(part, prompts, rows) for key, part in value.items()}
    if isinstance(value, Tensor) and value.ndim and prompts > 1 and value.shape[0] == prompts:
        return value.index_select(0, rows)
    return value
