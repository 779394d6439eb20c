"""Vectors that a test saves, against hooks by hand: which rows they are of, and that a run that goes on keeps the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from causal_dsl import api
from causal_dsl.store.streamed import write_streamed
from tests.engine.test_lens import run
from tests.engine.tiny import execution_of, spec_of

torch.set_num_threads(1)
SAVED = """
test kept on a {
  base, source ~ m(n=12, seed=1)
  do(layer[1].resid_post[x] <- source)
  report save @ layer[l].resid_post[p], change(save @ layer[2].resid_post[last])
}
"""


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
