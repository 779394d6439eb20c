"""What a spec may read: everything that it can name, from outside of its project, is refused before it is opened."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from causal_dsl.base.resources import resource
from causal_dsl.tools.cli import main

SECRET = "alpha\nbeta\ngamma\n"
MODEL = """
domain Name = {domain}
causal m {{
  a, b ~ Name
  output o : Name := a
}}
network net = {network}
align al : m -> net {{
  prompt "{{a}} {{b}} ="
  o @ next_token
}}
"""
ZOO = 'zoo("equality-gpt2")'
INLINE = '{"arrow", "circle"}'


def patched(written: str, via: str = "") -> str:
    """A spec that writes a vector, or reads a variable through a feature."""
    spec = MODEL.format(domain=INLINE, network=ZOO)
    if via:
        spec = spec.replace("  o @ next_token", f"  a @ layer[0].resid_post[a] via {via}\n  o @ next_token")
        do = "do(a <- source)"
    else:
        do = f"do(layer[0].resid_post[last] = {written})"
    return spec + f"test t on al {{\n  base, source ~ m(n=8)\n  {do}\n  report moved\n}}\n"


#: Every way in which a spec names a file, with a place for the path.
WAYS = {
    "import": 'from "{path}" import Name',
    "python": 'from "{path}" import name',
    "lines": MODEL.replace("{domain}", 'lines("{path}")')
    .replace("{network}", ZOO)
    .replace("{{", "{")
    .replace("}}", "}"),
    "csv": 'table T = csv("{path}", key=alpha)',
    "jsonl": 'table T = jsonl("{path}", key=alpha)',
    "vector": patched('vector("{path}")'),
    "subspace": patched("", 'subspace("{path}")'),
    "sae": patched("", 'sae("{path}")'),
    "fitted": patched("", 'rotation(dim=1, file="{path}")'),
    "circuit": patched("0") + 'circuit found : net = json("{path}")\n',
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a spec folder in it, and a secret beside the project."""
    inside = tmp_path / "project" / "specs"
    inside.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text("")
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret.causal").write_text(SECRET)
    (tmp_path / "secret.py").write_text(SECRET)
    monkeypatch.chdir(inside)
    return inside


def codes(spec: Path, capsys: pytest.CaptureFixture[str], *options: str) -> set[str]:
    main(["check", str(spec), "--json", *options])
    said = capsys.readouterr().out
    assert "alpha" not in said.replace("key=alpha", ""), "what a refused file holds is not told"
    return {d["code"] for one in json.loads(said)["specs"] for d in one["diagnostics"]}


def name_of(way: str) -> str:
    return {"import": "secret.causal", "python": "secret.py"}.get(way, "secret")


@pytest.mark.parametrize("form", ["relative", "absolute", "link"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_of_the_project_is_read(
    way: str, form: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name_of(way)
    outside = project.parents[1] / name
    path = {"relative": f"../../{name}", "absolute": str(outside), "link": name}[form]
    if form == "link":
        (project / name).symlink_to(outside)
    spec = project / "s.causal"
    spec.write_text(WAYS[way].replace("{path}", path))
    assert "E224" in codes(spec, capsys)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_allowed_is_read(way: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = project / "s.causal"
    spec.write_text(WAYS[way].replace("{path}", f"../../{name_of(way)}"))
    main(["check", str(spec), "--json", "--allow", str(project.parents[1])])
    assert "E224" not in capsys.readouterr().out
    main(["check", str(spec), "--json", "--trust"])
    assert "E224" not in capsys.readouterr().out


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_the_project_above_the_spec_is_read(
    way: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name_of(way)
    shutil.copy(project.parents[1] / name, project.parent / name)
    spec = project / "s.causal"
    spec.write_text(WAYS[way].replace("{path}", f"../{name}"))
    main(["check", str(spec), "--json"])
    assert "E224" not in capsys.readouterr().out


def test_without_a_project_a_spec_reads_its_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("arrow\ncircle\n")
    (tmp_path / "own").mkdir()
    for where, refused in (("../names.txt", True), ("names.txt", False)):
        spec = tmp_path / "own" / "s.causal"
        spec.write_text(WAYS["lines"].replace("{path}", where))
        shutil.copy(tmp_path / "names.txt", tmp_path / "own" / "names.txt")
        assert ("E224" in codes(spec, capsys)) is refused


@pytest.mark.parametrize("way", WAYS)
def test_pipes_and_devices_are_refused_before_they_are_opened(
    way: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(project / "pipe")
    spec = project / "s.causal"
    for path in ("pipe", "/dev/zero"):
        spec.write_text(WAYS[way].replace("{path}", path))
        assert "E225" in codes(spec, capsys)


@pytest.mark.parametrize("way", WAYS)
def test_a_huge_file_is_refused_before_it_is_read(way: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (project / "huge").open("wb") as file:
        file.truncate(2**40)  # a hole: nothing is on the disk
    spec = project / "s.causal"
    spec.write_text(WAYS[way].replace("{path}", "huge"))
    assert "E225" in codes(spec, capsys)


LENS = """  report tuned_lens(logit(o), "{path}") @ layer[0].resid_pre[last]"""
#: Files of tensors and settings that a run would read whole, and what refuses one that is none.
TENSORS = {
    "vector": (WAYS["vector"], "E688"),
    "subspace": (WAYS["subspace"], "E721"),
    "sae": (WAYS["sae"], "E721"),
    "fitted": (WAYS["fitted"], "E729"),
    "lens": (patched("0").replace("  report moved", LENS), "E848"),
}


def header(said: object) -> bytes:
    text = json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text


#: How files begin that are no whole safetensors file, however large they are.
BEGINNINGS = {
    "zeros": b"",
    "text": b"v = [1, 2, 3]\n",
    "half a header": (2**20).to_bytes(8, "little") + b'{"v": ',
    "more than it says": header({"v": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}),
    "offsets that are none": header({"v": {"dtype": "F32", "shape": [8], "data_offsets": 3}}),
}


@pytest.mark.parametrize("way", TENSORS)
def test_a_large_file_that_holds_no_tensors_is_refused_by_its_beginning(
    way: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 GB: to read or hash it would take minutes."""
    text, code = TENSORS[way]
    spec = project / "s.causal"
    spec.write_text(text.replace("{path}", "huge"))
    for begins in BEGINNINGS.values():
        with (project / "huge").open("wb") as file:
            file.write(begins)
            file.truncate(20 * 10**9)
        assert codes(spec, capsys) == {code}


@pytest.mark.parametrize(
    ("name", "code"),
    [("sae_weights.safetensors", "E721"), ("cfg.json", "E225"), ("activation_scaler.json", "E225")],
)
def test_so_is_one_in_the_folder_of_an_autoencoder(
    name: str, code: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "sae"
    folder.mkdir()
    (folder / "sae_weights.safetensors").write_bytes(header({}))
    with (folder / name).open("wb") as file:
        file.truncate(20 * 10**9)
    spec = project / "s.causal"
    spec.write_text(WAYS["sae"].replace("{path}", "sae"))
    assert codes(spec, capsys) == {code}


@pytest.mark.parametrize("way", [*WAYS, "lens"])
def test_a_folder_in_place_of_a_file_and_an_empty_name_are_told_as_such(
    way: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "d.csv").mkdir()
    spec = project / "s.causal"
    text = WAYS.get(way) or TENSORS[way][0]
    empty = " no file" if way in ("import", "python") else "is empty"
    for path, said in (("", empty), *([("d.csv", "folder")] if way != "sae" else [])):  # an autoencoder may be a folder
        spec.write_text(text.replace("{path}", path))
        assert main(["check", str(spec)]) == 2
        told = capsys.readouterr()
        told = told.out + told.err
        assert said in told and "there is no" not in told, told


def checkpoint(folder: Path) -> Path:
    """A copy of a network that ships."""
    shutil.copytree(resource("zoo", "equality-gpt2"), folder)
    return folder


@pytest.mark.parametrize("name", ["special_tokens_map.json", "chat_template.jinja", "notes"])
def test_a_pipe_in_a_checkpoint_is_refused_whatever_is_trusted(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(project / "model")
    os.mkfifo(folder / name)
    spec = project / "s.causal"
    spec.write_text(MODEL.format(domain=INLINE, network='hf("model")'))
    for trust in ([], ["--trust"]):
        assert main(["run", str(spec), "--json", *trust]) == 2
        found = json.loads(capsys.readouterr().out)["specs"][0]["diagnostics"]
        assert "E613" in [one["code"] for one in found]


def test_a_network_may_be_anywhere_and_gives_only_its_own(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint(project.parents[1] / "model")
    spec = project / "s.causal"
    spec.write_text(MODEL.format(domain=INLINE, network='hf("../../model")'))
    assert "E613" not in codes(spec, capsys)
    for name in ("tokenizer.json", "generation_config.json"):
        kept = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(project.parents[1] / "secret")
        assert "E613" in codes(spec, capsys)
        (folder / name).unlink()
        if kept is not None:
            (folder / name).write_bytes(kept)
    assert "E613" not in codes(spec, capsys)


@pytest.mark.parametrize("name", ["../stolen.safetensors", "/stolen.safetensors"])
def test_an_index_names_weights_of_the_checkpoint_only(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(project / "model")
    stolen = project / "stolen.safetensors"
    (folder / "model.safetensors").rename(stolen)
    written = name if name.startswith("..") else str(stolen)
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": written}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    spec = project / "s.causal"
    spec.write_text(
        MODEL.format(domain=INLINE, network='hf("model")') + "test t on al {\n  base ~ m(n=8)\n  report accuracy\n}\n"
    )
    assert main(["run", str(spec), "--json"]) == 2
    assert "E613" in capsys.readouterr().out


def test_the_cache_of_the_hub_is_a_network_of_its_own(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = project.parents[1] / "hub" / "models--some--net"
    source = checkpoint(project.parents[1] / "plain")
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for entry in source.iterdir():
        shutil.copy(entry, repository / "blobs" / entry.name)
        (snapshot / entry.name).symlink_to(f"../../blobs/{entry.name}")
    spec = project / "s.causal"
    spec.write_text(MODEL.format(domain=INLINE, network=f'hf("{snapshot}")'))
    assert "E613" not in codes(spec, capsys)


def test_a_config_that_fetches_a_kernel_needs_trust(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint(project / "model")
    config = json.loads((folder / "config.json").read_text())
    spec = project / "s.causal"
    spec.write_text(
        MODEL.format(domain=INLINE, network='hf("model")') + "test t on al {\n  base ~ m(n=8)\n  report accuracy\n}\n"
    )
    for key in ("attn_implementation", "_attn_implementation", "experts_implementation"):
        (folder / "config.json").write_text(json.dumps({**config, key: "somebody/kernel"}))
        assert main(["run", str(spec), "--json"]) == 2
        assert "E636" in capsys.readouterr().out


def test_a_folder_is_no_file_wherever_its_links_lead(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "elsewhere").symlink_to(project.parents[1])
    spec = project / "s.causal"
    spec.write_text(MODEL.format(domain='lines(".")', network='zoo("equality-gpt2")'))
    assert not codes(spec, capsys) & {"E224", "E225"}


def test_imports_may_not_be_nested_without_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(300):
        (project / f"f{number}.causal").write_text(f'from "f{number + 1}.causal" import Shape\n')
    (project / "f300.causal").write_text("domain Shape = 0..3\n")
    assert codes(project / "f0.causal", capsys) == {"E229"}
    assert codes(project / "f250.causal", capsys) == set()


def test_a_line_end_in_a_path_is_no_line_of_a_message(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = project / "s.causal"
    spec.write_text(MODEL.format(domain='lines("a\\n\\rb.txt")', network='zoo("equality-gpt2")'))
    main(["check", str(spec)])
    assert '"a\\n\\rb.txt"' in capsys.readouterr().out
