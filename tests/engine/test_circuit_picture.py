"""Pictures of circuits: every node and edge is drawn once, later ones further up."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.program.edge_sets import EdgeSet
from causal_dsl.program.nodes import EVERYWHERE, OutputNode
from causal_dsl.report.circuit_picture import circuit_svg
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.ports import Port, Ports
from tests.engine.test_edge_circuits import spec

SVG = "{http://www.w3.org/2000/svg}"
PORTS = Ports(3, 4, 2)
EMBED, HEAD, MLP = OutputNode("embed"), OutputNode("head", 0, 1), OutputNode("mlp", 1)


def drawn(text: str) -> tuple[dict[str, float], list[ElementTree.Element]]:
    """How high each node is, by its name, and the lines."""
    root = ElementTree.fromstring(text)
    boxes = {g.find(f"{SVG}title").text: float(g.find(f"{SVG}rect").get("y")) for g in root.iter(f"{SVG}g")}  # type: ignore[union-attr, arg-type]
    return boxes, list(root.iter(f"{SVG}path"))


def test_later_components_are_further_up_and_edges_are_as_thick_as_their_weights() -> None:
    edges = EdgeSet.of(
        PORTS,
        [
            (EMBED, Port("v", 0, 0), EVERYWHERE),  # two query heads share it
            (HEAD, Port("mlp", 1), EVERYWHERE),
            (MLP, Port("logits"), EVERYWHERE),
        ],
    )
    weights = {"embed -> layer[0].head[0].v": 2.0, "layer[0].head[1] -> layer[1].mlp_in": -4.0}
    boxes, lines = drawn(circuit_svg(edges, "a < b", weights))
    order = ["embed", "layer[0].head[1]", "layer[1].mlp_out", "logits"]
    heights = [boxes[name] for name in order]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 4
    assert set(boxes) == {*order, "layer[0].head[0]"} and len(lines) == 4
    wide = {line.find(f"{SVG}title").text: float(line.get("stroke-width", "")) for line in lines}  # type: ignore[union-attr]
    assert wide["layer[0].head[1] -> layer[1].mlp_in: -4"] > wide["embed -> layer[0].head[0].v: 2"]
    assert [line.get("stroke-dasharray") is not None for line in lines] == [
        "-4" in (line.find(f"{SVG}title").text or "")  # type: ignore[union-attr]
        for line in lines
    ]


def test_a_node_at_several_tokens_is_drawn_at_each() -> None:
    last, first = Position("index", index=-1), Position("index")
    boxes, lines = drawn(circuit_svg(((HEAD, last), (HEAD, first), (EMBED, EVERYWHERE))))
    assert set(boxes) == {"layer[0].head[1] [last]", "layer[0].head[1] [first]", "embed"} and not lines


def test_nodes_have_pale_lines_to_those_that_can_read_them() -> None:
    nodes = tuple((node, EVERYWHERE) for node in (EMBED, HEAD, OutputNode("mlp", 0), MLP))
    for parallel in (False, True):
        picture = circuit_svg(nodes, "c", choices=("granularity each token", "set <the circuit>"), parallel=parallel)
        _, lines = drawn(picture)
        told = {line.find(f"{SVG}title").text for line in lines}  # type: ignore[union-attr]
        beside = "layer[0].head[1] can reach layer[0].mlp_out"
        assert (beside in told) != parallel and len(told) == (5 if parallel else 6)
        assert "embed can reach layer[1].mlp_out" in told and "can reach, not edges found" in picture
        assert "granularity each token" in picture and "set &lt;the circuit&gt;" in picture
    many = tuple((OutputNode("head", layer, head), EVERYWHERE) for layer in range(6) for head in range(12))
    assert not drawn(circuit_svg(many))[1]


@pytest.mark.slow
def test_a_run_with_a_folder_draws_its_circuits(tmp_path: Path) -> None:
    results = api.run(api.parse(spec("llama", "outside(c) <- source", "faithfulness(gap)")), Options(out=tmp_path))
    circuit = results.tests[0].cells[0].circuit
    assert circuit is not None
    (file,) = tmp_path.rglob("circuit-t-0.svg")
    boxes, lines = drawn(file.read_text())
    assert len(boxes) == circuit.size.nodes + 1
    told = json.loads(file.with_name("results.json").read_text())["tests"][0]["cells"][0]["circuit"]
    assert told["kind"] == "edges" and tuple(told["members"]) == circuit.lines
    assert {line.find(f"{SVG}title").text for line in lines} == set(circuit.lines)  # type: ignore[union-attr]
    assert all(choice in file.read_text().replace("&#x27;", "'") for choice in circuit.choices.lines)


@pytest.mark.slow
def test_scores_of_a_file_are_the_widths_of_its_edges(tmp_path: Path) -> None:
    """The higher the score, the thicker the line, as where a run finds the edges; a negative one is dashed."""
    scores = {"embed -> layer[0].head[0].q": 0.5, "layer[0].mlp_out -> logits": -0.25, "embed -> logits": 1.0}
    (tmp_path / "found.json").write_text(json.dumps({"edges": scores}))
    more = 'circuit f : net = json("found.json", keep=3, by=absolute)\n'
    (tmp_path / "s.causal").write_text(spec("llama", "outside(f) <- source", "faithfulness(gap)", more))
    api.run_files([tmp_path / "s.causal"], Options(out=tmp_path / "out"))
    (picture,) = (tmp_path / "out").rglob("circuit-t-0.svg")
    _, lines = drawn(picture.read_text())
    told = ((str(line.find(f"{SVG}title").text), line) for line in lines)  # type: ignore[union-attr]
    named = {title.rpartition(": ")[0]: line for title, line in told}
    widths = {name: float(line.get("stroke-width", "0")) for name, line in named.items()}
    assert sorted(widths, key=lambda name: widths[name]) == sorted(scores, key=lambda name: abs(scores[name]))
    assert len(set(widths.values())) == 3
    dashed = [name for name, line in named.items() if line.get("stroke-dasharray")]
    assert dashed == ["layer[0].mlp_out -> logits"]
