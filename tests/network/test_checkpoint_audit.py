"""What is left over of a checkpoint, and what a library says as it loads one, is told; another network is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from causal_dsl.diagnostics import NOWHERE, Diagnostic, Diagnostics, SpecError
from causal_dsl.network.load import CheckpointReference, load
from causal_dsl.network.network import Network
from causal_dsl.network.quiet import quiet, worth_telling
from causal_dsl.program.facts import facts_of_folder
from tests.network.families import CONFIGS, model_of, settings_of
from tests.thinning import spread

torch.set_num_threads(1)


def saved(folder: Path, name: str, **config: object) -> Path:
    model_of(name).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(60)} | {"[UNK]": 60}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def add(folder: Path, *names: str, shape: tuple[int, ...] = (3,)) -> None:
    path = folder / "model.safetensors"
    more = {name: torch.full(shape, 0.5) for name in names}
    save_file({**load_file(path), **more}, path, metadata={"format": "pt"})


def opened(folder: Path) -> Network:
    return load(None, CheckpointReference("hf", str(folder)), device="cpu")


def refused(folder: Path) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        opened(folder)
    (told,) = caught.value.diagnostics
    assert told.help and told.notes
    return told


@pytest.mark.thinned(always=5, slow=4)
@pytest.mark.parametrize("name", spread([n for n in CONFIGS if n not in ("gemma3",)], 4, slow_step=3))
def test_whole_checkpoints_leave_nothing_over(name: str, tmp_path: Path) -> None:
    assert opened(saved(tmp_path, name)).warnings == ()


#: What a checkpoint has besides, by family: the code it is refused with, else that of the warning, else none.
LEFT = [
    ("llama", "model.layers.3.mlp.up_proj.weight", "E666"),
    ("llama", "layers.0.self_attn.q_proj.bias", "E666"),
    ("llama", "model.layers.0.self_attn.q_proj.bias", "E666"),
    ("llama", "model.layers.1.self_attn.q_norm.weight", "E666"),
    ("llama", "lm_head.bias", "E666"),
    ("llama", "model.layers.0.self_attn.q_proj.lora_A.default.weight", "E666"),
    ("llama", "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", "E666"),
    ("gpt2", "transformer.h.7.ln_1.weight", "E666"),
    ("bert", "bert.encoder.layer.0.attention.self.rotary.weight", "E666"),
    ("llama", "score.weight", "W664"),
    ("llama", "vision_tower.layers.0.weight", "W664"),
    ("bert", "bert.pooler.dense.weight", "W664"),
    ("bert", "cls.seq_relationship.weight", "W664"),
    ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", ""),
    ("gpt2", "h.0.attn.masked_bias", ""),
    ("gpt2", "transformer.h.0.attn.bias", ""),
    ("bert", "bert.embeddings.position_ids", ""),
]


@pytest.mark.thinned(always=9)
@pytest.mark.parametrize(("name", "key", "code"), LEFT, ids=[key for _, key, _ in LEFT])
def test_weights_that_are_left_over(name: str, key: str, code: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, name)
    add(folder, key)
    if code.startswith("E"):
        told = refused(folder)
        assert told.code == code and key in told.notes[0]
        assert ("merge" in told.help) == ("lora" in key)
        return
    said = opened(folder).warnings
    assert [d.code for d in said] == ([code] if code else [])


def test_a_config_of_fewer_layers_is_another_network(tmp_path: Path) -> None:
    told = refused(saved(tmp_path, "llama", num_hidden_layers=2))
    assert told.code == "E666" and "model.layers.2." in told.notes[0] and "config.json" in told.help


def test_a_checkpoint_of_another_head_says_which(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForTokenClassification, LlamaModel

    settings = LlamaConfig(**settings_of(CONFIGS["llama"]), num_labels=2)
    for kind in (LlamaForTokenClassification, LlamaModel):
        folder = tmp_path / kind.__name__
        kind(settings).save_pretrained(folder)
        write_tokenizer(folder)
        told = refused(folder)
        assert told.code == "E640" and kind.__name__ in told.notes[1] and "LlamaForCausalLM" in told.notes[1]


def test_what_the_library_warns_of_is_told(tmp_path: Path) -> None:
    folder = saved(
        tmp_path, "llama", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4, "odd": 3}
    )
    said = opened(folder).warnings
    assert [d.code for d in said] == ["W663"] and "odd" in said[0].notes[0]


def test_warnings_are_heard_and_handlers_put_back() -> None:
    logger = logging.getLogger("transformers")
    before = list(logger.handlers), logger.level
    with quiet() as heard:
        logging.getLogger("transformers.modeling_utils").warning("odd\n  setting")
        logging.getLogger("transformers.modeling_utils").info("nothing")
        import warnings

        warnings.warn("numbers differ", stacklevel=1)
    assert (list(logger.handlers), logger.level) == before
    assert worth_telling(heard) == ["odd setting", "numbers differ"]
    assert worth_telling(["Llama LOAD REPORT from: x", "a", "a", " "]) == ["a"]


def test_two_sets_of_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path, "llama")
    whole = folder / "model.safetensors"
    save_file(load_file(whole), folder / "model-00001-of-00001.safetensors", metadata={"format": "pt"})
    index = {"weight_map": dict.fromkeys(load_file(whole), "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, **index}))
    assert refused(folder).code == "E667"
    whole.unlink()
    assert opened(folder).warnings == ()


@pytest.mark.parametrize("alone", [False, True])
def test_adapters(alone: bool, tmp_path: Path) -> None:
    folder = saved(tmp_path, "llama")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if alone:
        (folder / "config.json").unlink()
    found = Diagnostics()
    assert facts_of_folder(folder, NOWHERE, found) is None
    assert [d.code for d in found] == ["E665"] == [refused(folder).code]


def test_networks_that_read_no_text_are_refused_by_check(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    found = Diagnostics()
    assert facts_of_folder(tmp_path, NOWHERE, found) is None
    assert [d.code for d in found] == ["E648"]


def test_a_checkpoint_with_an_encoder_and_a_decoder(tmp_path: Path) -> None:
    from transformers import BartConfig, BartForCausalLM, BartForConditionalGeneration

    settings = {
        "vocab_size": 61,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "max_position_embeddings": 32,
    }
    for kind in (BartForConditionalGeneration, BartForCausalLM):
        kind(BartConfig(**settings)).save_pretrained(tmp_path / kind.__name__)
        write_tokenizer(tmp_path / kind.__name__)
    told = refused(tmp_path / "BartForConditionalGeneration")
    assert told.code == "E648" and "decoder" in told.title
    assert opened(tmp_path / "BartForCausalLM").facts.architecture == "bart"


def test_an_encoder_with_a_decoder(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from transformers import T5Config, T5ForConditionalGeneration\n"
        "def make():\n"
        "    return T5ForConditionalGeneration(T5Config(vocab_size=60, d_model=16, d_ff=16, d_kv=4, num_layers=1, num_heads=2))\n"
    )
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("torch", "net.py:make", tmp_path), device="cpu", trust=True)
    assert [d.code for d in caught.value.diagnostics] == ["E648"]


def test_code_of_its_own_that_is_not_run_is_told(tmp_path: Path) -> None:
    folder = saved(tmp_path, "gpt2", architectures=["Mine"], auto_map={"AutoModelForCausalLM": "mine.Mine"})
    (told,) = opened(folder).warnings
    assert told.code == "W671" and "saved; it is run as a GPT2LMHeadModel" in told.notes[0]
