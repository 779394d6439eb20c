"""From a decoder that no record describes to a record of its own: run once as a whole, then each kind of layer by itself.

Nothing of it is believed: :mod:`causal_dsl.network.prove` tests the record that comes out as it tests those that are written
by hand. What cannot be found is absent from it, with the identity that does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.counter import below, bits, key
from causal_dsl.base.faults import foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.batches import Batch, padded
from causal_dsl.network.attention_weights import Attend, attending
from causal_dsl.network.inferred.added_terms import LayerTerms, Ran, ran, terms_of
from causal_dsl.network.inferred.heads import Heads, heads_of, told_heads
from causal_dsl.network.inferred.layers import Ends, Stack, ends_of, stack_of
from causal_dsl.network.inferred.mixture import Mixture, mixture_of
from causal_dsl.network.inferred.trace import Unclear, alike, exact
from causal_dsl.network.inferred.trace import first as first_of
from causal_dsl.network.network import Network
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.architectures.architecture import COMPARED, HEADS, STREAM

ROWS, TOKENS = 8, 4


@dataclass(eq=False)
class _Kind:
    """Layers that are built alike, of which one was run: what was found of it."""

    found: Ran
    terms: LayerTerms
    heads: Heads | None
    mixture: Mixture | None
    #: whether it is known how many heads it should have
    counted: bool = True


@torch.no_grad()
def inferred(network: Network) -> Network:
    """A language network with the layout that was found, its layers and its facts. One of which not even the residual stream was
    found has no layout, and its facts say why."""
    name = network.facts.architecture
    try:
        first, batch = _positions(network)
        stack = stack_of(network.model, batch)
        kinds = _kinds(network, stack)
        for number, kind in enumerate(kinds):
            if kind.found.late:
                raise Unclear(f"`a later token changes nothing before it` does not hold in layer {number}")
        record = _record(network, stack, kinds, ends_of(network.model, stack))
    except Unclear as why:
        return _without(network, str(why))
    except Exception as error:
        return _without(network, f"the network's own code fails when it is run: {_told(error)}")
    record = replace(record, right=not _pads_left(network, first))
    network = replace(network, layout=record, layers=stack.layers)
    own = "there is no `z`" if {"z", "attn_in"} & record.absent.keys() else _no_interface(network, batch)
    if not own:
        record = replace(record, interface=True)
    else:
        reason = f"`{name}` computes attention in its own code, which does not expose it: {own}"
        record = replace(record, interface=False, absent={**dict.fromkeys(COMPARED, reason), **record.absent})
    facts = replace(
        network.facts,
        record=record,
        parallel=record.parallel,
        first_position=first,
        layers=len(stack.layers),
        width=int(stack.left.shape[-1]),
        mlp_width=_inner(kinds),
        experts=next((kind.mixture.count for kind in kinds if kind.mixture is not None), None),
        dense=tuple(number for number, kind in enumerate(kinds) if kind.mixture is None),
    )
    heads = kinds[0].heads
    if heads is not None:
        facts = replace(facts, heads=heads.heads, kv_heads=heads.kv, head_dim=heads.size)
    return replace(network, layout=record, facts=facts)


def _told(error: Exception) -> str:
    said = (str(error) or "").splitlines()
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__


def _without(network: Network, why: str) -> Network:
    record = Architecture(network.facts.architecture, interface=False, absent=dict.fromkeys(STREAM, why))
    return replace(network, facts=replace(network.facts, record=record))


def _positions(network: Network) -> tuple[int, Batch]:
    """The number of the first token of a prompt, and what the network is run on: with which its logits are those that it gives
    of token ids alone."""
    facts, model = network.facts, network.model
    most = min(facts.vocabulary or 2, len(facts.words) or 10**9)
    prompts = [below(bits(key("inferred", row), np.arange(TOKENS)), most).tolist() for row in range(ROWS)]
    config: Any = getattr(model, "config", None)
    padding = getattr(config, "pad_token_id", None)
    prompts = [[token if token != padding else (token + 1) % most for token in prompt] for prompt in prompts]
    plain = padded(prompts, "right", network.device, {"input_ids", "use_cache"} & network.accepts, 0)
    expected = _logits(model, plain)
    for first in dict.fromkeys((facts.first_position, (padding or 0) + 1)):
        batch = padded(prompts, "right", network.device, network.accepts, first)
        if alike(_logits(model, batch), expected, 1e-2):
            return first, batch
    raise Unclear("`logits with position_ids = logits of token ids alone` does not hold")


def _pads_left(network: Network, first: int) -> bool:
    """Whether a prompt that is padded at the left says what it says alone."""
    prompts: Sequence[Sequence[int]] = network.given.standard(network.facts)[0]
    short = min(prompts, key=len)

    def said(rows: Sequence[Sequence[int]], row: int) -> Tensor:
        return _logits(network.model, padded(rows, "left", network.device, network.accepts, first))[row, -1]

    return alike(said(prompts, prompts.index(short)), said([short], 0), 1e-3)


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    with foreign:
        found = model(*batch.arguments, **batch.named)
    logits: Tensor = first_of(getattr(found, "logits", found))
    return logits.detach().float()


def _kinds(network: Network, stack: Stack) -> list[_Kind]:
    """The findings on each layer; of those that are built alike one is run."""
    config: Any = getattr(network.model, "config", None)
    config = getattr(config, "text_config", None) or config
    shell = replace(network, layout=Architecture(network.facts.architecture, base=_base(network.model, stack.path)))
    seen: dict[Any, _Kind] = {}
    found = []
    for layer, call in zip(stack.layers, stack.calls, strict=True):
        shape = tuple((path, type(module)) for path, module in layer.named_modules())
        if shape not in seen:
            copy = exact(layer)
            run = ran(copy, call if copy is layer else call.single())
            terms = terms_of(run)
            heads, count = None, None
            if terms.attention is not None and terms.z is not None:
                count, shared = (getattr(config, n, None) for n in ("num_attention_heads", "num_key_value_heads"))
                count = count if isinstance(count, int) else told_heads(layer.get_submodule(terms.attention))
                heads = heads_of(shell, run, terms.attention, terms.z[:-1], count or 0, shared)
            mixture = None if terms.mlp is None else mixture_of(run, terms.mlp)
            seen[shape] = _Kind(run, terms, heads, mixture, bool(count) or config is not None)
        found.append(seen[shape])
    return found


def _inner(kinds: Sequence[_Kind]) -> int | None:
    wide = set()
    for kind in kinds:
        event = None if kind.terms.neurons is None else kind.found.event(kind.terms.neurons[:-1])
        wide.add(None if event is None or event.given is None else int(event.given.shape[-1]))
    return wide.pop() if len(wide) == 1 else None


def _record(network: Network, stack: Stack, kinds: list[_Kind], ends: Ends) -> Architecture:
    """The record of a network; where its layers are of several kinds it has a record of each."""
    name = network.facts.architecture
    base = _base(network.model, stack.path)
    whole = Architecture(
        name,
        base=base,
        layers=stack.path,
        embed=ends.embed,
        embed_scale=_named(network.model.get_submodule(base), ends.embed_scale),
        norm=ends.norm,
        unembed=ends.unembed,
        head=ends.head,
        enter=ends.enter,
        inferred=True,
    )
    each = [_of_layer(whole, kind) for kind in kinds]
    absent = dict(ends.absent)
    for number, record in enumerate(each):
        for component, why in record.absent.items():
            absent.setdefault(component, why if len(set(each)) == 1 else f"layer {number}: {why}")
    sizes = {(kind.heads.heads, kind.heads.kv, kind.heads.size) for kind in kinds if kind.heads is not None}
    if len(sizes) > 1:
        absent |= {part: "its layers have heads of several sizes" for part in HEADS if part not in absent}
    sparse = next((record for record in each if record.router), each[0])
    first = replace(
        each[0],
        parallel=all(record.parallel for record in each),
        router=sparse.router,
        experts=sparse.experts,
    )
    return replace(
        first,
        absent=absent,
        each=tuple(each) if any(record != each[0] for record in each) else (),
    )


def _base(model: nn.Module, path: str) -> str:
    """The innermost module around a list of layers that has a config."""
    while path and not hasattr(model.get_submodule(path), "config"):
        path = path.rpartition(".")[0]
    return path


def _of_layer(whole: Architecture, kind: _Kind) -> Architecture:
    terms, heads = kind.terms, kind.heads
    absent = dict(terms.absent)
    places = {} if heads is None else {part: f"{path}>" for part, path in heads.places.items()}
    for part in ("q", "k", "v"):
        if part not in places and part not in absent:
            absent[part] = (
                f"no columns in `{terms.attention}` were found that reach one head's output as a {_PARTS[part]} does"
            )
    if heads is None and "z" not in absent:
        absent["z"] = f"what `{terms.attention}` ends in has no heads"
        if not kind.counted:
            absent["z"] = (
                f"cannot tell how many heads `{terms.attention}` has: give it an attribute such as `n_heads`, or write a layout with heads=…"
            )
    elif heads is not None and not heads.proved:
        absent.setdefault(
            "z", f"`a head's key and value reach its own output alone` does not hold in `{terms.attention}`"
        )
    if heads is not None and not {"k", "v"} <= heads.places.keys():  # queries alone may be something else: a gate, say
        why = f"no columns in `{terms.attention}` were found that reach one head's output as its key and its value do"
        absent |= dict.fromkeys(("q", "k", "v"), why)
    if "z" in absent:
        absent |= {part: absent["z"] for part in ("q", "k", "v")}
    if any(part in absent for part in ("v", "z")):
        absent |= {part: absent.get("v", absent.get("z", "")) for part in COMPARED}
    for part in ("q", "k"):
        if part in absent:
            absent[f"{part}_rot"] = absent[part]
    if terms.parallel:
        absent.pop("resid_mid", None)
    return replace(
        whole,
        attention=terms.attention or "",
        attn_out=terms.attn_out or "",
        q=places.get("q", ""),
        k=places.get("k", ""),
        v=places.get("v", ""),
        split="apart" if heads is None else heads.split,
        z=terms.z or "",
        mid=terms.mid,
        mlp=terms.mlp or "",
        neurons=terms.neurons,
        mlp_out=terms.mlp_out or "",
        router="" if kind.mixture is None else kind.mixture.router,
        experts="" if kind.mixture is None else kind.mixture.experts,
        gated=terms.gated,
        norms=terms.norms,
        ends=terms.ends,
        tail=terms.tail,
        scale=_named(kind.found.layer, terms.scale),
        parallel=terms.parallel,
        absent=absent,
    )


def _named(module: nn.Module, factor: float | None) -> str | float | None:
    """The module's own name for a factor, which was read off numbers that are rounded; the factor itself where it has no such number."""
    if factor is None:
        return None
    close = [name for name, value in vars(module).items() if type(value) is float and abs(value / factor - 1) < 1e-3]
    return close[0] if len(close) == 1 else factor


_PARTS = {"q": "query", "k": "key", "v": "value"}


def _no_interface(network: Network, batch: Batch) -> str:
    """Why the attention of a layer is not the function that transformers lets one register, called once a run; empty where it is."""
    record = network.layout
    assert record is not None
    if not hasattr(network.model.get_submodule(record.base), "config"):
        return "it is not a transformers model"
    modules = {id(layer.get_submodule(record.at(number).attention)) for number, layer in enumerate(network.layers)}
    inner = {
        id(module): id(layer.get_submodule(record.at(number).attention))
        for number, layer in enumerate(network.layers)
        for module in layer.get_submodule(record.at(number).attention).modules()
    }
    times = dict.fromkeys(modules, 0)

    def make(own: Callable[[nn.Module], Attend]) -> Attend:
        def attention(module: nn.Module, *args: Any, **more: Any) -> Any:
            if id(module) in modules:
                times[id(module)] += 1
            return own(module)(module, *args, **more)

        return attention

    try:
        attentions = [module for layer in network.layers for module in layer.modules() if id(module) in inner]
        with attending(network, attentions, make):
            network.run(*batch.arguments, **batch.named)
    except Exception as error:
        return f"transformers' attention function fails here ({_told(error)})"
    if all(count == 1 for count in times.values()):
        return ""
    return "transformers' attention function is not called once in each layer"


__all__ = ["inferred"]
