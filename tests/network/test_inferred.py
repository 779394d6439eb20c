"""Layouts that are inferred: those of the records over again, those of every model type of transformers against hooks by hand,
and what must not be taken for a layout."""

from __future__ import annotations

import copy
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

import causal_dsl as cd
from causal_dsl.diagnostics import NOWHERE
from causal_dsl.network.inferred.infer import inferred
from causal_dsl.network.network import Network
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from tests.network.decoders import FAMILIES, row_of
from tests.network.families import BOTH_WAYS, CONFIGS, model_of
from tests.network.shrunk import tiny_model

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


@pytest.mark.thinned(always=15)
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


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "qwen3_moe"])
def test_in_bfloat16_the_same_is_inferred(name: str) -> None:
    model = model_of(name)
    rough = copy.deepcopy(model).to(torch.bfloat16)
    whole, got = found(model).layout, found(rough).layout
    assert whole is not None
    assert got is not None
    assert {place: getattr(got, place) for place in PLACES} == {place: getattr(whole, place) for place in PLACES}


def _check(family: str) -> None:
    row = row_of(family)
    assert all(error < 1e-4 for error in row.errors.values()), row.errors
    if row.stream:
        assert {"resid_pre", "resid_post"} <= row.errors.keys()
    else:
        assert row.why


@pytest.mark.thinned(always=1, values=True, slow=2)
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
    print({"z by hand": sum("z" in row.errors for row in rows), "q by hand": sum("q" in row.errors for row in rows)})
    assert sum(row.stream for row in rows) >= 200
    assert sum(row.heads for row in rows) >= 160
    assert sum("expert_out" in row.there for row in rows) >= 30
    assert (
        sum("z" in row.errors for row in rows) >= 90
    )  # by hooks, where the output projection has one of the usual names


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
    assert "no columns" in (missing("v", network.facts) or "")
    assert missing("z", network.facts) is None  # what leaves attention is a head's own still
    assert missing("attn_out", network.facts) is None


# ── from a spec ─────────────────────────────────────────────────────────────────────────────────

SPEC = """
domain W = {"w1", "w2", "w3", "w4"}
causal copy {
  a, b ~ W
  output answer := a
}

network net = hf("FOLDER")

align tau : copy -> net {
  prompt "w9 {a} w10 {b} w11"
  answer @ next_token(among=W)
  a @ SITE
}

test t on tau {
  base, source ~ copy(n=8)
  do(a <- source)
  report iia
  report kl
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in made:
            made[family] = path = tmp_path_factory.mktemp(family)
            tiny_model(family).save_pretrained(path)  # type: ignore[operator]
            words = {**{f"w{number}": number for number in range(12, 95)}, **{f"w{n}": n + 3 for n in range(12)}}
            tokenizer = Tokenizer(models.WordLevel({**dict(sorted(words.items())), "[UNK]": 100}, unk_token="[UNK]"))
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
            tokenizer.save(str(path / "tokenizer.json"))
        return made[family]

    return of


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("family", "site"),
    [
        ("opt", "layer[0].head[1].v[a]"),
        ("opt", "layer[1].resid_mid[last]"),
        ("stablelm", "layer[0].neurons[a]"),
        ("jamba", "layer[0].attn_out[a]"),
        ("bart", "layer[1].head[0].z[last]"),
    ],
)
def test_a_spec_runs_in_one_pass_as_by_whole_forwards(family: str, site: str, folder: Callable[[str], Path]) -> None:
    spec = cd.parse(SPEC.replace("FOLDER", str(folder(family))).replace("SITE", site))
    cd.check(spec)
    kl = []
    for reference in (False, True):
        (run,) = cd.run(spec, cd.Options(reference=reference)).to_json()["specs"]
        kl.append(run["tests"][0]["cells"][0]["scores"]["kl"]["value"])
        assert run["networks"]["net"]["refused_sites"] == {}
    assert kl[0] is not None
    assert kl[0] > 1e-6
    assert kl[0] == pytest.approx(kl[1], rel=1e-3)


@pytest.mark.slow
def test_check_knows_the_sizes_and_loads_no_torch(folder: Callable[[str], Path], tmp_path: Path) -> None:
    spec = tmp_path / "copy.causal"
    spec.write_text(SPEC.replace("FOLDER", str(folder("opt"))).replace("SITE", "layer[2].resid_post[a]"), "utf-8")
    code = (
        "import sys; from causal_dsl.tools.cli import main; "
        f"main(['check', {str(spec)!r}]); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "error[E454]: there is no layer 2" in ran.stdout + ran.stderr
    assert ran.stdout.split()[-1] == "False"


@pytest.mark.slow
def test_a_site_that_was_not_found_is_refused_with_what_does_not_hold(folder: Callable[[str], Path]) -> None:
    spec = cd.parse(SPEC.replace("FOLDER", str(folder("jamba"))).replace("SITE", "layer[0].head[0].z[a]"))
    cd.check(spec)  # without its modules nobody knows
    with pytest.raises(cd.SpecError) as refused:
        cd.run(spec)
    said = refused.value.diagnostics[0]
    assert said.code == "E451"
    assert "does not hold in `mamba`" in said.notes[0]
