"""What cfg.json says of where an autoencoder was made is held against where a spec uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from causal_dsl import api
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.features import build
from causal_dsl.program.components import COMPONENTS
from causal_dsl.program.feature_files import files_of
from causal_dsl.program.sae_metadata import made_for, same_vector, site_of
from causal_dsl.vocabulary.locations import FeatureSite, Site
from tests.features.worked import numbers_of_sae, write_sae

torch.set_num_threads(1)

SPEC = """
causal equality {
  a, b, c, d ~ {"arrow", "circle", "cross", "diamond", "heart"}
  left  := a == b
  right := c == d
  output same := left == right
}
network gpt = zoo("equality-gpt2")
align tau : equality -> gpt {
  prompt "{a} {b} {c} {d} ="
  left @ SITE[b] via sae("sae", latents=[0, 1], controls=none)
  same @ next_token
}
test moves on tau {
  base, source ~ equality(n=4)
  do(left <- source)
  report iia
}
"""


def said(folder: Path, site: str, config: dict[str, object] | None) -> list[Diagnostic]:
    (folder / "sae").mkdir(exist_ok=True)
    (folder / "sae" / "cfg.json").write_text(json.dumps(config)) if config is not None else None
    (folder / "spec.causal").write_text(SPEC.replace("SITE", site))
    found = api.check(api.load(folder / "spec.causal")).diagnostics
    found = [d for d in found if d.code != "W628"]  # these pairs are of a design that no test of files is about
    assert all("sae(" in d.span.text and d.help and d.notes for d in found)
    return found


#: hook name, where it is used, the code that is given.
PLACES = [
    ("blocks.1.hook_resid_post", "layer[1].resid_post", ""),
    ("blocks.2.hook_resid_pre", "layer[1].resid_post", ""),
    ("blocks.1.hook_resid_post", "layer[2].resid_pre", ""),
    ("blocks.1.hook_resid_pre", "layer[1].resid_post", "E515"),
    ("blocks.0.hook_resid_post", "layer[1].resid_post", "E515"),
    ("blocks.1.hook_resid_mid", "layer[1].resid_mid", ""),
    ("blocks.1.hook_mlp_out", "layer[1].resid_mid", "E515"),
    ("blocks.1.hook_mlp_out", "layer[1].mlp_out", ""),
    ("blocks.1.hook_attn_out", "layer[1].attn_out", ""),
    ("blocks.1.mlp.hook_post", "layer[1].neurons", ""),
    ("blocks.1.attn.hook_q", "layer[1].head[0].z", "E515"),
    ("blocks.1.ln2.hook_normalized", "layer[1].mlp_in", "E515"),
    ("blocks.9.hook_resid_post", "layer[1].resid_post", "E515"),
    ("hook_embed", "embed", ""),
    ("hook_embed", "layer[0].resid_pre", "E515"),
    ("transformer.h.1", "layer[1].resid_post", ""),
    ("transformer.h.1.mlp", "layer[1].mlp_out", ""),
    ("transformer.h.1.mlp", "layer[1].resid_post", "E515"),
    ("transformer.h.1.mlp", 'module("transformer.h.1.mlp")', ""),
    ("transformer.h.0.mlp", 'module("transformer.h.1.mlp")', "E515"),
    ("somewhere.else", "layer[1].resid_post", "W518"),
    ("blocks.1.hook_resid_post", 'module("transformer.h.1.mlp.act")', "W518"),
    ("", "layer[1].resid_post", ""),
]


def test_elsewhere_is_said(tmp_path: Path) -> None:
    """Another place, and another network, are accepted where the spec says so; another width never is."""
    config: dict[str, object] = {"hook_name": "blocks.0.hook_resid_post", "model_name": "gemma-2b"}
    assert [d.code for d in said(tmp_path, "layer[1].resid_post", config)] == ["E515"]
    told = SPEC.replace("controls=none", "controls=none, elsewhere=true").replace("SITE", "layer[1].resid_post")
    (tmp_path / "spec.causal").write_text(told)
    assert not api.check(api.load(tmp_path / "spec.causal")).errors
    write_sae(tmp_path / "sae", numbers_of_sae(8, 16, 0), {"architecture": "standard", **config})
    assert [d.code for d in api.check(api.load(tmp_path / "spec.causal")).errors] == ["E720"]


@pytest.mark.thinned(always=12)
@pytest.mark.parametrize("key", ["hook_name", "hook_point", "metadata"])
@pytest.mark.parametrize(("hook", "site", "code"), PLACES)
def test_the_place(hook: str, site: str, code: str, key: str, tmp_path: Path) -> None:
    config: dict[str, object] = {"metadata": {"hook_name": hook}} if key == "metadata" else {key: hook}
    assert [d.code for d in said(tmp_path, site, config)] == ([code] if code else [])


def test_the_help_names_the_place_it_was_made_for(tmp_path: Path) -> None:
    (told,) = said(tmp_path, "layer[1].resid_post", {"hook_name": "blocks.0.hook_mlp_out"})
    assert "layer[0].mlp_out" in told.help
    assert said(tmp_path, "layer[0].mlp_out", {"hook_name": "blocks.0.hook_mlp_out"}) == []
    (told,) = said(tmp_path, "layer[1].resid_post", {"hook_name": "blocks.30.hook_mlp_out"})
    assert "layer[30]" not in told.help and "layers" in told.notes[0]


@pytest.mark.parametrize(
    ("hook", "site", "wrong"),
    [
        ("blocks.1.ln1.hook_normalized", "layer[1].attn_in", "layer[1].mlp_in"),
        ("blocks.1.ln2.hook_normalized", "layer[1].mlp_in", "layer[1].resid_mid"),
        ("ln_final.hook_normalized", "final_norm", "layer[2].resid_post"),
    ],
)
def test_a_vector_before_the_gain_of_a_norm_is_told_with_what_to_do(
    hook: str, site: str, wrong: str, tmp_path: Path
) -> None:
    for place in (site, wrong):
        (told,) = said(tmp_path, place, {"hook_name": hook})
        assert told.code == "E515" and f"place it at `{site}`" in told.help and "W_enc" in told.help
    mended = told.help.rpartition("let its cfg.json name `")[2].rstrip("`")
    assert said(tmp_path, site, {"hook_name": mended}) == []
    assert [one.code for one in said(tmp_path, wrong, {"hook_name": mended})] == ["E515"]


def test_every_sweep_cell_is_judged(tmp_path: Path) -> None:
    text = SPEC.replace("SITE", "layer[l].resid_post").replace("align tau :", "align tau(l in 0:2) :")
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "cfg.json").write_text('{"hook_name": "blocks.0.hook_resid_post"}')
    (tmp_path / "spec.causal").write_text(text)
    assert [d.code for d in api.check(api.load(tmp_path / "spec.causal")).diagnostics] == ["E515"]


POST = "blocks.1.hook_resid_post"
#: What a file says beside or instead of a hook, where it is used, the code, and a word of its notes.
BESIDE = {
    "the layer": ({"hook_layer": 1}, "layer[1].resid_post", "", ""),
    "the next layer": ({"hook_layer": 2}, "layer[1].resid_post", "W518", "made in layer 2"),
    "the layer before": ({"hook_layer": 0}, "layer[1].resid_post", "E515", "made in layer 0"),
    "the layer before, of what enters": ({"hook_layer": 0}, "layer[1].resid_pre", "W518", "made in layer 0"),
    "another layer": ({"hook_point_layer": 2}, "layer[1].mlp_out", "E515", "made in layer 2"),
    "another layer, deeper in the file": (
        {"metadata": {"hook_layer": 0}},
        "layer[1].mlp_out",
        "E515",
        "made in layer 0",
    ),
    "a layer that there is not": ({"hook_layer": 70}, "layer[1].resid_post", "E515", "made in layer 70"),
    "a layer as text": ({"hook_layer": "1"}, "layer[1].mlp_out", "", ""),
    "another layer as text": ({"hook_layer": "0"}, "layer[1].mlp_out", "E515", "made in layer 0"),
    "a layer with a point": ({"hook_layer": 1.0}, "layer[1].mlp_out", "", ""),
    "a layer that is not a number": (
        {"hook_layer": [1]},
        "layer[1].mlp_out",
        "W518",
        "hook_layer is [1], and no whole number",
    ),
    "a layer of the embedding": ({"hook_layer": 0}, "embed", "", ""),
    "another layer of the embedding": ({"hook_layer": 2}, "embed", "W518", "made in layer 2"),
    "a layer of a module": ({"hook_layer": 0}, 'module("transformer.h.1.mlp.act")', "W518", "made in layer 0"),
    "a layer of a module that is known": (
        {"hook_layer": 0},
        'module("transformer.h.1.mlp")',
        "E515",
        "made in layer 0",
    ),
    "both": ({"hook_name": POST, "hook_layer": 1}, "layer[1].resid_post", "", ""),
    "both, each another": (
        {"hook_name": POST, "hook_layer": 2},
        "layer[1].resid_post",
        "W518",
        "also names the layer 2",
    ),
    "both, and neither": ({"hook_name": POST, "hook_layer": 0}, "layer[0].resid_post", "E515", POST),
    "a hook to fill in": (
        {"hook_name": "blocks.{layer}.hook_resid_post", "hook_layer": 1},
        "layer[1].resid_post",
        "",
        "",
    ),
    "another to fill in": (
        {"hook_name": "blocks.{layer}.hook_resid_post", "hook_layer": 0},
        "layer[1].resid_post",
        "E515",
        "blocks.0",
    ),
    "two hooks": (
        {"hook_name": "blocks.0.hook_mlp_out", "metadata": {"hook_name": POST}},
        "layer[1].resid_post",
        "W518",
        "also names the hook",
    ),
    "two names of one": (
        {"hook_name": "blocks.2.hook_resid_pre", "metadata": {"hook_name": POST}},
        "layer[1].resid_post",
        "",
        "",
    ),
    "a list": ({"hook_name": [POST]}, "layer[1].resid_post", "W518", "and no text"),
    "a number": ({"hook_name": 4}, "layer[1].resid_post", "W518", "hook_name is 4, and no text"),
    "nothing": ({"hook_name": None, "hook_layer": None}, "layer[1].resid_post", "", ""),
    "heads": ({"hook_name": "blocks.1.attn.hook_z", "reshape_activations": "hook_z"}, "layer[1].head[0].z", "", ""),
    "heads in the stream": (
        {"reshape_activations": "hook_z"},
        "layer[1].resid_post",
        "E515",
        "joins the vectors of heads",
    ),
    "heads in the stream, of its name": (
        {"hook_name": POST, "reshape_activations": "hook_z"},
        "layer[1].resid_post",
        "E515",
        "joins",
    ),
    "heads in a module": (
        {"reshape_activations": "hook_z"},
        'module("transformer.h.1.mlp.act")',
        "W518",
        "joins the vectors",
    ),
    "not reshaped": ({"hook_name": POST, "reshape_activations": "none"}, "layer[1].resid_post", "", ""),
}


@pytest.mark.thinned(always=15)
@pytest.mark.parametrize("name", BESIDE)
def test_what_is_said_beside_the_hook(name: str, tmp_path: Path) -> None:
    config, site, code, word = BESIDE[name]
    found = said(tmp_path, site, config)  # type: ignore[arg-type]
    assert [d.code for d in found] == ([code] if code else [])
    assert all(word in " ".join(d.notes) for d in found)


HEADS = "blocks.1.attn.hook_z"


@pytest.mark.parametrize("order", ["up", "down", "one"])
def test_heads_in_their_order(order: str, tmp_path: Path) -> None:
    probe = api.parse(
        SPEC.replace("SITE", "layer[1].resid_post").replace(' via sae("sae", latents=[0, 1], controls=none)', "")
    )
    program = api.check(probe).program
    assert program is not None
    count = program.networks["gpt"].facts.heads
    assert count is not None and count > 1
    named = {"up": range(count), "down": reversed(range(count)), "one": [1]}[order]
    site = f"layer[1].head[{', '.join(map(str, named))}].z"
    every = said(tmp_path, site, {"hook_name": HEADS})
    assert [d.code for d in every] == {"up": [], "down": ["E515"], "one": []}[order]
    single = said(tmp_path, site, {"hook_name": HEADS, "hook_head_index": 1})
    assert [d.code for d in single] == {"up": ["E515"], "down": ["E515"], "one": []}[order]
    assert [d.code for d in said(tmp_path, site, {})] == {"up": [], "down": ["W518"], "one": []}[order]


#: what the file says of its network; the code.
NETWORKS = [
    ("equality-gpt2", ""),
    ("someone/equality_gpt2", ""),
    ("", ""),
    ("gpt2-small", "W517"),
    ("openai-community/gpt2", "W517"),
    ("gemma-2-2b", "E516"),
    ("meta-llama/Llama-3.1-8B", "E516"),
    ("EleutherAI/pythia-70m-deduped", "E516"),
    ("my-own-net", "W517"),
]


@pytest.mark.parametrize(("model", "code"), NETWORKS)
def test_the_network(model: str, code: str, tmp_path: Path) -> None:
    config = {"metadata": {"hook_name": "blocks.1.hook_resid_post", "model_name": model}}
    assert [d.code for d in said(tmp_path, "layer[1].resid_post", config)] == ([code] if code else [])


def test_centred_weights(tmp_path: Path) -> None:
    config = {"hook_name": "blocks.1.hook_resid_post", "model_from_pretrained_kwargs": {"center_writing_weights": True}}
    assert [d.code for d in said(tmp_path, "layer[1].resid_post", config)] == ["W518"]
    config["model_from_pretrained_kwargs"] = {"center_writing_weights": False}
    assert said(tmp_path, "layer[1].resid_post", config) == []


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '{"metadata": 3, "hook_name": 4, "hook_head_index": true}'])
def test_files_that_say_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text(text)
    found = made_for(tmp_path)
    assert found is None or (found.hook, found.head, found.model) == ("", None, "")


def test_every_site_of_a_layer_has_its_hook_or_none() -> None:
    """The names stand for sites that there are, at their layer."""
    hooks = [
        "hook_resid_pre",
        "hook_resid_mid",
        "hook_resid_post",
        "hook_attn_out",
        "hook_mlp_out",
        "mlp.hook_post",
        *(f"attn.hook_{name}" for name in ("q", "k", "v", "z", "rot_q", "rot_k", "pattern")),
    ]
    found = [site_of(f"blocks.4.{hook}") for hook in hooks]
    assert all(site is not None and site.component in COMPONENTS and site.layer == 4 for site in found)
    assert len(set(found)) == len(hooks)
    assert same_vector(Site("resid_post", 3), Site("resid_pre", 4)) and not same_vector(Site("z", 3), Site("z", 4))


# ── one number for all vectors ──────────────────────────────────────────────────────────────────

WIDTH, COUNT = 6, 14
PLACE = Span(Source("s.causal", "sae(here)"), 4, 8)


def feature(folder: Path) -> object:
    chain = [FeatureSite("sae", (("path", str(folder)), ("latents", ())))]
    return build(chain, WIDTH, 0, dtype=torch.float64, device="cpu", span=PLACE)


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk", "gated"])
@pytest.mark.parametrize("rescale", [False, True])
def test_vectors_are_scaled_as_the_file_beside_says(kind: str, rescale: bool, tmp_path: Path) -> None:
    numbers = numbers_of_sae(WIDTH, COUNT, 2, kind)
    config: dict[str, object] = {"architecture": kind, "k": 4, "rescale_acts_by_decoder_norm": rescale}
    (tmp_path / "plain").mkdir()
    (tmp_path / "scaled").mkdir()
    write_sae(tmp_path / "plain", numbers, config)
    write_sae(tmp_path / "scaled", numbers, {**config, "normalize_activations": "expected_average_only_in"})
    with pytest.raises(SpecError) as caught:
        feature(tmp_path / "scaled")
    assert caught.value.diagnostics[0].code == "E721" and "activation_scaler" in caught.value.diagnostics[0].notes[0]
    for wrong in ("null", "true", "0", "-1", '"2"', "1e999"):
        (tmp_path / "scaled" / "activation_scaler.json").write_text('{"scaling_factor": ' + wrong + "}")
        with pytest.raises(SpecError):
            feature(tmp_path / "scaled")
    (tmp_path / "scaled" / "activation_scaler.json").write_text('{"scaling_factor": 2.5}')
    x, y = (torch.randn(5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    plain, scaled = feature(tmp_path / "plain"), feature(tmp_path / "scaled")
    # scaled vectors are what the autoencoder was made on: encode 2.5 x, and undo it after decoding
    torch.testing.assert_close(scaled.encode(x)[0], plain.encode(2.5 * x)[0])  # type: ignore[attr-defined]
    torch.testing.assert_close(scaled.swap(x, y), plain.swap(2.5 * x, 2.5 * y) / 2.5)  # type: ignore[attr-defined]


def test_what_is_read_beside_the_weights_belongs_to_what_is_kept(tmp_path: Path) -> None:
    """A run with another factor is another run; weights beside those that are read are nothing to it."""
    for name in ("cfg.json", "sae_weights.safetensors", "activation_scaler.json", "sparsity.safetensors"):
        (tmp_path / name).write_bytes(b"")
    found = files_of("sae", {"path": tmp_path})
    assert {path.name for path in found} == {"cfg.json", "sae_weights.safetensors", "activation_scaler.json"}
