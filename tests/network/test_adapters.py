"""Adapters of peft on a checkpoint: numbers are those of peft with hooks by hand, and no other base takes them."""

from __future__ import annotations

import json
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.diagnostics import Diagnostic, SpecError
from causal_dsl.program.adapters import KINDS
from causal_dsl.running.session import Session
from causal_dsl.syntax.format import format_tree
from tests.engine.held import hold
from tests.engine.tiny import SPEC, folder_of
from tests.network.families import model_of
from tests.thinning import some, spread

torch.set_num_threads(1)
TEST = """
test t on a {
  base, source ~ m(n=12, seed=0)
  do(same <- source)
  report logit(o), kl
}
"""
#: Settings of each kind beside its targets, and how large its own numbers are.
SETTINGS: dict[str, dict[str, Any]] = {
    "LORA": {"r": 2, "lora_alpha": 4},
    "ADALORA": {"init_r": 3, "target_r": 2, "total_step": 10},
    "IA3": {"feedforward_modules": ["down_proj"]},
    "LOHA": {"r": 2},
    "LOKR": {"r": 2},
    "VERA": {"r": 2},
    "OFT": {"r": 0, "oft_block_size": 4},
    "BOFT": {"boft_block_size": 4},
    "HRA": {"r": 2},
    "FOURIERFT": {"n_frequency": 20},
    "RANDLORA": {"r": 2},
    "MISS": {"r": 2},
    "LN_TUNING": {},
}
TARGETS = {"gpt2": ["c_attn", "c_proj"], "LN_TUNING": ["input_layernorm", "norm"], "VERA": ["q_proj", "o_proj"]}
ALL = ["q_proj", "o_proj", "down_proj"]


def adapter(folder: Path, family: str = "llama", kind: str = "LORA", base: str | None = None, **more: Any) -> Any:
    """Save an adapter of random numbers for a family's model; gives peft's model with it."""
    torch.manual_seed(1)
    targets = TARGETS.get(kind, TARGETS.get(family, ALL))
    import peft  # takes more than a second

    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](**{"target_modules": targets, **SETTINGS[kind], **more})
    made: Any = peft.get_peft_model(deepcopy(model_of(family)), config)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn_like(parameter)
    made.peft_config["default"].base_model_name_or_path = folder_of(family) if base is None else base
    made.save_pretrained(folder)
    return made.eval()


def spec_of(folder: Path | str, more: str = "", family: str = "llama", site: str = "resid_post", base: str = "") -> str:
    told = {"LAYERS": "0:3", "POSITIONS": "[x, last]", "SITE": site, ", padding=PADDING": f', adapter="{folder}"{more}'}
    text = SPEC.replace("FOLDER", base or folder_of(family))
    for word, value in told.items():
        text = text.replace(word, value)
    return text + TEST


def said(text: str, run: bool = False, **options: Any) -> Diagnostic:
    checked = api.check(api.parse(text))
    if not run:
        (found,) = checked.errors
        return found
    checked.raise_errors()
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(text), cd.Options(**options))
    (told,) = caught.value.diagnostics
    return told


def opened(text: str) -> Any:
    checked = api.check(api.parse(text))
    checked.raise_errors()
    assert checked.program is not None
    return Session().network(next(iter(checked.program.networks.values()))).model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(12).view(1, 12) * 3 + 5).logits
    return found


PLACES = {
    "resid_post": lambda layer: (f"base_model.model.model.layers.{layer}", "out", slice(None)),
    "z": lambda layer: (f"base_model.model.model.layers.{layer}.self_attn.o_proj", "in", slice(None)),
    "q": lambda layer: (f"base_model.model.model.layers.{layer}.self_attn.q_proj", "out", slice(None)),
    "mlp_out": lambda layer: (f"base_model.model.model.layers.{layer}.mlp", "out", slice(None)),
}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("site", some(PLACES, ("resid_post", "z")))
@pytest.mark.parametrize("more", ["", ", merged=false"])
@pytest.mark.slow
def test_sites_are_those_of_hooks_on_the_model_of_peft(site: str, more: str, tmp_path: Path) -> None:
    made = adapter(tmp_path)
    assert (logits(made) - logits(model_of("llama"))).abs().max() > 0.1
    hold(spec_of(tmp_path, more, site=site), made, PLACES[site])


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("kind", some(KINDS, ("LORA", "IA3")))
def test_every_kind_is_merged_and_left_beside_with_the_numbers_of_peft(kind: str, tmp_path: Path) -> None:
    made = adapter(tmp_path, kind=kind)
    whole, beside = opened(spec_of(tmp_path)), opened(spec_of(tmp_path, ", merged=false"))
    assert type(whole) is type(beside) is type(model_of("llama"))
    assert not any("lora" in name or "peft" in type(m).__module__ for name, m in whole.named_modules())
    assert any("peft" in type(m).__module__ for m in beside.modules()) or kind == "LN_TUNING"
    for model in (whole, beside):
        torch.testing.assert_close(logits(model), logits(made), atol=2e-4, rtol=1e-3)
    assert (logits(made) - logits(model_of("llama"))).abs().max() > 1e-3


FORMS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "bias": {"bias": "lora_only"},
    "patterns": {"rank_pattern": {"o_proj": 3}, "alpha_pattern": {"q_proj": 1}},
    "some layers": {"layers_to_transform": [1]},
    "a head of its own": {"modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "tokens": {"trainable_token_indices": [5, 11]},
    "a norm of its own": {"modules_to_save": ["norm"]},
    "conv": {},
}


@pytest.mark.thinned(slow=4)
@pytest.mark.slow
@pytest.mark.parametrize("form", some(FORMS, ("dora", "embeddings", "a head of its own")))
@pytest.mark.parametrize("more", spread(["", ", merged=false"], 2))
def test_forms_of_lora(form: str, more: str, tmp_path: Path) -> None:
    family = "gpt2" if form == "conv" else "llama"
    made = adapter(tmp_path, family, **FORMS[form])
    layers = "transformer.h" if form == "conv" else "model.layers"
    hold(
        spec_of(tmp_path, more, family), made, lambda layer: (f"base_model.model.{layers}.{layer}", "out", slice(None))
    )


@pytest.mark.slow
def test_modules_of_an_adapter_that_is_not_merged_can_be_written(tmp_path: Path) -> None:
    made, path = adapter(tmp_path), "model.layers.1.self_attn.o_proj.lora_A.default"
    text = spec_of(tmp_path, ", merged=false").replace("layer[l].SITE[p]", f'module("{path}")[p]')
    text = text.replace("layer[l].resid_post[p]", f'module("{path}")[p]').replace("l in 0:3", "l in 0:1")
    hold(text, made, lambda layer: (f"base_model.model.{path}", "out", slice(None)))


@pytest.mark.slow
def test_the_files_of_an_adapter_are_part_of_who_a_network_is(tmp_path: Path) -> None:
    adapter(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    out, text = tmp_path / "out", spec_of(tmp_path / "one")

    def key(text: str) -> Any:
        results = cd.run(cd.parse(text), cd.Options(out=out))
        return results.to_json()["specs"][0]["identity"]

    first = key(text)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {Path(name).name for name in first["files"]}
    assert first["networks"]["net"]["libraries"]["peft"]
    assert key(text)["key"] == first["key"]
    weights = tmp_path / "one" / "adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert key(text)["key"] != first["key"]
    checked = [api.check(api.parse(spec_of(tmp_path / name, more))) for name, more in KEYS]
    keys = [next(iter(one.program.networks.values())).key for one in checked if one.program is not None]
    assert keys[0] == keys[1] == keys[2] and len(set(keys)) == 3


#: One network in three spellings, beside another adapter, and one that is not merged.
KEYS = [("one", ""), ("one", ", merged=true"), ("one", ", elsewhere=true"), ("two", ""), ("one", ", merged=false")]


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def another(folder: Path) -> str:
    """A network of the same sizes with other weights."""
    shutil.copytree(folder_of("llama"), folder)
    path = folder / "model.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    return str(folder)


def test_an_adapter_of_another_network_is_refused_by_check(tmp_path: Path) -> None:
    folder, base = tmp_path / "adapter", another(tmp_path / "base")
    adapter(folder, base=base)
    told = said(spec_of(folder))
    assert told.code == "E779" and base in told.notes[0] and "elsewhere=true" in told.help
    assert not api.check(api.parse(spec_of(folder, ", elsewhere=true"))).diagnostics
    assert not api.check(api.parse(spec_of(folder, base=base))).diagnostics
    shutil.copytree(base, tmp_path / "copy")
    assert not api.check(api.parse(spec_of(folder, base=str(tmp_path / "copy")))).diagnostics
    adapter(folder, "llama:2", layers_to_transform=[0])
    assert said(spec_of(folder)).code == "E779"


@pytest.mark.parametrize(
    ("base", "target", "revision", "code"),
    [
        ("org/one", "org/one", "", ""),
        ("org/one", "mirror/One", "", ""),
        ("org/one", "org/two", "", "E779"),
        ("org/one", "org/one", "v2", "E779"),
        ("/gone/one", "org/two", "", "W780"),
        ("", "org/two", "", "W780"),
    ],
)
def test_the_name_of_the_base_tells_where_its_files_are_not_there(
    base: str, target: str, revision: str, code: str, tmp_path: Path
) -> None:
    adapter(tmp_path, base=base)
    change(tmp_path, revision=revision or None, base_model_name_or_path=base or None)
    found = [d.code for d in api.check(api.parse(spec_of(tmp_path, base=target))).diagnostics]
    assert found == ["W633", *([code] if code else [])] or found == [code, "W633"]
    allowed = api.check(api.parse(spec_of(tmp_path, ", elsewhere=true", base=target)))
    assert [d.code for d in allowed.diagnostics] == ["W633"]


def test_an_adapter_of_other_sizes_is_refused(tmp_path: Path) -> None:
    adapter(tmp_path, "llama")
    for base, layers in (("llama:2", "layer 2"), ("mistral:2", "layer 2")):
        told = said(spec_of(tmp_path, ", elsewhere=true", base=folder_of(base)).replace("0:3", "0:2"))
        assert told.code == "E779" and layers in told.notes[0]
    weights = tmp_path / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "layers.0.self_attn.q_proj.lora_A" in name)
    save_file({**tensors, name: torch.ones(2, 30)}, weights, metadata={"format": "pt"})
    told = said(spec_of(tmp_path))
    assert told.code == "E779" and "30 numbers" in told.notes[0]


@pytest.mark.slow
def test_what_check_cannot_see_is_refused_as_it_is_loaded(tmp_path: Path) -> None:
    adapter(tmp_path / "a", "gpt2")
    assert said(spec_of(tmp_path / "a", ", elsewhere=true"), run=True).code == "E779"
    adapter(tmp_path / "b")
    weights = tmp_path / "b" / "adapter_model.safetensors"
    tensors = load_file(weights)
    left = {f"base_model.model.score.{n}": torch.ones(3, 3) for n in "ab"}
    save_file({**tensors, **left}, weights, metadata={"format": "pt"})
    told = said(spec_of(tmp_path / "b"), run=True)
    assert told.code == "E779" and "score" in told.notes[0]
    name, *rest = sorted(tensors)
    save_file({name: tensors[name] for name in rest}, weights, metadata={"format": "pt"})
    told = said(spec_of(tmp_path / "b"), run=True)
    assert told.code == "E778" and name.removeprefix("base_model.model.").removesuffix(".weight") in told.notes[0]
    weights.write_bytes(weights.read_bytes()[:-40])
    assert said(spec_of(tmp_path / "b"), run=True).code == "E641"


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "PREFIX_TUNING"},
        {"peft_type": "XLORA"},
        {"peft_type": 3},
        {"alora_invocation_tokens": [5]},
        {"layer_replication": [[0, 3], [1, 3]]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_is_no_change_of_weights_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    adapter(tmp_path)
    change(tmp_path, **settings)
    assert said(spec_of(tmp_path)).code == "E778"


def test_folders_that_hold_no_adapter(tmp_path: Path) -> None:
    assert said(spec_of(tmp_path / "gone")).code == "E778"
    assert said(spec_of("no folder, no repository")).code == "E778"
    assert said(spec_of(folder_of("llama"))).code == "E778"
    adapter(tmp_path)
    config = tmp_path / "adapter_config.json"
    text = config.read_text()
    for broken in ("[]", "{", "\xff", "[" * 100_000):
        config.write_text(broken)
        assert said(spec_of(tmp_path)).code == "E778"
    config.write_text(text)
    (tmp_path / "adapter_model.safetensors").unlink()
    assert said(spec_of(tmp_path)).code == "E778"


@pytest.mark.slow
def test_pickled_weights_need_trust(tmp_path: Path) -> None:
    made = adapter(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    torch.save(load_file(weights), tmp_path / "adapter_model.bin")
    weights.unlink()
    assert said(spec_of(tmp_path), run=True).code == "E635"
    place = PLACES["resid_post"]
    hold(spec_of(tmp_path), made, place, cd.Options(trust=True))


def test_without_peft_a_run_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    told = said(spec_of(tmp_path), run=True)
    assert told.code == "E782" and told.help == 'pip install "causal-dsl[adapters]"'


def test_a_merge_that_gives_other_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter(tmp_path)
    import peft

    merge = peft.LoraModel.merge_and_unload

    def wrong(self: Any, **settings: Any) -> Any:
        made: Any = merge(self, **settings)
        made.model.layers[1].self_attn.q_proj.weight.data += 0.05
        return made

    monkeypatch.setattr(peft.LoraModel, "merge_and_unload", wrong)
    assert said(spec_of(tmp_path), run=True).code == "E783"


def test_a_tokenizer_of_its_own_is_told_of(tmp_path: Path) -> None:
    adapter(tmp_path)
    own = json.loads((Path(folder_of("llama")) / "tokenizer.json").read_text())
    for change_, code in (({"padding": {"length": 3}}, ""), ({"model": {**own["model"], "unk_token": "w3"}}, "W781")):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**own, **change_}))
        assert [d.code for d in api.check(api.parse(spec_of(tmp_path))).diagnostics] == ([code] if code else [])


def test_another_checkpoint_keeps_the_adapter(tmp_path: Path) -> None:
    adapter(tmp_path / "adapter", base=another(tmp_path / "base"))
    options = cd.Options(networks={"net": Path(folder_of("llama"))})
    assert [d.code for d in api.check(api.parse(spec_of(tmp_path / "adapter")), options).errors] == ["E779"]


def test_settings_of_an_adapter_need_one() -> None:
    for setting in ("merged", "elsewhere"):
        text = spec_of("x").replace('adapter="x"', f"{setting}=true")
        told = said(text)
        assert told.code == "E211" and setting in told.title


def test_it_is_declared_in_python(tmp_path: Path) -> None:
    net = cd.hf("base", name="net", adapter="lora", merged=False, elsewhere=True)
    assert 'hf("base", adapter="lora", merged=false, elsewhere=true)' in format_tree(cd.spec(net).tree)


FACTORY = """
import peft
from transformers import AutoModelForCausalLM

def build():
    base = AutoModelForCausalLM.from_pretrained("BASE")
    return peft.PeftModel.from_pretrained(base, "ADAPTER"), "BASE"

def prompts():
    base = AutoModelForCausalLM.from_pretrained("BASE")
    return peft.get_peft_model(base, peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")), "BASE"
"""


@pytest.mark.slow
def test_a_model_of_peft_that_code_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = adapter(tmp_path / "adapter", target_modules=["q_proj", "lm_head"], modules_to_save=["norm"])
    code = FACTORY.replace("BASE", folder_of("llama")).replace("ADAPTER", str(tmp_path / "adapter"))
    (tmp_path / "own.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    declared = f'hf("{folder_of("llama")}", adapter="x")'
    text = spec_of("x").replace(declared, 'torch("own.py:build")')
    hold(text, made, PLACES["resid_post"], cd.Options(trust=True), drawn_as=spec_of(tmp_path / "adapter"))
    assert said(text.replace("build", "prompts"), run=True, trust=True).code == "E778"
