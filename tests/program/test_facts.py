"""Facts of config.json against what transformers itself makes of the same file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from causal_dsl.diagnostics import NOWHERE, Diagnostics
from causal_dsl.program.facts import facts_of_config, facts_of_folder, facts_of_hub, facts_of_reference
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.architectures.architecture import generated
from causal_dsl.vocabulary.network_facts import Facts


def write(folder: Path, config: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def codes(folder: Path) -> list[str]:
    found = Diagnostics()
    assert facts_of_folder(folder, NOWHERE, found) is None
    for diagnostic in found:
        assert diagnostic.render()
    return [diagnostic.code for diagnostic in found]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if ARCHITECTURES[name].count is not None])
def test_experts_are_counted_by_either_name(name: str) -> None:
    """Which of two names of one number a file has depends on the version of transformers that wrote it."""
    for told in ("num_experts", "num_local_experts"):
        assert facts_of_config({"model_type": name, told: 3}, None, NOWHERE).experts == 3


@pytest.mark.parametrize("model_type", sorted(generated().keys() - {"gemma3"}))
def test_defaults_are_those_of_the_configuration_classes(model_type: str) -> None:
    """A file that names the model type alone, read by us and by transformers."""
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type]()
    facts = facts_of_config({"model_type": model_type}, None, NOWHERE)
    assert facts.layers == config.num_hidden_layers
    assert facts.heads == config.num_attention_heads
    assert facts.width == config.hidden_size
    assert facts.vocabulary == config.vocab_size
    late = ARCHITECTURES[model_type].late  # their positions begin behind the padding token's id
    assert facts.first_position == (config.pad_token_id + 1 if late else 0)
    assert facts.context == config.max_position_embeddings - facts.first_position
    assert facts.embed_width == getattr(config, "embedding_size", None)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    assert facts.head_dim == head
    if model_type != "falcon":
        assert facts.kv_heads == (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    else:
        assert facts.kv_heads == 1  # one key and value for all heads, whatever num_kv_heads says
    # what a class writes itself says the same
    assert facts_of_config(json.loads(config.to_json_string()), None, NOWHERE) == facts


def test_what_multimodal_gemma_says_of_its_text() -> None:
    from transformers import CONFIG_MAPPING

    text = {"num_hidden_layers": 5, "hidden_size": 64, "head_dim": 16, "num_attention_heads": 4}
    facts = facts_of_config({"model_type": "gemma3", "text_config": text}, None, NOWHERE)
    default = CONFIG_MAPPING["gemma3"]().text_config
    assert (facts.layers, facts.width, facts.head_dim, facts.heads) == (5, 64, 16, 4)
    assert (facts.kv_heads, facts.vocabulary) == (default.num_key_value_heads, default.vocab_size)
    assert facts.architecture in ARCHITECTURES


@pytest.mark.parametrize(
    ("config", "size", "value"),
    [
        ({"model_type": "mistral", "num_attention_heads": 4, "num_key_value_heads": None}, "kv_heads", 4),
        ({"model_type": "llama", "hidden_size": 96, "num_attention_heads": 3}, "head_dim", 32),
        ({"model_type": "gpt2", "n_inner": 100}, "mlp_width", 100),
        ({"model_type": "gpt2", "n_embd": 24, "n_head": 2}, "mlp_width", 96),
        ({"model_type": "mixtral"}, "mlp_width", None),
        ({"model_type": "bert"}, "both_ways", True),
        ({"model_type": "bert", "is_decoder": True}, "both_ways", False),
        ({"model_type": "llama"}, "both_ways", False),
        ({"model_type": "distilbert", "n_layers": 3}, "layers", 3),
        ({"model_type": "distilbert", "hidden_dim": 100}, "mlp_width", 100),
        ({"model_type": "roberta", "max_position_embeddings": 514}, "context", 512),
        ({"model_type": "camembert", "max_position_embeddings": 64, "pad_token_id": 3}, "context", 60),
        ({"model_type": "electra", "embedding_size": 64}, "embed_width", 64),
        ({"model_type": "gpt_neox"}, "parallel", True),
        ({"model_type": "gpt_neox", "use_parallel_residual": False}, "parallel", False),
        ({"model_type": "falcon", "parallel_attn": False}, "parallel", False),
        ({"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 1}, "kv_heads", 1),
        ({"model_type": "falcon", "multi_query": False}, "kv_heads", 71),
        ({"model_type": "phi"}, "parallel", True),
        ({"model_type": "opt", "num_hidden_layers": 7}, "layers", 7),
        ({"model_type": "opt"}, "layers", 12),
        ({"model_type": "someones_own"}, "layers", None),
        ({}, "architecture", ""),
    ],
)
def test_sizes(config: dict, size: str, value: object) -> None:
    assert getattr(facts_of_config(config, None, NOWHERE), size) == value


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama", "num_hidden_layers": 0},
        {"model_type": "llama", "num_hidden_layers": -3},
        {"model_type": "llama", "num_hidden_layers": 1e3},
        {"model_type": "llama", "num_hidden_layers": True},
        {"model_type": "llama", "num_hidden_layers": "thirty"},
        {"model_type": "llama", "num_hidden_layers": 10**12},
        {"model_type": "llama", "num_hidden_layers": None},
        {"model_type": "llama", "vocab_size": []},
        {"model_type": "llama", "hidden_size": 100, "num_attention_heads": 3},
        {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 5},
        {"model_type": 7},
    ],
)
def test_what_cannot_be(config: dict, tmp_path: Path) -> None:
    assert codes(write(tmp_path / "net", config)) == ["E632"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\x01", "nul", '{"a":' * 50_000, '"' + "x" * 100])
def test_what_is_no_config(text: str, tmp_path: Path) -> None:
    assert codes(write(tmp_path / "net", text)) == ["E631"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x80junk")
    assert codes(tmp_path) == ["E631"]


def test_what_is_no_folder(tmp_path: Path) -> None:
    assert codes(tmp_path / "none") == ["E630"]
    assert codes(tmp_path) == ["E630"]
    (tmp_path / "file").write_text("x")
    assert codes(tmp_path / "file") == ["E630"]
    (tmp_path / "odd" / "config.json").mkdir(parents=True)
    assert codes(tmp_path / "odd") == ["E630"]


def test_folders_and_hub_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "net", {"model_type": "llama"})
    found = Diagnostics()
    assert facts_of_reference("net", None, tmp_path, NOWHERE, found).layers == 32
    assert facts_of_reference("./net", None, tmp_path, NOWHERE, found).layers == 32
    assert len(found) == 0
    assert facts_of_reference("./none", None, tmp_path, NOWHERE, found) is None
    assert [d.code for d in found] == ["E630"]
    found = Diagnostics()
    assert facts_of_reference("org/none", None, tmp_path, NOWHERE, found) == Facts("language")
    assert [d.code for d in found] == ["W633"]
    assert "--network" in next(iter(found)).help
    for absurd in ("a b", "a/b/c", "", "x" * 500, "nul\0", "../up"):
        found = Diagnostics()
        assert facts_of_reference(absurd, None, tmp_path / "sub", NOWHERE, found) is None
        assert [d.code for d in found] == ["E630"], absurd


def test_the_local_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--org--name"
    for commit, layers in (("aaa", 3), ("bbb", 4)):
        (repository / "snapshots" / commit).mkdir(parents=True)
        write(repository / "snapshots" / commit, {"model_type": "llama", "num_hidden_layers": layers})
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("aaa")
    (repository / "refs" / "v2").write_text("bbb")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = Diagnostics()
    layers = [facts_of_hub("org/name", revision, NOWHERE, found).layers for revision in (None, "v2", "bbb", "v3")]
    assert layers == [3, 4, 4, None]
    assert [d.code for d in found] == ["W633"]


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys, causal_dsl.program.facts, causal_dsl.program.components, causal_dsl.program.templates\n"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
