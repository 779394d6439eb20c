"""Checkpoints that read pictures beside text: their language part, loaded from the whole checkpoint, against hooks on the whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.running.session import Session
from tests.engine.held import hold
from tests.engine.tiny import SPEC, words
from tests.network.decoders import layers_by_name
from tests.network.shrunk import tiny_model
from tests.thinning import some

KINDS = ("gemma3", "qwen2_vl", "qwen2_5_vl", "mistral3", "llava", "qwen3_vl", "internvl", "idefics3", "llava_next")
TEST = """
test t on a {
  base, source ~ m(n=10, seed=0)
  do(same <- source)
  report logit(o), kl
}
"""


@cache
def saved(family: str) -> tuple[str, Any]:
    """A whole checkpoint, and the model that it was saved from."""
    model: Any = tiny_model(family)
    folder = Path(mkdtemp(prefix="multimodal-"))
    model.save_pretrained(folder)
    words().save(str(folder / "tokenizer.json"))
    return str(folder), model


def spec_of(family: str, site: str) -> str:
    told = {"FOLDER": saved(family)[0], "LAYERS": "0:2", "POSITIONS": "[x, last]", "SITE": site, "PADDING": "right"}
    text = SPEC
    for word, value in told.items():
        text = text.replace(word, value)
    return text + TEST


def place(model: Any, site: str) -> Callable[[int], tuple[str, str, slice]]:
    """Where a person hooks: a layer's output, and what enters the output projection of its attention."""
    names = {id(module): path for path, module in model.named_modules()}
    paths = [names[id(layer)] for layer in layers_by_name(model)]
    if site == "resid_post":
        return lambda layer: (paths[layer], "out", slice(None))
    return lambda layer: (f"{paths[layer]}.self_attn.o_proj", "in", slice(None))


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("family", some(KINDS, ("qwen2_vl", "llava"), slow_step=2))
@pytest.mark.parametrize("site", ["resid_post", "z"])
def test_sites_of_the_language_part_are_those_of_hooks_on_the_whole(family: str, site: str) -> None:
    text, model = spec_of(family, site), saved(family)[1]
    hold(text, model, place(model, site))
    checked = api.check(api.parse(text))
    assert checked.program is not None
    (ref,) = checked.program.networks.values()
    network = Session().network(ref)
    proof = proof_of(network)
    assert proof is not None and proof.sweep == "ragged", "it is run in one pass"
    assert type(network.model) is type(model) and not network.warnings, "no weight was left out"


WRAPPER = """
import torch
from torch import nn
from transformers import AutoModelForMultimodalLM

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.whole = AutoModelForMultimodalLM.from_pretrained("FOLDER")

    def forward(self, ids):
        size = self.whole.config.vision_config.image_size
        pictures = torch.zeros(len(ids), 3, size, size)
        return self.whole(input_ids=ids, pixel_values=pictures).logits[:, -ids.shape[1]:]

def build():
    return Text()
"""


@pytest.mark.slow
def test_one_that_needs_a_picture_names_the_way_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = spec_of("blip", "resid_post")
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(text))
    (told,) = caught.value.diagnostics
    assert told.code == "E648" and "pixel_values" in told.notes[0] and 'module("…")' in told.help
    folder, model = saved("blip")
    layers = {id(module): path for path, module in model.named_modules()}[id(layers_of(model)[1])]
    (tmp_path / "own.py").write_text(WRAPPER.replace("FOLDER", folder))
    monkeypatch.chdir(tmp_path)
    wrapped = text.replace(f'hf("{folder}", padding=right)', f'torch("own.py:build", tokenizer="{folder}")')
    wrapped = wrapped.replace("layer[l].resid_post[p]", f'module("whole.{layers}")[last]').replace("0:2", "0:1")
    (result,) = cd.run(cd.parse(wrapped), cd.Options(trust=True)).tests
    assert any(cell.scores["kl"].value > 1e-6 for cell in result.cells)  # type: ignore[operator]


def layers_of(model: Any) -> Any:
    return model.text_decoder.bert.encoder.layer
