"""What a tiny network of each model type can do, and whether what is patched in it is what hooks by hand patch.

The hooks know nothing of how a layout is inferred: a layer, and what enters the output projection of its attention, are taken
by the names that people give them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.made import loaded_facts
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.components import missing
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts
from tests.network.shrunk import FAMILIES, LAYERS, tiny_model

_LISTS = ("layers", "h", "blocks", "layer", "block")
_OUTS = ("o_proj", "out_proj", "dense", "c_proj", "wo", "out_lin", "output", "attn_out", "output_linear", "linear_out")
_MAPS = {"q": ("q_proj", "query", "wq", "q"), "k": ("k_proj", "key", "wk", "k"), "v": ("v_proj", "value", "wv", "v")}
_HEADED = ("q", "k", "v", "z")
STREAM = ("resid_pre", "resid_post")
SUMS = ("attn_out", "resid_mid", "mlp_out")


@dataclass
class Row:
    """One line of the table. ``why`` says why it could not be loaded, ``absent`` what is refused and why, ``errors`` how far from
    hooks each component was, relative to the size of the logits."""

    family: str
    why: str = ""
    stream: bool = False
    heads: bool = False
    there: tuple[str, ...] = ()
    way: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)


def network_of(family: str) -> Network:
    """A tiny network, as a checkpoint of it would be loaded, with its sites proved."""
    model = tiny_model(family)
    network = wrap(model, loaded_facts(model, Facts("language")), name=family)
    prove(network)
    return network


@cache
def row_of(family: str) -> Row:
    """What a tiny network of a model type can do."""
    row = Row(family)
    try:
        network = network_of(family)
    except ImportError:  # which of several is named depends on those that are there
        row.why = "no tiny configuration of it runs here: it needs a library that is not installed"
        return row
    except Exception as error:
        row.why = f"no tiny configuration of it runs here: {' '.join(str(error).split())[:120]}"
        return row
    proof = proof_of(network)
    assert proof is not None
    names = [
        *STREAM,
        "attn_in",
        "q",
        "k",
        "v",
        "q_rot",
        "k_rot",
        "pattern",
        "z",
        *SUMS,
        "mlp_in",
        "neurons",
        "router",
        "expert_out",
        "final_norm",
    ]
    mixed = network.facts.experts is not None
    names = [name for name in names if mixed or name not in ("router", "expert_out")]
    for name in ("embed", *names):
        reason = missing(name, network.facts) or proof.refused.get(name)
        if reason is not None:
            row.absent[name] = reason
    row.there = tuple(name for name in ("embed", *names) if name not in row.absent)
    row.way = proof.sweep
    row.stream = all(name in row.there for name in STREAM)
    row.heads = row.stream and "z" in row.there
    if not row.stream:
        row.why = missing("resid_post", network.facts) or row.absent.get("resid_post", "")
        return row
    _against_hooks(network, row)
    return row


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────


def layers_by_name(model: nn.Module) -> list[nn.Module]:
    """The layers of a model: the list of that name whose members run."""
    fired: set[int] = set()
    handles = [m.register_forward_hook(lambda module, *_: fired.add(id(module))) for m in model.modules()]
    with torch.no_grad():
        model(torch.tensor([[5, 6, 7]]), use_cache=False)
    for handle in handles:
        handle.remove()
    found = [
        list(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and path.rpartition(".")[2] in _LISTS
        and all(id(layer) in fired for layer in module)
    ]
    return max(found, key=len)


@contextmanager
def _hooked(module: nn.Module, act: Callable[[Tensor], Tensor], entering: bool) -> Iterator[None]:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (act(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": act(kwargs["hidden_states"])}

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple | list):
            return type(output)((act(output[0]), *output[1:]))
        return act(output)

    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True) if entering else module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


def patched_by_hand(
    model: nn.Module, module: nn.Module, entering: bool, base: list[int], source: list[int], at: int, columns: slice
) -> tuple[Tensor, Tensor]:
    """What the source has at a token, and the last logits of the base with it in place of its own."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.reshape(-1, tensor.shape[-1])[at, columns].clone())
        return tensor

    def put(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed.view(-1, tensor.shape[-1])[at, columns] = kept[0]
        return changed

    with torch.no_grad():
        with _hooked(module, keep, entering):
            model(torch.tensor([source]), use_cache=False)
        with _hooked(module, put, entering):
            logits = model(torch.tensor([base]), use_cache=False).logits[0, -1]
    return kept[0], logits


def patched(network: Network, site: Site, base: list[int], source: list[int], at: int) -> tuple[Tensor, Tensor]:
    """The same by the package."""
    first, place = torch.tensor([0]), torch.tensor([at])
    value = forward(network, [source], [SiteRead(site, first, place)]).reads[0]
    logits = forward(network, [base], (), [SiteWrite(site, first, place, lambda old: value)], readout=first).logits
    assert logits is not None
    return value[0], logits[0]


def _against_hooks(network: Network, row: Row) -> None:
    model, base, source = network.model, [11, 23, 35, 47, 59], [62, 50, 38, 26, 14]
    layers = layers_by_name(model)
    for number, layer in enumerate(layers[:: max(1, len(layers) // LAYERS)]):
        number *= max(1, len(layers) // LAYERS)
        for name in STREAM:
            for at in (1, 4):
                site = Site(name, number)
                mine = patched(network, site, base, source, at)
                hand = patched_by_hand(model, layer, name == "resid_pre", base, source, at, slice(None))
                _note(row, name, mine, hand)
        for name in _HEADED:
            if name not in row.there:
                continue
            module = _by_name(layer, name)
            size = network.facts.head_dim or 0
            count = (network.facts.kv_heads if name in "kv" else network.facts.heads) or 0
            wide = count * size
            if module is None or not _of_width(module, name, wide):
                continue
            head = count - 1
            columns = slice(head * size, (head + 1) * size)
            mine = patched(network, Site(name, number, (head,)), base, source, 2)
            hand = patched_by_hand(model, module, name == "z", base, source, 2, columns)
            _note(row, name, mine, hand)


def _by_name(layer: nn.Module, component: str) -> nn.Module | None:
    names = _OUTS if component == "z" else _MAPS[component]
    found = [
        module
        for path, module in layer.named_modules()
        if path.rpartition(".")[2] in names
        and any(word in path.lower() for word in ("att", "temporal", "mixer"))
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    return found[0] if len(found) == 1 else None


def _of_width(module: nn.Module, component: str, wide: int) -> bool:
    weight = module.weight
    return wide in ((weight.shape[0], weight.shape[1]))


def _note(row: Row, name: str, mine: tuple[Tensor, Tensor], hand: tuple[Tensor, Tensor]) -> None:
    worst = 0.0
    for got, expected in zip(mine, hand, strict=True):
        if got.shape != expected.shape:
            worst = float("inf")
        else:
            worst = max(worst, float((got.float() - expected.float()).abs().max() / expected.float().abs().max()))
    row.errors[name] = max(worst, row.errors.get(name, 0.0))


__all__ = ["FAMILIES", "Row", "network_of", "row_of"]
