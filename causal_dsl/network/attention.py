"""Queries, keys and attention weights as attention compares them, after rotary angles and norms.

transformers lets a function be registered that every attention module calls with q, k and v. Ours calls the one that
the model uses anyway, so that a forward in which something is read here gives the very same numbers; attention
weights are computed beside it, for the tokens asked about only. Registered for one forward, and taken away again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.network.network import Network
from causal_dsl.network.sites import tap as find_tap
from causal_dsl.network.tape import Job, Tape, run_jobs
from causal_dsl.program.locations import Site


@dataclass(eq=False)
class Wanted:
    """What is read and written in one attention module."""

    query: list[Job] = field(default_factory=list)
    key: list[Job] = field(default_factory=list)
    pattern_reads: list[int] = field(default_factory=list)
    pattern_writes: list[int] = field(default_factory=list)


def want(network: Network, tape: Tape, wanted: dict[nn.Module, Wanted], number: int, writing: bool) -> None:
    """Note a read or a write of ``q_rot``, ``k_rot`` or ``pattern`` with the module that computes it."""
    site = (tape.writes if writing else tape.reads)[number].site
    tap = find_tap(network, site)
    there = wanted.setdefault(tap.module, Wanted())
    if site.component == "pattern":
        (there.pattern_writes if writing else there.pattern_reads).append(number)
    else:
        job = tape.writer(number, tap) if writing else tape.reader(number, tap)
        (there.query if site.component == "q_rot" else there.key).append(job)


@contextmanager
def tapped(network: Network, tape: Tape, wanted: dict[nn.Module, Wanted]) -> Iterator[None]:
    """Within, attention modules in ``wanted`` read and write what it says."""
    if not wanted:
        yield
        return
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    assert network.layout is not None
    base: Any = network.model.get_submodule(network.layout.base).config
    configs: dict[int, Any] = {id(module.config): module.config for module in wanted}
    configs[id(base)] = base
    usual = {key: config._attn_implementation for key, config in configs.items()}
    implementation: str = base._attn_implementation or "eager"
    name = f"causal_dsl_{implementation}"

    def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **more: Any) -> Any:
        own = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, _eager(module))
        there = wanted.get(module)
        if there is None:
            return own(module, q, k, v, mask, **more)
        q, k = _flat(there.query, q), _flat(there.key, k)
        tape.check_done()
        out, weights = own(module, q, k, v, mask, **more)
        out = _patterns(there, tape, module, q, k, v, mask, out, more)
        tape.check_done()
        return out, weights

    # Masks are looked for by name in the class alone; without one there, padding would be attended to, in silence.
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    before = ALL_ATTENTION_FUNCTIONS.get(name)
    ALL_ATTENTION_FUNCTIONS[name] = attention
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = usual[key]
        del ALL_ATTENTION_FUNCTIONS[name]
        if before is not None:
            ALL_ATTENTION_FUNCTIONS[name] = before


def _eager(module: nn.Module) -> Callable[..., Any]:
    """The plain attention function of the file that defines a module's class."""
    function: Callable[..., Any] = sys.modules[type(module).__module__].__dict__["eager_attention_forward"]
    return function


def _flat(jobs: list[Job], heads: Tensor) -> Tensor:
    """Run jobs on [rows, heads, tokens, size] as on [rows, tokens, heads x size]."""
    if not jobs:
        return heads
    rows, count, tokens, size = heads.shape
    flat = heads.transpose(1, 2).reshape(rows, tokens, count * size)
    changed = run_jobs(jobs, flat)
    return heads if changed is flat else changed.view(rows, tokens, count, size).transpose(1, 2)


def _patterns(
    there: Wanted,
    tape: Tape,
    module: nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    out: Tensor,
    more: dict[str, Any],
) -> Tensor:
    """Read and write attention weights; ``out`` [rows, tokens, heads, size] is what they gave."""
    deltas: list[tuple[int, Tensor, Tensor, Tensor]] = []
    for number in there.pattern_writes:
        site, rows, columns, keys = _places(tape, number, writing=True)
        weights = _weights(module, q, k, mask, rows, columns, more)
        for other, other_rows, other_columns, change in deltas:  # an earlier write at the same place is seen
            if other != number:
                weights = _add_at(weights, rows, columns, other_rows, other_columns, change)
        heads = list(site.heads) or list(range(q.shape[1]))
        own = _unpad(weights, keys, tape.batch.lengths[rows.cpu()].to(q.device))
        old = own[:, heads].reshape(len(rows), -1)
        dims = slice(None) if site.dims is None else list(site.dims)
        new = old.clone()
        new[:, dims] = tape.edited(number, old[:, dims])
        change = torch.zeros_like(own)
        change[:, heads] = (new - old).view(len(rows), len(heads), -1)
        padded = torch.zeros_like(weights).scatter_add(2, keys[:, None].expand_as(change), change)
        deltas.append((number, rows, columns, padded))
        group = q.shape[1] // v.shape[1]
        values = v[rows].repeat_interleave(group, dim=1)  # [m, heads, keys, size]
        moved = (padded[:, :, None, :] @ values).squeeze(2)
        out = out.index_put((rows, columns), out[rows, columns] + moved)
    for number in there.pattern_reads:
        site, rows, columns, keys = _places(tape, number, writing=False)
        weights = _weights(module, q, k, mask, rows, columns, more)
        for _, other_rows, other_columns, change in deltas:
            weights = _add_at(weights, rows, columns, other_rows, other_columns, change)
        own = _unpad(weights, keys, tape.batch.lengths[rows.cpu()].to(q.device))
        heads = list(site.heads) or list(range(q.shape[1]))
        value = own[:, heads].reshape(len(rows), -1)
        tape.values[number] = value if site.dims is None else value[:, list(site.dims)]
    return out


def _places(tape: Tape, number: int, writing: bool) -> tuple[Site, Tensor, Tensor, Tensor]:
    """Site, rows [m], padded columns [m], and the padded columns of the prompts' tokens as keys [m, longest]."""
    asked = tape.writes[number] if writing else tape.reads[number]
    rows, columns = tape.batch.points(asked.rows, asked.positions).on(tape.batch.ids.device)
    offsets = tape.batch.offsets.to(rows.device)[rows]
    keys = offsets[:, None] + torch.arange(tape.batch.longest, device=rows.device)[None, :]
    return asked.site, rows, columns, keys.clamp(max=tape.batch.longest - 1)


def _weights(
    module: nn.Module, q: Tensor, k: Tensor, mask: Tensor | None, rows: Tensor, columns: Tensor, more: dict[str, Any]
) -> Tensor:
    """Attention weights [m, heads, padded keys] from the tokens at (rows, columns)."""
    scaling = more.get("scaling")
    scaling = q.shape[-1] ** -0.5 if scaling is None else scaling
    keys = k[rows].repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = (q[rows, :, columns][:, :, None, :] @ keys.transpose(2, 3)).squeeze(2) * scaling
    if more.get("softcap") is not None:
        scores = torch.tanh(scores / more["softcap"]) * more["softcap"]
    if mask is None:
        seen = torch.arange(k.shape[2], device=q.device)[None, :] <= columns[:, None]
        scores = scores.masked_fill(~seen[:, None], float("-inf"))
    else:
        own = mask[rows if mask.shape[0] > 1 else rows * 0, :, columns]
        scores = scores.masked_fill(~own, float("-inf")) if own.dtype == torch.bool else scores + own
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)


def _unpad(weights: Tensor, keys: Tensor, lengths: Tensor) -> Tensor:
    """[m, heads, padded keys] as [m, heads, longest], keys counted from the prompt's first token, 0 past its end."""
    own = weights.gather(2, keys[:, None].expand(-1, weights.shape[1], -1))
    there = torch.arange(keys.shape[1], device=keys.device)[None, :] < lengths[:, None]
    return own * there[:, None]


def _add_at(
    weights: Tensor, rows: Tensor, columns: Tensor, other_rows: Tensor, other_columns: Tensor, change: Tensor
) -> Tensor:
    """``weights`` plus the changes made at the same (row, column) by an earlier write."""
    same = ((rows[:, None] == other_rows[None]) & (columns[:, None] == other_columns[None])).to(change.dtype)
    return weights + torch.einsum("ab,bhk->ahk", same, change)
