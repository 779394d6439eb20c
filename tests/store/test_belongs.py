"""What is kept belongs to what made it: one input changed, and it is run anew; none changed, and nothing is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.features.sae_file import CONFIG, WEIGHTS
from causal_dsl.store import keys
from tests.store.small import NAMES, ROTATION, WORDS, Change, Ran, add_to, language, swap, vector, words
from tests.thinning import spread

#: What is changed of the language spec, and whether its numbers are others then.
LANGUAGE: dict[str, tuple[Change, bool]] = {
    "config": (lambda f: swap(f / "model" / "config.json", '"silu"', '"relu"'), True),
    "generation config": (lambda f: swap(f / "model" / "generation_config.json", "{", '{"max_length": 7,'), False),
    "tokenizer": (lambda f: words([*WORDS[:5], *reversed(WORDS[5:])]).save(str(f / "model" / "tokenizer.json")), True),
    "tokenizer settings": (lambda f: (f / "model" / "tokenizer_config.json").write_text("{}") and None, False),
    "one weight": (
        lambda f: add_to(f / "model" / "model.safetensors", "model.layers.1.mlp.up_proj.weight", 77, 0.5),
        True,
    ),
    "lines": (lambda f: (f / "lib" / "names.txt").write_text("\n".join(reversed(NAMES)) + "\n") and None, True),
    "imported spec": (lambda f: swap(f / "lib" / "roles.causal", "domain", "# A doc.\ndomain"), False),
    "table": (lambda f: swap(f / "likes.csv", "ann,bob", "ann,cid"), False),
    "vector": (lambda f: add_to(f / "steer.safetensors", "v", 3, 1.0), True),
    "directions": (lambda f: add_to(f / "directions.safetensors", "d", 3, 1.0), True),
    "autoencoder": (lambda f: add_to(f / "sae" / WEIGHTS, "b_enc", 1, 3.0), True),
    "autoencoder's config": (lambda f: swap(f / "sae" / CONFIG, "{", '{"apply_b_dec_to_input": false,'), True),
    "function": (lambda f: swap(f / "code" / "pick.py", "return a", "return b"), True),
    "spec": (lambda f: swap(f / "s.causal", "n=8, seed=0", "n=8, seed=5"), True),
}
#: The same of the spec on a network that code makes. ``shapes`` and the gain are read by that code.
VECTOR: dict[str, tuple[Change, bool]] = {
    "factory": (lambda f: swap(f / "net.py", "torch.tanh", "torch.relu"), True),  # as long, and in the same second
    "its module": (lambda f: swap(f / "shapes.py", "HIDDEN = 6", "HIDDEN=+6"), False),
    "what it opens": (lambda f: swap(f / "gain.json", "1.5", "2.5"), True),
    "weights": (lambda f: add_to(f / "net.safetensors", "layers.0.weight", 47, 2.0), True),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "dtype": {"dtype": "float64"},
    "memory": {"memory": 10**8},
    "tests": {"tests": ("swap",)},
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both specs, run once into `out` beside each."""
    home = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSAL_DSL_CACHE", str(home / "cache"))
        for spec in (language(home / "language"), vector(home / "vector")):
            first = Ran(spec, patch, out=spec.parent / "out")
            assert first.steps["sweep"] > 0 and "W658" not in first.codes
    return home


def copy_of(kept: Path, name: str, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(kept / name, tmp_path / name, symlinks=True)
    return tmp_path / name


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("name", ["language", "vector"])
def test_nothing_changed_and_nothing_is_run(
    kept: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where spec and results were moved together."""
    folder = copy_of(kept, name, tmp_path)
    spec = folder / f"{name[0] if name == 'vector' else 's'}.causal"
    again = Ran(spec, monkeypatch, out=folder / "out")
    assert again.steps["sweep"] == 0 and not {"W658", "W659"} & set(again.codes)
    fresh = Ran(spec, monkeypatch)
    assert again.numbers == fresh.numbers and again.spec.identity["key"] == fresh.spec.identity["key"]


def changed(folder: Path, spec: str, change: Change, other: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((folder / "out" / spec / "results.json").read_text())
    change(folder)
    again = Ran(folder / f"{spec}.causal", monkeypatch, out=folder / "out")
    fresh = Ran(folder / f"{spec}.causal", monkeypatch)
    assert again.steps["sweep"] > 0, "what was kept is of the input as it was"
    assert again.numbers == fresh.numbers
    if other:
        from tests.store.small import numbers_of

        assert again.numbers != numbers_of(before), "the change must matter, or the test shows nothing"
    assert "W658" in again.codes and again.notes
    stored = json.loads((folder / "out" / spec / "results.json").read_text())
    assert stored["identity"]["key"] == again.spec.identity["key"] != before["identity"]["key"]


@pytest.mark.thinned(always=1, values=True, slow=6)
@pytest.mark.parametrize("what", spread(LANGUAGE, 4))
@pytest.mark.slow
def test_another_file_and_all_is_run_anew(
    kept: Path, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(copy_of(kept, "language", tmp_path), "s", *LANGUAGE[what], monkeypatch)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("what", spread(VECTOR, 2))
def test_other_code_and_all_is_run_anew(kept: Path, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(copy_of(kept, "vector", tmp_path), "v", *VECTOR[what], monkeypatch)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("what", spread(OPTIONS, 2))
def test_other_options_and_all_is_run_anew(
    kept: Path, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(kept, "language", tmp_path)
    again = Ran(folder / "s.causal", monkeypatch, out=folder / "out", **OPTIONS[what])
    word = keys.OPTIONS.get(what, what)
    assert again.steps["sweep"] > 0 and any(word in note for note in again.notes)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("name", ["causal_dsl", "causal_dsl source", "torch", "transformers"])
def test_other_versions_and_all_is_run_anew(
    kept: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(kept, "vector", tmp_path)
    monkeypatch.setitem(keys.versions(), name, "another")
    again = Ran(folder / "v.causal", monkeypatch, out=folder / "out")
    assert again.steps["sweep"] > 0 and any(f"versions: {name}" in note for note in again.notes)


@pytest.mark.slow
def test_the_note_names_the_file(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of(kept, "language", tmp_path)
    add_to(folder / "steer.safetensors", "v", 0, 1.0)
    again = Ran(folder / "s.causal", monkeypatch, out=folder / "out")
    assert again.notes == ["files: steer.safetensors has another content"]


# ── fits and trainings ──────────────────────────────────────────────────────────────────────────


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("what", spread([None, *VECTOR], 4))
@pytest.mark.slow
def test_a_fit_belongs_to_all_that_its_network_is_made_of(
    what: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    spec = vector(tmp_path / "p", ROTATION)
    first = Ran(spec, monkeypatch)
    (tmp_path / "p" / "a-file-that-nobody-reads.txt").write_text("")  # the working directory decides about nothing
    (tmp_path / "another.txt").write_text("")
    if what is not None:
        VECTOR[what][0](spec.parent)
    again = Ran(spec, monkeypatch)
    assert first.steps["fit"] == 2 and again.steps["fit"] == (0 if what is None else 2)
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "empty"))
    assert Ran(spec, monkeypatch).numbers == again.numbers


@pytest.mark.slow
def test_a_fit_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Ran(vector(tmp_path / "one", ROTATION), monkeypatch).steps["fit"] == 2
    os.chdir(vector(tmp_path / "two", ROTATION).parent)
    assert Ran(tmp_path / "two" / "v.causal", monkeypatch).steps["fit"] == 0


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_kept_fit_with_ten_bytes_turned_over_is_fitted_anew(
    at: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    spec = vector(tmp_path / "p", ROTATION)
    first = Ran(spec, monkeypatch)
    for path in (cache / "features").glob("*.safetensors"):
        data = bytearray(path.read_bytes())
        start = int(at * (len(data) - 10))
        data[start : start + 10] = bytes(byte ^ 0x55 for byte in data[start : start + 10])
        path.write_bytes(bytes(data))
    again = Ran(spec, monkeypatch)
    assert again.numbers == first.numbers and again.steps["fit"] == 2 and again.codes.count("W659") == 2
    assert len(list((cache / "features").glob("*.damaged"))) == 2
    assert not Ran(spec, monkeypatch).steps["fit"]


@pytest.mark.slow
def test_a_network_that_only_its_config_tells_apart_is_another(tmp_path: Path) -> None:
    """The same weights under another activation function: not one fingerprint."""
    from causal_dsl.network.fingerprint import fingerprint
    from causal_dsl.running.session import Session

    found = set()
    for act in ("silu", "relu"):
        spec = language(tmp_path / act)
        swap(tmp_path / act / "model" / "config.json", '"silu"', f'"{act}"')
        checked = cd.check(cd.load(spec), cd.Options(trust=True))
        assert checked.program is not None
        found.add(fingerprint(Session(cd.Options(trust=True)).network(checked.program.networks["net"])))
    assert len(found) == 2


# ── results ─────────────────────────────────────────────────────────────────────────────────────


def test_results_say_what_they_are_of(kept: Path) -> None:
    stored = json.loads((kept / "language" / "out" / "s" / "results.json").read_text())
    identity = stored["identity"]
    assert stored["schema"] == 2 and len(identity["key"]) == 64 and identity["seed"] == 0
    assert len(identity["networks"]["net"]["weights"]) == 64 == len(stored["networks"]["net"]["weights"])
    assert identity["networks"]["net"]["device"] == "cpu" and identity["networks"]["net"]["dtype"] == "torch.float32"
    named = {
        "likes.csv",
        "ages.parquet",
        "kept/data.arrow",
        "kept/state.json",
        "lib/names.txt",
        "lib/roles.causal",
        "code/pick.py",
        "steer.safetensors",
        "directions.safetensors",
        f"sae/{WEIGHTS}",
        f"sae/{CONFIG}",
        "model/config.json",
        "model/tokenizer.json",
    }
    assert named <= identity["files"].keys() and {len(known) for known in identity["files"].values()} == {64}
    assert {"causal_dsl", "torch", "transformers", "python"} <= stored["versions"].keys()
