"""`layers` and `heads` are the numbers of each network, in parameters and in indices; a fault of several networks is told once."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.diagnostics import SpecError
from causal_dsl.syntax.format import format_tree
from tests.engine.tiny import folder_of

SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}
network net(size in [2, 3]) = hf("n{size}")
align a(PARAMETERS) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  same @ SITE
  o    @ next_token(among=W)
}
test t on a {
  base, source ~ m(n=8, seed=1) where base.same != source.same
  do(same <- source)
  report iia
}
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for layers in (2, 3):
        (tmp_path / f"n{layers}").symlink_to(folder_of(f"llama:{layers}"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("parameters", "site", "cells"),
    [
        ("l in 0:layers", "layer[l].resid_post[last]", {2: [0, 1], 3: [0, 1, 2]}),
        ("l in 1:layers", "layer[l].resid_post[last]", {2: [1], 3: [1, 2]}),
        ("l in [0, layers - 1]", "layer[l].resid_post[last]", {2: [0, 1], 3: [0, 2]}),
        ("l in 0:layers - 1", "layer[l:layers].mlp_out[last]", {2: [0], 3: [0, 1]}),
        ("l in 0:heads", "layer[layers - 1].head[l].z[last]", {2: [0, 1, 2, 3], 3: [0, 1, 2, 3]}),
    ],
)
def test_each_network_has_its_own_numbers(parameters: str, site: str, cells: dict[int, list[int]]) -> None:
    checked = api.check(api.parse(SPEC.replace("PARAMETERS", parameters).replace("SITE", site)))
    checked.raise_errors()
    assert checked.program is not None
    for test in checked.program.tests:
        size = dict(test.variant)["size"]
        assert [dict(cell.values)["l"] for cell in test.cells] == cells[int(size)], test.name
        top = max(place.site.layer or 0 for cell in test.cells for i in cell.interventions for place in i.places)
        assert top == int(size) - 1


@pytest.mark.usefixtures("nets")
def test_what_a_test_is_on_may_have_a_value_that_is_counted() -> None:
    text = SPEC.replace("PARAMETERS", "l in 0:layers").replace("SITE", "layer[l].resid_post[last]")
    text = text.replace("test t on a", "test t(j in [0, layers - 1]) on a(l=j)")
    program = api.check(api.parse(text)).program
    assert program is not None
    found = {
        test.name: [i.places[0].site.layer for cell in test.cells for i in cell.interventions] for test in program.tests
    }
    last = {f"t(j=layers - 1, size={size})": [size - 1] for size in (2, 3)}
    assert found == {f"t(j=0, size={size})": [0] for size in (2, 3)} | last


@pytest.mark.usefixtures("nets")
def test_a_range_beyond_one_network_is_told_with_the_mend() -> None:
    text = SPEC.replace("PARAMETERS", "l in 0:3").replace("SITE", "layer[l].resid_post[last]")
    with pytest.raises(SpecError) as error:
        api.check(api.parse(text)).raise_errors()
    assert [one.code for one in error.value.diagnostics] == ["E454"]
    assert "l in 0:layers" in error.value.diagnostics[0].help


@pytest.mark.slow
@pytest.mark.usefixtures("nets")
def test_a_range_beyond_one_network_loses_nothing_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s.causal"
    path.write_text(SPEC.replace("PARAMETERS", "l in 0:3").replace("SITE", "layer[l].resid_post[last]"))
    results = cd.run(path, cd.Options(out=tmp_path / "out"))
    lost, whole = results.tests
    assert (dict(lost.variant), lost.status, lost.fault, lost.cells) == ({"size": 2}, "interrupted", "E454", ())
    alone = cd.run(path, cd.Options(tests=(whole.name,)))["t(size=3)"]
    assert not alone.fault and len(alone.cells) == 3
    assert [cell.scores["iia"] for cell in whole.cells] == [cell.scores["iia"] for cell in alone.cells]
    assert [fault.code for fault in results.faults] == ["E454"]
    kept = [test.to_json() for test in cd.read_results(tmp_path / "out").tests]
    assert kept == [test.to_json() for test in results.tests]
    with pytest.raises(SpecError, match="E200"):  # what is no fault of one network ends all
        cd.run(cd.parse(path.read_text() + "test other on nothing {\n  base ~ nothing(n=4)\n  report kl\n}\n"))


VECTORS = """
domain Shape = 0..3
causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  output same := left == (c == d)
}
network mlp(size in SIZES) = torch("nets.py:build", size=size)
align halvesPARAMETERS : equality -> mlp {
  a..d @ input via onehot()
  left  @ SITE
  same  @ logits
}
test left_moves on halves {
  base, source ~ equality(n=16, seed=0)
  do(left <- source)
  report iia
}
"""
NETS = """
import torch
from torch import nn

def build(size):
    torch.manual_seed(size)
    layers = [nn.Linear(16, 8 * size), nn.ReLU()]
    for _ in range(size - 1):
        layers += [nn.Linear(8 * size, 8 * size), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(8 * size, 2))
"""


def of_vectors(folder: Path, parameters: str, site: str, sizes: str) -> str:
    (folder / "nets.py").write_text(NETS)
    return VECTORS.replace("PARAMETERS", parameters).replace("SITE", site).replace("SIZES", sizes)


@pytest.mark.slow
def test_networks_of_ones_own_have_theirs_once_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = of_vectors(tmp_path, "(l in 0:layers)", "layer[l].out", "1:3")
    results = api.run(api.parse(text), Options(trust=True))
    assert [len(test.cells) for test in results.tests] == [3, 5]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("site", "sizes", "code", "note"),
    [
        ('module("9")', "1:4", "E422", "the same in `mlp(size=2)`: there is"),
        ("layer[1].out[0:20]", "1:4", "E458", "the same in `mlp(size=2)`: coordinates run from 0 to 15"),
        ("layer[1].out[0:90]", "[1, 2]", "E458", "the same in `mlp(size=2)`: coordinates run from 0 to 15"),
    ],
)
def test_a_fault_of_several_networks_is_told_once(
    site: str, sizes: str, code: str, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = of_vectors(tmp_path, "", site, sizes)
    try:
        results = api.run(api.parse(text), Options(trust=True))
        told = [one for one in results.faults if one.code == code]
        assert results.tests[-1].cells  # of the largest network, which has no such fault
    except SpecError as error:
        told = error.diagnostics
    assert len(told) == 1 and any(one.startswith(note) for one in told[0].notes), told


def test_they_are_the_same_in_python() -> None:
    model = cd.Causal("m")
    a, b = model.draw("a", "b", domain=cd.between(0, 3))
    model.output("o", a == b)
    layers = cd.name("layers")
    tau = cd.align("tau", model, cd.zoo("equality-gpt2", name="n"), l=slice(0, layers), k=[0, layers - 1])
    text = cd.spec(tau).source()
    assert "align tau(l in 0:layers, k in [0, layers - 1]) : m -> n" in text
    assert api.parse(text).tree == api.parse(cd.parse(text).source()).tree


CIRCUIT = """
circuit late : net(size=3) { end = layer[2].mlp_out, layer[2].attn_out }
circuit also : net(3) = late
test cut on a(size=3, l=0) {
  base ~ m(n=8, seed=1)
  do(also = 0)
  report kl
}
"""


@pytest.mark.usefixtures("nets")
@pytest.mark.slow
def test_a_circuit_is_of_one_network_of_a_family() -> None:
    """As of the same network by itself; and what the formatter and the builder write of it is the same spec."""
    text = (
        SPEC.partition("test t")[0].replace("PARAMETERS", "l in 0:layers").replace("SITE", "layer[l].resid_post[last]")
    )
    (cut,) = cd.run(cd.parse(text + CIRCUIT)).tests
    plain = (text + CIRCUIT).replace("net(size in [2, 3])", "net").replace("n{size}", "n3").replace("size=3, ", "")
    (alone,) = cd.run(cd.parse(plain.replace("net(size=3)", "net").replace("net(3)", "net"))).tests
    assert [cell.scores for cell in cut.cells] == [cell.scores for cell in alone.cells]
    assert cut.cells[0].scores["kl"].value > 0
    spec = cd.parse(text + CIRCUIT)
    written = format_tree(spec.tree)
    assert "circuit late : net(size=3) {" in written and cd.parse(written).tree == spec.tree
    for wrong, code in [("net(size=4) {", "E696"), ("net(size=3, k=1) {", "E211"), ("net {", "E228")]:
        found = api.check(cd.parse(text + CIRCUIT.replace("net(size=3) {", wrong))).errors
        assert [one.code for one in found] == [code], wrong
