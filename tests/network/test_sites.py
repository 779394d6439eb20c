"""Every site of every family, read and written, against hooks written by hand on single unpadded runs.

A check that cannot fail says nothing, so each is also made with the site one layer and one position off.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.locations import Site
from tests.network.families import (
    BOTH_WAYS,
    CONFIGS,
    PLACES,
    SAMPLE,
    changed,
    derived_places,
    layer_path,
    model_of,
    rest_of_layer,
)
from tests.thinning import some

torch.set_num_threads(1)
PROMPTS = [[5, 9, 13, 17, 21], [40, 3, 33, 8, 27, 14, 50]]
LAYER, AT = 1, (2, 4)  # the position in each prompt
COMPARED = ("q_rot", "k_rot", "pattern")
CLOSE, FAR = 1e-5, 1e-4


def network_of(name: str) -> Network:
    model = model_of(name)
    return wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────


def run(model: nn.Module, prompt: list[int]) -> Tensor:
    """The logits [tokens, vocabulary] of one prompt."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0]


def hooked(model: nn.Module, prompt: list[int], path: str, side: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The logits of one prompt, where ``change`` maps the tensor that enters or leaves a module."""

    def before(_: nn.Module, args: tuple, kwargs: dict) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def after(_: nn.Module, args: tuple, output: Any) -> Any:
        return changed(module, output, change)

    module = model.get_submodule(path)
    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True)
        if side == "in"
        else module.register_forward_hook(after)
    )
    try:
        return run(model, prompt)
    finally:
        handle.remove()


def by_hand(name: str, component: str, prompt: list[int], at: int, value: Tensor | None) -> tuple[Tensor, Tensor]:
    """The vector at a site and the last token's logits; with ``value``, the logits once it is put there."""
    model = model_of(name)
    seen: list[Tensor] = []
    if component == "logits":
        logits = run(model, prompt)
        return logits[at], (logits[-1] if value is None or at != len(prompt) - 1 else value)
    path, side, columns, factor = PLACES[name][component]
    path = path.format(l=LAYER)

    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        chosen = columns if columns is not None else list(range(tensor.shape[-1]))
        seen.append(tensor[0, at, chosen] * factor)
        if value is not None and component != "resid_mid":
            tensor[0, at, chosen] = value / factor
        return tensor

    logits = hooked(model, prompt, path, side, change)
    if value is not None and component == "resid_mid":
        layer = model.get_submodule(layer_path(name, LAYER))

        def after_mid(tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            with torch.no_grad():
                tensor[0, at] = rest_of_layer(name, layer, value[None, None])[0, 0]
            return tensor

        logits = hooked(model, prompt, layer_path(name, LAYER), "out", after_mid)
    return seen[0], logits[-1]


def compared_by_hand(
    name: str, component: str, prompt: list[int], at: int, value: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """The same for what attention compares: the model's own plain attention, with q, k or the weights changed."""
    model = model_of(name)
    layer = model.get_submodule(layer_path(name, LAYER))
    file = sys.modules[type(layer).__module__]
    plain = file.eager_attention_forward
    inside = set(layer.modules())
    seen: list[Tensor] = []

    def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **more: Any) -> Any:
        if module not in inside:
            return plain(module, q, k, v, mask, **more)
        q, k = q.clone(), k.clone()
        for own, tensor in (("q_rot", q), ("k_rot", k)):
            if component == own:
                seen.append(tensor[0, :, at].reshape(-1).clone())
                if value is not None:
                    tensor[0, :, at] = value.view(tensor.shape[1], -1)
        out, weights = plain(module, q, k, v, mask, **more)
        if component == "pattern":
            seen.append(weights[0, :, at].clone())
            if value is not None:
                weights = weights.clone()
                weights[0, :, at] = value.view(weights.shape[1], -1)
                values = v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)
                out = (weights @ values).transpose(1, 2).contiguous()
        return out, weights

    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    monkeypatch.setattr(file, "eager_attention_forward", attention)
    try:
        logits = run(model, prompt)
        return seen[0], logits[-1]
    finally:
        monkeypatch.setattr(file, "eager_attention_forward", plain)
        model.set_attn_implementation(usual)


# ── through the engine ──────────────────────────────────────────────────────────────────────────


def engine(
    network: Network, site: Site, at: tuple[int, ...], values: list[Tensor] | None, padding: Any
) -> tuple[list[Tensor], Tensor]:
    """What is at a site in each prompt, and the last tokens' logits once ``values`` are put there."""
    rows = torch.arange(len(PROMPTS))
    places = torch.tensor(at)
    reads = [SiteRead(site, rows, places)]
    writes = []
    if values is not None:
        width = max(len(value) for value in values)
        new = torch.stack([torch.nn.functional.pad(value, (0, width - len(value))) for value in values])
        writes = [SiteWrite(site, rows, places, lambda old: new)]
    outcome = forward(network, PROMPTS, reads, writes, readout=rows, padding=padding)
    assert outcome.logits is not None
    return list(outcome.reads[0]), outcome.logits


def flat_pattern(value: Tensor, longest: int) -> Tensor:
    """[heads, keys] as the engine has it: zeros past the prompt's end."""
    return torch.nn.functional.pad(value, (0, longest - value.shape[1])).reshape(-1)


@pytest.mark.thinned(always=58, slow=105)
@pytest.mark.parametrize("component", [name for name, about in COMPONENTS.items() if "language" in about.kinds])
@pytest.mark.parametrize("name", some(CONFIGS, SAMPLE, slow_step=3))
def test_site(name: str, component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(name)
    if component == "module":
        pytest.skip("modules have tests of their own")
    if missing(component, network.facts) is not None:
        assert component not in PLACES[name]
        pytest.skip("this family has no such site")
    site = Site(component, LAYER if COMPONENTS[component].layer else None)
    ends = component in ("final_norm", "logits")
    at = tuple(len(prompt) - 1 for prompt in PROMPTS) if ends else AT
    longest = max(map(len, PROMPTS))

    def hand(prompt: list[int], place: int, value: Tensor | None) -> tuple[Tensor, Tensor]:
        if component in COMPARED:
            return compared_by_hand(name, component, prompt, place, value, monkeypatch)
        return by_hand(name, component, prompt, place, value)

    torch.manual_seed(0)
    expected, values, patched = [], [], []
    for prompt, place in zip(PROMPTS, at, strict=True):
        there, plain = hand(prompt, place, None)
        new = torch.softmax(torch.randn_like(there), -1) if component == "pattern" else torch.randn_like(there)
        if component == "pattern" and name not in BOTH_WAYS:
            new[:, place + 1 :] = 0
        _, logits = hand(prompt, place, new)
        assert (logits - plain).abs().max() > FAR, "the site does not matter: the check would hold for any"
        patched.append(logits)
        is_pattern = component == "pattern"
        expected.append(flat_pattern(there, longest) if is_pattern else there)
        values.append(flat_pattern(new, longest) if is_pattern else new)
    scale = max(1.0, float(torch.stack(patched).abs().max()) / 10)
    for padding in ("left", "right"):
        seen, _ = engine(network, site, at, None, padding)
        for mine, his in zip(seen, expected, strict=True):
            assert torch.allclose(mine, his, atol=CLOSE * max(1.0, float(his.abs().max())), rtol=0)
        after, logits = engine(network, site, at, values, padding)
        assert (logits - torch.stack(patched)).abs().max() < CLOSE * scale
        for mine, his in zip(after, values, strict=True):  # a read sees what was written in the same pass
            assert torch.allclose(mine, his, atol=CLOSE * max(1.0, float(his.abs().max())), rtol=0)
    # one off, in layer and in position, the same checks fail
    off_layers = [Site(component, layer) for layer in (LAYER - 1, LAYER + 1)] if COMPONENTS[component].layer else []
    off_places = tuple(place - 1 for place in at)
    for wrong, places in [*((other, at) for other in off_layers), (site, off_places)]:
        seen, logits = engine(network, wrong, places, None, "left")
        assert any((mine - his).abs().max() > FAR for mine, his in zip(seen, expected, strict=True))
        _, logits = engine(network, wrong, places, values, "left")
        assert (logits - torch.stack(patched)).abs().max() > FAR


@pytest.mark.slow
def test_every_family_is_there() -> None:
    """What is written in this folder by hand is of the table's rows, and every row has a network that is held to it."""
    assert {record.name for record in CONFIGS.values()} == set(ARCHITECTURES)
    for name in CONFIGS:
        assert model_of(name).config.model_type == name.partition(" ")[0]
        derived = derived_places(name)
        assert derived.keys() == PLACES[name].keys()
        for component, (path, side, picked, factor) in derived.items():
            if component not in ("attn_in", "resid_mid", "mlp_in") and "falcon" not in name:
                assert (path, side, picked, factor) == tuple(PLACES[name][component]), (name, component)


def test_a_site_without_a_hook_by_hand_says_where_it_is_written() -> None:
    for family in ("llama", next(iter(PLACES))):
        assert "gate" not in PLACES[family]
        with pytest.raises(
            LookupError, match=f"hook for `gate` goes in {family}: `_PLACES` of tests/network/families.py"
        ):
            PLACES[family]["gate"]
