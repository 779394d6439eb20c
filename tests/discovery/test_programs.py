"""Compiled programs, whose edges are known: a search at their number finds all of them, and every circuit that is wrong in an edge, a
head, a layer, a port or a token is caught."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.program.edge_sets import edge_name, every_edge
from tests.thinning import some

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Known:
    """A program: its causal model, its alignment, every edge that brings something of the input to the answer at the last token, and its
    nodes at the tokens that count. What is the same in all prompts of one length (positions, the constant, the length) flows along no
    edge of it."""

    model: str
    edges: str
    nodes: str
    placed: str = "there"
    where: str = "base.answer != source.answer"

    @property
    def every(self) -> list[str]:
        return self.edges.split("; ")


KNOWN = {
    "previous": Known(
        "previous",
        "embed -> layer[0].head[0].v; layer[0].head[0] -> logits",
        "embed[c], layer[0].head[0].z[d]",
    ),
    "reverse": Known(
        "reversed",
        "embed -> layer[3].head[0].v; layer[3].head[0] -> logits",
        "embed[a], layer[3].head[0].z[last]",
        "there(l=0)",
        "base.answer != source.answer and base.n == source.n",
    ),
    "frac_prevs": Known(
        "share",
        "embed -> layer[0].mlp_in; layer[0].mlp_out -> layer[1].head[0].v; layer[1].head[0] -> logits",
        "embed, layer[0].mlp_out, layer[1].head[0].z[z]",
    ),
    "hist": Known(
        "hist",
        "embed -> layer[0].head[0].q; embed -> layer[0].head[0].k; layer[0].head[0] -> layer[0].mlp_in; layer[0].mlp_out -> logits",
        "embed, layer[0].head[0].z[d], layer[0].mlp_out[d]",
    ),
    "sort": Known(
        "sorted",
        "embed -> layer[0].head[0].q; embed -> layer[0].head[0].k; layer[0].head[0] -> layer[0].mlp_in; "
        "layer[0].mlp_out -> layer[1].head[0].k; embed -> layer[1].head[0].v; layer[1].head[0] -> logits",
        "embed, layer[0].head[0], layer[0].mlp_out, layer[1].head[0].z[c]",
    ),
    "dyck": Known(
        "balanced",
        "embed -> layer[0].mlp_in; layer[0].mlp_out -> layer[1].head[0].v; layer[0].mlp_out -> layer[1].head[1].v; "
        "layer[1].head[0] -> layer[2].mlp_in; layer[1].head[1] -> layer[2].mlp_in; layer[2].mlp_out -> layer[3].mlp_in; "
        "layer[3].mlp_out -> layer[4].head[0].v; layer[3].mlp_out -> layer[4].head[1].v; layer[4].head[1] -> layer[4].mlp_in; "
        "layer[4].head[0] -> layer[5].mlp_in; layer[4].mlp_out -> layer[5].mlp_in; layer[5].mlp_out -> logits",
        "embed, layer[0].mlp_out, layer[1].head[0, 1], layer[2].mlp_out, layer[3].mlp_out, layer[4].head[0, 1].z[d], layer[4].mlp_out[d], "
        "layer[5].mlp_out[d]",
    ),
}
#: In what an edge or a node can be wrong in programs of several layers or heads.
WRONG = {
    "sort": {"another layer", "another receiver", "another token"},
    "dyck": {"another layer", "another head", "another receiver", "another token"},
}
TEST = """
circuit c{number} : program {{
  parts = {parts}
  {flows}
}}
test t{number} on {placed} {{
  base, source ~ {model}(n=24, seed=0, controls=none) where {where}
  do(outside(c{number}) <- source)
  report faithfulness(gained)
}}
"""


def start_of(name: str) -> str:
    """The spec of a program up to its tests, and a metric."""
    text = (ROOT / "specs" / "tracr" / f"{name}.causal").read_text()
    return text[: text.index("\ntest ")] + "\nmetric gained = logit(answer) - logit(source.answer)\n"


@pytest.mark.thinned(slow=2)
@pytest.mark.parametrize("name", some(KNOWN, ["previous"]))
def test_at_the_true_size_all_true_edges_are_found(name: str) -> None:
    """Inputs are split by a number that no prompt has: the programs know too few inputs to be split themselves."""
    known, text = KNOWN[name], start_of(name)
    begin = text.index("{", text.index("\ncausal ")) + 1
    text = f"""{text[:begin]}
  salt ~ 1..20
{text[begin:]}
circuit found : program = discover(edges, method=exact, keep={len(known.every)}, by=absolute)
test judged on {known.placed} {{
  base, source ~ {known.model}(n=64, seed=0, controls=none, split=test, by=salt) where {known.where}
  do(outside(found) <- source)
  report faithfulness(gained)
}}
"""
    (cell,) = api.run(api.parse(text)).tests[0].cells
    assert cell.circuit is not None
    assert set(cell.circuit.lines) == set(known.every)
    assert cell.scores["faithfulness(gained)"].value == pytest.approx(1.0, abs=1e-4)
    scores = cell.circuit.found[0].scores
    assert min(scores[edge] for edge in known.every) > 1
    assert max(abs(score) for edge, score in scores.items() if edge not in known.every) < 1e-3


def of_edge(edge: str) -> dict[str, str]:
    """Of an edge the components, layers and heads at its ends, and the port."""
    found = {}
    for end, name in zip(("sender", "receiver"), edge.split(" -> "), strict=True):
        layer, head = (re.search(rf"{what}\[(\d+)\]", name) for what in ("layer", "head"))
        found |= {f"layer of the {end}": layer[1] if layer else "", f"head of the {end}": head[1] if head else ""}
        found[f"{end} (a port or a component)"] = re.sub(r"\[\d+\]", "", name)
    return found


def wrong_edges(true: list[str], every: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Circuits in which one edge is left out, or is another: of what differs in a layer, a head, or a port one each."""
    for edge in true:
        rest = [one for one in true if one != edge]
        yield f"without {edge}", rest
        others: dict[str, str] = {}
        for other in every:
            apart = [what for what, one in of_edge(edge).items() if of_edge(other)[what] != one]
            if other not in true and len(apart) == 1:
                others.setdefault(apart[0], other)
        for what, other in others.items():
            yield f"another {what}: {other} for {edge}", [*rest, other]


def wrong_tokens(nodes: str) -> Iterator[tuple[str, str]]:
    """Circuits in which one component is at another token."""
    for found in re.finditer(r"\[([a-z]+)\](?=,|$)", nodes):
        other = "x" if found[1] == "z" else "b"
        yield (
            f"another token: {nodes[: found.end()].split(', ')[-1]} at {other}",
            f"{nodes[: found.start()]}[{other}]{nodes[found.end() :]}",
        )


@pytest.mark.thinned(slow=2)
@pytest.mark.parametrize("name", some(KNOWN, ["previous"]))
def test_every_circuit_that_is_wrong_is_caught(name: str) -> None:
    known, start = KNOWN[name], start_of(name)
    checked = api.check(api.parse(start + TEST.format(number=0, parts=known.nodes, flows="", **vars(known))))
    assert checked.program is not None
    facts = checked.program.tests[0].network.facts
    every = every_edge(facts, ("embed", "head", "mlp"))
    assert every is not None
    names = [edge_name(node, port) for node, port, _ in every]
    edged = {"the edges": known.every, **dict(wrong_edges(known.every, names))}
    placed = {"the nodes": known.nodes, **dict(wrong_tokens(known.nodes))}
    told = [*((what, "embed", "\n  ".join(edges)) for what, edges in edged.items())]
    told += [(what, nodes, "") for what, nodes in placed.items()]
    text = start + "".join(
        TEST.format(number=number, parts=parts, flows=flows, **vars(known))
        for number, (_, parts, flows) in enumerate(told)
    )
    results = api.run(api.parse(text))
    for (what, *_), test in zip(told, results.tests, strict=True):
        score = test.cells[0].scores["faithfulness(gained)"].value
        assert score is not None
        if what in ("the edges", "the nodes"):
            assert score == pytest.approx(1.0, abs=1e-4), what
        else:
            assert score < 0.9, what
    wrong = {re.split(" of | \\(|:", what)[0] for what, *_ in told if what.startswith("another")}
    assert wrong >= WRONG.get(name, set())
