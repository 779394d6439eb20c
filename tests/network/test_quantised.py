"""Checkpoints in few bits: run with the numbers of their library where it is here, else it is named."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

import causal_dsl as cd
from causal_dsl.diagnostics import Diagnostic, SpecError
from causal_dsl.network import quantised
from causal_dsl.network.quantised import LIBRARIES
from tests.engine.held import hold
from tests.engine.tiny import folder_of, spec_of

torch.set_num_threads(1)
TEST = """
test t on a {
  base, source ~ m(n=8, seed=0)
  do(same <- source)
  report logit(o), kl
}
"""


def text_of(folder: Path, site: str = "resid_post") -> str:
    return spec_of("llama", TEST, site=site).replace(folder_of("llama"), str(folder))


def copied(folder: Path, config: dict[str, Any]) -> Path:
    """A checkpoint whose config says that it is quantised."""
    shutil.copytree(folder_of("llama"), folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": config}))
    return folder


def refused(folder: Path) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(text_of(folder)))
    (told,) = caught.value.diagnostics
    return told


@pytest.mark.parametrize("method", LIBRARIES)
def test_a_library_that_is_not_here_is_named(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    told = refused(copied(tmp_path / "net", {"quant_method": method}))
    assert told.code == "E782" and method in told.title
    assert all(package in told.title and package in told.help for package in LIBRARIES[method])


def test_older_configs_of_bitsandbytes_name_no_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    assert "bitsandbytes" in refused(copied(tmp_path / "net", {"load_in_4bit": True})).title


@pytest.mark.parametrize("config", [{"quant_method": "unheard"}, {"quant_method": 3}, {}, [], "x"], ids=str)
def test_what_cannot_be_loaded_is_refused(config: Any, tmp_path: Path) -> None:
    told = refused(copied(tmp_path / "net", config))
    assert told.code in ("E784", "E632") and told.notes


@pytest.mark.slow
@pytest.mark.skipif(
    torch.cuda.is_available(), reason="on a GPU they are run in fp8, whose rounding depends on the batch"
)
def test_weights_in_fp8_are_run_as_transformers_runs_them(tmp_path: Path) -> None:
    config = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    folder = copied(tmp_path / "net", config)
    stored = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        stored[name] = tensor
        if "_proj" in name:
            scale = tensor.abs().max() / 448
            stored[name] = (tensor / scale).to(torch.float8_e4m3fn)
            stored[name.replace("weight", "weight_scale_inv")] = scale.reshape(1, 1).float()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for site, path, side in (("resid_post", "", "out"), ("z", ".self_attn.o_proj", "in")):
        hold(text_of(folder, site), model, partial(_place, path, side))


def _place(path: str, side: str, layer: int) -> tuple[str, str, slice]:
    return f"model.layers.{layer}{path}", side, slice(None)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["bitsandbytes", "torchao"])
def test_weights_in_the_form_of_a_library(library: str, tmp_path: Path) -> None:
    """Saved by transformers in the library's own form; these write to stderr wherever they are imported, and come with no extra."""
    pytest.importorskip(library)
    from transformers import BitsAndBytesConfig, TorchAoConfig

    settings: Any
    if library == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        settings = TorchAoConfig(Int8WeightOnlyConfig())
    else:
        settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    wide = tmp_path / "wide"  # a block of bitsandbytes has 64 weights of a row
    config = AutoConfig.from_pretrained(folder_of("llama"), hidden_size=64, intermediate_size=64, head_dim=16)
    AutoModelForCausalLM.from_config(config).save_pretrained(wide)
    made = AutoModelForCausalLM.from_pretrained(wide, quantization_config=settings, dtype=torch.float32)
    made.save_pretrained(tmp_path)
    shutil.copy(Path(folder_of("llama")) / "tokenizer.json", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    results = hold(text_of(tmp_path), model, lambda layer: (f"model.layers.{layer}", "out", slice(None)), close=2e-3)
    assert results
