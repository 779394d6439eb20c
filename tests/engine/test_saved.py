"""Vectors that a test saves, against hooks by hand: which rows they are of, and that a run that goes on keeps the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from causal_dsl.store.streamed import write_streamed
from tests.engine.test_lens import run
from tests.engine.tiny import execution_of, spec_of
from tests.thinning import some

torch.set_num_threads(1)
SAVED = """
test kept on a {
  base, source ~ m(n=12, seed=1)
  do(layer[1].resid_post[x] <- source)
  report save @ layer[l].resid_post[p], change(save @ layer[2].resid_post[last])
}
"""


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_saved_vectors_are_those_of_their_rows(padding: str, tmp_path: Path) -> None:
    text = spec_of("llama", SAVED, padding=padding)
    results = api.run(api.parse(text), api.Options(trust=True, out=tmp_path))
    (path,) = tmp_path.rglob("kept.safetensors")
    execution, _ = execution_of(text)
    (inputs,) = execution.plan.inputs.values()
    rows = {forward.role: execution.plan.rows[forward] for forward in execution.plan.rows}
    seen = {}
    with safe_open(path, "pt") as file:
        every = json.loads(file.metadata()["vectors"])
        assert file.get_tensor("pair").tolist() == list(range(12))
        assert {one["run"] for one in every} == {"base", "patched"}
        for number, about in enumerate(every):
            vectors, tokens = file.get_tensor(f"vectors.{number}"), file.get_tensor(f"token.{number}").tolist()
            layer = int(about["site"][6])
            seen[json.dumps(about)] = float(vectors.double().norm(dim=1).mean())
            for pair in (0, 7, 11):
                prompts = {role: [int(t) for t in inputs.rows(own[pair : pair + 1])[0]] for role, own in rows.items()}
                write = None
                if about["run"] == "patched":
                    x = next(i.places[0].position for i in execution.plan.tests[0].cells[0].interventions)
                    there = [inputs.where(x, int(rows[role][pair]))[0] for role in ("base", "source")]
                    write = (there[0], run("llama", prompts["source"], 1, "out", None)[0][there[1]])
                expected = run("llama", prompts["base"], layer, "out", write)[0][tokens[pair]]
                assert torch.allclose(vectors[pair], expected, atol=1e-4), (about, pair)
    for cell in results["kept"].cells:
        name = next(one for one in cell.scores if one.startswith("save"))
        about = {"cell": cell.cell, "run": "patched", "site": f"layer[{cell.cell['l']}].resid_post[{cell.cell['p']}]"}
        assert abs(seen[json.dumps(about)] - cell.scores[name].value) < 1e-4


@pytest.mark.slow
def test_a_run_that_goes_on_saves_the_same(tmp_path: Path) -> None:
    text = spec_of("llama", SAVED.replace("n=12", "n=200"))
    options = api.Options(trust=True, out=tmp_path, memory=2_000_000)
    api.run(api.parse(text), options)
    (path,) = tmp_path.rglob("kept.safetensors")
    whole, blocks = path.read_bytes(), sorted(tmp_path.rglob("step*.npz"))
    assert len(blocks) > 2
    path.unlink()
    blocks[0].unlink()
    api.run(api.parse(text), options)
    assert path.read_bytes() == whole


def test_a_file_that_is_written_in_parts_is_read_as_a_whole(tmp_path: Path) -> None:
    large = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(50_000, 100))
    large[:] = np.arange(50_000)[:, None]
    write_streamed(tmp_path / "file.safetensors", [("a", np.arange(7)), ("b", large)], {"said": "so"})
    with safe_open(tmp_path / "file.safetensors", "pt") as file:
        assert file.metadata() == {"said": "so"}
        assert file.get_tensor("a").tolist() == list(range(7))
        assert torch.equal(file.get_tensor("b"), torch.from_numpy(np.asarray(large)))


@pytest.mark.slow
@pytest.mark.parametrize("padding", some(["left", "right"], ["left"]))
def test_all_tokens_are_saved_with_their_lengths(padding: str, tmp_path: Path) -> None:
    """Prompts of several lengths, before and after an intervention; the score is the mean norm over the tokens of each pair."""
    more = """
test kept on a(p=last) {
  base, source ~ m(n=9, seed=1)
  do(layer[1].resid_post[x] <- source)
  report save @ layer[l].resid_post[all], change(save @ layer[2].resid_post[first:last])
}
"""
    text = spec_of("llama", more, padding=padding)
    results = api.run(api.parse(text), api.Options(trust=True, out=tmp_path, memory=2_000_000))
    (path,) = tmp_path.rglob("kept.safetensors")
    execution, _ = execution_of(text)
    (inputs,) = execution.plan.inputs.values()
    rows = {forward.role: execution.plan.rows[forward] for forward in execution.plan.rows}
    x = next(i.places[0].position for i in execution.plan.tests[0].cells[0].interventions)
    with safe_open(path, "pt") as file:
        every = json.loads(file.metadata()["vectors"])
        assert {(one["run"], "[all]" in one["site"]) for one in every} == {
            ("base", False),
            ("patched", False),
            ("patched", True),
        }
        for number, about in enumerate(every):
            vectors, lengths = file.get_tensor(f"vectors.{number}"), file.get_tensor(f"length.{number}").tolist()
            tokens = file.get_tensor(f"token.{number}").tolist()
            assert len(lengths) == 9 and len(set(lengths)) > 1 and sum(lengths) == len(vectors) == len(tokens)
            start, norms = 0, []
            for pair, length in enumerate(lengths):
                prompts = {role: [int(t) for t in inputs.rows(own[pair : pair + 1])[0]] for role, own in rows.items()}
                write = None
                if about["run"] == "patched":
                    there = [inputs.where(x, int(rows[role][pair]))[0] for role in ("base", "source")]
                    write = (there[0], run("llama", prompts["source"], 1, "out", None)[0][there[1]])
                expected = run("llama", prompts["base"], int(about["site"][6]), "out", write)[0][:length]
                assert length == len(prompts["base"]) - ("[all]" not in about["site"])
                assert tokens[start : start + length] == list(range(length))
                assert torch.allclose(vectors[start : start + length], expected, atol=1e-4), (about, pair)
                norms.append(float(vectors[start : start + length].double().norm(dim=1).mean()))
                start += length
            if "[all]" in about["site"]:
                cell = next(one for one in results["kept"].cells if one.cell == about["cell"])
                name = next(one for one in cell.scores if one.startswith("save"))
                assert cell.scores[name].value == pytest.approx(np.mean(norms), abs=1e-4)


@pytest.mark.tools
def test_zarr_holds_the_same_as_safetensors(tmp_path: Path) -> None:
    import zarr
    from zarr.storage import ZipStore

    more = """
test kept on a(l=1, p=last) {
  base ~ m(n=9, seed=1)
  report save @ layer[1].resid_post[all], save(format=zarr) @ layer[1].mlp_out[all], save @ layer[1].mlp_out[all]
}
"""
    api.run(api.parse(spec_of("llama", more)), api.Options(trust=True, out=tmp_path))
    (path,), (other,) = tmp_path.rglob("kept.zarr.zip"), tmp_path.rglob("kept.safetensors")
    group = zarr.open_group(ZipStore(str(path), mode="r"), mode="r")
    told = group.attrs["vectors"]
    assert isinstance(told, list) and [one["site"] for one in told] == ["layer[1].mlp_out[all]"]  # type: ignore[index, call-overload]
    with safe_open(other, "numpy") as file:
        every = json.loads(file.metadata()["vectors"])
        assert len(every) == 2
        number = next(i for i, one in enumerate(every) if "mlp_out" in one["site"])
        for name in ("vectors", "token", "length"):
            assert np.array_equal(np.asarray(group[f"{name}.0"]), file.get_tensor(f"{name}.{number}"))
    assert np.array_equal(np.asarray(group["pair"]), np.arange(9))


def test_zarr_is_asked_for_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = """
test kept on a(l=1, p=last) {
  base ~ m(n=9, seed=1)
  report save(format=zarr) @ layer[1].mlp_out[last]
}
"""
    monkeypatch.setattr("causal_dsl.report.activations.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"(?s)E897.*pip install 'causal-dsl\[zarr\]'"):
        api.run(api.parse(spec_of("llama", more)), api.Options(trust=True, out=tmp_path))
