"""Checkpoints and factories: what loads, and that each way of being broken is a diagnostic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from causal_dsl.diagnostics import NOWHERE, Diagnostics, SpecError
from causal_dsl.network import checkpoints
from causal_dsl.network.forward import forward
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.load import CheckpointReference, load
from causal_dsl.program.facts import facts_of_folder
from tests.network.families import model_of

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint: config, weights, tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    model_of("llama").save_pretrained(folder)
    words = {f"w{index}": index for index in range(60)}
    tokenizer = Tokenizer(models.WordLevel({**words, "[UNK]": 60}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    shutil.copytree(checkpoint, tmp_path / "net")
    return tmp_path / "net"


def code_of(folder: Path | str, **more: object) -> str:
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("hf", str(folder)), device="cpu", **more)
    assert len(caught.value.diagnostics) == 1
    assert caught.value.diagnostics[0].render()
    return caught.value.diagnostics[0].code


def test_a_folder_loads(checkpoint: Path) -> None:
    facts = facts_of_folder(checkpoint, NOWHERE, Diagnostics())
    network = load(facts, CheckpointReference("hf", checkpoint.name, base=checkpoint.parent), device="cpu", name="net")
    assert network.facts == facts
    assert network.dtype == torch.float32
    proof = proof_of(network)
    assert proof is not None
    assert proof.refused == {}
    assert not network.model.training
    assert not any(p.requires_grad for p in network.model.parameters())
    assert network.tokens is not None
    ids = network.tokens.encode("w5 w9 w13").ids
    got = forward(network, [list(ids)], readout=torch.tensor([0])).logits
    with torch.no_grad():
        expected = model_of("llama")(input_ids=torch.tensor([ids])).logits[0, -1]
    assert torch.allclose(got[0], expected, atol=1e-5)


ENCODERS = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "electra narrow", "distilbert"]


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_loads_as_what_fills_in_a_masked_token(name: str, tmp_path: Path) -> None:
    model_of(name).save_pretrained(tmp_path)
    tokenizer = Tokenizer(
        models.WordLevel({**{f"w{i}": i for i in range(59)}, "[UNK]": 59, "<m>": 60}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"mask_token": "<m>"}))
    facts = facts_of_folder(tmp_path, NOWHERE, Diagnostics())
    network = load(facts, CheckpointReference("hf", str(tmp_path)), device="cpu")
    assert network.facts == facts
    assert facts.both_ways
    assert "MaskedLM" in type(network.model).__name__
    assert proof_of(network).refused == {}
    assert proof_of(network).sweep == "ragged"
    ids = network.tokens.encode("w5 [MASK] w13").ids
    assert ids == (5, 60, 13)
    got = forward(network, [list(ids)], readout=torch.tensor([0]), positions=torch.tensor([1])).logits
    with torch.no_grad():
        expected = model_of(name)(input_ids=torch.tensor([ids])).logits[0, 1]
    assert torch.allclose(got[0], expected, atol=1e-5)


def test_a_decoder_of_berts_kind_says_the_next_token(tmp_path: Path) -> None:
    model_of("bert decoder").save_pretrained(tmp_path)
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    network = load(None, CheckpointReference("hf", str(tmp_path)), device="cpu")
    assert not network.facts.both_ways
    assert proof_of(network).sweep == "ragged"
    assert not proof_of(network).slow


def test_a_checkpoint_as_it_was_pretrained(tmp_path: Path) -> None:
    """bert's has another head beside that which is read; electra's discriminator has none that fills in a mask."""
    from transformers import BertForPreTraining, ElectraForPreTraining

    Tokenizer(models.WordLevel({"[MASK]": 0}, unk_token="[MASK]")).save(str(tmp_path / "tokenizer.json"))
    BertForPreTraining(model_of("bert").config).save_pretrained(tmp_path)
    assert proof_of(load(None, CheckpointReference("hf", str(tmp_path)), device="cpu")).refused == {}
    ElectraForPreTraining(model_of("electra").config).save_pretrained(tmp_path)
    assert code_of(tmp_path) == "E640"


def test_dtype(checkpoint: Path) -> None:
    network = load(None, CheckpointReference("hf", str(checkpoint)), device="cpu", dtype="bfloat16")
    assert network.dtype == torch.bfloat16
    assert proof_of(network).refused == {}
    assert code_of(checkpoint, dtype="flaot32") == "E647"


@pytest.mark.parametrize("device", ["gpu", "cuda:7", "meta", "tpu:x"])
def test_devices_that_are_not_there(checkpoint: Path, device: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("hf", str(checkpoint)), device=device)
    assert caught.value.diagnostics[0].code == "E645"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def drop_tensor(path: Path) -> None:
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def reshape_tensor(path: Path) -> None:
    weights = load_file(path)
    weights["model.norm.weight"] = torch.zeros(31)
    save_file(weights, path, metadata={"format": "pt"})


def setting(key: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return change


@pytest.mark.parametrize(
    ("file", "change", "code"),
    [
        ("model.safetensors", cut, "E641"),
        ("model.safetensors", Path.unlink, "E641"),
        ("model.safetensors", lambda path: path.write_bytes(b"junk"), "E641"),
        ("model.safetensors", lambda path: path.write_bytes(b"\xff" * 64), "E641"),
        ("model.safetensors", lambda path: path.write_bytes(b""), "E641"),
        ("model.safetensors", drop_tensor, "E640"),
        ("model.safetensors", reshape_tensor, "E640"),
        ("config.json", setting("num_hidden_layers", 5), "E640"),
        ("config.json", setting("intermediate_size", 48), "E640"),
        ("config.json", setting("num_attention_heads", 0), "E632"),
        ("config.json", setting("rope_parameters", "no"), "E632"),
        ("config.json", setting("model_type", "vit"), "E648"),
        ("config.json", setting("model_type", "albert"), "E648"),
        ("config.json", setting("model_type", "nonesuch"), "E632"),
        ("config.json", lambda path: path.write_text("{"), "E631"),
        ("config.json", Path.unlink, "E630"),
        ("tokenizer.json", lambda path: path.write_text("[]"), "E643"),
        ("tokenizer.json", Path.unlink, "E643"),
    ],
)
def test_broken_checkpoints(copy: Path, file: str, change: Callable[[Path], object], code: str) -> None:
    change(copy / file)
    assert code_of(copy) == code


def test_an_index_that_names_a_missing_file(copy: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert code_of(copy) == "E641"
    (copy / "model.safetensors.index.json").write_text("[]")
    assert code_of(copy) == "E641"


def test_pickles_and_code_need_trust(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save(model_of("llama").state_dict(), copy / "pytorch_model.bin")
    assert code_of(copy) == "E635"
    assert proof_of(load(None, CheckpointReference("hf", str(copy)), device="cpu", trust=True)).refused == {}
    setting("auto_map", {"AutoModelForCausalLM": "x.Y"})(copy / "config.json")
    setting("model_type", "someones_own")(copy / "config.json")
    assert code_of(copy) == "E636"


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    assert code_of("nobody/nothing-here") == "E634"


def test_a_copy_in_the_local_cache_is_used(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    repository = tmp_path / "models--some--net"
    shutil.copytree(checkpoint, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load(None, CheckpointReference("hf", "some/net"), device="cpu").facts.layers == 3
    assert load(None, CheckpointReference("hf", "some/net", revision="abc"), device="cpu").facts.layers == 3


def test_too_little_memory(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "free_memory", lambda device: 1000)
    assert code_of(checkpoint) == "E642"


# ── factories ───────────────────────────────────────────────────────────────────────────────────

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=5):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, hidden), nn.Linear(hidden, 3)])
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)

def make():
    return Net()

def number():
    return 7

def broken():
    return 1 / 0

def stop():
    raise SystemExit(3)

def sequence():
    return nn.Sequential(nn.Embedding(3, 4))

def convolution():
    return nn.Conv1d(1, 2, 3)

def bare():
    return nn.Sequential(nn.ReLU())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "syntax.py").write_text("def make(:\n")
    return tmp_path


def test_a_factory(folder: Path) -> None:
    network = load(None, CheckpointReference("torch", "net.py:make", base=folder), device="cpu", trust=True)
    assert network.facts.widths == (4, 5, 3)
    assert network.facts.classes == 2
    save_file({k: v + 1 for k, v in network.model.state_dict().items()}, folder / "w.safetensors")
    again = load(
        None, CheckpointReference("torch", "net.py:make", folder, weights="w.safetensors"), device="cpu", trust=True
    )
    assert torch.equal(again.model.head.weight, load_file(folder / "w.safetensors")["head.weight"])


def test_a_factory_of_a_language_model(folder: Path, checkpoint: Path) -> None:
    (folder / "lm.py").write_text(
        "from transformers import AutoModelForCausalLM\n"
        f"def make():\n    return AutoModelForCausalLM.from_pretrained({str(checkpoint)!r}), "
        f"{str(checkpoint / 'tokenizer.json')!r}\n"
    )
    network = load(None, CheckpointReference("torch", "lm.py:make", folder), device="cpu", trust=True)
    assert network.facts.kind == "language"
    assert proof_of(network).refused == {}
    assert network.tokens.encode("w3 w4").ids == (3, 4)


@pytest.mark.parametrize(
    ("name", "weights", "trust", "code"),
    [
        ("net.py:make", None, False, "E646"),
        ("none.py:make", None, True, "E637"),
        ("net.py", None, True, "E637"),
        ("net.py:mak", None, True, "E638"),
        ("net.py:number", None, True, "E639"),
        ("net.py:broken", None, True, "E639"),
        ("net.py:stop", None, True, "E639"),
        ("net.py:sequence", None, True, "E639"),
        ("net.py:convolution", None, True, "E639"),
        ("net.py:bare", None, True, "E639"),
        ("syntax.py:make", None, True, "E639"),
        ("net.py:make", "none.safetensors", True, "E641"),
        ("net.py:make", "net.py", True, "E641"),
        ("net.py:make", "other.safetensors", True, "E640"),
    ],
)
def test_broken_factories(folder: Path, name: str, weights: str | None, trust: bool, code: str) -> None:
    save_file({"head.weight": torch.zeros(2, 3)}, folder / "other.safetensors")
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("torch", name, folder, weights=weights), device="cpu", trust=trust)
    assert caught.value.diagnostics[0].code == code


#: What a function gives that holds a network, and what is said of it.
BUNDLES = {
    "a dict": ('{"model": Net(), "tokenizer": "tokenizer.json"}', "a dict, not"),
    "three": ('Net(), "tokenizer.json", 7', "a tuple of 3"),
    "the other order": ('"tokenizer.json", Net()', "a tuple of 2"),
    "a list of one": ("[Net()]", "a list of 1"),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_factory_that_gives_a_network_among_other_things(folder: Path, name: str) -> None:
    given, title = BUNDLES[name]
    (folder / "among.py").write_text(f"{NETWORK}\ndef among():\n    return {given}\n")
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("torch", "among.py:among", folder), device="cpu", trust=True)
    (told,) = caught.value.diagnostics
    assert told.code == "E639" and title in told.title
    assert "`return model, tokenizer`" in told.help and "Net" in told.notes[0]


def test_a_factory_that_gives_no_network(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("torch", "net.py:number", folder), device="cpu", trust=True)
    assert "returns an int, not a network" in caught.value.diagnostics[0].title
    assert "model, tokenizer" in caught.value.diagnostics[0].help


def test_the_line_of_a_fault_in_a_factory_is_told(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("torch", "net.py:broken", folder), device="cpu", trust=True)
    assert "line 22" in caught.value.diagnostics[0].title
    assert "ZeroDivisionError" in caught.value.diagnostics[0].notes[0]
