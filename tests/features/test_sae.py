"""Sparse autoencoders from files, against their formulas written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.features import Feature, build
from tests.features.worked import declared, draw, numbers_of_sae, write_sae

torch.set_num_threads(1)
WIDTH, COUNT, K = 6, 14, 4
SPAN = Span(Source("s.causal", "sae(here)"), 4, 8)


def made(path: Path, width: int = WIDTH, latents: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Feature:
    chain = [declared("sae", path=str(path), latents=latents)]
    return build(chain, width, 0, dtype=dtype, device="cpu", span=SPAN)


def refusal(path: Path, **more: object) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        made(path, **more)  # type: ignore[arg-type]
    (told,) = caught.value.diagnostics
    assert told.span == SPAN
    return told


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def whole(x: np.ndarray, w: dict[str, np.ndarray], said: dict[str, object]) -> tuple[np.ndarray, np.ndarray]:
    """All latents and the reconstruction of x [n, width], one vector at a time, as SAELens defines them."""
    latents, found = [], []
    for v in x:
        shift, scale = 0.0, 1.0
        seen = v
        if said.get("normalize_activations") == "layer_norm":
            shift, scale = v.mean(), (v - v.mean()).std(ddof=1)
            seen = (v - shift) / (scale + 1e-5)
        if said.get("normalize_activations") == "constant_norm_rescale":
            scale = np.linalg.norm(v) / np.sqrt(len(v))
            seen = v / scale
        seen = seen - (w["b_dec"] if said.get("apply_b_dec_to_input", True) else 0)
        pre = seen @ w["W_enc"]
        norms = np.linalg.norm(w["W_dec"], axis=1) if said.get("rescale_acts_by_decoder_norm") else np.ones(len(pre))
        match said["architecture"]:
            case "gated":
                f = (pre + w["b_gate"] > 0) * relu(seen @ (w["W_enc"] * np.exp(w["r_mag"])) + w["b_mag"])
            case "jumprelu":
                h = pre + w["b_enc"]
                f = relu(h) * (h > w["threshold"])
            case "topk":
                h = (pre + w["b_enc"]) * norms
                f = np.where(np.argsort(np.argsort(-h)) < said["k"], relu(h), 0)
            case _:
                f = relu(pre + w["b_enc"])
                f = np.tanh(f) if said.get("activation_fn_str") == "tanh-relu" else f
        latents.append(f)
        out = f / norms * w.get("scaling_factor", 1) @ w["W_dec"] + w["b_dec"]
        found.append(out * scale + shift)
    return np.array(latents), np.array(found)


CONFIGS: list[dict[str, object]] = [
    {"architecture": "standard"},
    {"architecture": "standard", "activation_fn_str": "tanh-relu", "apply_b_dec_to_input": False},
    {"architecture": "standard", "finetuning_scaling_factor": True, "normalize_activations": None},
    {"architecture": "jumprelu", "apply_b_dec_to_input": False, "activation_fn": "relu"},
    {"architecture": "gated", "normalize_activations": "none"},
    {"architecture": "topk", "k": K},
    {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True},
    *(
        {"architecture": a, "k": K, "normalize_activations": n}
        for a in ("standard", "topk", "gated")
        for n in ("layer_norm", "constant_norm_rescale")
    ),
]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    config=st.sampled_from(CONFIGS),
    latents=st.lists(st.integers(0, COUNT - 1), unique=True, max_size=5),
    seed=st.integers(0, 99),
)
def test_latents_and_swaps_are_as_the_formula_has_them(
    config: dict[str, object], latents: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sae")
    numbers = numbers_of_sae(WIDTH, COUNT, seed, str(config["architecture"]))
    if config.get("finetuning_scaling_factor"):
        numbers["scaling_factor"] = draw(COUNT, seed=seed + 9).abs()
    write_sae(folder, numbers, {**config, "d_in": WIDTH, "d_sae": COUNT})
    feature = made(folder, latents=tuple(latents))
    w = {name: tensor.numpy() for name, tensor in numbers.items()}
    base, source = draw(5, WIDTH, seed=seed + 1) * 2, draw(5, WIDTH, seed=seed + 2)
    f_base, decoded = whole(base.numpy(), w, config)
    f_source, _ = whole(source.numpy(), w, config)
    chosen = latents or list(range(COUNT))
    f, rest = feature.encode(base)
    np.testing.assert_allclose(f, f_base[:, chosen], atol=1e-9)
    torch.testing.assert_close(feature.decode(f, rest), base)
    # the source's latents in place of the base's, decoded as the base is, and the base's error on top
    mixed = f_base.copy()
    mixed[:, chosen] = f_source[:, chosen]
    norms = np.linalg.norm(w["W_dec"], axis=1) if config.get("rescale_acts_by_decoder_norm") else np.ones(COUNT)
    scale = {
        "layer_norm": base.numpy().std(axis=1, ddof=1)[:, None],
        "constant_norm_rescale": np.linalg.norm(base, axis=1)[:, None] / np.sqrt(WIDTH),
    }.get(str(config.get("normalize_activations")), 1)
    moved = (mixed - f_base) / norms * w.get("scaling_factor", 1) @ w["W_dec"] * scale
    expected = (decoded + moved) + (base.numpy() - decoded)
    np.testing.assert_allclose(feature.swap(base, source), expected, atol=1e-8)
    assert torch.equal(feature.swap(base, base), base)
    assert not feature.trainable() and feature.effective_size() == len(chosen)


def test_old_configs_say_topk_as_an_activation(tmp_path: Path) -> None:
    numbers = numbers_of_sae(WIDTH, COUNT, 1)
    write_sae(tmp_path, numbers, {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}})
    assert int((made(tmp_path).encode(draw(8, WIDTH) + 5)[0] > 0).sum(dim=1).max()) == 3
    write_sae(tmp_path, numbers, {"architecture_params": {"architecture": "topk", "k": 2}})
    assert int((made(tmp_path).encode(draw(8, WIDTH) + 5)[0] > 0).sum(dim=1).max()) == 2


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated"])
def test_a_file_alone_is_told_by_its_tensors(kind: str, tmp_path: Path) -> None:
    numbers = numbers_of_sae(WIDTH, COUNT, 1, kind)
    save_file(numbers, tmp_path / "any.safetensors")
    w = {name: tensor.numpy() for name, tensor in numbers.items()}
    x = draw(4, WIDTH)
    for path in (tmp_path / "any.safetensors", tmp_path):
        np.testing.assert_allclose(made(path).encode(x)[0], whole(x.numpy(), w, {"architecture": kind})[0], atol=1e-9)


def test_weights_in_half_precision_are_read(tmp_path: Path) -> None:
    numbers = {name: tensor.bfloat16() for name, tensor in numbers_of_sae(WIDTH, COUNT, 1).items()}
    write_sae(tmp_path, numbers, {"architecture": "standard"})
    feature = made(tmp_path, dtype=torch.bfloat16)
    assert feature.tensors()["out"].dtype == torch.float32
    assert torch.equal(feature.tensors()["out"], numbers["W_dec"].float())


def test_a_saved_feature_needs_no_file(tmp_path: Path) -> None:
    write_sae(tmp_path, numbers_of_sae(WIDTH, COUNT, 1, "gated"), {"architecture": "gated"})
    saved = made(tmp_path, latents=(3, 5)).tensors()
    assert saved["into"].shape == (WIDTH, 2), "no more than the chosen latents"
    chain = [declared("sae", path="gone", latents=(3, 5))]
    more = {"dtype": torch.float64, "device": "cpu"}
    assert torch.equal(
        build(chain, WIDTH, 0, **more, tensors=saved).swap(draw(2, WIDTH), draw(2, WIDTH, seed=1)),
        made(tmp_path, latents=(3, 5)).swap(draw(2, WIDTH), draw(2, WIDTH, seed=1)),
    )
    with pytest.raises(ValueError, match="gate"):
        build(chain, WIDTH, 0, **more, tensors={name: t for name, t in saved.items() if name != "gate"})


# ── faults ──────────────────────────────────────────────────────────────────────────────────────


def test_an_autoencoder_of_another_width(tmp_path: Path) -> None:
    write_sae(tmp_path, numbers_of_sae(WIDTH, COUNT, 1), {"architecture": "standard"})
    told = refusal(tmp_path, width=8)
    assert told.code == "E720"
    assert told.title == "the sparse autoencoder reads vectors of 6 numbers, and the vector here has 8"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"architecture": "other"}, "its architecture is `other`"),
        ({"architecture": ["gated"]}, "unhashable"),
        ({"architecture": "standard", "activation_fn": "gelu"}, "activation function is `gelu`"),
        ({"architecture": "jumprelu", "activation_fn": "tanh-relu"}, "activation function is `tanh-relu`"),
        ({"architecture": "standard", "normalize_activations": "other"}, "normalises activations by `other`"),
        ({"architecture": "gated"}, "lacks the tensor b_gate, r_mag, b_mag"),
        ({"architecture": "jumprelu"}, "lacks the tensor threshold"),
        ({"architecture": "topk"}, "k = None"),
        ({"architecture": "topk", "k": 0}, "k = 0"),
        ({"architecture": "topk", "k": 15}, "k = 15"),
        ({"architecture": "topk", "k": True}, "k = True"),
        ({"architecture": "topk", "k": float("inf")}, "infinity"),
        ({"architecture": "standard", "d_in": 9}, "says d_in = 9, and the weights have 6"),
        ({"architecture": "standard", "d_sae": 9}, "says d_sae = 9, and the weights have 14"),
        ({"architecture": "standard", "finetuning_scaling_factor": True}, "finetuning_scaling_factor"),
        ([], "it is not an object"),
    ],
)
def test_configs_that_are_not_understood(config: dict[str, object], why: str, tmp_path: Path) -> None:
    write_sae(tmp_path, numbers_of_sae(WIDTH, COUNT, 1), config)
    told = refusal(tmp_path)
    assert told.code == "E721"
    assert why in told.notes[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"W_enc": draw(WIDTH)}, "W_enc is [6], not a matrix"),
        ({"W_dec": draw(WIDTH, COUNT)}, "W_dec is [6, 14], not [14, 6]"),
        ({"b_dec": draw(3)}, "b_dec is [3], not [6]"),
        ({"b_enc": torch.full((COUNT,), torch.inf)}, "b_enc holds numbers that are not finite"),
    ],
)
def test_weights_that_cannot_be(change: dict[str, torch.Tensor], why: str, tmp_path: Path) -> None:
    write_sae(tmp_path, numbers_of_sae(WIDTH, COUNT, 1) | change, {"architecture": "standard"})
    told = refusal(tmp_path)
    assert told.code == "E721"
    assert why in told.notes[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").notes == ("there is no such file or folder",)
    assert "0 safetensors files" in refusal(tmp_path).notes[0]
    broken = tmp_path / "sae_weights.safetensors"
    broken.write_bytes(b"\x00" * 20)
    assert refusal(tmp_path).code == "E721"
    write_sae(tmp_path, numbers_of_sae(WIDTH, COUNT, 1), None)
    (tmp_path / "cfg.json").write_text("{", encoding="utf-8")
    assert "cfg.json" in refusal(tmp_path).title
    (tmp_path / "cfg.json").write_bytes(b"\xff")
    assert refusal(tmp_path).code == "E721"


def test_latents_that_there_are_not(tmp_path: Path) -> None:
    write_sae(tmp_path, numbers_of_sae(WIDTH, COUNT, 1), None)
    for latents, why in (((3, 14), "`sae` names latent 14, and there are 14"), ((2, 2), "`sae` names a latent twice")):
        told = refusal(tmp_path, latents=latents)
        assert (told.code, told.title) == ("E723", why)
