"""Layouts that are inferred: those of the records over again, those of every model type of transformers against hooks by hand,
and what must not be taken for a layout."""

from __future__ import annotations

import copy
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import FAMILIES, row_of
from families import BOTH_WAYS, CONFIGS, model_of
from torch import nn

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.network.inferred.infer import inferred
from causal_dsl.network.network import Network
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.architectures import ARCHITECTURES

torch.set_num_threads(1)

DOCS = Path(__file__).parents[2] / "docs"
PLACES = (
    *(
        "layers",
        "embed",
        "attention",
        "q",
        "k",
        "v",
        "split",
        "z",
        "attn_out",
        "mid",
        "mlp",
        "neurons",
        "mlp_out",
        "norm",
    ),
    *("unembed", "head", "norms", "ends", "scale", "embed_scale", "interface", "parallel", "gated", "base"),
)
SIZES = ("layers", "heads", "kv_heads", "head_dim", "width", "mlp_width", "parallel", "first_position")
#: Decoders: what fills in masked tokens has a record, or is not run.
RECORDS = [name for name in CONFIGS if name not in BOTH_WAYS]
#: Of a bert that is a decoder: embeddings of three kinds are added, so its own is not found; the head is found inside its module.
BESIDE = {"bert decoder": {"head": ("cls.predictions",), "base": "bert.encoder"}}
#: One family of each way in which a layout is found, among those of which there is no record.
SAMPLE = (
    "opt",
    "bloom",
    "glm4",
    "stablelm",
    "starcoder2",
    "xglm",
    "mamba",
    "jamba",
    "bart",
    "deepseek_v3",
    "granitemoe",
)


def found(model: nn.Module) -> Network:
    """A network without what a record says of it, and what is inferred."""
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))  # type: ignore[union-attr, operator]
    return inferred(replace(network, layout=None, layers=()))


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_inferred_is_what_the_record_says(name: str) -> None:
    model = model_of(name)
    network = wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))  # type: ignore[union-attr, operator]
    got, said = found(model), network.layout
    assert got.layout is not None
    assert said is not None
    wanted = {place: getattr(said, place) for place in PLACES} | BESIDE.get(name, {})
    assert {place: getattr(got.layout, place) for place in PLACES} == wanted
    assert [id(layer) for layer in got.layers] == [id(layer) for layer in network.layers]
    assert {size: getattr(got.facts, size) for size in SIZES} == {size: getattr(network.facts, size) for size in SIZES}
    there = {c for c, about in COMPONENTS.items() if "language" in about.kinds}
    lost = {"embed"} if name in BESIDE else set()
    assert {c for c in there if missing(c, got.facts)} == {c for c in there if missing(c, network.facts)} | lost


def _check(family: str) -> None:
    row = row_of(family)
    assert all(error < 1e-4 for error in row.errors.values()), row.errors
    if row.stream:
        assert {"resid_pre", "resid_post"} <= row.errors.keys()
    else:
        assert row.why


@pytest.mark.parametrize("family", SAMPLE)
def test_patches_in_a_sample_of_families_are_those_of_hooks(family: str) -> None:
    _check(family)
    assert row_of(family).stream


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_patches_in_every_family_are_those_of_hooks(family: str) -> None:
    _check(family)


@pytest.mark.nightly
def test_how_many_families_there_are() -> None:
    rows = [row_of(family) for family in FAMILIES]
    assert sum(row.stream for row in rows) >= 150
    assert sum(row.heads for row in rows) >= 100


@pytest.mark.nightly
def test_the_table_of_the_page_is_what_was_found() -> None:
    script = runpy.run_path(str(DOCS / "architectures.py"))
    there = (DOCS / "architectures.md").read_text(encoding="utf-8")
    rows = [row_of(family) for family in FAMILIES]
    assert script["page"](there, rows, set(ARCHITECTURES.own)) == there, "run docs/architectures.py"


# ── what must not be taken for a layout ─────────────────────────────────────────────────────────


class _Wrapped(nn.Module):
    """A layer whose output is made of that of another."""

    def __init__(self, layer: nn.Module, change: Any):
        super().__init__()
        self.layer, self.change = layer, change

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.change(hidden_states, self.layer(hidden_states, *args, **kwargs))


def _changed(change: Any) -> nn.Module:
    model = copy.deepcopy(model_of("llama"))
    model.model.layers[1] = _Wrapped(model.model.layers[1], change)  # type: ignore[union-attr, index, operator]
    return model


def test_a_layer_that_looks_ahead_is_refused() -> None:
    network = found(_changed(lambda before, after: after + before.flip(1)))
    assert network.layout is None
    assert "a later token changes nothing before it" in (missing("resid_post", network.facts) or "")


def test_a_layer_whose_sum_is_another_has_a_stream_and_no_terms() -> None:
    network = found(_changed(lambda before, after: after * 1.5 - before * before))
    assert network.layout is not None
    assert missing("resid_post", network.facts) is None
    assert "layer 1" in (missing("mlp_out", network.facts) or "")


def test_layers_that_do_not_hand_the_stream_on_are_refused() -> None:
    model = copy.deepcopy(model_of("llama"))
    model.model.layers[1].register_forward_pre_hook(  # type: ignore[union-attr, index, operator]
        lambda module, args: (args[0] * 2, *args[1:]), prepend=True
    )
    network = found(model)
    assert network.layout is None
    assert "resid_post[l] = resid_pre[l + 1]" in (missing("resid_pre", network.facts) or "")


def test_columns_that_are_no_heads_are_not_taken_for_some() -> None:
    """One head's values reach the outputs of all where they are mixed on the way."""
    model = copy.deepcopy(model_of("llama"))
    mixing = torch.nn.Linear(16, 16, bias=False)
    for layer in model.model.layers:  # type: ignore[union-attr]
        layer.self_attn.v_proj = nn.Sequential(layer.self_attn.v_proj, mixing)
    network = found(model)
    assert network.layout is not None
    assert "does not hold" in (missing("z", network.facts) or "")
    assert "does not hold" in (missing("v", network.facts) or "")
    assert missing("attn_out", network.facts) is None
