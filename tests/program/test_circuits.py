"""Circuits: which nodes each is made of, how large it is, and what an intervention on it writes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.api import Checked, Options
from causal_dsl.planning.circuit_runs import random_circuits
from causal_dsl.program.ablations import Ablation
from causal_dsl.program.edge_sets import edge_name
from causal_dsl.program.nodes import OutputNode, edges_among, places_of, without
from causal_dsl.tools.cli import main
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from tests.engine.tiny import folder_of, spec_of
from tests.equality import gpt2

SPEC = gpt2(
    align="tau(p in [b, last])",
    shapes=("circle", "square", "star", "heart"),
    tests="""
circuit wang(l in 0:3) : net {
  early = layer[0:2].head[all], embed
  late  = layer[l].head[0, 1], layer[l].mlp_out
}
circuit edged : net {
  early = layer[0:2].head[all], embed
  late  = layer[2].head[0, 1]
  early -> late.v -> logits
}
circuit at : net {
  one = layer[1].head[0].z[b], layer[1].head[0].z[last]
}
""",
)
TEST = """
test t on tau(p=last) {
  base, source ~ equality(n=8)
  do(ACTION)
  report moved
}
"""


def check(text: str, **options: object) -> Checked:
    checked = api.check(api.parse(text), Options(**options))  # type: ignore[arg-type]
    checked.raise_errors()
    return checked


def ablation(action: str, cell: int = 0) -> Ablation:
    """What an action on circuits does in a cell."""
    program = check(SPEC + TEST.replace("ACTION", action)).program
    assert program is not None
    found = program.tests[0].cells[cell].interventions[0].circuit
    assert found is not None
    return found


def names(action: str, cell: int = 0) -> set[str]:
    return {str(node) for node, _ in ablation(action, cell).members}


HEADS = {f"layer[{layer}].head[{head}]" for layer, head in product(range(2), range(4))}


def test_a_circuit_that_names_edges_is_its_edges() -> None:
    heads = [f"layer[{layer}].head[{head}]" for layer, head in product(range(2), range(4))]
    late = ["layer[2].head[0]", "layer[2].head[1]"]
    into = {f"{sender} -> {one}.v" for sender in ["embed", *heads] for one in late}
    out = {f"{one} -> logits" for one in late}

    def edges(action: str) -> set[str]:
        return {edge_name(*edge[:2]) for edge in ablation(action).members}  # type: ignore[misc, arg-type]

    assert edges("outside(edged) <- source") == into | out
    assert edges("outside(edged - edged.late) <- source") == set()
    assert edges("outside(edged - edged.early) <- source") == out
    assert names("outside(edged.late) <- source") == set(late)
    assert names("nodes(edged) = mean") == {"embed", *heads, *late}
    every = edges("edges(edged.late + edged.early) = 0")
    # to 10 heads of 3 ports from all that is before each, and from 11 senders to the logits
    assert into | out < every and len(every) == 3 * (4 * 1 + 4 * 5 + 2 * 9) + 11
    whole = ablation("outside(edged) <- source")
    assert set(whole.written(whole.members)) == set(whole.every) - set(whole.members)


def test_a_circuit_is_its_groups() -> None:
    late = {"layer[2].head[0]", "layer[2].head[1]", "layer[2].mlp_out"}
    assert names("wang(l=2) = mean") == HEADS | {"embed"} | late
    assert names("wang(l=2).late = mean") == late
    assert names("wang(2).late <- source") == late


def test_sets_of_circuits() -> None:
    for action in ("outside(wang(l=0) - wang(l=0).late) = mean", "outside(wang(l=2) - wang(l=2).late) = 0"):
        assert names(action) >= {"embed", "layer[1].head[0]"}
    assert names("outside(wang(l=2).late + wang(l=2).early) = mean") == names("outside(wang(l=2)) = mean")
    assert "layer[0].head[0]" not in names("outside(wang(l=0) - wang(l=0).late) = mean")


def test_parameters_of_a_circuit_are_swept_over() -> None:
    program = check(SPEC + TEST.replace("ACTION", "wang.late = mean")).program
    assert program is not None
    assert [dict(cell.values) for cell in program.tests[0].cells] == [{"l": 0}, {"l": 1}, {"l": 2}]
    assert names("wang.late = mean", 1) == {"layer[1].head[0]", "layer[1].head[1]", "layer[1].mlp_out"}


def test_outside_is_every_other_node_of_the_kinds_that_are_looked_at() -> None:
    every = ablation("outside(wang(l=2)) <- source")
    assert len(every.every) == 3 * 4 + 3 + 1
    written = without(every.every, every.members)
    assert {str(node) for node, _ in written} == {str(node) for node, _ in every.every} - names("wang(l=2) = 0")
    heads = ablation("outside(wang(l=2), among=[head]) <- source")
    assert len(heads.every) == 12
    assert {node.kind for node, _ in heads.members} == {"head"}


def test_a_node_at_some_tokens_leaves_the_others_outside() -> None:
    one = ablation("outside(at) = mean")
    rest = [position for node, position in one.written(one.members) if str(node) == "layer[1].head[0]"]
    assert [str(position) for position in rest] == ["all but b, last"]
    role = ablation("outside(at, at=[b, last]) = mean")
    assert {str(position) for _, position in role.every} == {"b", "last"}
    assert all(str(node) != "layer[1].head[0]" for node, _ in role.written(role.members))


def test_heads_of_a_layer_are_one_place() -> None:
    places = places_of([(OutputNode("head", 1, head), Position("all")) for head in (2, 0)])
    assert [(place.site.component, place.site.layer, place.site.heads) for place in places] == [("z", 1, (0, 2))]


@pytest.mark.parametrize("parallel", [False, True])
def test_edges_are_counted_as_by_hand(parallel: bool) -> None:
    facts = Facts(
        "language", "gpt2", layers=3, heads=2, kv_heads=2, head_dim=4, width=8, mlp_width=10, parallel=parallel
    )
    heads = {OutputNode("head", layer, head) for layer in range(3) for head in range(2)}
    every = {OutputNode("embed"), *heads, *(OutputNode("mlp", layer) for layer in range(3))}
    some = {OutputNode("embed"), OutputNode("head", 1, 1), OutputNode("mlp", 1), OutputNode("head", 2, 0)}
    for nodes in (every, some):
        count = len(nodes)  # to the logits
        for sender, receiver in product(nodes, nodes):
            if receiver.kind == "embed" or sender == receiver:
                continue
            before = sender.layer < receiver.layer
            before |= (
                sender.kind == "head" and receiver.kind == "mlp" and sender.layer == receiver.layer and not parallel
            )
            count += (3 if receiver.kind == "head" else 1) * before
        assert edges_among(nodes, facts) == (count, count)
    part = {OutputNode("neuron", 1, 0), OutputNode("neuron", 1, 1)}
    assert edges_among({*part, OutputNode("head", 2, 0)}, facts) == (3 + 1 + 1, pytest.approx(0.2 * 4 + 1))


def test_random_circuits_are_as_large_and_of_the_same_kinds() -> None:
    own = ablation("outside(wang(l=2)) = mean")
    program = check(SPEC + TEST.replace("ACTION", "outside(wang(l=2)) = mean")).program
    assert program is not None
    facts = program.tests[0].network.facts
    size = edges_among((node for node, _ in own.members), facts)[1]
    found = random_circuits(own, facts)
    assert len(found) == 20
    assert len({frozenset(one) for one in found}) > 10
    for one in found:
        assert set(one) != set(own.members) and set(one) <= set(own.every) and len(set(one)) == len(own.members)
        for kind in ("embed", "head", "mlp"):
            assert sum(node.kind == kind for node, _ in one) == sum(node.kind == kind for node, _ in own.members)
    sizes = [edges_among((node for node, _ in one), facts)[1] for one in found]
    assert abs(sum(sizes) / len(sizes) - size) < 0.1 * size


def test_a_circuit_of_a_file(tmp_path: Path) -> None:
    scores = {"embed": 2.0, "layer[0].head[1]": -3.0, "layer[1].mlp_out": 1.0, "layer[2].head[0]": 0.5}
    (tmp_path / "found.json").write_text(json.dumps({"nodes": scores}))
    (tmp_path / "plain.json").write_text(json.dumps({"nodes": ["embed", "layer[0].neurons[3]"]}))
    cases = {
        'json("found.json", keep=50%, by=signed)': {"embed", "layer[1].mlp_out"},
        'json("found.json", keep=2, by=absolute)': {"embed", "layer[0].head[1]"},
        'json("found.json")': set(scores),
        'json("plain.json")': {"embed", "layer[0].neurons[3]"},
    }
    for call, wanted in cases.items():
        text = SPEC + f"circuit f : net = {call}\n" + TEST.replace("ACTION", "f = mean")
        (tmp_path / "s.causal").write_text(text)
        checked = api.check(api.load(tmp_path / "s.causal"))
        checked.raise_errors()
        assert checked.program is not None
        circuit = checked.program.tests[0].cells[0].interventions[0].circuit
        assert circuit is not None
        assert {str(node) for node, _ in circuit.members} == wanted
    for call, said in {
        'json("found.json", keep=50%)': "the order of the nodes is not stated",
        'json("found.json", keep=7, by=signed)': "`keep` is 7 of 4 nodes",
        'json("plain.json", keep=1, by=signed)': "have no scores",
        'json("absent.json")': "there is no file",
        'json("broken.json")': "cannot read",
        'json("other.json")': "names `layer[7].head[0]`",
        'json("empty.json")': "names no nodes",
        'json("both.json")': "names nodes and edges",
        'json("words.json")': "no number as the score of `embed`",
        'json("text.json")': "neither a list of names nor a score",
        'json("found.json", keep=0, by=signed)': "`keep` is 0 of 4 nodes",
        'json("found.json", keep=200%, by=signed)': "a share of 200%, above 100%",
        'json("found.json", keep=150%, by=signed)': "neither a share of 100% or less nor a whole number",
    }.items():
        (tmp_path / "both.json").write_text(json.dumps({"nodes": ["embed"], "edges": ["embed -> logits"]}))
        (tmp_path / "words.json").write_text(json.dumps({"nodes": {"embed": "x"}}))
        (tmp_path / "text.json").write_text(json.dumps({"nodes": "embed"}))
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "other.json").write_text(json.dumps({"nodes": ["layer[7].head[0]"]}))
        (tmp_path / "empty.json").write_text(json.dumps({"parts": []}))
        (tmp_path / "s.causal").write_text(SPEC + f"circuit f : net = {call}\n" + TEST.replace("ACTION", "f = mean"))
        errors = api.check(api.load(tmp_path / "s.causal")).errors
        assert [error.code for error in errors] == ["E805"] and said in errors[0].title, call


@pytest.mark.slow
def test_a_file_says_of_which_network_it_is(tmp_path: Path) -> None:
    """It is written by `discover`; read for another network it is warned of, and for its own, or where it names none, it is not."""
    name = "llama"
    metric = "metric gap = logit(o) - logit(source.o)\n"
    test = """
test t on a(l=0, p=last) {
  base, source ~ m(n=4, seed=3, controls=none) where base.template == source.template and base.o != source.o
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    text = spec_of(name, metric)
    discover = "circuit found : net = discover(nodes, method=eap, keep=3, by=signed)\n"
    api.run(api.parse(text + discover + test), api.Options(out=tmp_path / "out"))
    (path,) = (tmp_path / "out").rglob("circuits/*.json")
    held = json.loads(path.read_text())
    assert held["network"]["layers"] == 3 and held["network"]["architecture"] == name
    read = 'circuit found : net = json("found.json", keep=3, by=signed)\n'
    other = text.replace(folder_of(name), folder_of("gpt2"))
    for number, (start, said, codes) in enumerate(
        [
            (text, held, []),
            (other, held, ["W805"]),
            (other, {"nodes": held["nodes"]}, []),
            (text, {**held, "keeps": 3}, ["W806"]),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "found.json").write_text(json.dumps(said))
        (folder / "s.causal").write_text(start + read + test)
        checked = api.check(api.load(folder / "s.causal"))
        assert [one.code for one in checked.diagnostics] == codes
        if codes == ["W805"]:
            (one,) = checked.diagnostics
            assert "architecture llama" in one.notes[0] and "architecture gpt2" in one.notes[1]
            assert str(tmp_path) not in str(one.notes) and folder_of(name) not in str(held)
    for number, (weights, alike) in enumerate([(held["network"]["weights"], True), ("0" * 64, False)]):
        (tmp_path / f"{number}" / "found.json").write_text(
            json.dumps({**held, "network": {**held["network"], "weights": weights}})
        )
        (tmp_path / f"{number}" / "s.causal").write_text(text + read + test)
        results = api.run(api.load(tmp_path / f"{number}" / "s.causal"))
        assert not [one for one in results.specs[0].warnings if one.code == "W805"]
        told = [one for one in results.tests[0].cells[0].findings if one.code == "circuit_elsewhere"]
        assert (not told) == alike and all("found.json" in one.text and one.severity == "info" for one in told)


def test_networks_whose_heads_are_not_known_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Embedding(3, 4), torch.nn.Linear(4, 3))\n"
    )
    (tmp_path / "none.json").write_text('{"nodes": []}')
    (tmp_path / "s.causal").write_text("""
domain W = {"a", "b"}
causal m {
  x ~ W
  output o := x
}
network own = torch("net.py:build", vocabulary=["BOS", "a", "b"])
align tau : m -> own {
  prompt "BOS {x}"
  o @ next_token(among=W)
}
circuit c : own = json("none.json")
test t on tau {
  base, source ~ m(n=8)
  do(outside(c) = mean)
  report kl
}
""")
    assert api.check(api.load(tmp_path / "s.causal"), Options(trust=True)).errors == []  # it is not loaded yet
    assert main(["run", str(tmp_path / "s.causal"), "--trust"]) == 2
    assert "E810" in capsys.readouterr().err


def test_no_word_of_idle_edges_where_a_part_of_what_is_written_flows_on() -> None:
    """Along an edge that is written with a part of what its sender gives, that part goes on."""
    spec = (Path(__file__).parent / "errors/edge_on_no_path.causal").read_text()
    spec = spec[: spec.index("# By means")]
    told = {}
    for written in ("= 0", "<- source", "= scale(0.5)", "= 2 * current - 1", "+= noise(std=0.1)", "= clamp(-1, 1)"):
        action = f"outside(letters) {written}"
        checked = api.check(api.parse(spec.replace("outside(letters) <- source", action)))
        assert not checked.errors, (written, checked.errors)
        told[written] = [warning.code for warning in checked.diagnostics if warning.code == "W804"]
    assert told["= 0"] and told["<- source"]
    assert not any(codes for written, codes in told.items() if written not in ("= 0", "<- source"))
