"""Queries, keys and attention weights as attention compares them, after rotary angles and norms.

transformers lets a function be registered that every attention module calls with q, k and v. Ours calls the one that
the model uses anyway, so that a forward in which something is read here gives the very same numbers; attention
weights are computed beside it, for the tokens asked about only. Registered for one forward, and taken away again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.batches import Batch
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import READ_FIRST
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tape import Places, Tape, TapeJob, run_jobs


@dataclass(eq=False)
class Wanted:
    """The jobs in one attention module."""

    query: list[TapeJob] = field(default_factory=list)
    key: list[TapeJob] = field(default_factory=list)
    pattern_reads: list[int] = field(default_factory=list)
    pattern_after: list[int] = field(default_factory=list)
    pattern_writes: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Look:
    """The attention of m tokens: queries ``q`` [m, heads, size], keys and values ``k``, ``v`` [m, kv heads, width, size] of
    the first ``width`` tokens of their prompts, and which of these they see: ``mask`` [m, width], true or added.
    ``place`` [m] is where the tokens lie among all that attention gives an output for."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor
    place: Tensor


#: The look of the tokens of a read or write of ``pattern``, by its number and whether it writes.
Looks = Callable[[int, bool], Look]
#: Like the attention functions of transformers: (module, q, k, v, mask, …) to (output, weights or None).
Attend = Callable[..., Any]


def want(
    network: Network,
    tape: Tape,
    wanted: dict[nn.Module, Wanted],
    number: int,
    writing: bool,
    points: Places,
    reads_first: bool = False,
) -> None:
    """Note a read or a write of ``q_rot``, ``k_rot`` or ``pattern`` with the module that computes it.

    ``reads_first``: what is read is of rows that nothing writes, and may be what is written elsewhere.
    """
    site = (tape.writes if writing else tape.reads)[number].site
    tap = find_tap(network, site)
    there = wanted.setdefault(tap.module, Wanted())
    if site.component == "pattern":
        after = not writing and tape.reads[number].after
        (there.pattern_writes if writing else there.pattern_after if after else there.pattern_reads).append(number)
    else:
        job = tape.writer(number, tap, points) if writing else tape.reader(number, tap, points)
        if reads_first and not writing:
            job = TapeJob((READ_FIRST, 0, number), job.act)
        (there.query if site.component == "q_rot" else there.key).append(job)


@contextmanager
def tapped(network: Network, tape: Tape, wanted: dict[nn.Module, Wanted], batch: Batch) -> Iterator[None]:
    """Within, attention modules in ``wanted`` read and write what it says."""
    if not wanted:
        yield
        return

    def make(own: Callable[[nn.Module], Attend]) -> Attend:
        def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **more: Any) -> Any:
            there = wanted.get(module)
            if there is None:
                return own(module)(module, q, k, v, mask, **more)
            q, k = on_heads(there.query, q), on_heads(there.key, k)
            tape.check_done()
            out, weights = own(module)(module, q, k, v, mask, **more)

            def look(number: int, writing: bool) -> Look:
                return _look(tape, batch, number, writing, q, k, v, mask, network.facts.both_ways)

            out = patterns(there, tape, look, out, more)
            tape.check_done()
            return out, weights

        return attention

    with attending(network, list(wanted), make):
        yield


@contextmanager
def attending(
    network: Network,
    modules: list[nn.Module],
    make: Callable[[Callable[[nn.Module], Attend]], Attend],
    sdpa: bool = False,
) -> Iterator[None]:
    """Within, every attention of the network is the function that ``make`` makes of the usual one.

    ``sdpa``: the usual one takes masks with a number for each pair of tokens, whatever the model was loaded with.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    assert network.layout is not None
    base: Any = network.model.get_submodule(network.layout.base).config
    configs: dict[int, Any] = {id(module.config): module.config for module in modules if hasattr(module, "config")}
    configs[id(base)] = base
    usual = {key: config._attn_implementation for key, config in configs.items()}
    implementation: str = base._attn_implementation or "eager"
    if sdpa and implementation != "eager":
        implementation = "sdpa"
    name = f"causal_dsl_{implementation}"
    # Masks are looked for by name in the class alone; without one there, padding would be attended to, in silence.
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    before = ALL_ATTENTION_FUNCTIONS.get(name)
    ALL_ATTENTION_FUNCTIONS[name] = make(
        lambda module: ALL_ATTENTION_FUNCTIONS.get_interface(implementation, _eager(module))
    )
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


def on_heads(jobs: list[TapeJob], heads: Tensor) -> Tensor:
    """Run jobs on [rows, heads, tokens, size] as on [rows, tokens, heads x size]."""
    if not jobs:
        return heads
    rows, count, tokens, size = heads.shape
    flat = heads.transpose(1, 2).reshape(rows, tokens, count * size)
    changed = run_jobs(jobs, flat)
    return heads if changed is flat else changed.view(rows, tokens, count, size).transpose(1, 2)


def patterns(
    there: Wanted, tape: Tape, look: Looks, out: Tensor, more: dict[str, Any], reads_first: bool = False
) -> Tensor:
    """Read and write attention weights; ``out`` [rows, tokens, heads, size] is what they gave.

    ``reads_first``: what is read is of rows that nothing writes, and may be what is written elsewhere.
    """
    deltas: list[tuple[int, Look, Tensor]] = []
    if reads_first:
        _read_patterns(there.pattern_reads, tape, look, more, deltas)
    for number in there.pattern_writes:
        site, seen = tape.writes[number].site, look(number, True)
        weights = _with(deltas, seen, _weights(seen, more))
        heads = list(site.heads) or list(range(seen.q.shape[1]))
        old = weights[:, heads].reshape(len(seen.place), -1)
        dims = slice(None) if site.dims is None else list(site.dims)
        new = old.clone()
        new[:, dims] = tape.edited(number, old[:, dims])
        change = torch.zeros_like(weights)
        change[:, heads] = (new - old).view(len(seen.place), len(heads), -1)
        deltas.append((number, seen, change))
        values = seen.v.repeat_interleave(seen.q.shape[1] // seen.v.shape[1], dim=1)  # [m, heads, width, size]
        moved = (change[:, :, None, :] @ values).squeeze(2)
        flat = out.reshape(-1, *out.shape[2:])
        out = flat.index_put((seen.place,), flat[seen.place] + moved).view(out.shape)
    rest = there.pattern_after if reads_first else [*there.pattern_reads, *there.pattern_after]
    _read_patterns(rest, tape, look, more, deltas)
    return out


def _read_patterns(
    numbers: list[int], tape: Tape, look: Looks, more: dict[str, Any], deltas: list[tuple[int, Look, Tensor]]
) -> None:
    for number in numbers:
        site, seen = tape.reads[number].site, look(number, False)
        weights = _with(deltas, seen, _weights(seen, more))
        heads = list(site.heads) or list(range(seen.q.shape[1]))
        value = weights[:, heads].reshape(len(seen.place), -1)
        tape.store(number, value if site.dims is None else value[:, list(site.dims)])


def _look(
    tape: Tape,
    batch: Batch,
    number: int,
    writing: bool,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    both_ways: bool,
) -> Look:
    """The look of the tokens of a read or write in a padded batch [rows, heads, tokens, size]."""
    asked = tape.writes[number] if writing else tape.reads[number]
    points = batch.points(asked.rows, asked.positions)
    rows, columns = points.on(q.device)
    offsets, lengths = batch.offsets.to(q.device)[rows], batch.lengths.to(q.device)[rows]
    every = torch.arange(batch.longest, device=q.device)
    keys = (offsets[:, None] + every[None, :]).clamp(max=batch.longest - 1)
    there = every[None, :] < lengths[:, None]
    if mask is None:
        seen = there if both_ways else there & (keys <= columns[:, None])
    else:
        own = mask[rows if mask.shape[0] > 1 else rows * 0, 0, columns].gather(1, keys)
        seen = own & there if own.dtype == torch.bool else own.masked_fill(~there, float("-inf"))
    picked = keys[:, None, :]
    return Look(
        q[rows, :, columns],
        k[rows[:, None, None], torch.arange(k.shape[1], device=q.device)[None, :, None], picked],
        v[rows[:, None, None], torch.arange(v.shape[1], device=q.device)[None, :, None], picked],
        seen,
        rows * batch.longest + columns,
    )


def _weights(seen: Look, more: dict[str, Any]) -> Tensor:
    """Attention weights [m, heads, width]; 0 past a prompt's end."""
    scaling = more.get("scaling")
    scaling = seen.q.shape[-1] ** -0.5 if scaling is None else scaling
    keys = seen.k.repeat_interleave(seen.q.shape[1] // seen.k.shape[1], dim=1)
    scores = (seen.q[:, :, None, :] @ keys.transpose(2, 3)).squeeze(2) * scaling
    if more.get("softcap") is not None:
        scores = torch.tanh(scores / more["softcap"]) * more["softcap"]
    own = seen.mask[:, None]
    scores = scores.masked_fill(~own, float("-inf")) if own.dtype == torch.bool else scores + own
    sinks = more.get("s_aux")
    if sinks is not None:  # a score of each head that takes its share of the weights, and has no value
        aside = sinks.to(scores.dtype).view(1, -1, 1).expand(len(scores), -1, 1)
        scores = torch.cat([scores, aside], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(seen.q.dtype)
    return weights if sinks is None else weights[..., :-1]


def _with(deltas: list[tuple[int, Look, Tensor]], seen: Look, weights: Tensor) -> Tensor:
    """``weights`` plus the changes that earlier writes made at the same tokens."""
    for _, other, change in deltas:
        same = (seen.place[:, None] == other.place[None]).to(change.dtype)
        seen_by_both = min(weights.shape[-1], change.shape[-1])
        added = torch.einsum("ab,bhk->ahk", same, change[..., :seen_by_both])
        weights = weights + nn.functional.pad(added, (0, weights.shape[-1] - seen_by_both))
    return weights
