"""The list of layers of a decoder, and its two ends: found in one run of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.faults import foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.batches import Batch
from causal_dsl.network.inferred.trace import Event, LayerCall, Unclear, alike, entering, first, matrix, traced


@dataclass(frozen=True, eq=False)
class Stack:
    """``path`` is the list of layers, ``calls`` how each was called, ``left`` what the last of them gave, ``outside`` what
    ran beside the layers, ``tokens`` [rows, tokens] what the network was given."""

    path: str
    layers: tuple[nn.Module, ...]
    calls: tuple[LayerCall, ...]
    left: Tensor
    outside: tuple[Event, ...]


def stack_of(model: nn.Module, batch: Batch) -> Stack:
    """The longest list of modules that run once each, one after the other, and hand the residual stream on. Raises
    :class:`Unclear` where there is none."""
    lists = [
        (path, tuple(module.children()))
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential | nn.ModuleDict) and len(module)
    ]
    calls: dict[int, list[_Run]] = {}
    handles, order = [], iter(range(10**9))

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        run = _Run(next(order), LayerCall(args, dict(kwargs), entering(args, kwargs)), first(output))
        calls.setdefault(id(module), []).append(run)

    for layer in {id(layer): layer for _, layers in lists for layer in layers}.values():
        handles.append(layer.register_forward_hook(after, with_kwargs=True))
    rows, tokens = batch.rows, batch.longest
    inside = tuple(
        f"{path}.{name}."
        for path, _ in lists
        if isinstance(model.get_submodule(path), nn.ModuleList)
        for name, _ in model.get_submodule(path).named_children()
    )
    try:
        with foreign, traced(model, rows * tokens, lambda path: not path.startswith(inside)) as trace:
            model(*batch.arguments, **batch.named)
    finally:
        for handle in handles:
            handle.remove()
    found: list[tuple[bool, int, int, str, tuple[nn.Module, ...], list[_Run]]] = []
    for number, (path, layers) in enumerate(lists):
        times = [calls.get(id(layer), []) for layer in layers]
        runs = [some[0] for some in times if len(some) == 1]
        if len(runs) < len(layers) or [run.order for run in runs] != sorted(run.order for run in runs):
            continue
        if not all(_stream(run.call.hidden, run.gave, (rows, tokens)) for run in runs):
            continue
        chain = all(bool(torch.equal(before.gave, after.call.hidden)) for before, after in pairwise(runs))
        found.append((chain, len(layers), -number, path, layers, runs))
    if not found:
        raise Unclear(
            "no list of its modules was found whose members run once each, one after the other, on one vector a token"
        )
    chain, _, _, path, layers, runs = max(found, key=lambda one: one[:3])
    if not chain:
        raise Unclear(f"`resid_post[l] = resid_pre[l + 1]` does not hold in `{path}`, the longest list of its modules")
    own = f"{path}."
    outside = tuple(event for event in trace.once() if not event.path.startswith(own))
    return Stack(path, layers, tuple(run.call for run in runs), runs[-1].gave, outside)


@dataclass(frozen=True, eq=False)
class _Run:
    """One run of a module that may be a layer: its turn, how it was called, and what it gave."""

    order: int
    call: LayerCall
    gave: Any


def _stream(given: Any, gave: Any, shape: tuple[int, int]) -> bool:
    return (
        isinstance(given, Tensor)
        and isinstance(gave, Tensor)
        and given.is_floating_point()
        and given.ndim == 3
        and tuple(given.shape[:2]) == shape
        and given.shape == gave.shape
    )


@dataclass(frozen=True)
class Ends:
    """``embed``, ``norm`` as an :class:`Architecture` has them, with why each is not there (``absent``)."""

    embed: str
    embed_scale: float | None
    norm: str | None
    unembed: str
    head: tuple[str, ...]
    absent: dict[str, str]
    enter: tuple[str, ...] = ()


def ends_of(model: nn.Module, stack: Stack) -> Ends:
    """The embedding, the final norm and what leads from it to the logits. Raises :class:`Unclear` where the way from the last
    layer to the logits is not known."""
    absent: dict[str, str] = {}
    enter: tuple[str, ...] = ()
    names = {id(module): path for path, module in model.named_modules()}
    getter: Any = getattr(model, "get_input_embeddings", None)
    into = getter() if getter is not None else _embedding(stack)
    embed, scale = names.get(id(into), ""), None
    event = next((one for one in stack.outside if one.path == embed), None)
    if event is None or event.gave is None:
        absent["embed"] = "the module that embeds tokens gives no one vector a token"
    else:
        scale = _factor(event.gave, stack.calls[0].hidden)
        entered = stack.calls[0].hidden.detach().reshape(event.gave.shape[0], -1).float()
        through = [
            one.path for one in stack.outside if alike(one.given, event.gave, 1e-6) and alike(one.gave, entered, 1e-6)
        ]
        if scale is None and through:
            scale, enter = 1.0, (through[-1],)
        elif scale is None:
            absent["embed"] = "`embed, up to positions = resid_pre[0]` does not hold, for no factor"
    getter = getattr(model, "get_output_embeddings", None)
    own = getter is None and not hasattr(model, "config")
    out: Any = _unembedding(stack) if own else getter() if getter is not None else None
    unembed = names.get(id(out), "")
    last = stack.left.detach().reshape(-1, stack.left.shape[-1]).float()
    later = [one for one in stack.outside if one.given is not None and one.gave is not None]
    final = next((one for one in later if one.path == unembed), None)
    if final is None and own:  # logits that a function makes, of the embedding perhaps: all of them are computed
        absent["final_norm"] = "no module was found that makes logits of what the last norm gives"
        return Ends(f"{embed}>" if embed else "", scale if scale != 1 else None, None, "", (), absent, enter)
    if final is None:
        raise Unclear("the module that makes logits of the last residual stream is not known")
    whole: tuple[str, ...] = ()
    chain: list[Event] = []
    at = last
    while not (final.given is not None and _along(final.given, at)):
        step = next(
            (one for one in later if one not in chain and one is not final and alike(one.given, at, 1e-6)),
            None,
        )
        around = [one for one in later if unembed.startswith(f"{one.path}.") and alike(one.given, at, 1e-6)]
        if around:
            whole = (around[0].path,)
            break
        if step is None or step.gave is None or len(chain) > 8:
            absent["final_norm"] = f"no modules were found that lead from its last layer to `{unembed}`"
            return Ends(f"{embed}>", scale if scale != 1 else None, None, unembed, (), absent, enter)
        chain.append(step)
        at = step.gave
    steps = [one for one in chain if not alike(one.gave, one.given, 1e-6)]
    if not steps:
        absent["final_norm"] = "there is no norm between its last layer and its unembedding"
        return Ends(f"{embed}>", scale if scale != 1 else None, None, unembed, whole or (unembed,), absent, enter)
    norm, rest = steps[0], steps[1:]
    head = (*(one.path for one in rest), *(whole or (unembed,)))
    return Ends(f"{embed}>", scale if scale != 1 else None, f"{norm.path}>", unembed, head, absent, enter)


def _embedding(stack: Stack) -> nn.Module | None:
    """Of a module that is no model of transformers: the table of vectors that enters the first layer, up to positions."""
    found = [one for one in stack.outside if isinstance(one.module, nn.Embedding) and one.gave is not None]
    hidden = stack.calls[0].hidden
    found = [one for one in found if one.gave is not None and _factor(one.gave, hidden) is not None] or found
    return found[0].module if found else None


def _unembedding(stack: Stack) -> nn.Module | None:
    """Of a module that is no model of transformers: the last linear map behind its layers."""
    began = max((one.began for one in stack.outside if isinstance(one.module, nn.Embedding)), default=-1)
    found = [one for one in stack.outside if matrix(one.module) and one.given is not None and one.began > began]
    return max(found, key=lambda one: one.ended).module if found else None


def _along(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same but for one positive factor: logits are then ordered alike."""
    if one.shape != other.shape:
        return False
    factor = float((one * other).sum() / (other * other).sum().clamp_min(1e-30))
    return factor > 0 and alike(one, factor * other, 1e-2)


def _factor(embedded: Tensor, entered: Tensor) -> float | None:
    """The factor of embeddings as they enter the stream; None where it is more than that, but for positions."""
    rows = entered.shape[0]
    one = embedded.reshape(rows, -1, embedded.shape[-1])[:, 0]
    two = entered.detach().float()[:, 0]
    if one.shape[-1] != two.shape[-1]:
        return None
    one, two = one[1:] - one[:1], two[1:] - two[:1]
    factor = float((one * two).sum() / (one * one).sum().clamp_min(1e-30))
    if not alike(two, factor * one, 2e-2):
        return None
    return 1.0 if abs(factor - 1) < 1e-2 else factor


__all__ = ["Ends", "Stack", "ends_of", "stack_of"]
